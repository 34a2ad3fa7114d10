package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A token for one part of a site does not become one for all of it by calling the site by another name: Caddy finds the
// site whatever port the Host header names, and a site for all hosts by any name.
func TestTokenForOnePathUnderAnotherHost(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.NewReplacer(
		"http://localhost:{$PORT} {", "http://localhost:{$PORT}, http://alias.localhost:{$PORT} {",
		"audience "+api, "audience "+api+" http://localhost:{$PORT}/mcp", "BEARER", "", "GATE", "").Replace(tokenSite))
	part := aliceToken(nil)
	part.Audience = s.HTTP() + "/mcp"
	token, whole := s.OP.Issue(part), s.OP.Issue(aliceToken(nil))
	for _, host := range []string{"localhost:" + s.Port, "localhost:1", "localhost", "LOCALHOST:1", "alias.localhost:" + s.Port} {
		for path, status := range map[string]int{"/mcp/x": 200, "/admin": 401} {
			r, err := http.NewRequest(http.MethodGet, s.HTTP()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host, r.Header = host, bearing(token)
			if page := NewBrowser(t).Do(r); page.Status != status {
				t.Errorf("a token for /mcp at %s, called %s: %d, want %d", path, host, page.Status, status)
			}
			r.Header = bearing(whole)
			if page := NewBrowser(t).Do(r); page.Status != 200 {
				t.Errorf("a token for the whole site at %s, called %s: %d", path, host, page.Status)
			}
		}
	}
}

// Who is kept out by a rule does not come in by a token that says less of them than a session does: what a token leaves
// out nobody has learned.
func TestDenyByATokenThatLeavesTheClaimOut(t *testing.T) {
	t.Parallel()
	for _, deny := range []string{"deny groups staff", "deny email alice@example.com", "deny email_domain example.com", "deny expression `has(claims.groups) && \"staff\" in claims.groups`"} {
		t.Run(deny, func(t *testing.T) {
			t.Parallel()
			s := startTokenSite(t, "", deny)
			wantReason(t, s.As(NewBrowser(t), "alice").Navigate(s.HTTP()+"/x"), 403, "denied")
			wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(s.OP.Issue(aliceToken(nil)))), 403, "denied")
			less := testop.AccessToken{Audience: api, Claims: testop.Edit{"preferred_username": "alice"}}
			wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(s.OP.Issue(less))), 403, "denied")
		})
	}
}

// A token that was revoked while its user's line was gone stays revoked when the line is back.
func TestRevokedWhileTheUserIsGone(t *testing.T) {
	t.Parallel()
	c, users, lines := startTokenURLSite(t)
	token := tokenOf(t, c.HTTP(), "ada", "correct horse")
	writeUsers(t, users, "# nobody\n")
	wantReason(t, call(t, "GET", c.HTTP()+"/x", bearing(token)), 401, "session_ended")
	if page := postForm(t, c.HTTP()+"/oauth2/revoke", url.Values{"token": {token}}, nil); page.Status != 200 {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	writeUsers(t, users, lines)
	seen(t, call(t, "GET", c.HTTP()+"/x", bearing(tokenOf(t, c.HTTP(), "ada", "correct horse"))))
	wantReason(t, call(t, "GET", c.HTTP()+"/x", bearing(token)), 401, "session_ended")
}
