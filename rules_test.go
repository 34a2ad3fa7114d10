package gatehouse_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/version"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The rules of the house that a test can hold. Each stands in the table `rules` with its reason, and with a source
// that breaks it, so that it is known that it can fail.

// rule looks at the whole tree and says where it is broken.
type rule struct {
	name string
	why  string
	find func(*tree) []violation
	// bad breaks the rule at the lines of want; good does what the rule allows.
	bad  fstest.MapFS
	want []string
	good fstest.MapFS
}

// violation is one place where a rule is broken.
type violation struct {
	where string // file:line
	what  string
}

// tree is every Go file of the repository, parsed, and every text file as it is.
type tree struct {
	fset  *token.FileSet
	files []*source
	texts map[string][]byte
}

// source is one Go file.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	ast  *ast.File
}

const module = "github.com/gatehouse-auth/gatehouse"

var rules = []rule{
	{
		name: "imports",
		why:  "imports point down: the protocol knows no Caddy and no session, the session no protocol; each library has one place",
		find: findImports,
		bad: fstest.MapFS{
			"authflow/a.go":        src("package authflow", `import "github.com/caddyserver/caddy/v2"`),
			"authflow/b.go":        src("package authflow", `import "`+module+`/session"`),
			"session/a.go":         src("package session", `import "`+module+`/authflow"`),
			"session/b.go":         src("package session", `import "golang.org/x/oauth2"`),
			"session/c.go":         src("package session", `import "github.com/gorilla/securecookie"`),
			"session/d.go":         src("package session", `import "github.com/redis/go-redis/v9"`),
			"internal/seal/a.go":   src("package seal", `import "`+module+`/session"`),
			"caddymodule/a.go":     src("package caddymodule", `import "github.com/coreos/go-oidc/v3/oidc"`),
			"internal/secret/a.go": src("package secret", `import "go.uber.org/zap"`),
			"internal/other/a.go":  src("package other", `import "fmt"`),
		},
		want: []string{
			"authflow/a.go:2", "authflow/b.go:2", "caddymodule/a.go:2", "internal/other/a.go:1", "internal/seal/a.go:2",
			"internal/secret/a.go:2", "session/a.go:2", "session/b.go:2", "session/c.go:2", "session/d.go:2",
		},
		good: fstest.MapFS{
			"authflow/a.go":           src("package authflow", `import "golang.org/x/oauth2"`, `import "`+module+`/internal/seal"`, `import "net/http"`),
			"authflow/a_test.go":      src("package authflow_test", `import "`+module+`/internal/testop"`),
			"session/redisstore/a.go": src("package redisstore", `import "github.com/redis/go-redis/v9"`, `import "`+module+`/session"`),
			"internal/seal/a.go":      src("package seal", `import "github.com/gorilla/securecookie"`),
		},
	},
	{
		name: "clock",
		why:  "time.Now stands only as the default of a Now field, uncalled, and time.Since and time.Until nowhere: a check that reads the clock itself cannot be tested at its limits",
		find: findClock,
		bad: fstest.MapFS{
			"session/a.go": src("package session", `import "time"`,
				"var a = time.Now()",                         // 3
				"func f(t time.Time) { time.Since(t) }",      // 4
				"func g(t time.Time) { time.Until(t) }",      // 5
				"func h() { now := time.Now; now() }",        // 6
				"func i(c *C) { c.Now = clock(time.Now()) }", // 7
				"func j() { use(time.Now) }",                 // 8
				"func k() time.Time { return time.Now() }",   // 9
			),
			"session/b.go": src("package session", `import clock "time"`, "var a = clock.Now()"),
			"session/c.go": src("package session", `import . "time"`),
		},
		want: []string{
			"session/a.go:3", "session/a.go:4", "session/a.go:5", "session/a.go:6", "session/a.go:7", "session/a.go:8", "session/a.go:9",
			"session/b.go:3", "session/c.go:2",
		},
		good: fstest.MapFS{
			"session/a.go": src("package session", `import "time"`,
				"func f(c *C) { if c.Now == nil { c.Now = time.Now } }",
				"func g() C { return C{Now: time.Now} }",
				"func h(now func() time.Time) func() time.Time { if now == nil { return time.Now }; return now }",
				"func i(time T) { time.Now() }",
				"func j() { time.Sleep(0) }",
			),
			"session/a_test.go": src("package session", `import "time"`, "var a = time.Now()"),
			"cmd/demo/a.go":     src("package main", `import "time"`, "var a = time.Now()"),
		},
	},
	{
		name: "documented",
		why:  "every package and every exported name says what it is: meaning, units, default, errors",
		find: findUndocumented,
		bad: fstest.MapFS{
			"a/a.go": src("package a",
				"type T struct{}",                           // 2
				"func F() {}",                               // 3
				"func (*T) M() {}",                          // 4
				"const C = 1",                               // 5
				"var V int",                                 // 6
				"const (", "D = 1 // has one", "E = 2", ")", // 9
				"func (G[K]) N() {}", "// G is known.", "type G[K any] struct{}", // 11
			),
		},
		want: []string{"a/a.go:1", "a/a.go:11", "a/a.go:2", "a/a.go:3", "a/a.go:4", "a/a.go:5", "a/a.go:6", "a/a.go:9"},
		good: fstest.MapFS{
			"a/a.go":        src("// Package a is known.", "package a", "// T is known.", "type T struct{ X int }", "type t struct{}", "func (t) M() {}", "// Kinds.", "const (", "A = 1", ")"),
			"a/b.go":        src("package a", "// M is known.", "func (T) M() {}"),
			"b/b_test.go":   src("package b", "func F() {}"),
			"c/doc.go":      src("// Package c is known.", "package c"),
			"c/d/d.go":      src("// Command d is known.", "package main", "func main() {}"),
			"c/e_test.go":   src("package c_test"),
			"c/d/x_test.go": src("package main"),
		},
	},
	{
		name: "short",
		why:  "no function over 60 lines, no file over 400: what is longer does more than one thing",
		find: findLong,
		bad: fstest.MapFS{
			"a/a.go":                   src("package a", "func F() {"+strings.Repeat("\n", 60)+"}"),
			"a/b.go":                   src("package a", strings.Repeat("\n", 400)),
			"caddymodule/endpoints.go": src("package caddymodule", "var f = func() {"+strings.Repeat("\n", 60)+"}"),
		},
		want: []string{"a/a.go:2", "a/b.go:401", "caddymodule/endpoints.go:2"},
		good: fstest.MapFS{
			"a/a.go":                        src("package a", "func F() {"+strings.Repeat("\n", 59)+"}"),
			"a/b.go":                        src("package a" + strings.Repeat("\n", 399)),
			"a/a_test.go":                   src("package a", "func F() {"+strings.Repeat("\n", 600)+"}"),
			"internal/testop/a.go":          src("package testop", "func F() {"+strings.Repeat("\n", 600)+"}"),
			"caddymodule/caddyfile_gate.go": src("package caddymodule", "func F() {"+strings.Repeat("\n", 600)+"}"),
		},
	},
	{
		name: "status",
		why:  "every authflow.Kind has a line in the table of caddymodule/error.go: the mapping to HTTP is decided once",
		find: findKindsWithoutStatus,
		bad: fstest.MapFS{
			"authflow/error.go":    src("package authflow", "type Kind int", "const (", "Internal Kind = iota", "Denied", "Other", ")"),
			"caddymodule/error.go": src("package caddymodule", "var statuses = map[authflow.Kind]answer{", "authflow.Internal: {500},", "authflow.Other: {502},", "}"),
		},
		want: []string{"authflow/error.go:5"},
		good: fstest.MapFS{
			"authflow/error.go":    src("package authflow", "type Kind int", "const (", "Internal Kind = iota", "Denied", ")", "const Unrelated = 1"),
			"caddymodule/error.go": src("package caddymodule", "var statuses = map[authflow.Kind]answer{", "authflow.Internal: {500}, authflow.Denied: {403},", "}"),
		},
	},
	{
		name: "reasons",
		why:  "every reason code is named in a test: a check without a test that expects its reason is not known to work",
		find: findUntestedReasons,
		bad: fstest.MapFS{
			"authflow/error.go":    src("package authflow", "type Reason string", "const (", `StateUnknown Reason = "state_unknown"`, `IssMismatch Reason = "iss_mismatch"`, ")"),
			"caddymodule/error.go": src("package caddymodule", `const reasonLoop authflow.Reason = "login_loop"`),
			"authflow/a_test.go":   src("package authflow", "var _ = StateUnknown // IssMismatch"),
		},
		want: []string{"authflow/error.go:5", "caddymodule/error.go:2"},
		good: fstest.MapFS{
			"authflow/error.go":     src("package authflow", "type Reason string", "const (", `StateUnknown Reason = "state_unknown"`, `IssMismatch Reason = "iss_mismatch"`, `Denied Reason = "denied"`, ")"),
			"authflow/a_test.go":    src("package authflow_test", "var _ = authflow.StateUnknown"),
			"caddymodule/b_test.go": src("package caddymodule", "var _ = `{\"reason\":\"iss_mismatch\"}`", `var _ = "denied"`),
		},
	},
	{
		name: "variables",
		why:  "package variables are sentinels, tables, embedded files, interface guards, metrics and the usage pool: anything else is state that two configurations share",
		find: findVariables,
		bad: fstest.MapFS{
			"a/a.go": src("package a",
				"var n int",                         // 2
				"var mu sync.Mutex",                 // 3
				"var c = &http.Client{}",            // 4
				"var d, e = errors.New(``), load()", // 5
				"var o sync.Once",                   // 6
				"type S struct{}; var s = S{}",      // 7
			),
		},
		want: []string{"a/a.go:2", "a/a.go:3", "a/a.go:4", "a/a.go:5", "a/a.go:6", "a/a.go:7"},
		good: fstest.MapFS{
			"a/a.go": src("package a",
				"var _ I = (*T)(nil)",
				"var ErrGone = errors.New(`gone`)",
				"var errBad = &Error{Kind: 1}",
				"var errWorse = &authflow.Error{Kind: 1}",
				"var table = map[string]int{}",
				"type list []string; var known = list{`a`}",
				"//go:embed pages", "var files embed.FS",
				"var pages = template.Must(template.ParseFS(files))",
				"var pool = caddy.NewUsagePool()",
				"var requests = prometheus.NewCounterVec(o)",
				"var name = regexp.MustCompile(`x`)",
				"var lower = base32.NewEncoding(`x`).WithPadding(base32.NoPadding)",
				"var errLarge = fmt.Errorf(`more than %d`, 1)",
				"var set = func() map[string]bool { return nil }()",
			),
			"a/a_test.go": src("package a", "var n int"),
		},
	},
	{
		name: "init",
		why:  "init only registers: what else it does cannot fail, cannot be configured and runs in everyone's Caddy",
		find: findInit,
		bad: fstest.MapFS{
			"a/a.go": src("package a", "func init() {", "caddy.RegisterModule(T{})", "x = 1", "load()", "}"),
		},
		want: []string{"a/a.go:4", "a/a.go:5"},
		good: fstest.MapFS{
			"a/a.go": src("package a", "func init() {", "caddy.RegisterModule(T{})", "register()", "prometheus.MustRegister(m)", "}"),
		},
	},
	{
		name: "skipped checks",
		why:  "the options that switch go-oidc's checks off stand in authflow/idtoken.go alone, beside the checks of ours that replace them; the signature is never skipped (SEC-81)",
		find: findSkippedChecks,
		bad: fstest.MapFS{
			"authflow/idtoken.go": src("package authflow", "var c = oidc.Config{", "InsecureSkipSignatureCheck: true}"),
			"authflow/logout.go":  src("package authflow", "var c = oidc.Config{", "SkipClientIDCheck: true,", "SkipExpiryCheck: true,", "SkipIssuerCheck: true}"),
			"caddymodule/a.go":    src("package caddymodule", "func f(c *C) { c.SkipIssuerCheck = true }"),
			"authflow/a_test.go":  src("package authflow", "var c = oidc.Config{InsecureSkipSignatureCheck: true}"),
		},
		want: []string{"authflow/a_test.go:2", "authflow/idtoken.go:3", "authflow/logout.go:3", "authflow/logout.go:4", "authflow/logout.go:5", "caddymodule/a.go:2"},
		good: fstest.MapFS{
			"authflow/idtoken.go": src("package authflow", "var c = oidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true}"),
		},
	},
	{
		name: "machine paths",
		why:  "no path of a build machine: what names one works there alone",
		find: findMachinePaths,
		bad: fstest.MapFS{
			"README.md": src("Build it", "in /"+"work/main, or", "x=/"+"farm/x"),
			"a/a.go":    src("package a", `const p = "/`+`home/me/x"`),
		},
		want: []string{"README.md:2", "README.md:3", "a/a.go:2"},
		good: fstest.MapFS{"README.md": src("See https://example.com/root/x and docs/root/y, ./root/z, /rooted/a")},
	},
	{
		name: "skipped tests",
		why:  "a test is skipped only by a helper named skipWithout…, which says what is missing: .ci/run fails on any skip, and a silent one is a test nobody runs",
		find: findSkippedTests,
		bad: fstest.MapFS{
			"a/a_test.go": src("package a", "func TestX(t *testing.T) {", "t.Skip()", "t.Skipf(`no`)", "t.SkipNow()", "}"),
		},
		want: []string{"a/a_test.go:3", "a/a_test.go:4", "a/a_test.go:5"},
		good: fstest.MapFS{
			"a/a_test.go": src("package a", "func skipWithoutNode(t *testing.T) { t.Skip(`no node`) }", "func TestX(t *testing.T) { skipWithoutNode(t) }"),
			"a/a.go":      src("package a", "func f(d *D) { d.Skip() }"),
		},
	},
}

