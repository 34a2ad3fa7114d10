package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// stepUpSite requires more below /admin, and a sign-in that is not old below /pay.
var stepUpSite = strings.NewReplacer("public /public/*", "require /admin/* acr phr phrh\n\t\trequire /pay/* max_age 10m",
	"\treverse_proxy {$APP}", "\trewrite /nice /admin/x\n\trewrite /admin/old /new\n\treverse_proxy {$APP}").Replace(oneSite)

// OIDC Core 3.1.2.1, RFC 9470 3: a session that is too weak signs in again where a person waits for a page, and comes back to
// it; everything else is told what is missing.
func TestStepUpACR(t *testing.T) {
	t.Parallel()
	s := StartSite(t, stepUpSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	if asked := s.OP.Requests(testop.Authorization)[0].Form; asked.Has("acr_values") || asked.Has("max_age") {
		t.Errorf("asked for without need: %v", asked)
	}
	for _, path := range []string{"/admin/x?y=z", "/nice", "/admin/old", "//admin/x", "/%61dmin/x"} {
		page := b.Fetch(s.HTTP(), "GET", s.HTTP()+path, nil, "")
		wantReason(t, page, http.StatusUnauthorized, "acr_required")
		challenge := page.Header.Get("WWW-Authenticate")
		if !strings.Contains(challenge, `error="insufficient_user_authentication"`) || !strings.Contains(challenge, `acr_values="phr phrh"`) {
			t.Errorf("%s: WWW-Authenticate: %s", path, challenge)
		}
	}
	got := seen(t, b.Navigate(s.HTTP()+"/admin/x?y=z"))
	if got.URI != "/admin/x?y=z" {
		t.Errorf("came back to %s", got.URI)
	}
	calls := s.OP.Requests(testop.Authorization)
	if len(calls) != 2 || calls[1].Form.Get("acr_values") != "phr phrh" || calls[1].Form.Has("max_age") {
		t.Errorf("%d sign-ins, the last asked for %v", len(calls), calls[len(calls)-1].Form)
	}
	for _, path := range []string{"/admin/x", "/nice", "/"} {
		if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+path, nil, ""); page.Status != http.StatusOK {
			t.Errorf("%s: %d %s", path, page.Status, reason(page))
		}
	}
	// Who comes without a session asks for it at once.
	seen(t, NewBrowser(t).Navigate(s.HTTP()+"/admin/x"))
	if calls := s.OP.Calls(testop.Authorization); calls != 3 {
		t.Errorf("%d sign-ins, want 3", calls)
	}
}

// Rule 21, P10: a provider that does not deliver what it was asked for signs nobody in there, and nobody goes round in
// circles; the session that was there goes on.
func TestStepUpIsNotDelivered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path, code string
		misbehave  func(*testop.Behaviour)
	}{
		"acr_values ignored": {"/admin/x", "acr_mismatch", func(b *testop.Behaviour) { b.NoStepUp = true }},
		"max_age ignored":    {"/pay/x", "auth_time_mismatch", func(b *testop.Behaviour) { b.NoStepUp, b.SignedInAgo = true, time.Hour }},
		"auth_time absent":   {"/pay/x", "auth_time_mismatch", func(b *testop.Behaviour) { b.IDToken = testop.Edit{"auth_time": testop.Absent} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, stepUpSite, func(p *testop.Provider) { p.Set(test.misbehave) })
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			wantReason(t, b.Navigate(s.HTTP()+test.path), http.StatusForbidden, test.code)
			if calls := s.OP.Calls(testop.Authorization); calls != 2 {
				t.Errorf("%d sign-ins, want 2", calls)
			}
			if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""); page.Status != http.StatusOK {
				t.Errorf("the session is gone: %d %s", page.Status, reason(page))
			}
			if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+test.path, nil, ""); page.Status != http.StatusUnauthorized {
				t.Errorf("passes: %d", page.Status)
			}
		})
	}
}

// OIDC Core 3.1.2.1: max_age.
func TestStepUpMaxAge(t *testing.T) {
	t.Parallel()
	s := StartSite(t, stepUpSite, func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.SignedInAgo = time.Hour })
	})
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	page := b.Fetch(s.HTTP(), "POST", s.HTTP()+"/pay/x", nil, "")
	wantReason(t, page, http.StatusUnauthorized, "auth_too_old")
	if challenge := page.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `max_age="600"`) || strings.Contains(challenge, "acr_values") {
		t.Errorf("WWW-Authenticate: %s", challenge)
	}
	seen(t, b.Navigate(s.HTTP()+"/pay/x"))
	calls := s.OP.Requests(testop.Authorization)
	if len(calls) != 2 || calls[1].Form.Get("max_age") != "600" {
		t.Errorf("%d sign-ins, the last asked for %v", len(calls), calls[len(calls)-1].Form)
	}
	if page := b.Fetch(s.HTTP(), "POST", s.HTTP()+"/pay/x", nil, ""); page.Status != http.StatusOK {
		t.Errorf("%d %s", page.Status, reason(page))
	}
}

