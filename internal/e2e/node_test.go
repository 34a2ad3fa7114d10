package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A provider that we did not write: sign-in with consent, claims from userinfo, refresh with rotation, sign-out there too.
func TestNodeProviderBehindTheGate(t *testing.T) {
	t.Parallel()
	app := StartApplication(t)
	port := freePort(t)
	p := StartNodeProvider(t, NodeConfig{
		Clients: []NodeClient{{
			ID: "app", Secret: "secret +/:%",
			RedirectURIs:           []string{"http://localhost:" + port + "/oauth2/callback"},
			PostLogoutRedirectURIs: []string{"http://localhost:" + port + "/oauth2/signed-out"},
		}},
		Users: []NodeUser{
			{Subject: "ada", Name: "Ada", Email: "ada@example.test", EmailVerified: true, Groups: []string{"ops", "staff"}},
			{Subject: "bob", Name: "Bob", Email: "bob@example.test", Groups: []string{"staff"}},
		},
		AccessTokenSeconds: 3,
	})
	c := StartCaddy(t, strings.NewReplacer("{$SITE}", "http://localhost:"+port, "{$ISSUER}", p.Issuer, "{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$SITE} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret "secret +/:%"
		scopes openid profile email groups offline_access
		allow groups ops
		header X-Name name
	}
	reverse_proxy {$APP}
}
`))
	at := "http://localhost:" + port
	b := NewBrowser(t)
	page := b.Navigate(at + "/deep?x=1")
	page = b.Submit(page, "interaction", map[string]string{"login": "ada"})
	page = b.Submit(page, "interaction", nil)
	got := seen(t, page)
	for name, want := range map[string]string{
		"X-Forwarded-User": "ada", "X-Forwarded-Email": "ada@example.test", "X-Forwarded-Groups": "ops,staff", "X-Name": "Ada",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.URI != "/deep?x=1" {
		t.Errorf("came back to %s", got.URI)
	}
	cookie := b.Jar.Cookie("gatehouse").Value

	// The access token is due after three seconds; two refreshes in a row show that the rotated token is kept.
	for round := range 2 {
		renewed := eventually(15*time.Second, func() bool {
			seen(t, b.Fetch(at, "GET", at+"/x", nil, ""))
			return b.Jar.Cookie("gatehouse").Value != cookie
		})
		if !renewed {
			t.Fatalf("the session was not refreshed (round %d):\n%s\n%s", round, c.Logs(), p.Logs())
		}
		cookie = b.Jar.Cookie("gatehouse").Value
	}
	if strings.Contains(c.Logs(), "could not be refreshed") {
		t.Errorf("a refresh failed:\n%s", c.Logs())
	}

	page = b.Follow(b.Navigate(at+"/"), "/oauth2/logout")
	page = b.Submit(page, "session/end/confirm", map[string]string{"logout": "yes"})
	if page.URL.Path != "/oauth2/signed-out" || !strings.Contains(page.Body, "Signed out") {
		t.Fatalf("the sign-out ended at %s:\n%s", page.URL, page.Body)
	}
	page = b.Navigate(at + "/")
	if !strings.HasPrefix(page.URL.String(), p.Issuer) {
		t.Errorf("after the sign-out: %s", page.URL)
	}

	page = b.Submit(page, "interaction", map[string]string{"login": "bob"})
	page = b.Submit(page, "interaction", nil)
	wantReason(t, page, http.StatusForbidden, "denied")

	other := NewBrowser(t)
	page = other.Submit(other.Navigate(at+"/"), "interaction", map[string]string{"answer": "cancel"})
	wantReason(t, page, http.StatusForbidden, "provider_denied")
}
