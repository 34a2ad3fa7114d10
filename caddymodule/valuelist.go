package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxValueList is how large a file of values may be, in bytes.
const maxValueList = 4 << 20

// valueList is what a file says that stands as the value of a rule.
type valueList struct {
	values []string
	set    map[string]struct{} // of how they are compared
}

// listPath is the file that a value of a rule names as {file./path}: a list.
func listPath(raw string) (string, bool) {
	name, isFile := strings.CutPrefix(raw, "{file.")
	path, isWhole := strings.CutSuffix(name, "}")
	return path, isFile && isWhole && !strings.ContainsAny(path, "{}")
}

// parseValueList reads the values of a claim, one a line; a line that begins with # is
// a comment. What could fit nobody is an error, as it is in a rule. A file without a
// byte is one that is being written: taken at its word, a deny would let everybody in
// (SEC-11).
func parseValueList(claim string, content []byte, check func(value string) error) (*valueList, error) {
	if len(content) == 0 {
		return nil, errors.New("1: the file is empty (a list of nobody has a comment, #)")
	}
	list := &valueList{set: make(map[string]struct{})}
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(content, []byte("\ufeff"))) {
		number++
		value := strings.TrimSpace(string(line))
		if value == "" || strings.HasPrefix(value, "#") {
			continue
		}
		err := checkAccepted(claim, []string{value})
		if (claim == "email" || claim == "email_domain") && strings.ContainsFunc(value, unicode.IsSpace) {
			err = fmt.Errorf("%s %q: one value a line", claim, value)
		}
		if err == nil {
			err = check(value)
		}
		if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			err = errors.New("not a line of text")
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
		list.values = append(list.values, value)
		list.set[compared(claim, value)] = struct{}{}
	}
	return list, nil
}

// compared is a value as [accepts] compares it.
func compared(claim, value string) string {
	if claim != "email" && claim != "email_domain" {
		return value
	}
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, value)
}

// holds reports that one of somebody's values stands in the list.
func (l *valueList) holds(claim string, values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		_, is := l.set[compared(claim, value)]
		return is && value != ""
	})
}
