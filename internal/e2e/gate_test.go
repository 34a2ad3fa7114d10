package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Seen is what the application behind the gate got.
type Seen struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              string
}

// StartApplication is an application that answers with what it got, as JSON.
func StartApplication(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Seen{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, string(body)})
	}))
	t.Cleanup(server.Close)
	return server
}

// seen reads the application's answer.
func seen(t *testing.T, page *Page) Seen {
	t.Helper()
	var s Seen
	if page.Status != http.StatusOK || json.Unmarshal([]byte(page.Body), &s) != nil {
		t.Fatalf("%s answered %d, not the application:\n%s", page.URL, page.Status, brief(page))
	}
	return s
}

// reason reads the reason code of a refusal, from page or JSON.
func reason(page *Page) string {
	var body struct{ Error string }
	if json.Unmarshal([]byte(page.Body), &body) == nil {
		return body.Error
	}
	_, rest, found := strings.Cut(page.Body, "Reason <code>")
	if !found {
		return ""
	}
	code, _, _ := strings.Cut(rest, "</code>")
	return code
}

// brief is what a page says, without its head.
func brief(page *Page) string {
	_, body, found := strings.Cut(page.Body, "<main>")
	if !found {
		return page.Body
	}
	return body
}

// wantReason holds a refusal to its status and reason code.
func wantReason(t *testing.T, page *Page, status int, code string) {
	t.Helper()
	if page.Status != status || reason(page) != code {
		t.Fatalf("%s answered %d %s, want %d %s:\n%s", page.URL, page.Status, reason(page), status, code, brief(page))
	}
}

// providerBlock is the provider of the Caddyfile's placeholders.
func providerBlock(op *testop.Provider) string {
	return `provider {
			issuer        ` + op.Issuer() + `
			client_id     ` + op.ClientID + `
			client_secret "` + op.ClientSecret + `"
			scopes        openid profile email groups
			user_claim    preferred_username
		}`
}

// A Site is a gate in front of an application, with a provider.
type Site struct {
	*Caddy
	OP  *testop.Provider
	App *httptest.Server
	t   *testing.T
}

// StartSite runs a Caddyfile in which {$PROVIDER} is a provider block and {$APP} the application's address.
func StartSite(t *testing.T, caddyfile string, options ...func(*testop.Provider)) *Site {
	t.Helper()
	s := &Site{OP: testop.Start(t, options...), App: StartApplication(t), t: t}
	s.Caddy = StartCaddy(t, s.fill(caddyfile))
	return s
}

func (s *Site) fill(caddyfile string) string {
	return strings.NewReplacer(
		"{$PROVIDER}", providerBlock(s.OP), "{$APP}", strings.TrimPrefix(s.App.URL, "http://"),
		"{$ISSUER}", s.OP.Issuer(), "{$CLIENT_ID}", s.OP.ClientID, "{$CLIENT_SECRET}", `"`+s.OP.ClientSecret+`"`,
	).Replace(caddyfile)
}

// As makes the browser sign in as somebody when the provider asks.
func (s *Site) As(b *Browser, name string) *Browser {
	u, err := url.Parse(s.OP.Issuer())
	if err != nil {
		s.t.Fatal(err)
	}
	b.Jar.Set(u, http.Header{"Set-Cookie": {"testop_user=" + name + "; Path=/"}})
	return b
}

const oneSite = `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		public /public/*
	}
	reverse_proxy {$APP}
}
`

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)

	page := b.Step(s.HTTP() + "/deep/link?a=1&b=%2F#here")
	if page.Status != http.StatusSeeOther || !strings.HasPrefix(page.Header.Get("Location"), s.OP.Issuer()) {
		t.Fatalf("an unauthenticated navigation got %d %s", page.Status, page.Header.Get("Location"))
	}
	if page.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the login redirect may be cached: %s", page.Header.Get("Cache-Control"))
	}

	page = b.Navigate(s.HTTP() + "/deep/link?a=1&b=%2F")
	got := seen(t, page)
	if got.URI != "/deep/link?a=1&b=%2F" {
		t.Errorf("came back to %s", got.URI)
	}
	if user := got.Header.Get("X-Forwarded-User"); user != "alice" {
		t.Errorf("the application is told %q", user)
	}
	if got.Header.Get("Cookie") != "" {
		t.Errorf("our cookies reached the application: %s", got.Header.Get("Cookie"))
	}
	if page.Header.Get("Cache-Control") != "private" {
		t.Errorf("Cache-Control of the application's answer: %q", page.Header.Get("Cache-Control"))
	}

	twin := b.Twin()
	if got := seen(t, twin.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Error("the copy of the cookie does not work before the sign-out")
	}
	page = b.Follow(page, "/oauth2/logout")
	if !strings.Contains(page.Body, "Signed out") {
		t.Fatalf("after the sign-out: %d\n%s", page.Status, page.Body)
	}
	if s.OP.Calls(testop.EndSession) != 1 {
		t.Error("the provider was not told")
	}
	hint := s.OP.Requests(testop.EndSession)[0].Form.Get("id_token_hint")
	if hint == "" {
		t.Error("no id_token_hint")
	}
	for name, client := range map[string]*Browser{"the browser": b, "the copy of the cookie": twin} {
		if page := client.Step(s.HTTP() + "/"); page.Status != http.StatusSeeOther {
			t.Errorf("%s got %d after the sign-out", name, page.Status)
		}
	}
}
