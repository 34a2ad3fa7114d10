package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// P06, P03, P13, P26: what is no navigation gets 401 with the reason and the login URL: no redirect, no cookie.
func TestOnlyNavigationsSignIn(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	at := s.HTTP()
	for name, page := range map[string]*Page{
		"fetch":       b.Fetch(at, "GET", at+"/api", nil, ""),
		"fetch, HTML": b.Fetch(at, "GET", at+"/api", http.Header{"Accept": {"text/html"}}, ""),
		"POST":        b.Fetch(at, "POST", at+"/api", nil, "{}"),
		"OPTIONS":     b.Fetch(at, "OPTIONS", at+"/api", http.Header{"Access-Control-Request-Method": {"POST"}}, ""),
		"image":       b.Do(subresource(t, at+"/logo.png", "no-cors", "image")),
		"favicon":     b.Do(subresource(t, at+"/favicon.ico", "no-cors", "image")),
		"manifest":    b.Do(subresource(t, at+"/manifest.json", "cors", "manifest")),
		"websocket":   b.Do(subresource(t, at+"/ws", "websocket", "websocket")),
		"iframe":      b.Do(subresource(t, at+"/", "navigate", "iframe")),
		"prefetch":    b.Do(prefetch(t, at+"/next")),
	} {
		t.Run(name, func(t *testing.T) {
			if page.Status != http.StatusUnauthorized {
				t.Fatalf("status %d", page.Status)
			}
			for _, header := range []string{"Location", "Set-Cookie"} {
				if value := page.Header.Get(header); value != "" {
					t.Errorf("%s: %s", header, value)
				}
			}
			if page.Header.Get("WWW-Authenticate") == "" || page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", page.Header)
			}
			if page.Header.Get("Content-Type") == "application/json" && !strings.Contains(page.Body, `"login":"`+at+`/oauth2/login"`) {
				t.Errorf("no login URL: %s", page.Body)
			}
		})
	}
	if names := b.Jar.Names("localhost"); len(names) != 0 {
		t.Errorf("cookies: %v", names)
	}
}

func subresource(t *testing.T, rawURL, mode, destination string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", mode)
	r.Header.Set("Sec-Fetch-Dest", destination)
	return r
}

func prefetch(t *testing.T, rawURL string) *http.Request {
	r := subresource(t, rawURL, "navigate", "document")
	r.Header.Set("Sec-Purpose", "prefetch")
	return r
}

// P02: ten tabs start a sign-in and finish in any order; all arrive where they wanted to go.
func TestTenTabs(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	type tab struct{ target, authorization string }
	var tabs []tab
	for i := range 10 {
		target := fmt.Sprintf("/tab/%d?x=%d", i, i)
		page := b.Step(s.HTTP() + target)
		tabs = append(tabs, tab{target, page.Header.Get("Location")})
	}
	rand.Shuffle(len(tabs), func(i, j int) { tabs[i], tabs[j] = tabs[j], tabs[i] })
	for _, tab := range tabs {
		if got := seen(t, b.Navigate(tab.authorization)); got.URI != tab.target {
			t.Errorf("wanted %s, arrived at %s", tab.target, got.URI)
		}
	}
	if names := b.Jar.Names("localhost"); slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "_a_") }) {
		t.Errorf("attempts are left over: %v", names)
	}
}

// P03: at most twelve attempts are kept, the oldest goes first, and the newest works.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	var last string
	for i := range 50 {
		last = b.Step(fmt.Sprintf("%s/%d", s.HTTP(), i)).Header.Get("Location")
	}
	names := b.Jar.Names("localhost")
	if len(names) > 12 {
		t.Errorf("%d cookies: %v", len(names), names)
	}
	size := 0
	for _, name := range names {
		size += len(name) + len(b.Jar.Cookie(name).Value)
	}
	if size > 4096 {
		t.Errorf("%d bytes of attempts", size)
	}
	if got := seen(t, b.Navigate(last)); got.URI != "/49" {
		t.Errorf("arrived at %s", got.URI)
	}
}

