package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// withCookies sends a script's request with cookies as they are, whatever a jar would make of them.
func withCookies(t *testing.T, target string, cookies ...*http.Cookie) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range cookies {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	return NewBrowser(t).Do(r)
}

// siteWith is a Caddyfile with lines for the session and the gate.
func siteWith(session, gate string) string {
	return `{
	gatehouse {
		{$PROVIDER}
		session {
			` + session + `
		}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		` + gate + `
	}
	reverse_proxy {$APP}
}
`
}

// Each way in which a session is none, with its reason.
func TestSessionRefusals(t *testing.T) {
	t.Parallel()
	s := StartSite(t, siteWith("lifetime 5s", "header X-Name name"))
	b := NewBrowser(t)
	wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""), http.StatusUnauthorized, "no_session")
	seen(t, b.Navigate(s.HTTP()+"/"))
	cookie := *b.Jar.Cookie("gatehouse")

	for name, change := range map[string]func(string) string{
		"truncated (P37)":      func(v string) string { return v[:len(v)-9] },
		"one character":        func(v string) string { return v[:40] + flip(v[40:41]) + v[41:] },
		"another version":      func(v string) string { return "v9" + v[2:] },
		"empty":                func(string) string { return "" },
		"half of two (P37)":    func(v string) string { return "2." + v },
		"key of long ago":      func(v string) string { return "v1.0000000-" + v[strings.Index(v, "-")+1:] },
		"not canonical base64": func(v string) string { return strings.TrimRight(v, "=") },
	} {
		forged := cookie
		forged.Value = change(cookie.Value)
		page := withCookies(t, s.HTTP()+"/", &forged)
		if page.Status != http.StatusUnauthorized || reason(page) != "session_unreadable" {
			t.Errorf("%s: %d %s", name, page.Status, reason(page))
		}
	}
	wantReason(t, withCookies(t, s.HTTP()+"/", &cookie, &cookie), http.StatusUnauthorized, "session_unreadable")
	if !eventually(20*time.Second, func() bool { return withCookies(t, s.HTTP()+"/", &cookie).Status != http.StatusOK }) {
		t.Fatal("the session outlives its lifetime")
	}
	wantReason(t, withCookies(t, s.HTTP()+"/", &cookie), http.StatusUnauthorized, "session_expired")
}

func flip(c string) string {
	if c == "A" {
		return "B"
	}
	return "A"
}

// Each way in which a sign-in comes to nothing although the provider granted it, or who is signed in may not pass.
func TestSignInRefusals(t *testing.T) {
	t.Parallel()
	verified := false
	many := make([]string, 600)
	for i := range many {
		many[i] = rand.Text() // which nothing compresses
	}
	for _, tt := range []struct {
		name   string
		user   testop.User
		gate   string
		claim  string // user_claim
		status int
		code   string
	}{
		{"P08 more than two cookies hold", testop.User{Subject: "1", Name: "a", Groups: many}, "", "", http.StatusInternalServerError, "session_too_large"},
		{"SEC-26 line break in a claim", testop.User{Subject: "1", Name: "a\r\nX-Admin: 1"}, "header X-Name name", "", http.StatusBadGateway, "claim_unsafe"},
		{"white space around the user", testop.User{Subject: "1", Name: "root "}, "", "preferred_username", http.StatusBadGateway, "claim_unsafe"},
		{"user claim is missing", testop.User{Subject: "1", Name: "a"}, "", "nickname", http.StatusForbidden, "user_missing"},
		{"P31 user by an unverified e-mail", testop.User{Subject: "1", Name: "a", Email: "root@example.com", EmailVerified: &verified}, "", "email", http.StatusForbidden, "email_unverified"},
		{"SEC-90 allow of a claim that is missing", testop.User{Subject: "1", Name: "a"}, "allow team red", "", http.StatusForbidden, "denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			caddyfile := siteWith("lifetime 1h", tt.gate)
			s := &Site{OP: testop.Start(t, func(p *testop.Provider) { p.User = tt.user }), App: StartApplication(t), t: t}
			claim := tt.claim
			if claim == "" {
				claim = "sub"
			}
			s.Caddy = StartCaddy(t, strings.Replace(s.fill(caddyfile), "user_claim    preferred_username", "user_claim "+claim, 1))
			b := NewBrowser(t)
			wantReason(t, b.Navigate(s.HTTP()+"/"), tt.status, tt.code)
			if tt.status != http.StatusForbidden && b.Jar.Cookie("gatehouse") != nil {
				t.Error("there is a session")
			}
		})
	}
}

// What a link asks of the login endpoint and cannot have.
func TestLoginRefusals(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	wantReason(t, b.Navigate(s.HTTP()+"/oauth2/login?rd=//evil.example"), http.StatusBadRequest, "return_url_refused")
	wantReason(t, b.Navigate(s.HTTP()+"/oauth2/login?provider=nobody"), http.StatusBadRequest, "unknown_provider")
	wantReason(t, b.Do(subresource(t, s.HTTP()+"/oauth2/login", "no-cors", "image")), http.StatusUnauthorized, "no_session")
	wantReason(t, b.Fetch(s.HTTP(), "POST", s.HTTP()+"/oauth2/login", nil, ""), http.StatusUnauthorized, "no_session")
	if page := b.Fetch(s.HTTP(), "PUT", s.HTTP()+"/oauth2/login", nil, ""); page.Status != http.StatusMethodNotAllowed {
		t.Errorf("PUT login: %d", page.Status)
	}
	if page := b.Navigate(s.HTTP() + "/oauth2/nothing"); page.Status != http.StatusNotFound {
		t.Errorf("an endpoint that does not exist: %d", page.Status)
	}
	if page := b.Navigate(s.HTTP() + "/oauth2/ping"); page.Status != http.StatusOK || page.Body != "ok\n" {
		t.Errorf("ping: %d %q", page.Status, page.Body)
	}
	for _, name := range []string{"start", "sign_in"} {
		if page := b.Step(s.HTTP() + "/oauth2/" + name + "?rd=/x"); page.Status != http.StatusSeeOther {
			t.Errorf("%s: %d", name, page.Status)
		}
	}
}

