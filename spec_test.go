package gatehouse_test

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/spec.md has one row for every rule, and what a row names exists: its files, its tests, their rows. A rule without a
// test says so.
func TestSpec(t *testing.T) {
	page, err := os.ReadFile("docs/spec.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]int{}
	for line := range strings.Lines(string(page)) {
		number, problems := checkSpecRow(line)
		seen[number]++
		for _, problem := range problems {
			t.Errorf("rule %d: %s", number, problem)
		}
	}
	for number := 1; number <= 82; number++ {
		want := 1
		if number == 74 { // the device flow
			want = 0
		}
		if seen[number] != want {
			t.Errorf("rule %d: %d rows, want %d", number, seen[number], want)
		}
	}
}

func TestSpecCanFail(t *testing.T) {
	const head = "| 1 | rule | RFC 1 | `doc.go` | "
	for _, row := range []string{
		"| 1 | rule | RFC 1 | `doc.go` | `spec_test.go:TestSpec` |",
		"| 1 | rule | | `doc.go` | `spec_test.go:TestSpec` | |",
		"| 1 | rule | RFC 1 | `gone.go` | `spec_test.go:TestSpec` | |",
		head + "`gone_test.go:TestSpec` | |",
		head + "`spec_test.go:TestGone` | |",
		head + "`spec_test.go:TestSpec/gone` | |",
		head + "`TestSpec` | |",
		head + "| |",
		head + "| because |",
		head + "`spec_test.go:TestSpec` | not yet |",
	} {
		if number, problems := checkSpecRow(row); number != 1 || len(problems) == 0 {
			t.Errorf("nothing is found wrong with %s", row)
		}
	}
	for _, row := range []string{head + "`spec_test.go:TestSpec` | |", head + "| not yet |"} {
		if _, problems := checkSpecRow(row); problems != nil {
			t.Errorf("%s: %q", row, problems)
		}
	}
}

// inBackticks is what a cell names.
var inBackticks = regexp.MustCompile("`([^`]+)`")

// checkSpecRow says what is wrong with a row of a rule, whose number it returns; 0 is no such row.
func checkSpecRow(line string) (number int, problems []string) {
	cells := strings.Split(strings.TrimSpace(line), "|")
	if len(cells) < 3 {
		return 0, nil
	}
	number, err := strconv.Atoi(strings.TrimSpace(cells[1]))
	if err != nil {
		return 0, nil
	}
	if len(cells) != 8 {
		return number, []string{fmt.Sprintf("%d cells", len(cells)-2)}
	}
	for _, cell := range cells[1:5] {
		if strings.TrimSpace(cell) == "" {
			problems = append(problems, "rule, source or code is empty")
		}
	}
	for _, file := range inBackticks.FindAllStringSubmatch(cells[4], -1) {
		if _, err := os.Stat(file[1]); err != nil {
			problems = append(problems, err.Error())
		}
	}
	tests := inBackticks.FindAllStringSubmatch(cells[5], -1)
	for _, test := range tests {
		problems = append(problems, checkSpecTest(test[1])...)
	}
	if notYet := strings.HasPrefix(strings.TrimSpace(cells[6]), "not yet"); notYet != (len(tests) == 0) {
		problems = append(problems, fmt.Sprintf("%d tests, and not yet kept: %t", len(tests), notYet))
	}
	return number, problems
}

// checkSpecTest finds a test that is written file:Test/row.
func checkSpecTest(name string) (problems []string) {
	file, test, _ := strings.Cut(name, ":")
	if !strings.HasSuffix(file, "_test.go") {
		return []string{name + " is not file:Test"}
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	test, row, hasRow := strings.Cut(test, "/")
	if !strings.Contains(string(source), "\nfunc "+test+"(") {
		problems = append(problems, file+" has no "+test)
	}
	if hasRow && !strings.Contains(string(source), strconv.Quote(row)) {
		problems = append(problems, file+" has no row "+row)
	}
	return problems
}

// docs/attacks.md says what every code means that is cited here, and nothing else.
func TestAttacksPageHasEveryCode(t *testing.T) {
	all, err := parseTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	const page = "docs/attacks.md"
	rows, code := map[string]bool{}, regexp.MustCompile(`\b(SEC-\d+|P[0-3]\d)\b`)
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+) \| [^|]+ \|`).FindAllSubmatch(all.texts[page], -1) {
		if code.Match(row[1]) {
			rows[string(row[1])] = false
		}
	}
	for name, text := range all.texts {
		if ext := path.Ext(name); name == page || ext != ".go" && ext != ".md" {
			continue
		}
		for _, cited := range code.FindAllString(string(text), -1) {
			if _, known := rows[cited]; !known {
				t.Errorf("%s cites %s, of which %s does not say what it is", name, cited, page)
			}
			rows[cited] = true
		}
	}
	for cited, is := range rows {
		if !is {
			t.Errorf("%s has %s, which nothing cites", page, cited)
		}
	}
}

// docs/conformance.md names every plan that is played, with as many modules as the test has, and what is seen in each module.
func TestConformancePageHasEveryPlan(t *testing.T) {
	page, err := os.ReadFile("docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, file := range []string{"internal/e2e/conformance_test.go", "internal/e2e/fapi_test.go"} {
		more, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, more...)
	}
	plans := regexp.MustCompile(`(?m)^\t\t\{"([a-z0-9-]+)", (?:"[^"]*", \w+|[\w.()]+), (\d+)\},$`).FindAllStringSubmatch(string(source), -1)
	if len(plans) < 10 {
		t.Errorf("only %d plans", len(plans))
	}
	for _, plan := range plans {
		if !strings.Contains(string(page), "| "+plan[2]+" | `"+plan[1]+"` |") && !strings.Contains(string(page), "`"+plan[1]+"`: "+plan[2]+" module") {
			t.Errorf("docs/conformance.md does not say that %s has %s modules", plan[1], plan[2])
		}
	}
	modules := regexp.MustCompile(`(?:name: |jarm\(|theirs \+ )"(?:fapi2-security-profile-final-client-test-|-)?([a-z0-9][a-z0-9_-]*)"`).FindAllSubmatch(source, -1)
	if len(modules) < 60 {
		t.Errorf("only %d modules", len(modules))
	}
	for _, module := range modules {
		if !strings.Contains(string(page), "`"+string(module[1])+"`") {
			t.Errorf("docs/conformance.md does not say what is seen in %s", module[1])
		}
	}
}