// A refresh makes no sign-in younger.
func TestStepUpIsNotRefreshed(t *testing.T) {
	for name, misbehave := range map[string]func(*testop.Behaviour){
		"auth_time told again": func(*testop.Behaviour) {},
		"no ID token":          func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true },
		"auth_time left out":   func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"auth_time": testop.Absent} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, withGate("require acr phr\n\t\trequire /pay/* max_age 5s"), shortTokens, func(p *testop.Provider) { p.Set(misbehave) })
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/pay/x"))
			start := time.Now()
			for time.Since(start) < 6*time.Second {
				time.Sleep(time.Second)
				if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""); page.Status != http.StatusOK {
					t.Fatalf("acr is lost: %d %s", page.Status, reason(page))
				}
			}
			if s.OP.Calls(testop.Token) < 3 {
				t.Error("no refresh")
			}
			wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/pay/x", nil, ""), http.StatusUnauthorized, "auth_too_old")
			seen(t, b.Navigate(s.HTTP()+"/pay/x"))
		})
	}
}

// A session that is there is judged as ever, where nobody has to have one; and where nobody is sent to sign in, nobody is.
func TestStepUpWithUnauthenticated(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]int{"pass": http.StatusSeeOther, "reject": http.StatusUnauthorized} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, withGate("unauthenticated "+word+"\n\t\trequire /admin/* acr phr"))
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/oauth2/login?rd=/"))
			wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/admin/x", nil, ""), http.StatusUnauthorized, "acr_required")
			if page := b.Step(s.HTTP() + "/admin/x"); page.Status != want {
				t.Errorf("a navigation: %d %s", page.Status, reason(page))
			}
		})
	}
}

// What several gates and lines ask for is asked for at once, so that none undoes what another has asked for.
func TestStepUpOfSeveralGates(t *testing.T) {
	t.Parallel()
	two := func(outer, inner string) string {
		return strings.Replace(withGate(outer), "\treverse_proxy", "\troute /area/* {\n\t\tgatehouse {\n\t\t\t"+inner+"\n\t\t}\n\t\treverse_proxy {$APP}\n\t}\n\treverse_proxy", 1)
	}
	s := StartSite(t, two("require acr a b", "require acr b c\n\t\t\trequire max_age 1h"))
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/")) // a
	seen(t, b.Navigate(s.HTTP()+"/area/x"))
	calls := s.OP.Requests(testop.Authorization)
	if len(calls) != 2 || calls[1].Form.Get("acr_values") != "b" || calls[1].Form.Get("max_age") != "3600" {
		t.Errorf("%d sign-ins, the last asked for %v", len(calls), calls[len(calls)-1].Form)
	}
	s.Reload(s.fill(two("require acr a", "require acr c")))
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/area/x"), http.StatusInternalServerError, "gate_conflict")
}

// With several providers a session that is too weak is made stronger at its own, without asking which.
func TestStepUpAtTheSameProvider(t *testing.T) {
	t.Parallel()
	other := testop.Start(t)
	s := StartSite(t, strings.Replace(withGate("require /admin/* acr phr"), "{$PROVIDER}", "{$PROVIDER}\n\t\tprovider other {\n\t\t\tissuer "+
		other.Issuer()+"\n\t\t\tclient_id "+other.ClientID+"\n\t\t\tclient_secret \""+other.ClientSecret+"\"\n\t\t}", 1))
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/oauth2/login?provider=other"))
	got := seen(t, b.Navigate(s.HTTP()+"/admin/x"))
	if got.URI != "/admin/x" || !strings.HasPrefix(got.Header.Get("X-Forwarded-User"), "other:") {
		t.Errorf("%s as %v", got.URI, identityOf(got))
	}
	if s.OP.Calls(testop.Authorization) != 0 || other.Calls(testop.Authorization) != 2 {
		t.Error("asked at another provider")
	}
}

// Public pages know who is signed in only if what is required of them is there.
func TestStepUpOnPublicPages(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("public /public/*\n\t\trequire /public/* acr phr"))
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	if who := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/public/x", nil, ""))); len(who) != 0 {
		t.Errorf("told: %v", who)
	}
}

