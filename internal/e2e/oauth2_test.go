package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const plainOAuth = `{
	gatehouse {
		provider {
			preset        oauth2
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			client_auth   client_secret_post
			scopes        read:user
			endpoint      authorization {$ISSUER}/authorization
			endpoint      token {$ISSUER}/token
			endpoint      userinfo {$ISSUER}/userinfo
			claim         sub from id
			claim         preferred_username from login
		}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		deny preferred_username mallory
	}
	reverse_proxy {$APP}
}
`

// A provider that is plain OAuth 2.0: no metadata, no ID token; userinfo says who somebody is, at the sign-in and at every
// refresh.
func TestPlainOAuth(t *testing.T) {
	t.Parallel()
	s := StartSite(t, plainOAuth, func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.PlainOAuth = true })
	})
	b := NewBrowser(t)
	got := seen(t, b.Navigate(s.HTTP()+"/wanted"))
	if want := strconv.FormatUint(testop.NumericID("sub-alice"), 10); got.Header.Get("X-Forwarded-User") != want || got.Header.Get("X-Forwarded-Preferred-Username") != "alice" {
		t.Errorf("the application is told of %v", got.Header)
	}
	if trace := strings.Join(s.OP.Trace(), " "); trace != "authorization token userinfo" {
		t.Errorf("asked: %s", trace)
	}
	wantReason(t, s.As(NewBrowser(t), "mallory").Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")

	// A refresh learns what has changed, and ends the session if it is about somebody else. Times are kept in whole
	// seconds: a token of one second may be due with the first request, so that it is given to another sign-in.
	s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = time.Second })
	b = NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.OP.Set(func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"login": "mallory"} })
	if !eventually(15*time.Second, func() bool { return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status == http.StatusForbidden }) {
		t.Error("a refresh does not learn of another name")
	}
	s.OP.Set(func(b *testop.Behaviour) { b.UserInfo = nil })
	if !eventually(15*time.Second, func() bool { return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status == http.StatusOK }) {
		t.Error("a refresh does not learn of the name again")
	}
	s.OP.Set(func(b *testop.Behaviour) { b.RefreshedSubject = "sub-eve" })
	if !eventually(15*time.Second, func() bool { return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status == http.StatusUnauthorized }) {
		t.Error("a refresh that is about somebody else leaves the session")
	}
	// Signing out works without an endpoint for it.
	s.OP.Set(func(b *testop.Behaviour) { b.RefreshedSubject = "" })
	b = NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	if page := b.Navigate(s.HTTP() + "/oauth2/logout"); page.URL.Path != "/oauth2/signed-out" {
		t.Errorf("signed out at %s: %d", page.URL, page.Status)
	}
}