func TestRules(t *testing.T) {
	all, err := parseTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, v := range r.find(all) {
				t.Errorf("%s: %s\n\t%s: %s", v.where, v.what, r.name, r.why)
			}
		})
	}
}

func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if got := places(t, r, r.bad); !slices.Equal(got, r.want) {
				t.Errorf("bad source: found %q\nwant %q", got, r.want)
			}
			if got := places(t, r, r.good); len(got) > 0 {
				t.Errorf("good source: found %q", got)
			}
		})
	}
}

// places gives where a rule finds itself broken in a tree made up for it, sorted.
func places(t *testing.T, r rule, fsys fs.FS) []string {
	t.Helper()
	made, err := parseTree(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range r.find(made) {
		got = append(got, v.where)
	}
	slices.Sort(got)
	return slices.Compact(got)
}

// src is a file of the given lines.
func src(lines ...string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(strings.Join(lines, "\n") + "\n")}
}

// parseTree reads every Go file, and every other text that the repository may hold.
func parseTree(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), texts: map[string][]byte{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case name == ".git": // of a second working tree
			return nil
		case !d.Type().IsRegular() || name == "go.sum":
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(data, 0) < 0 {
			t.texts[name] = data
		}
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return nil
		}
		file, err := parser.ParseFile(t.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		t.files = append(t.files, &source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), file})
		return nil
	})
	return t, err
}

