package authflow_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// backChannel is where a provider can be reached whose public address cannot: it
// notes which Host it was called by, and for what.
type backChannel struct {
	*httptest.Server
	mu    sync.Mutex
	hosts map[string]string // by path
}

func newBackChannel(t *testing.T, handler http.Handler) *backChannel {
	b := &backChannel{hosts: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.hosts[r.URL.Path] = r.Host
		b.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

const publicIssuer = "https://id.example.com"

// public makes a testop provider speak of itself as publicIssuer.
func public(b *testop.Behaviour) {
	public := testop.Change(func(right any) any {
		text, ok := right.(string)
		if !ok {
			return testop.Absent(right)
		}
		u, err := url.Parse(text)
		if err != nil {
			return right
		}
		return publicIssuer + u.Path
	})
	b.Discovery = testop.Edit{
		"issuer": public, "authorization_endpoint": public, "token_endpoint": public, "jwks_uri": public,
		"userinfo_endpoint": public, "end_session_endpoint": public, "revocation_endpoint": public, "introspection_endpoint": public,
		"pushed_authorization_request_endpoint": public,
	}
	b.IDToken = testop.Edit{"iss": publicIssuer}
	b.AuthorizationResponse = testop.Edit{"iss": publicIssuer}
}

// noNetwork fails the test if a call goes elsewhere than to one host.
type noNetwork struct {
	t    *testing.T
	host string
}

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != n.host {
		n.t.Errorf("a call escaped to %s", r.URL)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestReach: P16. Every call goes to the other origin; what browsers see, and what
// iss is compared with, stays the public one.
func TestReach(t *testing.T) {
	p := testop.Start(t)
	p.Set(public)
	back := newBackChannel(t, p)
	host := strings.TrimPrefix(back.URL, "http://")
	client, err := authflow.New(authflow.Config{
		Issuer: publicIssuer, ClientID: p.ClientID, Reach: back.URL, UserInfo: authflow.UserInfoRequired,
		ClientSecret: func() (secret.String, error) { return secret.New(p.ClientSecret), nil },
		Transport:    noNetwork{t, host},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := rp{t: t, p: p, client: client}
	s.network = toBackChannel{host}
	grant := s.mustLogin("bob")
	if grant.Issuer != publicIssuer {
		t.Errorf("issuer is %q", grant.Issuer)
	}
	if _, err := client.Refresh(t.Context(), request(grant)); err != nil {
		t.Errorf("refresh: %v", err)
	}
	_, location, err := client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
	if err != nil || !strings.HasPrefix(location, publicIssuer+"/authorization?") {
		t.Errorf("the browser is sent to %s, %v", location, err)
	}
	if location, err := client.EndSessionURL(t.Context(), authflow.EndSessionRequest{}); err != nil || !strings.HasPrefix(location, publicIssuer+"/end_session?") {
		t.Errorf("the browser is sent to %s, %v", location, err)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/token", "/userinfo", "/jwks"} {
		if back.hosts[path] != host {
			t.Errorf("%s was called by Host %q, want %q", path, back.hosts[path], host)
		}
	}
}

// toBackChannel is the browser's network, in which the public name is known.
type toBackChannel struct{ host string }

func (n toBackChannel) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", n.host
	return http.DefaultTransport.RoundTrip(r)
}

// TestReachIsNotAnotherIssuer: a provider that takes its name from the Host header
// is not believed.
func TestReachIsNotAnotherIssuer(t *testing.T) {
	p := testop.Start(t)
	client := newClient(t, p, func(cfg *authflow.Config) { cfg.Issuer, cfg.Reach = publicIssuer, p.Issuer() })
	wantError(t, start(t, client), authflow.ReasonDiscoveryIssuer, authflow.Provider)
}

// TestEndpointsByHand: what is set by hand wins over what the provider advertises,
// and off is off.
func TestEndpointsByHand(t *testing.T) {
	p := testop.Start(t)
	p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"token_endpoint": "https://evil.example/token", "jwks_uri": testop.Absent}
	})
	s := rp{t: t, p: p, client: newClient(t, p, func(cfg *authflow.Config) {
		cfg.UserInfo, cfg.Endpoints = authflow.UserInfoOnMissingClaims, map[string]string{
			"token": p.URL(testop.Token), "jwks": p.URL(testop.JWKS), "userinfo": authflow.EndpointOff, "end_session": authflow.EndpointOff,
		}
	}), needed: []string{"no_such_claim"}}
	s.mustLogin("bob")
	if calls := p.Calls(testop.UserInfo); calls != 0 {
		t.Errorf("userinfo is off, and was called %d times", calls)
	}
	_, err := s.client.EndSessionURL(t.Context(), authflow.EndSessionRequest{})
	wantError(t, err, authflow.ReasonNoEndSession, authflow.Provider)
}

// TestDiscoveryOff: nothing is asked for metadata.
func TestDiscoveryOff(t *testing.T) {
	p := testop.Start(t)
	s := rp{t: t, p: p, client: newClient(t, p, func(cfg *authflow.Config) {
		cfg.NoDiscovery, cfg.Endpoints = true, map[string]string{
			"authorization": p.URL(testop.Authorization), "token": p.URL(testop.Token), "jwks": p.URL(testop.JWKS),
		}
	})}
	s.mustLogin("bob")
	if calls := p.Calls(testop.Discovery); calls != 0 {
		t.Errorf("%d calls for metadata", calls)
	}
}

// TestNewRefusesAddresses: what could not work, or would send secrets in the clear,
// is an error before the first login.
func TestNewRefusesAddresses(t *testing.T) {
	tests := map[string]struct {
		set  func(*authflow.Config)
		word string
	}{
		"right": {func(c *authflow.Config) {
			c.Reach, c.Endpoints = "https://10.0.0.1:8443", map[string]string{"revocation": "off", "token": "https://t.example.com/"}
		}, ""},
		"reach with a slash":       {func(c *authflow.Config) { c.Reach = "https://idp.internal/" }, ""},
		"reach on loopback":        {func(c *authflow.Config) { c.Reach = "http://127.0.0.1:8080" }, ""},
		"SEC-113 reach over http":  {func(c *authflow.Config) { c.Reach = "http://idp.internal" }, "reach:"},
		"reach with a path":        {func(c *authflow.Config) { c.Reach = "https://idp.internal/realms/a" }, "reach:"},
		"reach with a query":       {func(c *authflow.Config) { c.Reach = "https://idp.internal?" }, "reach:"},
		"reach is a name":          {func(c *authflow.Config) { c.Reach = "idp.internal" }, "reach:"},
		"endpoint unknown":         {func(c *authflow.Config) { c.Endpoints = map[string]string{"tokens": "https://a.example"} }, "endpoint:"},
		"endpoint over http":       {func(c *authflow.Config) { c.Endpoints = map[string]string{"token": "http://a.example"} }, "endpoint token:"},
		"endpoint token off":       {func(c *authflow.Config) { c.Endpoints = map[string]string{"token": "off"} }, "endpoint token:"},
		"SEC-113 own machine":      {func(c *authflow.Config) { c.Endpoints = map[string]string{"token": "http://127.0.0.1/"} }, "endpoint token:"},
		"max_age is no number":     {func(c *authflow.Config) { c.Parameters = map[string]string{"max_age": "soon"} }, "param:"},
		"discovery off, no token":  {func(c *authflow.Config) { c.NoDiscovery = true }, "discovery:"},
		"SEC-81 userinfo by HS256": {func(c *authflow.Config) { c.UserInfoAlg = "HS256" }, "userinfo_signed_response_alg:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := authflow.Config{
				Issuer: publicIssuer, ClientID: "app",
				ClientSecret: func() (secret.String, error) { return secret.New("x"), nil },
			}
			test.set(&cfg)
			_, err := authflow.New(cfg)
			if test.word == "" && err != nil || test.word != "" && (err == nil || !strings.Contains(err.Error(), `": `+test.word)) {
				t.Errorf("error is %v, want one about %q", err, test.word)
			}
		})
	}
}
