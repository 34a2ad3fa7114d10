package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// mutationTime is how long TestMutatedCaddyfiles looks; with -short it is a second.
const mutationTime = 10 * time.Second

// TestMutatedCaddyfiles damages the golden files at random. Whatever comes of it, the adapter does not panic, and an
// error names file and line.
func TestMutatedCaddyfiles(t *testing.T) {
	limit := mutationTime
	if testing.Short() {
		limit = time.Second
	}
	seed := rand.Uint64()
	m := newMutator(t, seed)
	cases, refused := 0, 0
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && !t.Failed(); cases++ {
		caddyfile := m.mutate()
		text := adaptError(caddyfile)
		if text == "" {
			continue
		}
		refused++
		if problem := judgeError(text, caddyfile); problem != "" {
			t.Errorf("%s: %s\nCaddyfile (seed %d, case %d), quoted:\n%.4000q", problem, text, seed, cases, caddyfile)
		}
	}
	t.Logf("%d Caddyfiles, %d of them refused, seed %d", cases, refused, seed)
	if refused == 0 || refused == cases {
		t.Errorf("the mutations are of no use: %d of %d were refused", refused, cases)
	}
}

// adaptError is the text of the error that a Caddyfile gets, and of a panic with its stack; "" if it adapts.
func adaptError(caddyfile string) (text string) {
	defer func() {
		if panicked := recover(); panicked != nil {
			text = fmt.Sprintf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"}); err != nil {
		return err.Error()
	}
	return ""
}

var position = regexp.MustCompile(`\bCaddyfile:(\d+)`)

// judgeError says what is wrong with an error.
func judgeError(text, caddyfile string) string {
	if strings.HasPrefix(text, "panic: ") {
		return "the adapter panics"
	}
	at := position.FindStringSubmatch(text)
	if at == nil {
		excused := func(class *regexp.Regexp) bool { return class.MatchString(text) }
		if !strings.HasPrefix(text, "parsing caddyfile tokens for 'gatehouse'") && slices.ContainsFunc(withoutPosition, excused) {
			return ""
		}
		return "the error names no file and line"
	}
	if line, err := strconv.Atoi(at[1]); err != nil || line < 1 || line > strings.Count(caddyfile, "\n")+1 {
		return "the error names a line that is not there"
	}
	return ""
}

// withoutPosition are the errors of Caddy itself that name no file and line, each a class of its own (v2.11.9). What
// this module says of its own words is never excused.
var withoutPosition = []*regexp.Regexp{
	// The file as a whole: without any token, or with options that are not at its top.
	regexp.MustCompile(`^EOF$`),
	regexp.MustCompile(`^server block without any key is global configuration, and if used, it must be first$`),
	// The lexer on heredocs says the line, not the file.
	regexp.MustCompile(`(?s)^(incomplete|mismatched leading whitespace in) heredoc <<.* on line #\d+`),
	regexp.MustCompile(`(?s)^heredoc marker on line #\d+ must contain only `),
	regexp.MustCompile(`^too many '<' for heredoc on line #\d+`),
	regexp.MustCompile(`^missing opening heredoc marker on line #\d+`),
	// Addresses of sites, read when all blocks have been parsed. A word that stands where an address should is one.
	regexp.MustCompile(`(?s)^parsing key: `),
	regexp.MustCompile(`(?s)^server block \d+, key \d+ \(.*\): determining listener address: `),
	regexp.MustCompile(`(?s)^ambiguous site definition: `),
	regexp.MustCompile(`(?s)^server listening on \[.*\] is configured for HTTPS? and cannot natively multiplex`),
	regexp.MustCompile(`(?s)^subject does not qualify for certificate: `),
	regexp.MustCompile(`(?s)^hostname appears in more than one automation policy`),
	regexp.MustCompile(`(?s)^cannot have duplicate named_routes: `),
	// The definition of a named matcher, and its use by a directive of Caddy's.
	regexp.MustCompile(`(?s)^matcher is defined more than once: @`),
	regexp.MustCompile(`(?s)^getting matcher module '.*': module not registered: http\.matchers\.`),
	regexp.MustCompile(`(?s)^parsing caddyfile tokens for '[a-z_]+': unrecognized matcher name: @`),
}

// mutator makes Caddyfiles of the golden ones. A piece is a word, or the white space between two.
type mutator struct {
	random *rand.Rand
	files  [][]string
	words  []string // of all files
}

var piece = regexp.MustCompile(`\s+|\S+`)

func newMutator(t *testing.T, seed uint64) *mutator {
	t.Helper()
	names, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(names) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	m := &mutator{random: rand.New(rand.NewPCG(seed, seed))}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, _, _ := strings.Cut(string(content), separator)
		m.files = append(m.files, piece.FindAllString(caddyfile, -1))
		m.words = append(m.words, strings.Fields(caddyfile)...)
	}
	return m
}

// odd is what nobody writes into a Caddyfile on purpose.
var odd = []string{
	"{", "}", "{}", " {\n", "\n}\n", "{\n}\n", "{{", "}}", "\x00", "a\x00b", "\"", "\"\"", "`", "\\", "\\\n", "#", "<<EOF", "<<EOF\nx\nEOF",
	"\ufeff", "\u202e", "\u2028", "\u00a0", "é", "𝒳", "\xff\xfe", "\r", "\r\n", "\n", "\t", "*", "@", "@x", "/", "://", "{env.X}", "{file./x}",
	"{http.vars.x}", "{args[:]}", "{block}", "-1", "0", "1e999", "99999999999h", "\" \"", "-", "(x)", "&(x)",
}

// mutate returns one of the files after one to four mutations.
func (m *mutator) mutate() string {
	pieces := append([]string(nil), m.files[m.random.IntN(len(m.files))]...)
	for range 1 + m.random.IntN(4) {
		pieces = m.once(pieces)
	}
	text := strings.Join(pieces, "")
	if m.random.IntN(10) == 0 {
		text = text[:m.random.IntN(len(text)+1)]
	}
	return text
}

func (m *mutator) once(pieces []string) []string {
	if len(pieces) == 0 {
		return pieces
	}
	at, other := m.random.IntN(len(pieces)), m.random.IntN(len(pieces))
	insert := func(text string) []string {
		return append(pieces[:at:at], append([]string{text}, pieces[at:]...)...)
	}
	switch m.random.IntN(9) {
	case 0: // deletion
		return append(pieces[:at:at], pieces[at+1:]...)
	case 1: // duplication
		return insert(pieces[at] + " ")
	case 2: // duplication of a stretch
		return append(pieces[:max(at, other):max(at, other)], pieces[min(at, other):]...)
	case 3: // swap
		pieces[at], pieces[other] = pieces[other], pieces[at]
	case 4: // another word
		pieces[at] = m.words[m.random.IntN(len(m.words))]
	case 5: // one more word
		return insert(" " + m.words[m.random.IntN(len(m.words))] + " ")
	case 6: // something odd
		return insert(odd[m.random.IntN(len(odd))])
	case 7: // something odd inside a word
		where := m.random.IntN(len(pieces[at]) + 1)
		pieces[at] = pieces[at][:where] + odd[m.random.IntN(len(odd))] + pieces[at][where:]
	case 8: // something huge
		if m.random.IntN(4) == 0 {
			return insert(strings.Repeat(pieces[at], 1+m.random.IntN(20_000)/len(pieces[at])))
		}
	}
	return pieces
}