// at is a violation at a node.
func (t *tree) at(n ast.Node, format string, args ...any) violation {
	p := t.fset.Position(n.Pos())
	return violation{fmt.Sprintf("%s:%d", p.Filename, p.Line), fmt.Sprintf(format, args...)}
}

// code is every file that is not a test.
func (t *tree) code() []*source {
	return slices.DeleteFunc(slices.Clone(t.files), func(s *source) bool { return s.test })
}

// mayImport says what each package may import beside the standard library: packages of this module by their folder,
// libraries by the beginning of their path. A package that is not here may not exist.
var mayImport = map[string][]string{
	".":                  {"caddymodule"},
	"authflow":           {"internal/guard", "internal/seal", "internal/secret", "github.com/coreos/go-oidc/v3/", "golang.org/x/oauth2", "github.com/go-jose/go-jose/v4"},
	"session":            {"internal/guard", "internal/seal", "internal/secret"},
	"session/redisstore": {"session", "internal/secret", "github.com/redis/go-redis/v9"},
	"session/storetest":  {"session", "internal/seal", "internal/secret"},
	"internal/seal":      {"internal/secret", "github.com/gorilla/securecookie"},
	"internal/secret":    {},
	"internal/guard":     {},
	"internal/hostile":   {},
	"internal/storage":   {"session", "internal/seal", "github.com/caddyserver/certmagic", "go.uber.org/zap"},
	"internal/follow":    {"go.uber.org/zap"},
	"internal/redistest": {"internal/testop"},
	"internal/soak":      {"caddymodule", "internal/redistest", "internal/testop", "github.com/caddyserver/"},
	"internal/users":     {"session", "internal/follow", "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth", "go.uber.org/zap"},
	"internal/testop":    {"github.com/go-jose/go-jose/v4"},
	"caddymodule":        {"authflow", "session", "session/redisstore", "internal/follow", "internal/guard", "internal/seal", "internal/secret", "internal/storage", "internal/users", "caddymodule/pages", "github.com/caddyserver/", "go.uber.org/zap", "github.com/prometheus/client_golang/", "cel.dev/cel-go/", "github.com/dustin/go-humanize", "go.opentelemetry.io/", "golang.org/x/net/", "golang.org/x/text/"},
	"caddymodule/pages":  {},
	"bench":              {"caddymodule", "session", "internal/seal", "internal/testop", "github.com/caddyserver/"},
	"cmd/gatehouse":      {"caddymodule", "github.com/caddyserver/"},
	"cmd/demo":           {"caddymodule", "internal/testop", "internal/secret", "github.com/caddyserver/", "github.com/zitadel/oidc/v3/", "github.com/go-jose/go-jose/v4", "golang.org/x/net/", "golang.org/x/text/"},
}

