package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// boundSite is one site whose tokens are bound to a key (RFC 9449).
const boundSite = `{
	gatehouse {
		provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			dpop
			userinfo      required
		}
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`

// A session goes on with its own key: at sign-in, at userinfo, and at each refresh, wherever it is kept and although
// Caddy was loaded anew.
func TestBoundSession(t *testing.T) {
	t.Parallel()
	for store, caddyfile := range map[string]string{
		"cookie": boundSite,
		"memory": strings.Replace(boundSite, "\tgatehouse {\n", "\tgatehouse {\n\t\tsession {\n\t\t\tstore memory\n\t\t}\n", 1),
	} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, caddyfile, shortTokens, func(p *testop.Provider) {
				p.Set(func(b *testop.Behaviour) { b.DPoP, b.DPoPBoundCode, b.DPoPNonceOnce = true, true, true })
			})
			b := NewBrowser(t)
			if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-Email") != "alice@example.com" || got.Header.Get("Dpop") != "" {
				t.Errorf("the application got %v", got.Header)
			}
			for round := range 2 {
				before := s.OP.Calls(testop.UserInfo)
				if !eventually(15*time.Second, func() bool {
					seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
					return s.OP.Calls(testop.UserInfo) > before
				}) {
					t.Fatalf("round %d: not refreshed:\n%s", round, s.Caddy.Logs())
				}
				s.Reload(s.fill(caddyfile))
			}
			if strings.Contains(s.Caddy.Logs(), "could not be refreshed") {
				t.Errorf("a refresh failed:\n%s", s.Caddy.Logs())
			}
			if calls := s.OP.Calls(testop.Token); calls < 4 {
				t.Errorf("%d token requests: one of them is asked for a nonce", calls)
			}
		})
	}
}

// RFC 9449 5: what the provider gives instead of a bound token signs nobody in, and nothing is asked with it.
func TestBoundSessionRefuses(t *testing.T) {
	t.Parallel()
	s := StartSite(t, boundSite)
	for name, test := range map[string]struct {
		misbehave func(*testop.Behaviour)
		status    int
		reason    authflow.Reason
	}{
		"downgrade":        {func(b *testop.Behaviour) { b.DPoPDowngrade = true }, http.StatusBadGateway, authflow.ReasonDPoPDowngrade},
		"nonces for ever":  {func(b *testop.Behaviour) { b.DPoPNonceLoop = true }, http.StatusBadGateway, authflow.ReasonTokenEndpoint},
		"DPoP at a Bearer": {func(b *testop.Behaviour) { b.DPoP = false; b.TokenResponse = testop.Edit{"token_type": "Bearer"} }, http.StatusBadGateway, authflow.ReasonDPoPDowngrade},
	} {
		before := s.OP.Calls(testop.UserInfo)
		s.OP.Set(func(b *testop.Behaviour) { *b = testop.Behaviour{DPoP: true}; test.misbehave(b) })
		page := NewBrowser(t).Navigate(s.HTTP() + "/")
		if page.Status != test.status || reason(page) != string(test.reason) {
			t.Errorf("%s: %d %s", name, page.Status, reason(page))
		}
		if calls := s.OP.Calls(testop.UserInfo); calls != before {
			t.Errorf("%s: userinfo was asked", name)
		}
	}
}

// A provider that we did not write gives no tokens but bound ones, with and without nonces of its own, to a client with
// a secret, one with a key, and a public one, whose refresh token is bound as well.
func TestNodeProviderBindsTokens(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, key)
	for name, test := range map[string]struct {
		client NodeClient
		lines  string
		nonces bool
	}{
		"a secret, nothing pushed":      {NodeClient{Secret: "secret +/:%"}, `client_secret "secret +/:%"`, false},
		"a public client, nonces":       {NodeClient{TokenEndpointAuth: "none"}, "client_auth none\n\t\tpar on", true},
		"a key, pushed, signed, nonces": {NodeClient{TokenEndpointAuth: "private_key_jwt", RequirePAR: true}, "client_key " + key + "\n\t\tjar\n\t\tpar on", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, port := StartApplication(t), freePort(t)
			at, client := "http://localhost:"+port, test.client
			client.ID, client.RedirectURIs, client.DPoP = "app", []string{at + "/oauth2/callback"}, true
			if client.TokenEndpointAuth == "private_key_jwt" {
				client.JWKSURI = at + "/oauth2/jwks"
			}
			p := StartNodeProvider(t, NodeConfig{
				Clients:            []NodeClient{client},
				Users:              []NodeUser{{Subject: "ada", Name: "Ada", Email: "ada@example.test", EmailVerified: true}},
				AccessTokenSeconds: 3, DPoPNonces: test.nonces,
			})
			c := StartCaddy(t, strings.NewReplacer("{$SITE}", at, "{$ISSUER}", p.Issuer, "{$LINES}", test.lines,
				"{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$SITE} {
	gatehouse {$ISSUER} {
		client_id app
		scopes openid profile email offline_access
		dpop
		userinfo required
		{$LINES}
	}
	reverse_proxy {$APP}
}
`))
			b := NewBrowser(t)
			page := b.Submit(b.Navigate(at+"/deep?x=1"), "interaction", map[string]string{"login": "ada"})
			page = b.Submit(page, "interaction", nil)
			if got := seen(t, page); got.URI != "/deep?x=1" || got.Header.Get("X-Forwarded-Email") != "ada@example.test" {
				t.Errorf("came back to %s as %q", got.URI, got.Header.Get("X-Forwarded-Email"))
			}
			cookie := b.Jar.Cookie("gatehouse").Value
			if !eventually(15*time.Second, func() bool {
				seen(t, b.Fetch(at, "GET", at+"/x", nil, ""))
				return b.Jar.Cookie("gatehouse").Value != cookie
			}) {
				t.Errorf("the session was not refreshed:\n%s\n%s", c.Logs(), p.Logs())
			}
			if strings.Contains(c.Logs(), "no claims at refresh") || strings.Contains(c.Logs(), "could not be refreshed") {
				t.Errorf("a refresh failed:\n%s\n%s", c.Logs(), p.Logs())
			}
		})
	}
}
