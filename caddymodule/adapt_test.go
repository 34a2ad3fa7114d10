package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

var update = flag.Bool("update", false, "write what the adapter answers into the golden files; then read the difference")

const separator = "----------\n"

// adapt returns what a Caddyfile becomes: JSON, or the text of the error.
func adapt(t testing.TB, caddyfile string) (result string, warnings []caddyconfig.Warning) {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error() + "\n", nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, adapted, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return indented.String() + "\n", warnings
}

// TestAdapt holds the grammar and the JSON names to golden files, errors too:
// every error names file and line.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, found := strings.Cut(string(content), separator)
			if !found {
				t.Fatalf("no line %q", separator)
			}
			got, _ := adapt(t, caddyfile)
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+separator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
			isError := !strings.HasPrefix(got, "{")
			if isError != strings.HasPrefix(name, "error_") {
				t.Errorf("is an error: %v", isError)
			}
			if isError && !strings.Contains(got, "Caddyfile:") {
				t.Errorf("the error names no file and line: %s", got)
			}
		})
	}
}
