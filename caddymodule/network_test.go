package caddymodule

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// SEC-85: two sites that trust different authorities for one client of one issuer do not share what they know of it.
func TestTrustPoolsAreNotMixedUp(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	app := &App{logger: zap.NewNop(), slogger: slog.New(slog.DiscardHandler), load: "one", needs: map[string]struct{}{}, issuers: map[string]struct{}{}}
	defer func() { _ = app.Cleanup() }()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pools := map[string]string{
		"system": `{"provider": "system"}`,
		"inline": fmt.Sprintf(`{"provider": "inline", "trusted_ca_certs": [%q]}`, base64.StdEncoding.EncodeToString(server.Certificate().Raw)),
	}
	clients := map[any]string{}
	for name, pool := range pools {
		for range 2 { // two sites that say the same share it
			p, err := app.provisionProvider(ctx, &ProviderConfig{
				Issuer: "https://id.example.com", ClientID: "app", ClientSecret: "x", NetworkConfig: NetworkConfig{TLSTrustPool: []byte(pool)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if other, known := clients[p.client]; known && other != name {
				t.Errorf("the client of %s is that of %s", name, other)
			}
			clients[p.client] = name
		}
	}
	if len(clients) != len(pools) {
		t.Errorf("%d clients, want %d", len(clients), len(pools))
	}
}

// Each word of the network does what it says, for a provider and for a further issuer of `bearer`.
func TestNetworkWords(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	t.Setenv("KEYS", "https://keys.internal/jwks")
	c := &NetworkConfig{
		Reach: "https://id.internal", Discovery: "off", Endpoint: map[string]string{"jwks": "{env.KEYS}"}, ForwardProxyURL: "http://proxy.internal:3128",
		TLSTrustPool: fmt.Appendf(nil, `{"provider": "inline", "trusted_ca_certs": [%q]}`, base64.StdEncoding.EncodeToString(server.Certificate().Raw)),
	}
	var config authflow.Config
	transport, err := c.provision(ctx, &config)
	if err != nil {
		t.Fatal(err)
	}
	if config.Reach != "https://id.internal" || !config.NoDiscovery || config.Endpoints["jwks"] != "https://keys.internal/jwks" || config.Transport != transport {
		t.Errorf("%+v", config)
	}
	if tls := transport.TLSClientConfig; !tls.RootCAs.Equal(server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs) || tls.InsecureSkipVerify {
		t.Error("other authorities are trusted")
	}
	if proxy, err := transport.Proxy(httptest.NewRequest("GET", "https://id.internal/", nil)); err != nil || proxy.String() != "http://proxy.internal:3128" {
		t.Errorf("the proxy is %v, %v", proxy, err)
	}
	var plain authflow.Config
	if transport, err = new(NetworkConfig).provision(ctx, &plain); err != nil || plain.Reach != "" || plain.NoDiscovery || len(plain.Endpoints) != 0 ||
		transport.TLSClientConfig.RootCAs != nil || transport.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("without a word: %+v, %v", plain, err)
	}
	if transport, err = (&NetworkConfig{InsecureSkipTLSVerify: true}).provision(ctx, &plain); err != nil || !transport.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("insecure_skip_tls_verify: %v", err)
	}
}

// A proxy that is none is refused, and no password of one is shown.
func TestForwardProxyURL(t *testing.T) {
	for _, tt := range []struct{ url, says string }{
		{"http://proxy", ""},
		{"https://proxy:1", ""},
		{"socks5://user:hidden@proxy", ""},
		{"socks5h://proxy", ""},
		{"ftp://user:hidden@proxy", "no URL of an http"},
		{"http:", "no URL of an http"},
		{"proxy:3128", "no URL of an http"},
		{"http://user:hidden@[::1", "is no URL"},
		{"http://user:hid%zzden@proxy", "is no URL"},
		{"{env.NOPE_NOPE}", "NOPE_NOPE"},
	} {
		err := (&NetworkConfig{ForwardProxyURL: tt.url}).provisionForwardProxy(authflow.NewTransport())
		if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hid")) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.says)
		}
	}
}

// FAPI 2.0 Security Profile 5.2.2: with the profile TLS 1.2 takes the recommended ciphers alone, and else Go's.
func TestCiphersOfTheProfile(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for profile, want := range map[string][]uint16{"": nil, authflow.ProfileFAPI2: fapi2Ciphers} {
		var config authflow.Config
		if err := (&ProviderConfig{Profile: profile}).provisionNetwork(ctx, &config); err != nil {
			t.Fatal(err)
		}
		if got := config.Transport.(*http.Transport).TLSClientConfig.CipherSuites; !slices.Equal(got, want) {
			t.Errorf("profile %q: %v", profile, got)
		}
	}
}

// A further issuer of `bearer` is reached as its words say, and is called by its host.
func TestNetworkOfABearerIssuer(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	app := &App{logger: zap.NewNop(), slogger: slog.New(slog.DiscardHandler), load: "one", needs: map[string]struct{}{}, issuers: map[string]struct{}{}}
	defer func() { _ = app.Cleanup() }()
	g := &Gate{app: app}
	g.Bearer = &BearerConfig{Audience: []string{"https://app.example.com"}}
	const issuer = "https://ci.example.com:8443/a"
	p, err := g.provisionIssuer(ctx, &BearerIssuerConfig{Issuer: issuer, NetworkConfig: NetworkConfig{Discovery: "off", Endpoint: map[string]string{"jwks": "https://keys.internal/jwks"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.name != "ci.example.com_8443" || p.userClaim != "sub" || p.client.Issuer() != issuer {
		t.Errorf("%+v", p)
	}
	if len(app.issuers) != 0 {
		t.Error("people sign in there")
	}
}