func findImports(t *tree) (found []violation) {
	for _, s := range t.code() {
		allowed, known := mayImport[s.dir]
		if !known {
			found = append(found, t.at(s.ast, "package %s has no line in mayImport", s.dir))
			continue
		}
		for _, spec := range s.ast.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err == nil && !allows(allowed, name) {
				found = append(found, t.at(spec, "%s may not import %s", s.dir, name))
			}
		}
	}
	return found
}

func allows(allowed []string, name string) bool {
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	if own, ok := strings.CutPrefix(name, module+"/"); ok {
		return slices.Contains(allowed, own)
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		return name == a || strings.HasPrefix(name, strings.TrimSuffix(a, "/")+"/")
	})
}

func findClock(t *tree) (found []violation) {
	for _, s := range t.code() {
		if s.dir == "bench" || s.dir == "cmd/demo" || s.dir == "internal/testop" {
			continue
		}
		local := importName(s.ast, "time")
		if local == "." {
			found = append(found, t.at(importSpec(s.ast, "time"), "time is imported into the file's own names"))
		}
		inspect(s.ast, func(n ast.Node, parents []ast.Node) {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !isPackage(sel.X, local, parents) {
				return
			}
			switch sel.Sel.Name {
			case "Since", "Until":
				found = append(found, t.at(sel, "time.%s reads the clock", sel.Sel.Name))
			case "Now":
				if !defaultsNow(sel, parents) {
					found = append(found, t.at(sel, "time.Now is not the default of a Now field here"))
				}
			}
		})
	}
	return found
}

