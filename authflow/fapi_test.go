package authflow_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// fapi2Config is a configuration of the profile with nothing but what it needs.
func fapi2Config() authflow.Config {
	keys := []authflow.ClientKey{must(authflow.ParseClientKey(pkcs8(clientRSA()), ""))}
	return authflow.Config{
		Issuer: "https://id.example.com", ClientID: "app", Profile: authflow.ProfileFAPI2, MutualTLS: true,
		ClientKeys: func() ([]authflow.ClientKey, error) { return keys, nil },
	}
}

func keysOf(data []byte) func() ([]authflow.ClientKey, error) {
	return func() ([]authflow.ClientKey, error) {
		key, err := authflow.ParseClientKey(data, "k")
		return []authflow.ClientKey{key}, err
	}
}

// TestFAPI2Configuration: what contradicts FAPI 2.0 Security Profile (Final) is
// refused, by the word and the section.
func TestFAPI2Configuration(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(*authflow.Config)
		word    string // "" = it is accepted
		section string
	}{
		"a key alone":             {func(c *authflow.Config) { c.MutualTLS = false }, "", ""},
		"certificate and DPoP":    {func(c *authflow.Config) { c.DPoP = true }, "", ""},
		"key and certificate":     {func(*authflow.Config) {}, "", ""},
		"certificate alone":       {func(c *authflow.Config) { c.ClientKeys = nil }, "", ""},
		"self-signed certificate": {func(c *authflow.Config) { c.ClientKeys, c.ClientAuth = nil, authflow.SelfSignedTLSClientAuth }, "", ""},
		"form_post":               {func(c *authflow.Config) { c.ResponseMode = "form_post" }, "", ""},
		"jar":                     {func(c *authflow.Config) { c.RequestObject = true }, "", ""},
		"one of the algorithms": {func(c *authflow.Config) {
			c.SigningAlgs, c.UserInfo, c.UserInfoAlg = []string{"ES256"}, authflow.UserInfoRequired, "PS256"
		}, "", ""},
		"userinfo off":                {func(c *authflow.Config) { c.Endpoints = map[string]string{"userinfo": authflow.EndpointOff} }, "", ""},
		"http on loopback, for tests": {func(c *authflow.Config) { c.Issuer = "http://127.0.0.1:1" }, "", ""},
		"another profile":             {func(c *authflow.Config) { c.Profile = "fapi1" }, "profile", ""},
		"http":                        {func(c *authflow.Config) { c.Issuer = "http://id.example.com" }, "issuer", ""},
		"reach by http":               {func(c *authflow.Config) { c.Reach = "http://127.0.0.1:1" }, "reach", "5.2.1"},
		"client_secret": {func(c *authflow.Config) {
			c.ClientSecret = func() (secret.String, error) { return secret.New("x"), nil }
		}, "client_secret", "5.3.3.1"},
		"client_secret_basic":     {func(c *authflow.Config) { c.ClientAuth = authflow.ClientSecretBasic }, "client_auth", "5.3.3.1"},
		"client_secret_post":      {func(c *authflow.Config) { c.ClientAuth = authflow.ClientSecretPost }, "client_auth", "5.3.3.1"},
		"a public client":         {func(c *authflow.Config) { c.ClientAuth = authflow.ClientAuthNone }, "client_auth", "5.3.3.1"},
		"neither key nor cert":    {func(c *authflow.Config) { c.ClientKeys, c.MutualTLS = nil, false }, "client_key or client_certificate", "5.3.3.1"},
		"par off":                 {func(c *authflow.Config) { c.PAR = authflow.PAROff }, "par", "5.3.3.2"},
		"no endpoint to push to":  {func(c *authflow.Config) { c.Endpoints = map[string]string{"pushed_authorization_request": "off"} }, "pushed_authorization_request", "5.3.3.2"},
		"an endpoint of our own":  {func(c *authflow.Config) { c.Endpoints = map[string]string{"token": "https://id.example.com/t"} }, "endpoint token", "5.3.3.1"},
		"no metadata":             {func(c *authflow.Config) { c.NoDiscovery = true }, "discovery", "5.3.3.1"},
		"ID tokens by RS256":      {func(c *authflow.Config) { c.SigningAlgs = []string{"PS256", "RS256"} }, "signing_algs", "5.4.1"},
		"ID tokens by ES384":      {func(c *authflow.Config) { c.SigningAlgs = []string{"ES384"} }, "signing_algs", "5.4.1"},
		"userinfo by RS256":       {func(c *authflow.Config) { c.UserInfo, c.UserInfoAlg = authflow.UserInfoRequired, "RS256" }, "userinfo_signed_response_alg", "5.4.1"},
		"a key for RS256":         {func(c *authflow.Config) { c.ClientKeys = keysOf(jwkFile(clientRSA(), `,"alg":"RS256"`)) }, "client_key k", "5.4.1"},
		"a key for PS384":         {func(c *authflow.Config) { c.ClientKeys = keysOf(jwkFile(clientRSA(), `,"alg":"PS384"`)) }, "client_key k", "5.4.1"},
		"a key of P-384":          {func(c *authflow.Config) { c.ClientKeys = keysOf(pkcs8(newEC(elliptic.P384()))) }, "client_key k", "5.4.1"},
		"a key of RSA 1024":       {func(c *authflow.Config) { c.ClientKeys = keysOf(pkcs8(must(rsa.GenerateKey(rand.Reader, 1024)))) }, "2048", ""},
		"a key that is not there": {func(c *authflow.Config) { c.ClientKeys = keysOf(nil) }, "key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := fapi2Config()
			test.set(&cfg)
			_, err := authflow.New(cfg)
			switch {
			case test.word == "" && err != nil:
				t.Fatal(err)
			case test.word != "" && (err == nil || !strings.Contains(err.Error(), test.word)):
				t.Fatalf("got %v, want an error that names %s", err, test.word)
			case test.section != "" && !strings.Contains(err.Error(), "profile fapi2") || !strings.Contains(errorText(err), test.section):
				t.Errorf("%v: names neither the profile nor section %s", err, test.section)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Certificates: RSA of 2048 bits, curves of 224 (FAPI 2.0 5.4.1).
func TestFAPI2CertificateKeys(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := *elliptic.P256().Params()
	small.BitSize = 192
	weak := must(rsa.GenerateKey(rand.Reader, 1024)).Public()
	for name, test := range map[string]struct {
		key  any
		fits bool
	}{
		"RSA 1024": {weak, false}, "RSA 2048": {clientRSA().Public(), true}, "P-256": {newEC(elliptic.P256()).Public(), true},
		"P-224": {newEC(elliptic.P224()).Public(), true}, "192 bits": {&ecdsa.PublicKey{Curve: &small}, false}, "Ed25519": {public, true},
	} {
		if err := fapi2Config().CheckProfileKey(test.key); (err == nil) != test.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (authflow.Config{}).CheckProfileKey(weak); err != nil {
		t.Errorf("without the profile: %v", err)
	}
}

// newFAPI2 is a provider that signs by PS256, with a client of the profile; its key is
// RSA and names no algorithm.
//
// Tokens are bound by DPoP, unless options say otherwise.
func newFAPI2(t *testing.T, options ...func(*authflow.Config)) rp {
	t.Helper()
	key := must(authflow.ParseClientKey(pkcs8(clientRSA()), ""))
	s := keyed(t, []authflow.ClientKey{key}, append([]func(*authflow.Config){func(cfg *authflow.Config) {
		cfg.Profile = authflow.ProfileFAPI2
	}}, options...)...)
	s.p.Set(func(b *testop.Behaviour) {
		b.Alg, b.OnlyClientAuth, b.DPoP = "PS256", "private_key_jwt", true
		b.Discovery = testop.Edit{"token_endpoint_auth_signing_alg_values_supported": []string{"RS256"}}
	})
	return s
}

// TestFAPI2Requests: 5.3.3.1, 5.3.3.2, 5.4.1. Nobody has asked for pushed requests, and
// the provider says that it takes RS256.
func TestFAPI2Requests(t *testing.T) {
	s := newFAPI2(t, func(cfg *authflow.Config) {
		cfg.Parameters, cfg.RequestObject = map[string]string{"hd": "example.com"}, true
	})
	s.mustLogin("bob")
	query := s.p.Requests(testop.Authorization)[0].URL.Query()
	if names := slices.Sorted(maps.Keys(query)); !slices.Equal(names, []string{"client_id", "request_uri"}) {
		t.Errorf("the browser carries %v", names)
	}
	for _, form := range []map[string][]string{s.p.Requests(testop.Token)[0].PostForm, s.p.Requests(testop.Push)[0].PostForm} {
		header, claims := decodeJWT(t, form["client_assertion"][0])
		if header["alg"] != "PS256" || claims["aud"] != s.p.Issuer() {
			t.Errorf("assertion by %v for %v", header["alg"], claims["aud"])
		}
	}
	if header, _ := decodeJWT(t, s.p.Requests(testop.Push)[0].PostForm.Get("request")); header["alg"] != "PS256" {
		t.Errorf("the request is signed by %v", header["alg"])
	}
}

// TestFAPI2Refuses: what an OpenID provider may do, and one of the profile may not.
func TestFAPI2Refuses(t *testing.T) {
	certificate := func(cfg *authflow.Config) { cfg.MutualTLS, cfg.ClientAuth = true, authflow.PrivateKeyJWT }
	for name, test := range map[string]struct {
		behave func(*testop.Behaviour)
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"5.4.1 an ID token by RS256, as discovery offers": {func(b *testop.Behaviour) { b.Alg = "RS256" }, authflow.ReasonAlg, authflow.Provider},
		"5.3.3.2 no iss, and none announced": {func(b *testop.Behaviour) {
			b.AuthorizationResponse = testop.Edit{"iss": testop.Absent}
			b.Discovery["authorization_response_iss_parameter_supported"] = testop.Absent
		}, authflow.ReasonIssMissing, authflow.BadRequest},
		"5.3.3.2 nowhere to push to": {func(b *testop.Behaviour) {
			b.Discovery["pushed_authorization_request_endpoint"] = testop.Absent
		}, authflow.ReasonPARMissing, authflow.Internal},
		"5.3.3.1 Bearer for a proof": {func(b *testop.Behaviour) { b.DPoPDowngrade = true }, authflow.ReasonDPoPDowngrade, authflow.Provider},
		"5.3.3.1 a certificate that binds nothing": {func(b *testop.Behaviour) {
			b.DPoP = false
			b.Discovery["tls_client_certificate_bound_access_tokens"] = false
		}, authflow.ReasonUnbound, authflow.Internal},
		"5.3.3.1 a certificate, and nothing said": {func(b *testop.Behaviour) { b.DPoP = false }, authflow.ReasonUnbound, authflow.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			var options []func(*authflow.Config)
			if test.reason == authflow.ReasonUnbound {
				options = append(options, certificate)
			}
			s := newFAPI2(t, options...)
			s.p.Set(test.behave)
			_, err := s.login("bob")
			wantError(t, err, test.reason, test.kind)
		})
	}
	for _, alg := range []string{"PS256", "ES256", "EdDSA"} {
		s := newFAPI2(t)
		s.p.Set(func(b *testop.Behaviour) { b.Alg = alg })
		s.mustLogin("bob")
	}
}

// A key that is put in the place of another is held to the profile too.
func TestFAPI2KeyChanges(t *testing.T) {
	keys := keysOf(pkcs8(clientRSA()))
	s := newFAPI2(t, func(cfg *authflow.Config) {
		cfg.ClientKeys = func() ([]authflow.ClientKey, error) { return keys() }
	})
	keys = keysOf(jwkFile(clientRSA(), `,"alg":"RS256"`))
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonClientKey, authflow.Internal)
	if calls := s.p.Calls(testop.Push); calls != 0 {
		t.Errorf("%d requests", calls)
	}
}
