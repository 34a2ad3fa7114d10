package authflow

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// TestReasons: every reason has a code of its own and an entry in the table.
func TestReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		value := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		if seen[value] || !code.MatchString(value) {
			t.Errorf("%s is %q", spec.Names[0].Name, value)
		}
		seen[value] = true
		if NewError(Reason(value), nil).Public == "" {
			t.Errorf("%s has no entry in verdicts", spec.Names[0].Name)
		}
		return true
	})
	if len(seen) != len(verdicts) {
		t.Errorf("%d reasons, %d entries in verdicts", len(seen), len(verdicts))
	}
}

func TestError(t *testing.T) {
	inner := errors.New("inner")
	err := fmt.Errorf("outer: %w", NewError(ReasonStateUsed, inner))
	if !errors.Is(err, inner) || ReasonOf(err) != ReasonStateUsed {
		t.Errorf("%v has reason %q", err, ReasonOf(err))
	}
	if text := NewError(ReasonStateUsed, nil).Error(); text != "state_used" {
		t.Errorf("without an error inside: %q", text)
	}
	if ReasonOf(inner) != "" || ReasonOf(nil) != "" {
		t.Error("a reason where there is none")
	}
	// A reason that nobody knows is a fault of ours and not, say, a denial.
	if e := NewError("unknown", nil); e.Kind != Internal {
		t.Errorf("kind %d", e.Kind)
	}
}
