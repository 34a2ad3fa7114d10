package e2e_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// formPostSite is a site over https whose provider answers by form_post.
func formPostSite() string {
	return `{
	gatehouse {
		provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			scopes        openid profile email groups
			user_claim    preferred_username
			response_mode form_post
		}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse
	reverse_proxy {$APP}
}
`
}

// attemptCookies are the Set-Cookie lines of attempts, and other lines.
func attemptCookies(h http.Header) (attempts, others []string) {
	for _, line := range h["Set-Cookie"] {
		if strings.Contains(line, "_a_") && !strings.Contains(line, "Max-Age=0") {
			attempts = append(attempts, line)
		} else {
			others = append(others, line)
		}
	}
	return attempts, others
}

// OAuth 2.0 Form Post Response Mode, rule 16: the answer is a POST of the provider's site, to which the browser brings
// the attempt's cookie and no other.
func TestFormPost(t *testing.T) {
	t.Parallel()
	s := StartSite(t, formPostSite())
	b, home := NewBrowser(t), s.HTTPS("app.example.test")

	page := b.Navigate(home + "/deep?x=1")
	if query := page.URL.Query(); query.Get("response_mode") != "form_post" {
		t.Fatalf("the provider is asked with %v", query)
	}
	attempts, others := attemptCookies(page.Hops[0].Header)
	if len(attempts) != 1 || !strings.Contains(attempts[0], "SameSite=None") || !strings.Contains(attempts[0], "Secure") || len(others) != 0 {
		t.Errorf("cookies of the attempt: %q, others: %q", attempts, others)
	}
	answer := page
	page = b.Submit(answer, "callback", nil)
	got := seen(t, page)
	if got.URI != "/deep?x=1" || got.Header.Get("X-Forwarded-User") != "alice" || got.Method != http.MethodGet {
		t.Errorf("came back to %s %s as %q", got.Method, got.URI, got.Header.Get("X-Forwarded-User"))
	}
	if page.Hops[0].Status != http.StatusSeeOther || strings.Contains(page.Hops[0].Header.Get("Location"), "code=") {
		t.Errorf("the callback answered %d to %s", page.Hops[0].Status, page.Hops[0].Header.Get("Location"))
	}
	for _, line := range page.Hops[0].Header["Set-Cookie"] {
		if strings.Contains(line, "SameSite=None") != strings.Contains(line, "_a_") {
			t.Errorf("cookie of the callback: %s", line)
		}
	}

	// Sent again, by a reload or the back button: who is signed in goes on (P02), though the POST does not show it.
	if got := seen(t, b.Submit(answer, "callback", nil)); got.URI != "/" {
		t.Errorf("the answer sent twice leads to %s", got.URI)
	}
	if s.OP.Calls(testop.Token) != 1 {
		t.Errorf("%d token requests", s.OP.Calls(testop.Token))
	}
	// By another browser it is nobody's (SEC-60).
	wantReason(t, NewBrowser(t).Submit(answer, "callback", nil), http.StatusBadRequest, "state_unknown")
}

// SEC-100: a new sign-in ends the session before, which its POST does not bring; also that of a copy.
func TestFormPostEndsTheSessionBefore(t *testing.T) {
	t.Parallel()
	s := StartSite(t, formPostSite())
	b, home := NewBrowser(t), s.HTTPS("app.example.test")
	b.Submit(b.Navigate(home+"/"), "callback", nil)
	twin := b.Twin()
	if got := seen(t, twin.Fetch(home, "GET", home+"/", nil, "")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Fatalf("the copy is told as %v", identityOf(got))
	}
	s.As(b, "carol")
	if got := seen(t, b.Submit(b.Navigate(home+"/oauth2/login?rd=/x"), "callback", nil)); got.Header.Get("X-Forwarded-User") != "carol" {
		t.Errorf("after the second sign-in: %v", identityOf(got))
	}
	wantReason(t, twin.Fetch(home, "GET", home+"/", nil, ""), http.StatusUnauthorized, "session_ended")
}

// With a strict session cookie a page in between begins a navigation of this site's own.
func TestFormPostStrict(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(formPostSite(), "\n\t}\n}\nhttps", "\n\t\tsession {\n\t\t\tcookie_same_site strict\n\t\t}\n\t}\n}\nhttps", 1))
	b, home := NewBrowser(t), s.HTTPS("app.example.test")
	page := b.Submit(b.Navigate(home+"/deep?x=1"), "callback", nil)
	if page.Status != http.StatusOK || !strings.Contains(page.Body, `href="/deep?x=1"`) {
		t.Fatalf("the callback answers %d:\n%s", page.Status, brief(page))
	}
	if got := seen(t, b.Follow(page, "/deep?x=1")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("told as %v", identityOf(got))
	}
}