// defaultsNow: `x.Now = time.Now`, `T{Now: time.Now}`, or `return time.Now` in what picks the default. A variable
// made for it (`now := time.Now`) would only hide the call.
func defaultsNow(sel ast.Expr, parents []ast.Node) bool {
	switch parent := parents[len(parents)-1].(type) {
	case *ast.AssignStmt:
		i := slices.Index(parent.Rhs, sel)
		return i >= 0 && parent.Tok == token.ASSIGN && len(parent.Lhs) == len(parent.Rhs) && isNow(parent.Lhs[i])
	case *ast.KeyValueExpr:
		return parent.Value == sel && isNow(parent.Key)
	case *ast.ReturnStmt:
		return true
	}
	return false
}

func isNow(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return strings.EqualFold(e.Sel.Name, "now")
	case *ast.Ident:
		return strings.EqualFold(e.Name, "now")
	}
	return false
}

// importName is how a file calls a package it imports, "" where it does not.
func importName(f *ast.File, name string) string {
	switch spec := importSpec(f, name); {
	case spec == nil:
		return ""
	case spec.Name != nil:
		return spec.Name.Name
	default:
		return path.Base(name)
	}
}

func importSpec(f *ast.File, name string) *ast.ImportSpec {
	i := slices.IndexFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == strconv.Quote(name) })
	if i < 0 {
		return nil
	}
	return f.Imports[i]
}

// isPackage tells the package from a parameter of the same name.
func isPackage(e ast.Expr, local string, parents []ast.Node) bool {
	id, ok := e.(*ast.Ident)
	if !ok || local == "" || id.Name != local {
		return false
	}
	for _, p := range parents {
		var typ *ast.FuncType
		switch p := p.(type) {
		case *ast.FuncDecl:
			typ = p.Type
		case *ast.FuncLit:
			typ = p.Type
		default:
			continue
		}
		for _, field := range typ.Params.List {
			for _, name := range field.Names {
				if name.Name == local {
					return false
				}
			}
		}
	}
	return true
}

// inspect visits every node with the nodes above it, outermost first.
func inspect(root ast.Node, visit func(n ast.Node, parents []ast.Node)) {
	var parents []ast.Node
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			parents = parents[:len(parents)-1]
			return true
		}
		visit(n, parents)
		parents = append(parents, n)
		return true
	})
}

