package caddymodule

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var flagNamed = regexp.MustCompile("`(--[a-z0-9-]+)")

// docs/from-oauth2-proxy.md says of every flag that `oauth2-proxy --help` (7.15.6) lists what it is called here, that it is
// not needed, or that it is not there; and it names none that there is not.
func TestEveryFlagOfOAuth2ProxyHasARow(t *testing.T) {
	flags := strings.Fields(read(t, "testdata/oauth2-proxy-flags.txt"))
	if len(flags) < 150 {
		t.Fatalf("only %d flags", len(flags))
	}
	var rows []string
	for line := range strings.Lines(read(t, "../docs/from-oauth2-proxy.md")) {
		for _, named := range flagNamed.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(flags, named[1]) {
				t.Errorf("the page names %s, which is no flag", named[1])
			}
			if first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | "); strings.HasPrefix(line, "| ") && strings.Contains(first, named[0]) {
				rows = append(rows, named[1])
			}
		}
	}
	for _, flag := range flags {
		if !slices.Contains(rows, flag) {
			t.Errorf("%s has no row", flag)
		}
	}
}
