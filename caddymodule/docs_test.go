package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/users"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// rows are the tables' rows of a page whose first cell is a code in backticks, by that.
func rows(t *testing.T, page string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		code := strings.TrimSpace(cells[0])
		if !strings.HasPrefix(line, "|") || !strings.HasPrefix(code, "`") || !strings.HasSuffix(code, "`") {
			continue
		}
		code = strings.Trim(code, "`")
		found[code] = append(found[code], cells...)
	}
	return found
}

// docs/caddyfile.md has a row for every word of the grammar, and none for a word that there is not; and JSON has the
// same words.
func TestCaddyfilePageHasEveryWord(t *testing.T) {
	documented := rows(t, read(t, "../docs/caddyfile.md"))
	known := map[string]bool{"provider": true, "forwarded": true, "remote": true} // the last two are values with a row of their own
	for _, block := range []struct {
		where string
		words vocabulary
		json  reflect.Type
		// what JSON has besides, because the Caddyfile says it by position
		besides []string
	}{
		{"provider", providerWords(new(ProviderConfig)), reflect.TypeFor[ProviderConfig](), []string{"name"}},
		{"session", sessionWords(new(SessionConfig)), reflect.TypeFor[SessionConfig](), nil},
		{"redis", redisWords(new(RedisConfig)), reflect.TypeFor[RedisConfig](), []string{"address"}},
		{"site", gateWords(httpcaddyfile.Helper{}, new(GateConfig)), reflect.TypeFor[GateConfig](), []string{"match", "providers", "provider"}},
		{"pages", pagesWords(new(PagesConfig)), reflect.TypeFor[PagesConfig](), nil},
	} {
		var names []string
		for _, field := range reflect.VisibleFields(block.json) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.Anonymous && !slices.Contains(block.besides, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		words := slices.Sorted(maps.Keys(block.words))
		if !slices.Equal(names, words) {
			t.Errorf("%s: JSON has %v, the Caddyfile %v", block.where, names, words)
		}
		for _, word := range words {
			known[word] = true
			if documented[word] == nil {
				t.Errorf("%s: docs/caddyfile.md has no row for `%s`", block.where, word)
			}
		}
	}
	for word := range documented {
		if !known[word] {
			t.Errorf("docs/caddyfile.md has a row for `%s`, which is no word", word)
		}
	}
}

// exampleProvider is the global option that examples of sites rely on.
const exampleProvider = `{
	gatehouse {
		provider company {
			issuer https://id.example.com
			client_id app
			client_secret secret
		}
		provider partners {
			issuer https://partners.example.org
			client_id app
			client_secret secret
		}
	}
}

`

// shellCommands begin the lines of blocks that are no Caddyfiles.
var shellCommands = []string{"go", "./gatehouse", "xcaddy", "curl", "redis-cli", "docker", "kubectl", "helm"}

var (
	fence       = regexp.MustCompile("(?ms)^```(\\w*)[^\n]*\n(.*?)^```$") // behind the language may stand what a test finds it by
	globalBlock = regexp.MustCompile(`^\{\n`)
	// an address has a dot or a colon, and stands where a directive would
	siteBlock = regexp.MustCompile(`(?m)^[^\s#]*[.:][^\s#]* \{`)
)

// example is a Caddyfile of the documentation.
type example struct{ where, caddyfile string }

func examples(t *testing.T) []example {
	t.Helper()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := []example{{"Caddyfile.example", read(t, "../Caddyfile.example")}}
	for _, page := range append(pages, "../README.md") {
		text := read(t, page)
		for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
			language, block := text[at[2]:at[3]], text[at[4]:at[5]]
			where := fmt.Sprintf("%s:%d", filepath.Base(page), strings.Count(text[:at[0]], "\n")+1)
			switch first, _, _ := strings.Cut(block, " "); {
			case language == "json":
				if !json.Valid([]byte(block)) {
					t.Errorf("%s: no JSON", where)
				}
			case language == "caddyfile": // of a Caddy without the gate
				if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(block), map[string]any{"filename": "Caddyfile"}); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			case language == "users":
				if _, err := users.Parse([]byte(block)); err != nil {
					t.Errorf("%s: line %v", where, err)
				}
			case slices.Contains([]string{"sh", "text", "js", "ini"}, language):
			case language == "nginx": // a test of internal/e2e runs it
			case language == "yaml":
				if err := yaml.Unmarshal([]byte(block), new(any)); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			case language != "":
				t.Errorf("%s: what is a block of %s?", where, language)
			case !slices.Contains(shellCommands, first) && !strings.Contains(block, "[<matcher>]"): // nor the grammar itself
				found = append(found, example{where, block})
			}
		}
	}
	return found
}

// complete makes a whole Caddyfile of an example: directives get a site, sites get providers.
func complete(caddyfile string) string {
	if !globalBlock.MatchString(caddyfile) && !siteBlock.MatchString(caddyfile) {
		caddyfile = "example.com {\n\t" + strings.ReplaceAll(strings.TrimSuffix(caddyfile, "\n"), "\n", "\n\t") + "\n}\n"
		caddyfile = strings.ReplaceAll(caddyfile, "\n\t\n", "\n\n")
	}
	if !globalBlock.MatchString(caddyfile) && !strings.HasPrefix(caddyfile, "#") {
		global := exampleProvider
		if !strings.Contains(caddyfile, "partners") { // with one provider rules need no provider's name
			global = global[:strings.Index(global, "\t\tprovider partners")] + "\t}\n}\n\n"
		}
		caddyfile = global + caddyfile
	}
	return caddyfile
}