// P10: a browser that does not keep its session is stopped here too, though no POST brings the mark of the sign-ins
// before.
func TestFormPostLoop(t *testing.T) {
	t.Parallel()
	s := StartSite(t, formPostSite())
	b, home := NewBrowser(t), s.HTTPS("app.example.test")
	for range 2 {
		b.Submit(b.Navigate(home+"/"), "callback", nil)
		b.Jar.Forget(func(c *http.Cookie) bool { return c.Name != "__Host-gatehouse" })
	}
	wantReason(t, b.Navigate(home+"/"), http.StatusBadRequest, "login_loop")
}

// What the provider or a stranger sends wrong ends on our page, and starts no sign-in.
func TestFormPostRefused(t *testing.T) {
	t.Parallel()
	s := StartSite(t, formPostSite())
	home := s.HTTPS("app.example.test")
	for name, test := range map[string]struct {
		behave func(*testop.Behaviour)
		status int
		reason string
	}{
		"access_denied":           {func(b *testop.Behaviour) { b.AuthorizationError = "access_denied" }, http.StatusForbidden, "provider_denied"},
		"login_required":          {func(b *testop.Behaviour) { b.AuthorizationError = "login_required" }, http.StatusBadGateway, "provider_error"},
		"SEC-66 state twice":      {func(b *testop.Behaviour) { b.TwiceInResponse = "state" }, http.StatusBadRequest, "duplicate_parameter"},
		"RFC 9207 iss of another": {func(b *testop.Behaviour) { b.AuthorizationResponse = testop.Edit{"iss": "https://evil.example"} }, http.StatusBadRequest, "iss_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			s.OP.Set(test.behave)
			defer s.OP.Behave()
			b := NewBrowser(t)
			page := b.Submit(b.Navigate(home+"/"), "callback", nil)
			wantReason(t, page, test.status, test.reason)
			if len(page.Hops) != 1 {
				t.Errorf("%d hops", len(page.Hops))
			}
		})
	}
	b := NewBrowser(t)
	page := b.Post("https://evil.other.test", home+"/oauth2/callback", url.Values{"code": {"stolen"}, "state": {"x"}})
	wantReason(t, page, http.StatusBadRequest, "state_unknown")
	if names := b.Jar.Names("app.example.test"); slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "gatehouse") }) {
		t.Errorf("cookies: %v", names)
	}
}

// A callback that cannot be judged now says so, and is not taken for a stray one.
func TestFormPostWithoutKeys(t *testing.T) {
	t.Parallel()
	s := StartSite(t, formPostSite())
	b := NewBrowser(t)
	page := b.Navigate(s.HTTPS("app.example.test") + "/")
	files, err := filepath.Glob(filepath.Join(s.Storage(), "gatehouse", "keys", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("keys: %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart(s.fill(formPostSite()))
	page = b.Submit(page, "callback", nil)
	wantReason(t, page, http.StatusServiceUnavailable, "store_unavailable")
	if len(page.Hops) != 1 {
		t.Errorf("%d hops", len(page.Hops))
	}
}

// A real browser sends the provider's form, and keeps and brings the cookies as we expect.
func TestFormPostInChromium(t *testing.T) {
	s := StartSite(t, formPostSite())
	tab, home := StartChromium(t), s.HTTPS("app.example.test")
	const shown = `//*[contains(text(), "X-Forwarded-User")]`
	Do(t, tab, chromedp.Navigate(home+"/deep?x=1"), chromedp.WaitVisible(shown))
	text := Ask(t, tab, chromedp.Text(chromedp.CSS("body")))
	if !strings.Contains(text, `"URI":"/deep?x=1"`) || !strings.Contains(text, `"X-Forwarded-User":["alice"]`) {
		t.Errorf("the browser shows %s", text)
	}
	Do(t, tab, chromedp.Navigate(home+"/again"), chromedp.WaitVisible(shown))
	if text := Ask(t, tab, chromedp.Text(chromedp.CSS("body"))); !strings.Contains(text, `"URI":"/again"`) || s.OP.Calls(testop.Token) != 1 {
		t.Errorf("the session is not kept: %s", text)
	}
}