// Plan 3rd-party-initiated login, module oidcc-client-test-3rd-party-init-login (OIDC Core 4).
func TestThirdPartyInitiatedLogin(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	iss := s.OP.Issuer()
	for name, start := range map[string]func(*Browser) *Page{
		"GET": func(b *Browser) *Page {
			return b.Navigate(s.HTTP() + "/oauth2/login?iss=" + url.QueryEscape(iss) + "&login_hint=bob&target_link_uri=%2Fdeep%3Fa%3Db")
		},
		"POST": func(b *Browser) *Page {
			return b.Post("https://portal.example.test", s.HTTP()+"/oauth2/login", url.Values{
				"iss": {iss}, "login_hint": {"bob"}, "target_link_uri": {s.HTTP() + "/deep?a=b"},
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := seen(t, start(NewBrowser(t)))
			if got.URI != "/deep?a=b" || got.Header.Get("X-Forwarded-User") != "bob" {
				t.Errorf("%s as %v", got.URI, identityOf(got))
			}
		})
	}
	before := s.OP.Calls(testop.Authorization)
	for name, test := range map[string]struct{ query, code string }{
		"another issuer":          {"iss=https%3A%2F%2Fevil.example", "unknown_provider"},
		"issuer + /":              {"iss=" + url.QueryEscape(iss+"/"), "unknown_provider"},
		"no issuer":               {"target_link_uri=%2F", "unknown_provider"},
		"issuer empty":            {"iss=", "unknown_provider"},
		"issuer twice":            {"iss=" + url.QueryEscape(iss) + "&iss=https://evil.example", "duplicate_parameter"},
		"SEC-50 target elsewhere": {"iss=" + url.QueryEscape(iss) + "&target_link_uri=https%3A%2F%2Fevil.example", "return_url_refused"},
		"SEC-50 target //":        {"iss=" + url.QueryEscape(iss) + "&target_link_uri=%2F%2Fevil.example", "return_url_refused"},
		"target is the sign-out":  {"iss=" + url.QueryEscape(iss) + "&target_link_uri=%2Foauth2%2Flogout", "return_url_refused"},
	} {
		t.Run(name, func(t *testing.T) {
			wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?"+test.query), http.StatusBadRequest, test.code)
			values, err := url.ParseQuery(test.query)
			if err != nil {
				t.Fatal(err)
			}
			wantReason(t, NewBrowser(t).Post("https://portal.example.test", s.HTTP()+"/oauth2/login", values), http.StatusBadRequest, test.code)
		})
	}
	if calls := s.OP.Calls(testop.Authorization) - before; calls != 0 {
		t.Errorf("the browser was sent to the provider %d times", calls)
	}
	wantReason(t, NewBrowser(t).Fetch(s.HTTP(), "POST", s.HTTP()+"/oauth2/login", nil, "iss="+url.QueryEscape(iss)), http.StatusUnauthorized, "no_session")
}

// With several providers iss picks one, without a chooser page.
func TestThirdPartyInitiatedLoginPicks(t *testing.T) {
	t.Parallel()
	other := testop.Start(t)
	s := StartSite(t, strings.Replace(oneSite, "{$PROVIDER}", "{$PROVIDER}\n\t\tprovider other {\n\t\t\tissuer "+other.Issuer()+
		"\n\t\t\tclient_id client\n\t\t\tclient_secret x\n\t\t}", 1))
	for _, issuer := range []string{s.OP.Issuer(), other.Issuer()} {
		page := NewBrowser(t).Step(s.HTTP() + "/oauth2/login?iss=" + url.QueryEscape(issuer))
		if page.Status != http.StatusSeeOther || !strings.HasPrefix(page.Header.Get("Location"), issuer+"/") {
			t.Errorf("%s: sent to %d %s", issuer, page.Status, page.Header.Get("Location"))
		}
	}
}

// Plan Refresh: without expires_in refresh_interval is the trigger; every refresh is followed by userinfo, and a refreshed ID
// token that is wrong by none.
func TestRefreshInterval(t *testing.T) {
	t.Parallel()
	caddyfile := strings.Replace(oneSite, "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			userinfo      required
			refresh_interval 4s
		}`, 1)
	noExpiry := func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"expires_in": testop.Absent} })
	}
	s := StartSite(t, caddyfile, noExpiry)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""); page.Status != http.StatusOK || s.OP.Calls(testop.Token) != 1 {
		t.Errorf("refreshed at once: %d calls", s.OP.Calls(testop.Token))
	}
	for round := 2; round <= 3; round++ {
		time.Sleep(4100 * time.Millisecond)
		for range 3 {
			if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, reason(page))
			}
		}
		calls := func() [2]int { return [2]int{s.OP.Calls(testop.Token), s.OP.Calls(testop.UserInfo)} }
		eventually(10*time.Second, func() bool { return calls() == [2]int{round, round} })
		if got := calls(); got != [2]int{round, round} {
			t.Errorf("round %d: %v calls of token and userinfo", round, got)
		}
	}
	s.OP.Set(func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"iss": testop.Append("1")} })
	time.Sleep(4100 * time.Millisecond)
	s.waitReason(b, http.StatusUnauthorized, "session_ended")
	if calls := s.OP.Calls(testop.UserInfo); calls != 3 {
		t.Errorf("userinfo was called %d times, want 3", calls)
	}
}