// Every example of the documentation adapts, without a warning: it is formatted as `caddy fmt` would, too.
func TestExamplesAdapt(t *testing.T) {
	found := examples(t)
	if len(found) < 10 {
		t.Errorf("only %d examples", len(found))
	}
	for _, e := range found {
		t.Run(e.where, func(t *testing.T) {
			adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(complete(e.caddyfile)), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatalf("%v in\n%s", err, complete(e.caddyfile))
			}
			for _, warning := range warnings {
				t.Errorf("%s in\n%s", warning, complete(e.caddyfile))
			}
			if !bytes.Contains(adapted, []byte("gatehouse")) {
				t.Errorf("there is no gate in it:\n%s", e.caddyfile)
			}
		})
	}
}

// neverAnswered are reasons that only the log shows: the sign-out goes on, or the session ends (session_ended).
var neverAnswered = []authflow.Reason{
	authflow.ReasonNoEndSession, authflow.ReasonRefreshRefused, authflow.ReasonRevocation,
	authflow.ReasonRefreshIssuer, authflow.ReasonRefreshSubject, authflow.ReasonRefreshAuthTime,
	ReasonNoTransport,
}

// docs/reasons.md has one row for every reason, with the statuses that it is answered with, and none for a reason that
// there is not.
func TestReasonsPageHasEveryReason(t *testing.T) {
	documented := rows(t, read(t, "../docs/reasons.md"))
	statuses := make(map[authflow.Reason][]int)
	for _, reason := range constants(t, "../authflow/reason.go") {
		statuses[reason] = []int{outcomes[authflow.NewError(reason, nil).Kind].status}
	}
	for _, reason := range neverAnswered {
		statuses[reason] = nil
	}
	sources := parseSources(t)
	for name, reason := range constants(t, "error.go") {
		statuses[reason] = answered(sources, name)
	}
	for reason, answer := range tokenCodes {
		statuses[reason] = []int{answer.status}
	}
	for reason, want := range statuses {
		row := documented[string(reason)]
		if len(row) != 5 {
			t.Errorf("docs/reasons.md has not one row of five cells for `%s`, but %q", reason, row)
			continue
		}
		text := make([]string, len(want))
		for i, status := range want {
			text[i] = strconv.Itoa(status)
		}
		if got := strings.TrimSpace(row[1]); len(want) > 0 && got != strings.Join(text, ", ") || len(want) == 0 && got != "log" {
			t.Errorf("docs/reasons.md says %s for `%s`, which is answered with %v", got, reason, want)
		}
	}
	for code := range documented {
		if statuses[authflow.Reason(code)] == nil && !slices.Contains(neverAnswered, authflow.Reason(code)) {
			t.Errorf("docs/reasons.md has a row for `%s`, which is no reason", code)
		}
	}
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// constants are the constants of type Reason in a file, by name.
func constants(t *testing.T, path string) map[string]authflow.Reason {
	t.Helper()
	found := make(map[string]authflow.Reason)
	for spec := range ast.Preorder(parse(t, path)) {
		value, ok := spec.(*ast.ValueSpec)
		if !ok || len(value.Values) != 1 || !strings.HasPrefix(value.Names[0].Name, "Reason") {
			continue
		}
		literal, ok := value.Values[0].(*ast.BasicLit)
		if !ok {
			continue
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[value.Names[0].Name] = authflow.Reason(text)
	}
	if len(found) == 0 {
		t.Fatalf("no reasons in %s", path)
	}
	return found
}

// kinds are the kinds of error by name.
var kinds = map[string]authflow.Kind{
	"Internal": authflow.Internal, "NoLogin": authflow.NoLogin, "BadRequest": authflow.BadRequest,
	"Denied": authflow.Denied, "Provider": authflow.Provider, "Unavailable": authflow.Unavailable,
}

// parseSources are the sources of this package.
func parseSources(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if !strings.HasSuffix(path, "_test.go") {
			files = append(files, parse(t, path))
		}
	}
	return files
}

// answered finds the statuses of a reason of this package: the kinds that stand beside its name, in calls and in
// literals of the sources.
func answered(sources []*ast.File, name string) []int {
	var found []int
	for _, file := range sources {
		for node := range ast.Preorder(file) {
			var beside []ast.Expr
			switch n := node.(type) {
			case *ast.CallExpr:
				beside = n.Args
				if method, ok := n.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "denied" { // which says Denied itself
					beside = append(slices.Clone(beside), ast.NewIdent("Denied"))
				}
			case *ast.CompositeLit:
				beside = n.Elts
			}
			if !slices.ContainsFunc(beside, func(e ast.Expr) bool { return lastName(e) == name }) {
				continue
			}
			for _, e := range beside {
				if kind, is := kinds[lastName(e)]; is && !slices.Contains(found, outcomes[kind].status) {
					found = append(found, outcomes[kind].status)
				}
			}
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// lastName is the name that an expression ends with: of x, of p.x, of key: x.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.KeyValueExpr:
		return lastName(e.Value)
	}
	return ""
}

// The comments of the large packages say what stands in every file: who looks for something begins there.
func TestDocNamesEveryFile(t *testing.T) {
	for _, folder := range []string{".", "../authflow", "../session"} {
		comment, err := os.ReadFile(filepath.Join(folder, "doc.go"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			file := filepath.Base(path)
			grammar, _ := filepath.Match("caddyfile*.go", file)
			if file != "doc.go" && !grammar && !strings.HasSuffix(file, "_test.go") && !bytes.Contains(comment, []byte(file)) {
				t.Errorf("%s/doc.go does not say what stands in %s", folder, file)
			}
		}
	}
}