// P23: a callback that is stale, used or of no attempt: who is signed in goes on, who is not may begin again.
func TestStrayCallback(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	start := b.Step(s.HTTP() + "/wanted")
	callback := b.Step(start.Header.Get("Location")).Header.Get("Location")

	stranger := NewBrowser(t)
	wantReason(t, stranger.Navigate(callback), http.StatusBadRequest, "state_unknown") // SEC-60: login CSRF
	if s.OP.Calls(testop.Token) != 0 {
		t.Error("a code without its attempt was exchanged")
	}
	if !strings.Contains(stranger.Navigate(callback).Body, `href="/oauth2/login`) {
		t.Error("the page has no way on")
	}

	twin := b.Twin() // has the attempt, and is not signed in
	seen(t, b.Navigate(callback))
	if page := b.Step(callback); page.Status != http.StatusSeeOther || page.Header.Get("Location") != "/" {
		t.Errorf("a reloaded callback of who is signed in: %d %s", page.Status, page.Header.Get("Location"))
	}
	wantReason(t, twin.Navigate(callback), http.StatusBadRequest, "state_used")
	if s.OP.Calls(testop.Token) != 1 {
		t.Errorf("the code was exchanged %d times", s.OP.Calls(testop.Token))
	}
	for _, query := range []string{
		"", "code=x", "state=x", "code=x&state=", "code=x&state=" + strings.Repeat("a", 5000), "code=x&state=%00",
		"code=x&code=y&state=z", "state=a&state=b&code=x", "error=access_denied", "code[]=x&state[]=y",
	} {
		if page := stranger.Navigate(s.HTTP() + "/oauth2/callback?" + query); page.Status != http.StatusBadRequest {
			t.Errorf("SEC-68 callback?%.40s: %d", query, page.Status)
		}
	}
	for _, method := range []string{"HEAD", "OPTIONS", "PUT", "DELETE"} {
		if page := stranger.Fetch(s.HTTP(), method, callback, nil, ""); page.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s callback: %d", method, page.Status)
		}
	}
}

// P10: a browser that drops the session cookie ends on a page that says why; P38: twenty abandoned sign-ins do not count.
func TestLoginLoop(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	for range 20 {
		if page := b.Step(s.HTTP() + "/"); page.Status != http.StatusSeeOther {
			t.Fatalf("an abandoned sign-in led to %d %s", page.Status, reason(page))
		}
	}
	seen(t, b.Navigate(s.HTTP()+"/"))

	loser := NewBrowser(t)
	drop := func() {
		loser.Jar.Forget(func(c *http.Cookie) bool { return c.Name != "gatehouse" })
	}
	var page *Page
	for range 3 {
		page = loser.Step(s.HTTP() + "/wanted")
		if page.Status != http.StatusSeeOther {
			break
		}
		callback := loser.Step(page.Header.Get("Location")).Header.Get("Location")
		loser.Step(callback)
		drop()
	}
	wantReason(t, page, http.StatusBadRequest, "login_loop")
	if !strings.Contains(page.Body, "refuse cookies") {
		t.Errorf("the page does not name the cause:\n%s", page.Body)
	}
	if s.OP.Calls(testop.Token) > 3 {
		t.Errorf("%d sign-ins were finished", s.OP.Calls(testop.Token))
	}
}

// Signing out and in again is no loop.
func TestSignOutAndInAgainIsNoLoop(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	for i := range 5 {
		page := b.Navigate(s.HTTP() + "/")
		if seen(t, page).Header.Get("X-Forwarded-User") != "alice" {
			t.Fatalf("round %d", i)
		}
		b.Follow(page, "/oauth2/logout")
	}
}

// SEC-61: 200 users sign in at once; each gets their own identity.
func TestTwoHundredUsersAtOnce(t *testing.T) {
	s := StartSite(t, oneSite)
	var wg sync.WaitGroup
	for i := range 200 {
		name := fmt.Sprintf("user-%d", i)
		b := s.As(NewBrowser(t), name)
		wg.Go(func() {
			for range 3 {
				page := b.Navigate(s.HTTP() + "/" + name)
				if page.Status != http.StatusOK || !strings.Contains(page.Body, `"X-Forwarded-User":["`+name+`"]`) || !strings.Contains(page.Body, `"/`+name+`"`) {
					t.Errorf("%s got %d %s", name, page.Status, page.Body)
					return
				}
			}
		})
	}
	wg.Wait()
}