func findUndocumented(t *tree) (found []violation) {
	documented, first := map[string]bool{}, map[string]*source{}
	for _, s := range t.code() {
		documented[s.dir] = documented[s.dir] || s.ast.Doc.Text() != ""
		if first[s.dir] == nil {
			first[s.dir] = s
		}
		for _, decl := range s.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc.Text() == "" && (d.Recv == nil || ast.IsExported(receiver(d))) {
					found = append(found, t.at(d, "%s is not documented", d.Name))
				}
			case *ast.GenDecl:
				found = append(found, t.undocumentedSpecs(d)...)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(first)) {
		if !documented[dir] {
			found = append(found, t.at(first[dir].ast, "package %s is not documented", dir))
		}
	}
	return found
}

// undocumentedSpecs: a group of constants or variables may be documented as one.
func (t *tree) undocumentedSpecs(d *ast.GenDecl) (found []violation) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc.Text() == "" && (d.Doc.Text() == "" || d.Lparen.IsValid()) {
				found = append(found, t.at(s, "%s is not documented", s.Name))
			}
		case *ast.ValueSpec:
			exported := slices.ContainsFunc(s.Names, func(n *ast.Ident) bool { return n.IsExported() })
			if exported && d.Doc.Text() == "" && s.Doc.Text() == "" && s.Comment.Text() == "" {
				found = append(found, t.at(s, "%s is not documented", s.Names[0]))
			}
		}
	}
	return found
}

// receiver is the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

const maxFunctionLines, maxFileLines = 60, 400

func findLong(t *tree) (found []violation) {
	for _, s := range t.code() {
		parser, _ := path.Match("caddymodule/caddyfile*.go", s.path)
		if s.dir == "internal/testop" || parser {
			continue
		}
		if n := bytes.Count(t.texts[s.path], []byte("\n")); n > maxFileLines {
			found = append(found, violation{fmt.Sprintf("%s:%d", s.path, maxFileLines+1), fmt.Sprintf("the file has %d lines", n)})
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.FuncDecl, *ast.FuncLit:
				if lines := t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1; lines > maxFunctionLines {
					found = append(found, t.at(n, "the function has %d lines", lines))
					return false
				}
			}
			return true
		})
	}
	return found
}

// constant is one constant of a type that the rules look for.
type constant struct {
	name  *ast.Ident
	value string // of a string constant
}

// constants gives the constants of a type by its name, in any of the folders; one that takes over the line above counts.
func (t *tree) constants(typeName string, dirs ...string) (found []constant) {
	for _, s := range t.code() {
		if !slices.Contains(dirs, s.dir) {
			continue
		}
		for _, decl := range s.ast.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.CONST {
				continue
			}
			var typ ast.Expr
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				if v.Type != nil || len(v.Values) > 0 {
					typ = v.Type
				}
				if lastName(typ) != typeName {
					continue
				}
				for i, name := range v.Names {
					c := constant{name: name}
					if i < len(v.Values) {
						c.value = literal(v.Values[i])
					}
					if name.Name != "_" {
						found = append(found, c)
					}
				}
			}
		}
	}
	return found
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return lastName(e.X)
	}
	return ""
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, _ := strconv.Unquote(lit.Value)
		return text
	}
	return ""
}

func findKindsWithoutStatus(t *tree) (found []violation) {
	mapped := map[string]bool{}
	for _, s := range t.code() {
		if s.path != "caddymodule/error.go" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.CompositeLit); ok {
				if m, ok := lit.Type.(*ast.MapType); ok && lastName(m.Key) == "Kind" {
					for _, e := range lit.Elts {
						mapped[lastName(e.(*ast.KeyValueExpr).Key)] = true
					}
				}
			}
			return true
		})
	}
	kinds := t.constants("Kind", "authflow")
	if len(kinds) == 0 {
		return []violation{{"authflow/error.go:1", "no constant of type Kind"}}
	}
	for _, c := range kinds {
		if !mapped[c.name.Name] {
			found = append(found, t.at(c.name, "%s has no status in caddymodule/error.go", c.name))
		}
	}
	return found
}