// A session of a client that the configuration does not name any more is none.
func TestSessionOfAnotherProvider(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.Reload(s.fill(strings.Replace(oneSite, "{$PROVIDER}", strings.Replace(providerBlock(s.OP), "provider {", "provider renamed {", 1), 1)))
	wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""), http.StatusUnauthorized, "other_provider")
	seen(t, b.Navigate(s.HTTP()+"/"))
}

// A matcher that fails is an error, and nothing passes (SEC-06).
func TestMatcherThatFails(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	@broken expression {http.vars.nothing} > 3
	gatehouse @broken
	reverse_proxy {$APP}
}
`)
	page := NewBrowser(t).Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, "")
	wantReason(t, page, http.StatusInternalServerError, "matcher_failed")
}

// A host or a method that nobody can be signed in for.
func TestRequestRefusals(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	page := raw(t, s, "CONNECT /x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n\r\n")
	if page == nil {
		t.Fatal("no answer to CONNECT")
	}
	wantReason(t, page, http.StatusBadRequest, "method_refused")

	plain := StartSite(t, strings.Replace(oneSite, "http://localhost:", "http://:", 1))
	r, err := http.NewRequest(http.MethodGet, plain.HTTP()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example.com,evil.example"
	wantReason(t, NewBrowser(t).Do(r), http.StatusBadRequest, "host_invalid")
}

// Two replicas that do not share their keys say so, and do not send the browser round in circles.
func TestKeysNotShared(t *testing.T) {
	t.Parallel()
	first := StartSite(t, oneSite)
	b := NewBrowser(t)
	b.Step(first.HTTP() + "/") // the first has a key now
	second := &Site{OP: first.OP, App: first.App, t: t}
	second.Caddy = StartCaddy(t, second.fill(oneSite))
	seen(t, b.Navigate(second.HTTP()+"/"))

	page := b.Navigate(first.HTTP() + "/") // cookies do not know ports
	wantReason(t, page, http.StatusServiceUnavailable, "keys_not_shared")
	first.WaitLog("keys_not_shared")
	page = b.Submit(page, "logout", nil)
	if !strings.Contains(page.Body, "Signed out") {
		t.Fatalf("the button does not drop the cookie: %d %s", page.Status, brief(page))
	}
	seen(t, b.Navigate(first.HTTP()+"/"))
}

// Two replicas with `keys` of their own, which tell no time, do not send the browser round in circles either (P10): what
// only lives for minutes and opens here with no key was sealed by another.
func TestConfiguredKeysNotShared(t *testing.T) {
	t.Parallel()
	of := func(secret byte) string {
		return strings.Replace(oneSite, "{$PROVIDER}", "{$PROVIDER}\n\t\tsession {\n\t\t\tkeys "+
			base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{secret}, 32))+"\n\t\t}", 1)
	}
	first := StartSite(t, of(1))
	second := &Site{OP: first.OP, App: first.App, t: t}
	second.Caddy = StartCaddy(t, second.fill(of(2)))
	b := NewBrowser(t)
	seen(t, b.Navigate(first.HTTP()+"/"))

	page := b.Navigate(second.HTTP() + "/") // cookies do not know ports
	wantReason(t, page, http.StatusServiceUnavailable, "keys_not_shared")
	second.WaitLog("keys_not_shared")
	b.Submit(page, "logout", nil)
	seen(t, b.Navigate(second.HTTP()+"/"))

	fresh := NewBrowser(t)
	answer := fresh.Step(fresh.Step(first.HTTP() + "/").Header.Get("Location")).Header.Get("Location")
	if !strings.HasPrefix(answer, first.HTTP()+"/oauth2/callback?") {
		t.Fatalf("the provider sends to %s", answer)
	}
	page = fresh.Navigate(second.HTTP() + strings.TrimPrefix(answer, first.HTTP()))
	wantReason(t, page, http.StatusServiceUnavailable, "keys_not_shared")
	seen(t, fresh.Navigate(first.HTTP()+"/"))
}

// Keys that cannot be read are an error, for sign-ins and for sessions, and never a new ring in silence.
func TestKeysUnreadable(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	files, err := filepath.Glob(filepath.Join(s.Storage(), "gatehouse", "keys", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("keys: %v, %v", files, err)
	}
	key, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], key[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart(s.fill(oneSite))
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, "")
	wantReason(t, page, http.StatusServiceUnavailable, "store_unavailable")
	if page.Header.Get("Set-Cookie") != "" || page.Header.Get("Retry-After") == "" {
		t.Errorf("headers: %v", page.Header)
	}
	if page := NewBrowser(t).Step(s.HTTP() + "/"); page.Status != http.StatusServiceUnavailable {
		t.Errorf("a sign-in: %d", page.Status)
	}
	s.WaitLog(filepath.Base(files[0]))
	if err := os.WriteFile(files[0], key, 0o600); err != nil {
		t.Fatal(err)
	}
	if !eventually(10*time.Second, func() bool { return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, "").Status == http.StatusOK }) {
		t.Error("the keys are back, and the session is not")
	}
}
