package e2e_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// forged are tokens that a client brings itself, in the spellings that CGI, WSGI and PHP take for one name.
var forged = http.Header{
	"Authorization": {"Bearer forged"}, "AUTHORIZATION-": {"Bearer forged"}, "Dpop": {"forged"}, "D-POP": {"forged"},
	"X-Forwarded-Access-Token": {"forged"}, "X-ForwardedAccess-Token": {"forged"}, "X-Forwarded-Id-Token": {"forged"},
}

// tokensOf is every header of the application's request that holds a token or a proof, folded.
func tokensOf(s Seen) map[string]string {
	found := make(map[string]string)
	for name, values := range s.Header {
		switch folded := strings.ReplaceAll(strings.ToLower(name), "-", ""); folded {
		case "authorization", "dpop", "xforwardedaccesstoken", "xforwardedidtoken", "xgatehouseassertion", "xtoken":
			found[folded] += strings.Join(values, "|")
		}
	}
	return found
}

// userinfo is whose access token that is, as the provider says; "" if it does not take it.
func userinfo(t *testing.T, s *Site, token string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.OP.URL(testop.UserInfo), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	page := NewBrowser(t).Do(r)
	if page.Status != http.StatusOK {
		return ""
	}
	var claims struct{ Sub string }
	decode(t, page.Body, &claims)
	return claims.Sub
}

// Tokens go where the site says, on requests that need a sign-in, and nobody else's ever do.
func TestForwardTokens(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("public /public/*\n\t\tforward access_token Authorization\n\t\tforward access_token\n\t\tforward id_token"))
	b := NewBrowser(t)
	for _, path := range []string{"/public/x", "/x"} {
		if path == "/x" {
			wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+path, forged, ""), http.StatusUnauthorized, "no_session")
			continue
		}
		if got := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+path, forged, ""))); len(got) != 0 {
			t.Errorf("without a session %s gets %v", path, got)
		}
	}
	seen(t, b.Navigate(s.HTTP()+"/"))
	got := tokensOf(seen(t, b.Fetch(s.HTTP(), "POST", s.HTTP()+"/x", forged, "body")))
	token := got["xforwardedaccesstoken"]
	if userinfo(t, s, token) != "sub-alice" || got["authorization"] != "Bearer "+token {
		t.Errorf("access token: %v", got)
	}
	if strings.Count(got["xforwardedidtoken"], ".") != 2 || got["dpop"] != "" {
		t.Errorf("ID token: %v", got)
	}
	if got := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/public/x", forged, ""))); len(got) != 0 {
		t.Errorf("a public path gets %v", got)
	}
}

// Without `forward` a client's own credentials are the application's business, as ever; tokens of ours are not there.
func TestForwardNothing(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	got := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", forged, "")))
	if got["authorization"] == "" || got["dpop"] == "" || got["xforwardedaccesstoken"] != "" || got["xforwardedidtoken"] != "" {
		t.Errorf("the application gets %v", got)
	}
}

// Who passes as nobody has no token, and keeps none of their own.
func TestForwardToNobody(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("unauthenticated pass\n\t\tforward access_token Authorization"))
	if got := tokensOf(seen(t, NewBrowser(t).Fetch(s.HTTP(), "GET", s.HTTP()+"/x", forged, ""))); len(got) != 0 {
		t.Errorf("nobody is told as %v", got)
	}
}

// A second gate forwards in its area what the first does not, and replaces what both forward.
func TestForwardOfTwoGates(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(oneSite, `	gatehouse {
		public /public/*
	}
`, `	gatehouse {
		forward access_token X-Token
	}
	gatehouse /area/* {
		forward id_token X-Token
		forward access_token Authorization
	}
`, 1))
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	outside := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", forged, "")))
	if userinfo(t, s, outside["xtoken"]) != "sub-alice" || outside["authorization"] != "" || outside["dpop"] != "" {
		t.Errorf("outside of the area: %v", outside)
	}
	inside := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/area/x", forged, "")))
	if inside["authorization"] != "Bearer "+outside["xtoken"] || strings.Count(inside["xtoken"], ".") != 2 || inside["dpop"] != "" {
		t.Errorf("inside: %v", inside)
	}
}