func findUntestedReasons(t *tree) (found []violation) {
	named, texts := map[string]bool{}, []string{}
	for _, s := range t.files {
		if !s.test || s.path == "rules_test.go" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				named[n.Name] = true
			case *ast.BasicLit:
				texts = append(texts, literal(n))
			}
			return true
		})
	}
	reasons := t.constants("Reason", "authflow", "caddymodule")
	if len(reasons) == 0 {
		return []violation{{"authflow/error.go:1", "no constant of type Reason"}}
	}
	for _, c := range reasons {
		// A code counts where a test holds it alone or as a JSON value; words of prose do not.
		inText := func(text string) bool { return text == c.value || strings.Contains(text, `"`+c.value+`"`) }
		if !named[c.name.Name] && !slices.ContainsFunc(texts, inText) {
			found = append(found, t.at(c.name, "no test names %s (%s)", c.name, c.value))
		}
	}
	return found
}

func findVariables(t *tree) (found []violation) {
	for _, s := range t.code() {
		if s.dir == "internal/testop" {
			continue
		}
		for _, decl := range s.ast.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name == "_" || isEmbedded(d, v) || i < len(v.Values) && len(v.Values) == len(v.Names) && t.isConstant(s.dir, v.Values[i]) {
						continue
					}
					found = append(found, t.at(v, "package variable %s", name))
				}
			}
		}
	}
	return found
}

func isEmbedded(d *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, group := range []*ast.CommentGroup{d.Doc, v.Doc} {
		if group != nil && slices.ContainsFunc(group.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// fixed are the calls whose results nobody changes; a prefix that ends in a dot stands for what a package makes.
var fixed = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer", "caddy.NewUsagePool",
	"base32.", "base64.", "prometheus.New", "promauto.",
}

// isConstant: a sentinel, a table, a metric or the usage pool.
func (t *tree) isConstant(dir string, value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.UnaryExpr: // &Error{}
		lit, ok := v.X.(*ast.CompositeLit)
		return ok && v.Op == token.AND && lastName(lit.Type) == "Error"
	case *ast.CompositeLit:
		return t.isTable(dir, v.Type)
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.FuncLit); ok { // a table that is computed once
			return f.Type.Results != nil && len(f.Type.Results.List) == 1 && t.isTable(dir, f.Type.Results.List[0].Type)
		}
		return slices.ContainsFunc(fixed, func(name string) bool { return strings.HasPrefix(dotted(v), name) })
	}
	return false
}

// isTable: a map, a slice or an array, or a type of the package that is one.
func (t *tree) isTable(dir string, typ ast.Expr) bool {
	switch typ := typ.(type) {
	case *ast.ArrayType, *ast.MapType:
		return true
	case *ast.Ident:
		for _, s := range t.code() {
			for _, decl := range s.ast.Decls {
				d, ok := decl.(*ast.GenDecl)
				if !ok || d.Tok != token.TYPE || s.dir != dir {
					continue
				}
				for _, spec := range d.Specs {
					if spec := spec.(*ast.TypeSpec); spec.Name.Name == typ.Name {
						return t.isTable(dir, spec.Type)
					}
				}
			}
		}
	}
	return false
}

// dotted is what is called or named, with its package: base32.NewEncoding.WithPadding.
func dotted(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.CallExpr:
		return dotted(e.Fun)
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return dotted(e.X) + "." + e.Sel.Name
	}
	return ""
}

var registers = regexp.MustCompile(`^(Must)?[Rr]egister`)

func findInit(t *tree) (found []violation) {
	for _, s := range t.code() {
		for _, decl := range s.ast.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || d.Name.Name != "init" || d.Recv != nil {
				continue
			}
			for _, statement := range d.Body.List {
				if e, ok := statement.(*ast.ExprStmt); ok {
					if call, ok := e.X.(*ast.CallExpr); ok && registers.MatchString(lastName(call.Fun)) {
						continue
					}
				}
				found = append(found, t.at(statement, "init does more than register"))
			}
		}
	}
	return found
}

func findSkippedChecks(t *tree) (found []violation) {
	switches := []string{"SkipClientIDCheck", "SkipExpiryCheck", "SkipIssuerCheck"}
	for _, s := range t.files {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if ok && (id.Name == "InsecureSkipSignatureCheck" || slices.Contains(switches, id.Name) && s.path != "authflow/idtoken.go") {
				found = append(found, t.at(id, "%s", id.Name))
			}
			return true
		})
	}
	return found
}

var machinePath = regexp.MustCompile(`(^|[^\w.\-/}])/(work|farm|root|home/\w+)/`)

