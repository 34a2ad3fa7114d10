package e2e_test

import (
	"fmt"
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

// SEC-90: an area's gate counts for a proxy that only asks, or nothing is answered: never by the outer gate's rules alone.
func TestForwardAuthOfAnArea(t *testing.T) {
	t.Parallel()
	const admins, staff = "{\n\t\tallow groups admins\n\t}", "{\n\t\tallow groups staff\n\t\theader X-Area name\n\t}"
	site := func(gates string) string {
		return "{\n\t" + trustLoopback + "\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\nhttp://app.example.test:{$PORT} {\n\t@admin path /admin/*\n\t" + gates + "\n\trespond no\n}\nhttp://:{$PORT} {\n\trewrite /b\n\tgatehouse {\n\t\tallow groups nobody\n\t}\n}\n"
	}
	s := StartSite(t, site("gatehouse"), askedPeople)
	alice := signedInBehind(t, s, "alice")
	for name, tt := range map[string]struct {
		gates         string
		status        int
		reason        string
		besides, area string // the status beside the area, and of who may be there
	}{
		"a second gate":               {"gatehouse\n\tgatehouse @admin " + admins, 403, "denied", "200", ""},
		"who may":                     {"gatehouse\n\tgatehouse @admin " + staff, 200, "", "200", "alice"},
		"a third":                     {"gatehouse\n\tgatehouse @admin " + staff + "\n\tgatehouse @admin " + admins, 403, "denied", "200", ""},
		"in a route":                  {"gatehouse\n\troute {\n\t\tgatehouse @admin " + admins + "\n\t}", 403, "denied", "200", ""},
		"the first of exclusive ones": {"handle /oauth2/* {\n\t\tgatehouse\n\t}\n\thandle {\n\t\tgatehouse @admin " + admins + "\n\t}", 200, "", "200", ""},
		"in a route of some requests": {"gatehouse\n\thandle @admin {\n\t\tgatehouse " + admins + "\n\t}", 403, "original_request_unknown", "403", ""},
		"in a route of some, deeper":  {"gatehouse\n\troute {\n\t\thandle @admin {\n\t\t\tgatehouse " + admins + "\n\t\t}\n\t}", 403, "original_request_unknown", "403", ""},
		"behind a rewrite":            {"route {\n\t\tgatehouse\n\t\trewrite /a /admin/a\n\t\tgatehouse @admin " + admins + "\n\t}", 403, "original_request_unknown", "403", ""},
		"in a named route":            {"gatehouse\n\tinvoke area", 403, "original_request_unknown", "403", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := site(tt.gates)
			if strings.Contains(tt.gates, "invoke") {
				text = strings.Replace(text, "http://app.example.test:{$PORT} {", "&(area) {\n\tgatehouse /admin/* "+admins+"\n}\nhttp://app.example.test:{$PORT} {", 1)
			}
			s.Reload(s.fill(text))
			page := asks(t, s, "/oauth2/auth", alice, told("GET", "/admin/x"))
			if page.Status != tt.status || tt.status != 200 && reason(page) != tt.reason {
				t.Errorf("%d %s, want %d %s", page.Status, reason(page), tt.status, tt.reason)
			}
			if _, has := page.Header["X-Area"]; page.Header.Get("X-Area") != tt.area || has != (tt.area != "") {
				t.Errorf("headers %v", page.Header)
			}
			page = asks(t, s, "/oauth2/auth", alice, told("GET", "/x"))
			if fmt.Sprint(page.Status) != tt.besides || page.Header.Get("X-Area") != "" {
				t.Errorf("beside the area %d %v", page.Status, page.Header)
			}
			if page := asks(t, s, "/oauth2/auth", alice, nil); !strings.HasPrefix(name, "the first") && page.Status != 403 {
				t.Errorf("not told which request: %d", page.Status)
			}
		})
	}
}
