package e2e_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The provider's own logout: back-channel, from server to server, and front-channel, in a frame of its page.

// tellLogout sends a body to the back-channel endpoint, as a provider does: no cookie, no Origin, no Sec-Fetch.
func tellLogout(t *testing.T, at, body string) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, at+"/oauth2/backchannel-logout", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	page := NewBrowser(t).Do(r)
	if page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Set-Cookie") != "" || page.Header.Get("Location") != "" {
		t.Errorf("headers of the answer: %v", page.Header)
	}
	return page
}

// signedLogout is the body with a logout token of a provider, for a subject, a session or both.
func signedLogout(t *testing.T, op *testop.Provider, subject, sid string, edit testop.Edit) string {
	t.Helper()
	token, err := op.Sign(op.LogoutTokenClaims(subject, sid, edit), testop.Edit{"typ": "logout+jwt"})
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{"logout_token": {token}}.Encode()
}

// inSession signs a user in, in a session of the provider's with the given sid.
func (s *Site) inSession(user, sid string) *Browser {
	s.t.Helper()
	s.OP.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"sid": sid} })
	b := s.As(NewBrowser(s.t), user)
	seen(s.t, b.Navigate(s.HTTP()+"/"))
	return b
}

// wantAlive holds a browser to be signed in, or to have been signed out by the provider.
func (s *Site) wantAlive(name string, b *Browser, alive bool) {
	s.t.Helper()
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
	if alive && page.Status != http.StatusOK || !alive && (page.Status != http.StatusUnauthorized || reason(page) != "session_ended") {
		s.t.Errorf("%s: %d %s, alive should be %t", name, page.Status, reason(page), alive)
	}
}

// Rule 79 and OIDC Back-Channel Logout 2.7: a sid ends that session, with every copy of its cookies; a subject alone all of
// that person's, and nobody else's. It holds after a reload and a restart; who signs in again is not touched.
func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	for store, caddyfile := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, caddyfile)
			const odd = `sid-"&{[?`
			laptop, phone, bob := s.inSession("alice", odd), s.inSession("alice", "phone"), s.inSession("bob", "bob's")
			copied := laptop.Twin()

			if page := tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", odd, nil)+"&other=x&other=y"); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			s.WaitLog(`"signed out by the provider"`)
			s.wantAlive("the session", laptop, false)
			s.wantAlive("a copy of its cookies", copied, false)
			s.wantAlive("the same person's phone", phone, true)
			s.wantAlive("another person", bob, true)

			// A session already gone, one that never was, and a subject that nobody knows: all 200 (2.7).
			for _, body := range []string{signedLogout(t, s.OP, "", odd, nil), signedLogout(t, s.OP, "", "never", nil), signedLogout(t, s.OP, "sub-nobody", "", nil)} {
				if page := tellLogout(t, s.HTTP(), body); page.Status != http.StatusOK {
					t.Errorf("%d %s", page.Status, page.Body)
				}
			}
			if page := tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", "", nil)); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			s.wantAlive("the same person's phone, by subject", phone, false)
			s.wantAlive("another person", bob, true)

			time.Sleep(1100 * time.Millisecond) // a not-before counts whole seconds
			again := s.inSession("alice", "later")
			s.wantAlive("the person again", again, true)
			s.Reload(s.fill(strings.Replace(caddyfile, "/public/*", "/open/*", 1)))
			s.wantAlive("the session, after a reload", copied, false)
			s.wantAlive("the phone, after a reload", phone, false)
			s.wantAlive("the person again, after a reload", again, true)
			if store == "memory" {
				return // a restart ends its sessions anyway
			}
			s.Restart(s.fill(caddyfile))
			s.wantAlive("the session, after a restart", copied, false)
			s.wantAlive("the phone, after a restart", phone, false)
			s.wantAlive("the person again, after a restart", again, true)
		})
	}
}

