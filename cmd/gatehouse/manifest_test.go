package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// manifest is xcaddy.json: the parts that the binary is made of.
type manifest struct {
	CaddyVersion string   `json:"caddy_version"`
	Plugins      []plugin `json:"plugins"`
}

// plugin is one module beside Caddy's own, at a version or from a folder of this repository.
type plugin struct {
	ModulePath  string `json:"module_path"`
	Version     string `json:"version,omitempty"`
	Replacement string `json:"replacement,omitempty"`
}

// goMod is what `go mod edit -json` tells of go.mod.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
}

const caddyPath = "github.com/caddyserver/caddy/v2"

// always are the blank imports that every Caddy binary has, named by no plugin.
var always = []string{"time/tzdata", caddyPath + "/modules/standard"}

func TestManifestIsWhatTheBinaryIsMadeOf(t *testing.T) {
	root := filepath.Join("..", "..")
	if err := checkManifest(readManifest(t, root), readGoMod(t, root), blankImports(t, "main.go"), root); err != nil {
		t.Error(err)
	}
}

func TestManifestCheckCanFail(t *testing.T) {
	var mod goMod
	mod.Module.Path = "example.org/gate"
	mod.Require = []struct{ Path, Version string }{{caddyPath, "v2.1.0"}, {"example.org/other", "v1.0.0"}}
	own := plugin{ModulePath: "example.org/gate", Replacement: "."}
	imports := append(slices.Clone(always), "example.org/gate/caddymodule")
	tests := []struct {
		name    string
		m       manifest
		imports []string
		want    string
	}{
		{"all in order", manifest{"v2.1.0", []plugin{own}}, imports, ""},
		{"another Caddy", manifest{"v2.2.0", []plugin{own}}, imports, "go.mod asks for v2.1.0"},
		{"a plugin that nothing imports", manifest{"v2.1.0", []plugin{own, {ModulePath: "example.org/other", Version: "v1.0.0"}}}, imports, "does not import it"},
		{"a plugin at another version", manifest{"v2.1.0", []plugin{own, {ModulePath: "example.org/other", Version: "v1.1.0"}}}, append(slices.Clone(imports), "example.org/other"), "go.mod asks for v1.0.0"},
		{"an import that the manifest hides", manifest{"v2.1.0", []plugin{own}}, append(slices.Clone(imports), "example.org/hidden"), "names no plugin"},
		{"no zone files", manifest{"v2.1.0", []plugin{own}}, imports[1:], "does not import time/tzdata"},
		{"version and replacement", manifest{"v2.1.0", []plugin{{ModulePath: "example.org/gate", Version: "v1.0.0", Replacement: "."}}}, imports, "either a version or a replacement"},
		{"our own module from elsewhere", manifest{"v2.1.0", []plugin{{ModulePath: "example.org/gate", Version: "v1.0.0"}}}, imports, "replacement"},
		{"a path that begins with the same letters", manifest{"v2.1.0", []plugin{{ModulePath: "example.org/ga", Replacement: "."}}}, imports, "does not import it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := checkManifest(tt.m, mod, tt.imports, filepath.Join("..", ".."))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// checkManifest says where the manifest and the binary differ.
func checkManifest(m manifest, mod goMod, imports []string, root string) error {
	required := map[string]string{}
	for _, r := range mod.Require {
		required[r.Path] = r.Version
	}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if m.CaddyVersion != required[caddyPath] {
		problem("xcaddy.json: caddy_version is %s, go.mod asks for %s", m.CaddyVersion, required[caddyPath])
	}
	for _, p := range m.Plugins {
		if (p.Version == "") == (p.Replacement == "") {
			problem("xcaddy.json: %s needs either a version or a replacement", p.ModulePath)
		}
		if p.ModulePath == mod.Module.Path && p.Replacement == "" {
			problem("xcaddy.json: %s is this repository and needs a replacement", p.ModulePath)
		}
		if p.Version != "" && p.ModulePath != mod.Module.Path && p.Version != required[p.ModulePath] {
			problem("xcaddy.json: %s is at %s, go.mod asks for %s", p.ModulePath, p.Version, required[p.ModulePath])
		}
		if p.Replacement != "" {
			if _, err := os.Stat(filepath.Join(root, p.Replacement, "go.mod")); err != nil {
				problem("xcaddy.json: replacement of %s: %w", p.ModulePath, err)
			}
		}
		if !slices.ContainsFunc(imports, p.provides) {
			problem("xcaddy.json: plugin %s: cmd/gatehouse does not import it", p.ModulePath)
		}
	}
	for _, path := range always {
		if !slices.Contains(imports, path) {
			problem("cmd/gatehouse/main.go: does not import %s", path)
		}
	}
	for _, path := range imports {
		if !slices.Contains(always, path) && !slices.ContainsFunc(m.Plugins, func(p plugin) bool { return p.provides(path) }) {
			problem("cmd/gatehouse/main.go: imports %s, for which xcaddy.json names no plugin", path)
		}
	}
	return errors.Join(problems...)
}

// provides reports whether a package belongs to the plugin's module.
func (p plugin) provides(path string) bool {
	return path == p.ModulePath || strings.HasPrefix(path, p.ModulePath+"/")
}

func readManifest(t *testing.T, root string) manifest {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var m manifest
	if err := d.Decode(&m); err != nil {
		t.Fatalf("xcaddy.json: %v", err)
	}
	return m
}

func readGoMod(t *testing.T, root string) goMod {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(root, "go.mod")).Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var mod goMod
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	return mod
}

func blankImports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range f.Imports {
		if spec.Name == nil || spec.Name.Name != "_" {
			continue
		}
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