// A token goes into a session only where some site forwards it: a long one hurts nobody else, and says so where it does.
func TestForwardKeepsWhatItForwards(t *testing.T) {
	t.Parallel()
	token := ""
	for len(token) < 9000 { // of which nothing compresses much
		token += rand.Text()
	}
	long := func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) {
			b.TokenResponse, b.IDToken = testop.Edit{"access_token": token}, testop.Edit{"at_hash": testop.Absent}
		})
	}
	withoutUserinfo := func(lines string) string {
		return strings.Replace(withGate(lines), "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			userinfo      off
		}`, 1)
	}
	s := StartSite(t, withoutUserinfo("forward id_token"), long)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.Reload(s.fill(withoutUserinfo("forward access_token")))
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusInternalServerError, "session_too_large")
	wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusInternalServerError, "session_too_large")
	s.OP.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"access_token": "a b"} })
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusBadGateway, "claim_unsafe")
}

// A configuration that begins to forward a token is seen by sessions that live: each is renewed once.
func TestConfigurationForwardsMore(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*testop.Provider){
		"with a refresh token":    nil,
		"without a refresh token": {func(p *testop.Provider) { p.Set(func(b *testop.Behaviour) { b.NoRefreshToken = true }) }},
	} {
		for _, token := range []string{"access_token", "id_token"} {
			t.Run(token+" "+name, func(t *testing.T) {
				t.Parallel()
				s := StartSite(t, oneSite, options...)
				b := NewBrowser(t)
				seen(t, b.Navigate(s.HTTP()+"/"))
				s.Reload(s.fill(withGate("forward " + token + " X-Token")))
				if name == "without a refresh token" {
					wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "claims_changed")
				}
				calls := s.OP.Calls(testop.Token)
				if name == "with a refresh token" {
					seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
				}
				for range 3 {
					if got := tokensOf(seen(t, b.Navigate(s.HTTP()+"/"))); got["xtoken"] == "" {
						t.Errorf("%s is not there", token)
					}
				}
				if again := s.OP.Calls(testop.Token) - calls; again != 1 {
					t.Errorf("it was fetched %d times", again)
				}
			})
		}
	}
}

// An access token that has expired is not forwarded: a refresh brings another, and the ID token with it; a refresh that
// fails for now counts only when the token's life is over.
func TestForwardOfTokensThatExpire(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("forward access_token X-Token\n\t\tforward id_token\n\t\tpublic /public/*"), func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 4 * time.Second })
	})
	b := NewBrowser(t)
	first := tokensOf(seen(t, b.Navigate(s.HTTP()+"/")))
	time.Sleep(4100 * time.Millisecond) // the token's life, which only passes
	second := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")))
	for _, name := range []string{"xtoken", "xforwardedidtoken"} {
		if second[name] == first[name] || second[name] == "" {
			t.Errorf("%s after its life: %q, as before", name, second[name])
		}
	}
	s.OP.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: {Status: 500}} })
	if got := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))); got["xtoken"] != second["xtoken"] {
		t.Errorf("within its life: %v", got)
	}
	var page *Page
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if page = b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Status != http.StatusOK {
			break
		}
	}
	wantReason(t, page, http.StatusServiceUnavailable, "access_token_expired")
	if page.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/public/x", nil, "")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("a path that gets no token: %v", identityOf(got))
	}
	s.OP.Set(func(b *testop.Behaviour) { b.Faults = nil })
	if !eventually(15*time.Second, func() bool {
		page = b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
		return page.Status == http.StatusOK
	}) {
		t.Fatalf("it does not recover: %d %s", page.Status, reason(page))
	}
}

// Without a refresh token there is no other access token but by a sign-in.
func TestForwardExpiresWithoutRefresh(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("forward access_token X-Token"), func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime, b.NoRefreshToken = 2*time.Second, true })
	})
	b := NewBrowser(t)
	first := tokensOf(seen(t, b.Navigate(s.HTTP()+"/")))
	time.Sleep(2100 * time.Millisecond)
	wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "access_token_expired")
	if again := tokensOf(seen(t, b.Navigate(s.HTTP()+"/"))); again["xtoken"] == "" || again["xtoken"] == first["xtoken"] {
		t.Errorf("after the sign-in: %v", again)
	}
}

// A refresh that brings no ID token leaves the one that is there.
func TestForwardKeepsTheIDToken(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("forward id_token"), func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime, b.RefreshWithoutIDToken = 2*time.Second, true })
	})
	b := NewBrowser(t)
	first := tokensOf(seen(t, b.Navigate(s.HTTP()+"/")))
	time.Sleep(2100 * time.Millisecond)
	calls := s.OP.Calls(testop.Token)
	if got := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))); got["xforwardedidtoken"] != first["xforwardedidtoken"] {
		t.Errorf("after a refresh: %v", got)
	}
	if s.OP.Calls(testop.Token) != calls+1 {
		t.Error("there was no refresh")
	}
}

// What asks at /oauth2/auth may be a script of the site: no token is in the answer.
func TestForwardNotToWhoAsks(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("forward access_token\n\t\tforward id_token\n\t\tforward assertion"))
	b := NewBrowser(t)
	if got := tokensOf(seen(t, b.Navigate(s.HTTP()+"/"))); len(got) != 3 {
		t.Errorf("the application gets %v", got)
	}
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/oauth2/auth", forged, "")
	if got := tokensOf(Seen{Header: page.Header}); page.Status != http.StatusOK || page.Header.Get("X-Forwarded-User") != "alice" || len(got) != 0 {
		t.Errorf("%d %v", page.Status, page.Header)
	}
}