// Back-Channel Logout 2.7: a session that is refreshed while the logout is on its way ends all the same.
func TestBackchannelLogoutMeetsARefresh(t *testing.T) {
	s := StartSite(t, oneSite, shortTokens)
	b := s.inSession("alice", "s")
	time.Sleep(1100 * time.Millisecond)
	body := signedLogout(t, s.OP, "sub-alice", "", nil) // it is on its way
	time.Sleep(1100 * time.Millisecond)
	calls := s.OP.Calls(testop.Token)
	s.wantAlive("before it comes", b, true)
	if s.OP.Calls(testop.Token) == calls {
		t.Fatal("nothing was refreshed")
	}
	if page := tellLogout(t, s.HTTP(), body); page.Status != http.StatusOK {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	s.wantAlive("when it has come", b, false)
}

// SEC-107, Back-Channel Logout 2.6 (8): a token counts once, also of two that come at once, and after a reload.
func TestBackchannelLogoutOnce(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	body := signedLogout(t, s.OP, "sub-alice", "s", nil)
	var mu sync.Mutex
	answers := map[int]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			page := tellLogout(t, s.HTTP(), body)
			mu.Lock()
			defer mu.Unlock()
			answers[page.Status]++
		})
	}
	wg.Wait()
	if answers[http.StatusOK] != 1 || answers[http.StatusBadRequest] != 7 {
		t.Errorf("answers: %v", answers)
	}
	s.Reload(s.fill(strings.Replace(oneSite, "/public/*", "/open/*", 1)))
	time.Sleep(1100 * time.Millisecond) // what is remembered counts whole seconds
	wantReason(t, tellLogout(t, s.HTTP(), body), http.StatusBadRequest, "logout_token_used")
	// What is sent again reaches the journal no second time.
	kept, err := filepath.Glob(filepath.Join(s.Storage(), "gatehouse", "revocations", "*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("%d revocations are kept, want 1 (%v)", len(kept), err)
	}
}

// What the endpoint refuses: always 400 (405, 503), never 401 or a redirect, JSON, and nobody is signed out by it. The
// modules of the suite are in TestConformance; every check of the token in authflow.
func TestBackchannelLogoutRefuses(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := s.inSession("alice", "s")
	sign := func(alg string, edit, header testop.Edit) string {
		token, err := s.OP.SignAs(alg, s.OP.LogoutTokenClaims("sub-alice", "s", edit), header)
		if err != nil {
			t.Fatal(err)
		}
		return url.Values{"logout_token": {token}}.Encode()
	}
	good := signedLogout(t, s.OP, "sub-alice", "s", nil)
	for name, tt := range map[string]struct{ body, reason string }{
		"nothing":                           {"", "logout_request_malformed"},
		"no token":                          {"x=y", "logout_request_malformed"},
		"SEC-66 token twice":                {good + "&" + good, "duplicate_parameter"},
		"more than 16 KiB":                  {good + "&x=" + strings.Repeat("x", 16<<10), "logout_request_malformed"},
		"a megabyte":                        {"logout_token=" + strings.Repeat("x", 1<<20), "logout_request_malformed"},
		"no JWT":                            {"logout_token=x", "id_token_malformed"},
		"SEC-81 alg none":                   {sign("none", nil, nil), "alg_refused"},
		"SEC-81 HS256 by the client secret": {sign("HS256", nil, nil), "alg_refused"},
		"ES256 by a published key":          {sign("ES256", nil, nil), "alg_refused"},
		"an access token":                   {sign("RS256", nil, testop.Edit{"typ": "at+jwt"}), "header_refused"},
		"4.1 an ID token":                   {sign("RS256", testop.Edit{"events": testop.Absent, "nonce": "n"}, nil), "logout_event_missing"},
		"another issuer":                    {sign("RS256", testop.Edit{"iss": "https://evil.example"}, nil), "unknown_provider"},
		"another client":                    {sign("RS256", testop.Edit{"aud": "other"}, nil), "aud_mismatch"},
		"of yesterday":                      {sign("RS256", testop.Edit{"iat": time.Now().Add(-24 * time.Hour).Unix()}, nil), "token_stale"},
	} {
		page := tellLogout(t, s.HTTP(), tt.body)
		if page.Status != http.StatusBadRequest || reason(page) != tt.reason || page.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s %s, want 400 %s", name, page.Status, reason(page), page.Header.Get("Content-Type"), tt.reason)
		}
	}
	query := s.HTTP() + "/oauth2/backchannel-logout?" + good
	for name, page := range map[string]*Page{
		"GET by a browser": b.Navigate(query),
		"GET by a script":  b.Fetch(s.HTTP(), "GET", query, nil, ""),
		"PUT":              b.Fetch(s.HTTP(), "PUT", query, nil, good),
	} {
		if page.Status != http.StatusMethodNotAllowed || page.Header.Get("Allow") != "POST" || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, page.Status, page.Header)
		}
	}
	s.wantAlive("who was signed in", b, true)
	// The same token in a form of another site is as good as anywhere: it says itself who has made it.
	if page := b.Post("https://evil.example", s.HTTP()+"/oauth2/backchannel-logout", url.Values{"logout_token": {strings.TrimPrefix(good, "logout_token=")}}); page.Status != http.StatusOK {
		t.Errorf("the right one: %d %s", page.Status, page.Body)
	}
	s.wantAlive("who was signed in, at last", b, false)
}