func findMachinePaths(t *tree) (found []violation) {
	for _, name := range slices.Sorted(maps.Keys(t.texts)) {
		for i, line := range bytes.Split(t.texts[name], []byte("\n")) {
			if m := machinePath.Find(line); m != nil {
				found = append(found, violation{fmt.Sprintf("%s:%d", name, i+1), fmt.Sprintf("path %q", m)})
			}
		}
	}
	return found
}

func findSkippedTests(t *tree) (found []violation) {
	for _, s := range t.files {
		if !s.test {
			continue
		}
		for _, decl := range s.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(d.Name.Name, "skipWithout") {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
						found = append(found, t.at(call, "%s outside a helper named skipWithout…", dotted(sel)))
					}
				}
				return true
			})
		}
	}
	return found
}

// TestRequirementsNotAboveCaddys: whoever builds with xcaddy gets the highest version that anybody asks for.
func TestRequirementsNotAboveCaddys(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ours, caddys := readRequirements(t, "go.mod"), readRequirements(t, strings.TrimSpace(string(out)))
	if len(caddys) < 20 {
		t.Fatalf("Caddy's go.mod names only %d modules", len(caddys))
	}
	for _, problem := range newer(ours, caddys) {
		t.Errorf("go.mod: %s\n\tour go.mod asks for nothing newer than Caddy's own does, or everybody's Caddy changes with the plugin", problem)
	}
}

// readRequirements reads what a go.mod asks for; the Go version stands under "go".
func readRequirements(t *testing.T, file string) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var mod struct {
		Go      string
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	requirements := map[string]string{"go": mod.Go}
	for _, r := range mod.Require {
		requirements[r.Path] = r.Version
	}
	return requirements
}

// newer says where ours is above Caddy's, among the modules that both name.
func newer(ours, caddys map[string]string) (problems []string) {
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		theirs, both := caddys[name]
		if !both {
			continue
		}
		higher := version.Compare("go"+ours[name], "go"+theirs) > 0
		if name != "go" {
			order, err := compareVersions(ours[name], theirs)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", name, err))
			}
			higher = order > 0
		}
		if higher {
			problems = append(problems, fmt.Sprintf("%s %s is newer than Caddy's %s", name, ours[name], theirs))
		}
	}
	return problems
}

var (
	semantic   = regexp.MustCompile(`^v(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)
	errVersion = errors.New("not a semantic version")
)

// compareVersions orders two module versions by semver.org section 11.
func compareVersions(a, b string) (int, error) {
	as, bs := semantic.FindStringSubmatch(a), semantic.FindStringSubmatch(b)
	if as == nil || bs == nil {
		return 0, fmt.Errorf("%w: %s or %s", errVersion, a, b)
	}
	for i := 1; i <= 3; i++ {
		if c := compareIdentifiers(as[i], bs[i]); c != 0 {
			return c, nil
		}
	}
	switch {
	case as[4] == bs[4]:
		return 0, nil
	case as[4] == "": // a release is above its pre-releases
		return 1, nil
	case bs[4] == "":
		return -1, nil
	}
	return slices.CompareFunc(strings.Split(as[4], "."), strings.Split(bs[4], "."), compareIdentifiers), nil
}

// compareIdentifiers: numbers by value and below words, words by their bytes.
func compareIdentifiers(a, b string) int {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	switch {
	case errX == nil && errY == nil && x < y, errX == nil && errY != nil:
		return -1
	case errX == nil && errY == nil && x > y, errX != nil && errY == nil:
		return 1
	case errX == nil && errY == nil:
		return 0
	}
	return strings.Compare(a, b)
}

func TestNewerCanFail(t *testing.T) {
	ours := map[string]string{"go": "1.26.1", "a": "v1.10.0", "b": "v0.0.0-20251216020129-aea342f6d747", "c": "v2.0.0", "d": "v1.0.0", "e": "v1.0.0", "f": "latest", "g": "v1.2.3"}
	caddys := map[string]string{"go": "1.26.0", "a": "v1.9.0", "b": "v0.0.0-20251116020129-aea342f6d747", "c": "v2.0.0", "e": "v1.0.0-rc.2", "f": "v1.0.0", "g": "v1.2.4-0.20260101000000-aea342f6d747"}
	var got []string
	for _, p := range newer(ours, caddys) {
		got = append(got, p[:strings.IndexAny(p, " :")])
	}
	if want := []string{"a", "b", "e", "f", "go"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
