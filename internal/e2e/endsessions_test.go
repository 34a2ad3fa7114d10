package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// An administrator ends all sessions of somebody, or those of one session at the provider: at all sites, with every copy of the
// cookies, through a reload and a restart, and nobody else's. Who may still sign in does so again.
func TestAdministratorEndsSessions(t *testing.T) {
	t.Parallel()
	site := func(host string) string {
		return "http://" + host + ":{$PORT} {\n\tgatehouse {$ISSUER} {\n\t\tclient_id {$CLIENT_ID}\n\t\tclient_secret {$CLIENT_SECRET}\n\t}\n\treverse_proxy {$APP}\n}\n"
	}
	s := &Site{OP: testop.Start(t, staff), App: StartApplication(t), t: t}
	// The second site has nothing in common with the first but this process.
	caddyfile := s.fill(site("localhost") + strings.Replace(site("wiki.localhost"), "client_secret", "session {\n\t\t\tstore memory\n\t\t}\n\t\tclient_secret", 1))
	s.Caddy = StartCaddy(t, caddyfile)
	home, wiki := s.HTTP(), strings.Replace(s.HTTP(), "localhost", "wiki.localhost", 1)
	alice, carol := NewBrowser(t), s.As(NewBrowser(t), "carol")
	var who struct{ Sub string }
	for _, at := range []string{home, wiki} {
		seen(t, alice.Navigate(at+"/x"))
		seen(t, carol.Navigate(at+"/x"))
	}
	decode(t, alice.Fetch(home, "GET", home+"/oauth2/userinfo", nil, "").Body, &who)
	revoke := func(body string) int {
		t.Helper()
		status, answer, err := s.Caddy.ask(http.MethodPost, "/gatehouse/sessions/end", http.Header{"Content-Type": {"application/json"}}, body)
		if err != nil {
			t.Fatal(err)
		}
		if status >= 500 {
			t.Errorf("%d %s", status, answer)
		}
		return status
	}
	if status, _, err := s.Caddy.ask(http.MethodGet, "/gatehouse/sessions/end", nil, ""); err != nil || status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d %v", status, err)
	}
	if status := revoke(`{"issuer": "` + s.OP.Issuer() + `/", "sub": "` + who.Sub + `"}`); status != http.StatusNotFound {
		t.Errorf("an issuer that nobody has: %d", status)
	}
	seen(t, alice.Fetch(home, "GET", home+"/x", nil, ""))
	if status := revoke(`{"issuer": "` + s.OP.Issuer() + `", "sub": "` + who.Sub + `"}`); status != http.StatusNoContent {
		t.Fatalf("revoke: %d", status)
	}
	over := func(when string) {
		t.Helper()
		for _, at := range []string{home, wiki} {
			wantReason(t, alice.Fetch(at, "GET", at+"/x", nil, ""), http.StatusUnauthorized, "session_ended")
			if page := carol.Fetch(at, "GET", at+"/x", nil, ""); page.Status != http.StatusOK {
				t.Errorf("%s, somebody else: %d %s", when, page.Status, reason(page))
			}
		}
	}
	over("at once")
	s.Caddy.Reload(caddyfile + "# again\n")
	over("after a reload")
	s.Caddy.Restart(caddyfile)
	over("after a restart")
	seen(t, NewBrowser(t).Navigate(home+"/x")) // a new sign-in is not touched
	dave := NewBrowser(t)
	seen(t, dave.Navigate(wiki+"/x"))
	socket := "unix/" + filepath.Join(s.Dir, "admin.sock")
	if out, ok := s.command("sessions", "--issuer", s.OP.Issuer(), "--sid", "", "--address", socket, "end"); ok || !strings.Contains(out, "sub or sid") {
		t.Errorf("sessions end of nobody: %s", out)
	}
	if out, ok := s.command("sessions", "--issuer", s.OP.Issuer(), "--sub", who.Sub, "--sid", "1", "--address", socket, "end"); ok || !strings.Contains(out, "sub or sid") {
		t.Errorf("sessions end by two names: %s", out)
	}
	if out, ok := s.command("sessions", "--address", socket); ok || !strings.Contains(out, "sessions end") {
		t.Errorf("sessions without a word: %s", out)
	}
	if out, ok := s.command("sessions", "end", "--issuer", s.OP.Issuer(), "--sub", who.Sub, "--address", socket); !ok {
		t.Errorf("sessions end: %s", out)
	}
	wantReason(t, dave.Fetch(wiki, "GET", wiki+"/x", nil, ""), http.StatusUnauthorized, "session_ended")
	s.Caddy.Reload("http://localhost:{$PORT} {\n\trespond ok\n}\n")
	if status := revoke(`{"issuer": "` + s.OP.Issuer() + `", "sub": "` + who.Sub + `"}`); status != http.StatusNotFound {
		t.Errorf("without a gate: %d", status)
	}
}