// What cannot be verified or remembered now is 503, and the same token works later.
func TestBackchannelLogoutLater(t *testing.T) {
	t.Parallel()
	t.Run("keys away", func(t *testing.T) {
		s := StartSite(t, oneSite, faulty(testop.Fault{Status: 503}))
		body := signedLogout(t, s.OP, "sub-alice", "", nil)
		if page := tellLogout(t, s.HTTP(), body); page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", page.Status, page.Body)
		}
		s.OP.Behave()
		if !eventually(10*time.Second, func() bool { return tellLogout(t, s.HTTP(), body).Status == http.StatusOK }) {
			t.Error("it does not work later")
		}
	})
	t.Run("journal away", func(t *testing.T) {
		s := StartSite(t, oneSite)
		b := s.inSession("alice", "s")
		folder := filepath.Join(s.Storage(), "gatehouse", "revocations")
		if err := os.WriteFile(folder, nil, 0o600); err != nil { // a file in the place of the folder
			t.Fatal(err)
		}
		body := signedLogout(t, s.OP, "", "s", nil)
		wantReason(t, tellLogout(t, s.HTTP(), body), http.StatusServiceUnavailable, "store_unavailable")
		s.wantAlive("the session, in this process", b, false)
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		if page := tellLogout(t, s.HTTP(), body); page.Status != http.StatusOK {
			t.Errorf("again: %d %s", page.Status, page.Body)
		}
		s.Restart(s.fill(oneSite))
		s.wantAlive("the session, after a restart", b, false)
	})
}