// P22: who is signed in and may not pass is told so, and can use another account; nobody asks the provider meanwhile.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		allow groups admins
		deny user mallory
		public /public/*
	}
	reverse_proxy {$APP}
}
`, func(p *testop.Provider) {
		p.Users = []testop.User{
			{Subject: "1", Name: "root", Groups: []string{"admins"}},
			{Subject: "2", Name: "mallory", Groups: []string{"admins"}},
			{Subject: "3", Name: "carol", Groups: []string{"staff"}},
		}
	})
	for _, name := range []string{"carol", "mallory"} {
		b := s.As(NewBrowser(t), name)
		page := b.Navigate(s.HTTP() + "/secret")
		wantReason(t, page, http.StatusForbidden, "denied")
		for _, want := range []string{name, "Use another account", "prompt=select_account", "Sign out"} {
			if !strings.Contains(page.Body, want) {
				t.Errorf("the page does not say %q:\n%s", want, page.Body)
			}
		}
		before := s.OP.Calls(testop.Authorization)
		for range 5 {
			wantReason(t, b.Navigate(s.HTTP()+"/secret"), http.StatusForbidden, "denied")
		}
		wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/api", nil, ""), http.StatusForbidden, "denied")
		if s.OP.Calls(testop.Authorization) != before {
			t.Error("the provider was asked again")
		}
		if got := seen(t, b.Navigate(s.HTTP()+"/public/x")); got.Header.Get("X-Forwarded-User") != "" {
			t.Error("a denied user has an identity on a public path")
		}
		s.As(b, "root")
		if got := seen(t, b.Follow(page, "/oauth2/login?rd=%2Fsecret&prompt=select_account")); got.Header.Get("X-Forwarded-User") != "root" {
			t.Error("another account does not help")
		}
		requests := s.OP.Requests(testop.Authorization)
		if got := requests[len(requests)-1].Form.Get("prompt"); got != "select_account" {
			t.Errorf("prompt: %q", got)
		}
	}
}

// SEC-67: nothing of a link reaches the provider but what is on the list, and nothing replaces ours.
func TestLoginLinkParameters(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	page := b.Step(s.HTTP() + "/oauth2/login?" + url.Values{
		"rd": {"/x"}, "scope": {"offline_access"}, "client_id": {"other"}, "redirect_uri": {"https://evil.example"}, "state": {"x"},
		"nonce": {"y"}, "prompt": {"none"}, "response_type": {"token"}, "login_hint": {"mallory"}, "acr_values": {"0"},
	}.Encode())
	sent, err := url.Parse(page.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	query := sent.Query()
	if query.Get("scope") != "openid profile email groups" || query.Get("client_id") != s.OP.ClientID ||
		query.Get("redirect_uri") != s.HTTP()+"/oauth2/callback" || query.Get("response_type") != "code" ||
		query.Has("prompt") || query.Has("login_hint") || query.Has("acr_values") || query.Get("state") == "x" || query.Get("nonce") == "y" {
		t.Errorf("sent: %v", query)
	}
	if query.Get("code_challenge_method") != "S256" || len(query["state"]) != 1 {
		t.Errorf("sent: %v", query)
	}
}

// An error of the provider gives a page and no loop, and nothing of it is executed (SEC-47).
func TestProviderAnswersWithAnError(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	s.OP.Set(func(b *testop.Behaviour) {
		b.AuthorizationError = "access_denied"
		b.AuthorizationResponse = testop.Edit{"error_description": `</code><script>alert(1)</script>'"`}
	})
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/")
	if page.Status != http.StatusForbidden || strings.Contains(page.Body, "<script") {
		t.Errorf("%d\n%s", page.Status, page.Body)
	}
	if s.OP.Calls(testop.Authorization) != 1 {
		t.Error("the provider was asked again")
	}
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || page.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers of the page: %v", page.Header)
	}
}
