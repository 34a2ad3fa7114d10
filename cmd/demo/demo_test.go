package main

import (
	"os"
	"strings"
	"testing"
)

// The demo's own check, over real HTTP.
func TestCheck(t *testing.T) {
	home, temporary := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("TMPDIR", temporary)
	var out strings.Builder
	if err := run([]string{"-check"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, folder := range []string{home, temporary} {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left behind in %s: %v %v", folder, left, err)
		}
	}
	t.Log(out.String())
}

func TestUnknownArgument(t *testing.T) {
	if err := run([]string{"check"}, &strings.Builder{}); err == nil {
		t.Error("no error")
	}
}