// Two providers on a site, and two clients of one of them: the token's issuer and audience say whose it is, and a subject of
// the one is nobody at the other, as is a jti.
func TestBackchannelLogoutOfSeveralProviders(t *testing.T) {
	t.Parallel()
	second := testop.Start(t)
	second.RotateKeys() // all providers of testop begin with one key
	block := func(name string, op *testop.Provider) string {
		return strings.Replace(providerBlock(op), "provider {", "provider "+name+" {", 1)
	}
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	other := strings.Replace(block("other", s.OP), "client_id     "+s.OP.ClientID, "client_id     other", 1)
	s.Caddy = StartCaddy(t, s.fill("{\n\tgatehouse {\n\t\t"+other+"\n\t\t"+block("one", s.OP)+"\n\t\t"+block("two", second)+"\n\t}\n}\n"+
		"http://localhost:{$PORT} {\n\tgatehouse other one two\n\treverse_proxy {$APP}\n}\n"))
	one, two := NewBrowser(t), NewBrowser(t)
	seen(t, one.Navigate(s.HTTP()+"/oauth2/login?provider=one&rd=/"))
	seen(t, two.Navigate(s.HTTP()+"/oauth2/login?provider=two&rd=/"))

	// Signed by the second about the first: its word counts for itself alone.
	forged := signedLogout(t, second, "sub-alice", "", testop.Edit{"iss": s.OP.Issuer()})
	if page := tellLogout(t, s.HTTP(), forged); page.Status != http.StatusBadRequest {
		t.Errorf("forged: %d %s", page.Status, page.Body)
	}
	s.wantAlive("one, after the forged token", one, true)
	if page := tellLogout(t, s.HTTP(), signedLogout(t, second, "sub-alice", "", testop.Edit{"jti": "same"})); page.Status != http.StatusOK {
		t.Errorf("the second's: %d %s", page.Status, page.Body)
	}
	s.wantAlive("one, of the same subject elsewhere", one, true)
	s.wantAlive("two", two, false)
	if page := tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", "", testop.Edit{"jti": "same"})); page.Status != http.StatusOK {
		t.Errorf("the first's: %d %s", page.Status, page.Body)
	}
	s.wantAlive("one", one, false)
	wantReason(t, tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", "", testop.Edit{"aud": "nobody"})), http.StatusBadRequest, "aud_mismatch")
}

