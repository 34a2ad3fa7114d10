package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// command runs a subcommand of the gate's binary, and returns what it said and whether it did well.
func (c *Caddy) command(args ...string) (string, bool) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env, cmd.Dir = c.env, c.Dir
	stdin, err := cmd.StdinPipe() // a Caddy ends with it
	if err != nil {
		c.t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// sealedWith names the key that sealed the browser's session.
func sealedWith(t *testing.T, b *Browser) string {
	t.Helper()
	cookie := b.Jar.Cookie("gatehouse")
	if cookie == nil {
		t.Fatal("no session cookie")
	}
	return strings.Split(cookie.Value, ".")[1]
}

// `keys rotate` has the running server seal with a new key, and signs nobody out.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	before := sealedWith(t, b)

	out, ok := s.command("keys", "rotate", "--address", "unix/"+filepath.Join(s.Dir, "admin.sock"))
	_, id, said := strings.Cut(strings.TrimSpace(out), "sealing with key ")
	if !ok || !said || strings.Contains(id, "\n") {
		t.Fatalf("it said %q", out)
	}
	seen(t, b.Step(s.HTTP()+"/"))
	other := NewBrowser(t)
	seen(t, other.Navigate(s.HTTP()+"/"))
	if after := sealedWith(t, other); after != id || after == before {
		t.Errorf("a new session is sealed with %s, after a rotation from %s to %s", after, before, id)
	}
	s.Restart(s.fill(oneSite))
	seen(t, b.Step(s.HTTP()+"/"))

	response, err := s.admin.Get("http://localhost/gatehouse/keys/rotate")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a GET rotates: %s", response.Status)
	}

	off := filepath.Join(s.Dir, "off.json")
	if err := os.WriteFile(off, []byte(`{"admin": {"disabled": true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"keys", "rotate", "--config", off}, {"keys", "rotate", "--address", "unix/" + filepath.Join(s.Dir, "nobody.sock")},
	} {
		if out, ok := s.command(args...); ok || !strings.Contains(out, "admin unix//run/") {
			t.Errorf("%s, with nobody to ask: %q", args, out)
		}
	}
	if out, ok := s.command("keys", "burn"); ok || !strings.Contains(out, "keys rotate") {
		t.Errorf("keys burn: %q", out)
	}
}

// Without a gate there are no keys.
func TestKeysRotateNothing(t *testing.T) {
	t.Parallel()
	c := StartCaddy(t, "http://localhost:{$PORT} {\n\trespond ok\n}")
	if out, ok := c.command("keys", "rotate", "--address", "unix/"+filepath.Join(c.Dir, "admin.sock")); ok || !strings.Contains(out, "gatehouse") {
		t.Errorf("it said %q", out)
	}
}
