// Package e2e_test runs the gate as its users do: a real Caddy process, a browser, and a provider that is not ours.
//
// The pieces: StartCaddy runs this test binary as Caddy, NewBrowser is an HTTP client that keeps cookies and sends
// headers as a browser does, StartChromium is the real thing, StartNodeProvider an OpenID provider of another make.
// Nothing here uses a fixed port or outlives its test.
package e2e_test

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

// asCaddy makes this binary Caddy instead of a test run.
const asCaddy = "GATEHOUSE_E2E_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		go func() { // the test holds the other end: a Caddy never outlives it, however it ends
			io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		os.Args[0] = "caddy"
		caddycmd.Main()
		return
	}
	// Most tests here wait for other processes, so more of them run at once than there are cores: as many as in .ci/run.
	// With two at a time a slow machine would not end within the ten minutes that `go test` gives a package.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set("6")
	}
	code := m.Run()
	removeNodeProvider()
	os.Exit(code)
}

// artifact names a file that stays after the run: in the folder of GATEHOUSE_ARTIFACTS, else in a temporary one.
func artifact(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("GATEHOUSE_ARTIFACTS")
	if folder == "" {
		folder = filepath.Join(os.TempDir(), "gatehouse-artifacts")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "-")+"-"+name)
}

// skipWithout ends a test that needs a program which this machine lacks. .ci/run installs it and counts a skip as a failure.
func skipWithout(t *testing.T, program string, err error) {
	t.Helper()
	t.Skipf("%s is not installed: %v", program, err)
}