// Sites that share a storage share what is ended, and it is remembered for as long as the longest session of any of them
// lives.
func TestBackchannelLogoutOfSeveralSites(t *testing.T) {
	t.Parallel()
	site := func(host, lifetime string) string {
		return "https://" + host + ".example.test:{$PORT} {\n\ttls {$CERT} {$KEY}\n\tgatehouse {$ISSUER} {\n\t\tclient_id {$CLIENT_ID}\n\t\tclient_secret {$CLIENT_SECRET}\n" +
			"\t\tsession {\n\t\t\tlifetime " + lifetime + "\n\t\t}\n\t}\n\treverse_proxy {$APP}\n}\n"
	}
	s := StartSite(t, site("app", "1h")+site("wiki", "48h"))
	app, wiki, b := s.HTTPS("app.example.test"), s.HTTPS("wiki.example.test"), NewBrowser(t)
	seen(t, b.Navigate(app+"/"))
	seen(t, b.Navigate(wiki+"/"))
	if page := tellLogout(t, app, signedLogout(t, s.OP, "sub-alice", "", nil)); page.Status != http.StatusOK {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	for _, at := range []string{app, wiki} {
		wantReason(t, b.Fetch(at, "GET", at+"/x", nil, ""), http.StatusUnauthorized, "session_ended")
	}
	kept, err := filepath.Glob(filepath.Join(s.Storage(), "gatehouse", "revocations", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d revocations are kept, want 1 (%v)", len(kept), err)
	}
	// Its name begins with when it is over.
	over, _, _ := strings.Cut(filepath.Base(kept[0]), "-")
	seconds, err := strconv.ParseInt(over, 10, 64)
	if err != nil || time.Until(time.Unix(seconds, 0)) < 48*time.Hour {
		t.Errorf("it is remembered until %s (%v), and the wiki's session would live for 48 hours", over, err)
	}
}

// frame is what a page of another site (or none) asks for in a frame. Browsers bring lax cookies only if top, the site of the
// address bar, is ours.
func frame(t *testing.T, b *Browser, target, dest string, crossSite bool) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	site := "same-site"
	if crossSite {
		site = "cross-site"
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": dest} {
		if dest != "" {
			r.Header.Set(name, value)
		}
	}
	return b.send(r, crossSite, dest == "document")
}

// Front-Channel Logout 2, SEC-107: the provider's page ends the session of this browser and nothing else.
func TestFrontchannelLogout(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	op, err := url.Parse(s.OP.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	at := s.HTTP() + "/oauth2/frontchannel-logout"
	of := func(iss, sid string) string { return at + "?" + url.Values{"iss": {iss}, "sid": {sid}}.Encode() }
	b := s.inSession("alice", "s")
	copied, phone := b.Twin(), s.inSession("alice", "phone")

	for name, tt := range map[string]struct{ target, dest, reason string }{
		"another session's sid":   {of(s.OP.Issuer(), "phone"), "iframe", "logout_mismatch"},
		"another issuer":          {of("https://evil.example", "s"), "iframe", "logout_mismatch"},
		"iss alone":               {at + "?iss=" + url.QueryEscape(s.OP.Issuer()), "iframe", "logout_request_malformed"},
		"sid alone":               {at + "?sid=s", "iframe", "logout_request_malformed"},
		"SEC-66 sid twice":        {of(s.OP.Issuer(), "s") + "&sid=s", "iframe", "duplicate_parameter"},
		"another sid, at the top": {of(s.OP.Issuer(), "x"), "document", "logout_mismatch"},
	} {
		page := frame(t, b, tt.target, tt.dest, false)
		if page.Status != http.StatusBadRequest || reason(page) != tt.reason || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want 400 %s", name, page.Status, reason(page), tt.reason)
		}
	}
	// A link that anybody can write does not sign out: a person confirms.
	for _, dest := range []string{"document", "image", ""} {
		if page := frame(t, b, at, dest, false); !strings.Contains(page.Body, "Sign out?") || page.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("as %q: %d %s", dest, page.Status, brief(page))
		}
	}
	if page := b.Post(s.OP.Issuer(), at, url.Values{"iss": {s.OP.Issuer()}, "sid": {"s"}}); page.Status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", page.Status)
	}
	// In a frame of another site browsers keep lax cookies back: it knows nobody, and ends nothing.
	page := frame(t, b, of(s.OP.Issuer(), "s"), "iframe", true)
	wantFramed(t, page, origin(op))
	s.wantAlive("the session", b, true)

	page = frame(t, b, of(s.OP.Issuer(), "s"), "iframe", false)
	wantFramed(t, page, origin(op))
	if b.Jar.Cookie("gatehouse") != nil {
		t.Errorf("the cookie is still there: %v", b.Jar.Names("localhost"))
	}
	wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "no_session")
	s.wantAlive("a copy of its cookies", copied, false)
	s.wantAlive("the same person's phone", phone, true)
	wantFramed(t, frame(t, b, of(s.OP.Issuer(), "s"), "iframe", false), origin(op)) // once more: it is gone already

	// Neither of both: the session of this browser, whichever that is.
	wantFramed(t, frame(t, phone, at, "iframe", false), origin(op))
	wantReason(t, phone.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "no_session")
	wantFramed(t, frame(t, phone, of("https://evil.example", "s"), "iframe", false), "'none'")

	if calls := s.OP.Calls(testop.Revocation) + s.OP.Calls(testop.EndSession); calls != 0 {
		t.Errorf("the provider was called %d times: nobody has signed that request", calls)
	}
}

// wantFramed holds an answer to be shown in the provider's frames alone.
func wantFramed(t *testing.T, page *Page, ancestor string) {
	t.Helper()
	if page.Status != http.StatusOK || page.Body != "signed out\n" || page.Header.Get("Cache-Control") != "no-store" ||
		page.Header.Get("X-Frame-Options") != "" || page.Header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors "+ancestor {
		t.Errorf("%d %q %v, want frame-ancestors %s", page.Status, page.Body, page.Header, ancestor)
	}
}

// SameSite=None is what lets a provider of another site sign out by its frame.
func TestFrontchannelLogoutOfAnotherSite(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.NewReplacer("http://localhost:{$PORT} {", "https://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}",
		"{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tcookie_same_site none\n\t\t}\n").Replace(oneSite))
	s.OP.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"sid": "s"} })
	at, b := s.HTTPS("app.example.test"), NewBrowser(t)
	seen(t, b.Navigate(at+"/"))
	op, err := url.Parse(s.OP.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	wantFramed(t, frame(t, b, at+"/oauth2/frontchannel-logout?"+url.Values{"iss": {s.OP.Issuer()}, "sid": {"s"}}.Encode(), "iframe", true), origin(op))
	wantReason(t, b.Fetch(at, "GET", at+"/x", nil, ""), http.StatusUnauthorized, "no_session")
}

