package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The provider breaks at every endpoint while tokens are due: nobody who is signed in is signed out or kept waiting for
// long, a sign-out works here all the same, and sessions are refreshed when it is back.
func TestProviderBreaksWhileTokensAreDue(t *testing.T) {
	const loop = "/userinfo"
	for name, fault := range map[string]testop.Fault{
		"HTML":                  {Status: http.StatusOK, Body: "<html>maintenance</html>"},
		"a JSON list":           {Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: "[]"},
		"half of an answer":     {Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"1000"}}, Body: `{"access_token":"`},
		"500":                   {Status: http.StatusInternalServerError},
		"429":                   {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}},
		"a redirect":            {Status: http.StatusFound, Header: http.Header{"Location": {loop}}},
		"a redirect with POST":  {Status: http.StatusPermanentRedirect, Header: http.Header{"Location": {loop}}},
		"a closed connection":   {Abort: true},
		"a 400 that says what":  {Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"temporarily_unavailable"}`},
		"a 401 of another kind": {Status: http.StatusUnauthorized, Body: "who are you"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, oneSite)
			s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime, b.ThinIDToken = 2*time.Second, true })
			b, leaving := NewBrowser(t), NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			page := leaving.Navigate(s.HTTP() + "/")
			copied := leaving.Twin()
			everywhere := make(map[string]testop.Fault)
			for _, endpoint := range []string{testop.Discovery, testop.JWKS, testop.Token, testop.UserInfo, testop.Revocation, testop.Introspection} {
				everywhere[endpoint] = fault
			}
			s.OP.Set(func(b *testop.Behaviour) { b.Faults = everywhere })
			calls := s.OP.Calls(testop.Token)
			if !eventually(20*time.Second, func() bool {
				if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice" {
					t.Errorf("as %q", got.Header.Get("X-Forwarded-User"))
				}
				return s.OP.Calls(testop.Token) > calls+1 // and it is tried again
			}) {
				t.Fatal("no refresh is tried")
			}
			if out := leaving.Follow(page, "/oauth2/logout"); out.Status >= 400 {
				t.Errorf("the sign-out: %d %s", out.Status, reason(out))
			}
			if again := copied.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); again.Status != http.StatusUnauthorized {
				t.Errorf("the session is alive: %d", again.Status)
			}
			s.WaitLog("a session could not be refreshed")
			s.OP.Set(func(b *testop.Behaviour) { b.Faults = nil })
			refreshed := s.OP.Calls(testop.UserInfo)
			if !eventually(40*time.Second, func() bool {
				seen(t, b.Navigate(s.HTTP()+"/"))
				return s.OP.Calls(testop.UserInfo) > refreshed
			}) {
				t.Error("the provider is back, and the session is not refreshed")
			}
			seen(t, NewBrowser(t).Navigate(s.HTTP()+"/"))
		})
	}
}