// RFC 7009: a sign-out has the refresh token revoked, where the provider offers that, and works whatever comes of it.
func TestSignOutRevokes(t *testing.T) {
	for name, tt := range map[string]struct {
		behave func(*testop.Provider, *testop.Behaviour)
		calls  int
		log    string
	}{
		"offered": {calls: 1},
		"not offered (2.4)": {behave: func(_ *testop.Provider, b *testop.Behaviour) {
			b.Discovery = testop.Edit{"revocation_endpoint": testop.Absent}
		}},
		"no refresh token": {behave: func(_ *testop.Provider, b *testop.Behaviour) { b.NoRefreshToken = true }},
		"refused":          {behave: failingRevocation(testop.Fault{Status: 400, Body: "no"}), calls: 1, log: "revocation_failed"},
		"away":             {behave: failingRevocation(testop.Fault{Status: 503}), calls: 1, log: "provider_unavailable"},
		"hangs":            {behave: failingRevocation(testop.Fault{Hang: true}), calls: 1, log: "provider_unavailable"},
		"offered, no end_session": {behave: func(_ *testop.Provider, b *testop.Behaviour) {
			b.Discovery = testop.Edit{"end_session_endpoint": testop.Absent}
		}, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, oneSite)
			s.OP.Set(func(b *testop.Behaviour) {
				if tt.behave != nil {
					tt.behave(s.OP, b)
				}
			})
			b := NewBrowser(t)
			page := b.Navigate(s.HTTP() + "/")
			seen(t, page)
			copied := b.Twin()
			began := time.Now()
			page = b.Follow(page, "/oauth2/logout")
			if !strings.Contains(page.Body, "Signed out") {
				t.Errorf("the sign-out ended at %s: %d %s", page.URL, page.Status, brief(page))
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("the sign-out took %s", took)
			}
			s.wantAlive("a copy of the cookies", copied, false)
			requests := s.OP.Requests(testop.Revocation)
			if len(requests) != tt.calls {
				t.Fatalf("%d calls, want %d", len(requests), tt.calls)
			}
			for _, request := range requests {
				if token := request.PostForm.Get("token"); !strings.HasPrefix(token, "rt-") || request.PostForm.Get("token_type_hint") != "refresh_token" || strings.Contains(s.Logs(), token) {
					t.Errorf("revoked: %v", request.PostForm)
				}
			}
			if tt.log != "" {
				s.WaitLog(`"reason":"` + tt.log + `"`)
			} else if strings.Contains(s.Logs(), "could not be revoked") {
				t.Error("the log speaks of a failure")
			}
		})
	}
}

func failingRevocation(fault testop.Fault) func(*testop.Provider, *testop.Behaviour) {
	return func(_ *testop.Provider, b *testop.Behaviour) {
		b.Faults = map[string]testop.Fault{testop.Revocation: fault}
	}
}

// A provider that we did not write tells a second site, in another process, that somebody signed out at the first.
func TestNodeProviderLogsOut(t *testing.T) {
	t.Parallel()
	app := StartApplication(t)
	ports := []string{freePort(t), freePort(t)}
	config := NodeConfig{Users: []NodeUser{{Subject: "ada", Name: "Ada"}}}
	for i, port := range ports {
		at := "http://localhost:" + port + "/oauth2/"
		config.Clients = append(config.Clients, NodeClient{
			ID: "app" + port, Secret: "secret", RedirectURIs: []string{at + "callback"}, PostLogoutRedirectURIs: []string{at + "signed-out"},
			BackchannelLogoutURI: at + "backchannel-logout", BackchannelLogoutSession: i == 0,
		})
	}
	p := StartNodeProvider(t, config)
	var sites []*Caddy
	for _, port := range ports {
		sites = append(sites, StartCaddy(t, strings.NewReplacer("{$AT}", "http://localhost:"+port, "{$ISSUER}", p.Issuer, "{$ID}", "app"+port, "{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$AT} {
	gatehouse {$ISSUER} {
		client_id {$ID}
		client_secret secret
		session {
			cookie_name {$ID}
		}
	}
	reverse_proxy {$APP}
}
`)))
	}
	for round, from := range []int{0, 1} { // by subject alone, and by sid as well
		b := NewBrowser(t)
		for i, port := range ports {
			page := b.Navigate("http://localhost:" + port + "/")
			if i == 0 {
				page = b.Submit(page, "interaction", map[string]string{"login": "ada"})
			}
			seen(t, b.Submit(page, "interaction", nil))
		}
		copied := b.Twin()
		page := b.Follow(b.Navigate("http://localhost:"+ports[from]+"/"), "/oauth2/logout")
		page = b.Submit(page, "session/end/confirm", map[string]string{"logout": "yes"})
		if page.URL.Path != "/oauth2/signed-out" {
			t.Fatalf("the sign-out ended at %s:\n%s", page.URL, page.Body)
		}
		for i, port := range ports {
			at := "http://localhost:" + port
			page := copied.Fetch(at, "GET", at+"/x", nil, "")
			if page.Status != http.StatusUnauthorized || reason(page) != "session_ended" {
				t.Errorf("round %d, site %d: %d %s\n%s", round, i, page.Status, reason(page), p.Logs())
			}
			// The provider tells the site that asked as well, and that session is over already: 200 all the same.
			if got := strings.Count(sites[i].Logs(), `"signed out by the provider"`); got != round+1 {
				t.Errorf("round %d, site %d: the provider told %d times", round, i, got)
			}
			if strings.Contains(sites[i].Logs(), `"status":400`) {
				t.Errorf("round %d, site %d refused something", round, i)
			}
		}
		time.Sleep(1100 * time.Millisecond) // a not-before counts whole seconds
	}
}

// A real browser brings the session's lax cookie to a frame in a page of the same site, and to none of another: what
// docs/caddyfile.md says of front-channel logout.
func TestChromiumFrontchannelLogout(t *testing.T) {
	s := StartSite(t, strings.Replace(oneSite, "http://localhost:{$PORT} {", `https://id.example.test:{$PORT}, https://id.other.test:{$PORT} {
	tls {$CERT} {$KEY}
	header Content-Type text/html
	respond "<title>logout</title><iframe src=https://app.example.test:{$PORT}/oauth2/frontchannel-logout></iframe>"
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}`, 1))
	at := s.HTTPS("app.example.test")
	tab := StartChromium(t)
	Do(t, tab, chromedp.Navigate(at+"/"))
	for _, step := range []struct {
		page   string
		status int
	}{{"id.other.test", http.StatusOK}, {"id.example.test", http.StatusUnauthorized}} {
		Do(t, tab, chromedp.Navigate(s.HTTPS(step.page)+"/"))
		Do(t, tab, chromedp.Navigate(at+"/oauth2/userinfo"))
		wantStatus(t, tab, step.status)
	}
}

// A provider whose ID tokens have no sid, and whose logout tokens have one beside the subject: what the gate answers with
// 200 has ended. Which of the person's sessions was meant nobody can tell, so all end that know of no sid.
func TestBackchannelLogoutOfASessionWithoutSID(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	s.OP.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"backchannel_logout_session_supported": testop.Absent}
		b.IDToken = testop.Edit{"sid": testop.Absent}
	})
	signIn := func(user string) *Browser {
		b := s.As(NewBrowser(t), user)
		seen(t, b.Navigate(s.HTTP()+"/"))
		return b
	}
	alice, bob := signIn("alice"), signIn("bob")
	phone := s.inSession("alice", "phone")
	if page := tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", "laptop", nil)); page.Status != http.StatusOK {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	s.wantAlive("the session without sid", alice, false)
	s.wantAlive("the same person's, of another sid", phone, true)
	s.wantAlive("another person", bob, true)
}
