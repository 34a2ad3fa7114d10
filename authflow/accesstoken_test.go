package authflow_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const audience = "https://api.example.com"

// taking is a resource server that takes tokens of s's provider.
func (s rp) taking(policies ...func(*authflow.ResourcePolicy)) *authflow.ResourceServer {
	s.t.Helper()
	policy := authflow.ResourcePolicy{Audiences: []string{audience}}
	for _, change := range policies {
		change(&policy)
	}
	server, err := authflow.NewResourceServer(policy, s.client)
	if err != nil {
		s.t.Fatal(err)
	}
	return server
}

func anyType(p *authflow.ResourcePolicy)    { p.AnyType = true }
func introspect(p *authflow.ResourcePolicy) { p.Introspect = true }

// unixIn is a time as claims have it.
func unixIn(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// TestAccessToken: RFC 9068 4, RFC 8725, SEC-83.
func TestAccessToken(t *testing.T) {
	s := newRP(t)
	strict, lenient := s.taking(), s.taking(anyType)
	edit := func(name string, value any) testop.AccessToken {
		return testop.AccessToken{Audience: audience, Claims: testop.Edit{name: value}}
	}
	header := func(name string, value any) testop.AccessToken {
		return testop.AccessToken{Audience: audience, Header: testop.Edit{name: value}}
	}
	by := func(alg string) testop.AccessToken { return testop.AccessToken{Audience: audience, Alg: alg} }
	confusion := by("HS256")
	confusion.HMACKey = s.p.PublicKeyPEM()
	untyped := func(claims testop.Edit) testop.AccessToken {
		return testop.AccessToken{Audience: audience, Header: testop.Edit{"typ": "JWT"}, Claims: claims}
	}
	for _, test := range []struct {
		name    string
		token   testop.AccessToken
		server  *authflow.ResourceServer
		refused authflow.Reason // "" = it counts
	}{
		{"right", testop.AccessToken{Audience: audience, Scope: "read write"}, strict, ""},
		{"aud is a list", edit("aud", []string{"else", audience}), strict, ""},
		{"2.1 the whole media type", header("typ", "application/AT+jwt"), strict, ""},
		{"exp within the leeway", edit("exp", unixIn(-20*time.Second)), strict, ""},
		{"2.1 typ JWT", header("typ", "JWT"), strict, authflow.ReasonTokenKind},
		{"2.1 no typ", header("typ", testop.Absent), strict, authflow.ReasonTokenKind},
		{"typ of a logout token", header("typ", "logout+jwt"), lenient, authflow.ReasonTokenKind},
		{"typ of a signed answer", header("typ", "token-introspection+jwt"), lenient, authflow.ReasonTokenKind},
		{"typ is no text", header("typ", 7), lenient, authflow.ReasonTokenKind},
		{"crit", header("crit", []string{"exp"}), strict, authflow.ReasonIDTokenHeader},
		{"b64", header("b64", false), strict, authflow.ReasonIDTokenHeader},
		{"alg none", by("none"), strict, authflow.ReasonAlg},
		{"alg nOnE", by("nOnE"), strict, authflow.ReasonAlg},
		{"SEC-81 alg HS256 with the public key", confusion, strict, authflow.ReasonAlg},
		{"alg HS256 with the client secret", by("HS256"), strict, authflow.ReasonAlg},
		{"alg of the JWKS, but not the issuer's", by("ES256"), strict, authflow.ReasonAlg},
		{"alg as the policy says", by("ES256"), s.taking(func(p *authflow.ResourcePolicy) { p.Algs = []string{"ES256"} }), ""},
		{"alg of the issuer, but not the policy's", by("RS256"), s.taking(func(p *authflow.ResourcePolicy) { p.Algs = []string{"ES256"} }), authflow.ReasonAlg},
		{"signature", testop.AccessToken{Audience: audience, Corrupt: true}, strict, authflow.ReasonSignature},
		{"another key", testop.AccessToken{Audience: audience, Wrong: true}, strict, authflow.ReasonSignature},
		{"a key that nobody knows", header("kid", "else"), strict, authflow.ReasonKeyUnknown},
		{"SEC-83 iss of another", edit("iss", "https://evil.example"), strict, authflow.ReasonTokenIssuer},
		{"iss absent", edit("iss", testop.Absent), strict, authflow.ReasonTokenIssuer},
		{"iss with a slash more", edit("iss", testop.Append("/")), strict, authflow.ReasonTokenIssuer},
		{"SEC-83 aud of another", edit("aud", "https://other.example.com"), strict, authflow.ReasonAudMismatch},
		{"SEC-83 aud absent", edit("aud", testop.Absent), strict, authflow.ReasonAudMismatch},
		{"aud is the client", edit("aud", s.p.ClientID), strict, authflow.ReasonAudMismatch},
		{"aud begins like ours", edit("aud", testop.Append(".evil.example")), strict, authflow.ReasonAudMismatch},
		{"aud is an empty list", edit("aud", []string{}), strict, authflow.ReasonAudMismatch},
		{"aud is a number", edit("aud", 7), strict, authflow.ReasonClaimMalformed},
		{"another claim says whom for", edit("client_id", audience), s.taking(func(p *authflow.ResourcePolicy) { p.AudienceClaim = "client_id" }), ""},
		{"another claim says whom for, and has another", edit("client_id", "else"), s.taking(func(p *authflow.ResourcePolicy) { p.AudienceClaim = "client_id" }), authflow.ReasonAudMismatch},
		{"SEC-83 exp absent", edit("exp", testop.Absent), strict, authflow.ReasonExpMissing},
		{"exp over", edit("exp", unixIn(-62*time.Second)), strict, authflow.ReasonTokenExpired},
		{"SEC-88 exp in quotes", edit("exp", "9999999999"), strict, authflow.ReasonClaimMalformed},
		{"SEC-88 exp 1e300", edit("exp", 1e300), strict, authflow.ReasonClaimMalformed},
		{"nbf to come", edit("nbf", unixIn(5*time.Minute)), strict, authflow.ReasonClockSkew},
		{"nbf within the leeway", edit("nbf", unixIn(50*time.Second)), strict, ""},
		{"iat to come", edit("iat", unixIn(5*time.Minute)), strict, authflow.ReasonClockSkew},
		{"iat long ago", edit("iat", unixIn(-24*time.Hour)), strict, ""},
		{"sub absent", edit("sub", testop.Absent), strict, authflow.ReasonSubMissing},
		{"sub with a line break", edit("sub", "a\nb"), strict, authflow.ReasonSubMalformed},
		{"scope is a number", edit("scope", 7), strict, authflow.ReasonClaimMalformed},
		{"acr is a number", edit("acr", 7), strict, authflow.ReasonClaimMalformed},
		{"RFC 7800 cnf unknown", edit("cnf", map[string]string{"jwe": "x"}), strict, authflow.ReasonTokenBinding},
		{"RFC 7800 cnf known and unknown", edit("cnf", map[string]string{"jkt": "x", "kid": "y"}), strict, authflow.ReasonTokenBinding},
		{"RFC 7800 cnf with an empty key", edit("cnf", map[string]string{"jkt": ""}), strict, authflow.ReasonTokenBinding},
		{"RFC 7800 cnf empty", edit("cnf", map[string]string{}), strict, authflow.ReasonClaimMalformed},
		{"RFC 7800 cnf null", edit("cnf", nil), strict, authflow.ReasonClaimMalformed},

		{"any type: JWT", untyped(nil), lenient, ""},
		{"any type: none", testop.AccessToken{Audience: audience, Header: testop.Edit{"typ": testop.Absent}}, lenient, ""},
		{"any type: Keycloak's", untyped(testop.Edit{"typ": "Bearer"}), lenient, ""},
		{"any type: an ID token by nonce", untyped(testop.Edit{"nonce": "n"}), lenient, authflow.ReasonTokenKind},
		{"any type: an ID token by at_hash", untyped(testop.Edit{"at_hash": "h"}), lenient, authflow.ReasonTokenKind},
		{"any type: an ID token that shows nothing", untyped(testop.Edit{"client_id": testop.Absent}), lenient, authflow.ReasonTokenKind},
		{"any type: Keycloak's ID token", untyped(testop.Edit{"typ": "ID"}), lenient, authflow.ReasonTokenKind},
		{"any type: Keycloak's refresh token", untyped(testop.Edit{"typ": "Refresh"}), lenient, authflow.ReasonTokenKind},
		{"any type: Cognito's ID token", untyped(testop.Edit{"token_use": "id"}), lenient, authflow.ReasonTokenKind},
		{"any type: a logout token", untyped(testop.Edit{"events": map[string]any{}}), lenient, authflow.ReasonTokenKind},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := test.server.AccessToken(t.Context(), secret.New(s.p.Issue(test.token)))
			if test.refused != "" {
				wantError(t, err, test.refused, authflow.NoLogin)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if token.Subject != "sub-alice" || token.Client != s.client || !slices.Contains(token.Audiences, audience) {
				t.Errorf("%+v", token)
			}
		})
	}
}

// RFC 7800 3.1: what a token is bound to is read, each kind for what it is, and a token that is bound by something else besides
// is refused.
func TestConfirmation(t *testing.T) {
	s := newRP(t)
	resource := s.taking()
	for _, tt := range []struct {
		name             string
		cnf              map[string]string
		key, certificate string
	}{
		{"RFC 9449 6.1 a key", map[string]string{"jkt": "k"}, "k", ""},
		{"RFC 8705 3.1 a certificate", map[string]string{"x5t#S256": "c"}, "", "c"},
		{"both", map[string]string{"jkt": "k", "x5t#S256": "c"}, "k", "c"},
	} {
		raw := s.p.Issue(testop.AccessToken{Audience: audience, Claims: testop.Edit{"cnf": tt.cnf}})
		token, err := resource.AccessToken(t.Context(), secret.New(raw))
		if err != nil || token.KeyThumbprint != tt.key || token.CertificateThumbprint != tt.certificate {
			t.Errorf("%s: %+v, %v", tt.name, token, err)
		}
	}
	for name, cnf := range map[string]any{
		"a certificate without a value":  map[string]any{"x5t#S256": ""},
		"a certificate that is a number": map[string]any{"x5t#S256": 7},
	} {
		raw := s.p.Issue(testop.AccessToken{Audience: audience, Claims: testop.Edit{"cnf": cnf}})
		_, err := resource.AccessToken(t.Context(), secret.New(raw))
		if authflow.ReasonOf(err) != authflow.ReasonTokenBinding {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := s.p.Issue(testop.AccessToken{Audience: audience, Claims: testop.Edit{"cnf": "jkt"}})
	if _, err := resource.AccessToken(t.Context(), secret.New(raw)); authflow.ReasonOf(err) != authflow.ReasonClaimMalformed {
		t.Errorf("a text: %v", err)
	}
}

// What is no JWT, or none that every decoder reads the same way.
func TestAccessTokenMalformed(t *testing.T) {
	s := newRP(t)
	server := s.taking()
	right := s.p.Issue(testop.AccessToken{Audience: audience})
	parts := strings.Split(right, ".")
	for name, raw := range map[string]string{
		"no JWT":               "opaque",
		"four parts":           right + ".x",
		"not canonical":        parts[0] + "=." + parts[1] + "." + parts[2],
		"a line break":         parts[0] + ".\n" + parts[1] + "." + parts[2],
		"huge":                 right + strings.Repeat("A", 64<<10),
		"SEC-80 a claim twice": must(s.p.SignAs("RS256", map[string]any{"iss": s.p.Issuer(), "ISS": "x"}, testop.Edit{"typ": "at+jwt"})),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := server.AccessToken(t.Context(), secret.New(raw))
			wantError(t, err, authflow.ReasonTokenMalformed, authflow.NoLogin)
		})
	}
}

// An ID token and a logout token of the same provider, as it really signs them, for a
// resource server that is so careless as to take tokens for the client itself.
func TestIDTokenIsNoAccessToken(t *testing.T) {
	s := newRP(t)
	grant := s.mustLogin("alice")
	logout := must(s.p.Sign(map[string]any{
		"iss": s.p.Issuer(), "aud": s.p.ClientID, "sub": "sub-alice", "iat": unixIn(0), "exp": unixIn(time.Minute), "jti": "1",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}, testop.Edit{"typ": "logout+jwt"}))
	for _, policy := range []func(*authflow.ResourcePolicy){func(*authflow.ResourcePolicy) {}, anyType} {
		server := s.taking(policy, func(p *authflow.ResourcePolicy) { p.Audiences = []string{s.p.ClientID} })
		for _, raw := range []string{grant.IDToken.Reveal(), logout} {
			_, err := server.AccessToken(t.Context(), secret.New(raw))
			wantError(t, err, authflow.ReasonTokenKind, authflow.NoLogin)
		}
	}
}

// What providers really send: testdata/accesstokens has a file for each, with the
// policy that takes it and what it then says.
func TestAccessTokensOfProviders(t *testing.T) {
	files := must(filepath.Glob("testdata/accesstokens/*.json"))
	if len(files) < 4 {
		t.Fatalf("%d files", len(files))
	}
	s := newRP(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var shape struct {
				Header, Claims testop.Edit
				Policy         authflow.ResourcePolicy
				Scopes         []string
				Strict         bool // it says that it is an access token
			}
			if err := json.Unmarshal(must(os.ReadFile(file)), &shape); err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]any{"iss": s.p.Issuer(), "iat": unixIn(0), "exp": unixIn(time.Hour)} {
				shape.Claims[name] = value
			}
			for document, name := range map[*testop.Edit]string{&shape.Header: "typ", &shape.Claims: "client_id"} {
				if _, has := (*document)[name]; !has {
					(*document)[name] = testop.Absent
				}
			}
			raw := s.p.Issue(testop.AccessToken{Header: shape.Header, Claims: shape.Claims})
			set := func(p *authflow.ResourcePolicy) { *p = shape.Policy }
			token, err := s.taking(set).AccessToken(t.Context(), secret.New(raw))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(token.Scopes, shape.Scopes) {
				t.Errorf("scopes %q, want %q", token.Scopes, shape.Scopes)
			}
			_, err = s.taking(set, func(p *authflow.ResourcePolicy) { p.AnyType = false }).AccessToken(t.Context(), secret.New(raw))
			if shape.Strict && err != nil || !shape.Strict && authflow.ReasonOf(err) != authflow.ReasonTokenKind {
				t.Errorf("without any_type: %v", err)
			}
		})
	}
}

// A verified token costs one signature, and is judged by the time at each use.
func TestAccessTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		prepared := 0
		server := s.taking(func(p *authflow.ResourcePolicy) {
			p.Prepare = func(token *authflow.AccessToken) (any, error) { prepared++; return token.Subject, nil }
		})
		raw := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Claims: testop.Edit{"exp": unixIn(2 * time.Minute)}}))
		for range 10 {
			token, err := server.AccessToken(t.Context(), raw)
			if err != nil || token.Prepared != "sub-alice" {
				t.Fatal(token, err)
			}
		}
		if prepared != 1 {
			t.Errorf("found out %d times", prepared)
		}
		if _, err := s.taking().AccessToken(t.Context(), raw); err != nil {
			t.Error(err)
		}
		time.Sleep(3*time.Minute + time.Second)
		_, err := server.AccessToken(t.Context(), raw)
		wantError(t, err, authflow.ReasonTokenExpired, authflow.NoLogin)

		// By then its key may have been withdrawn.
		raw, prepared = secret.New(s.p.Issue(testop.AccessToken{Audience: audience})), 0
		for range 3 {
			if _, err := server.AccessToken(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
		}
		if prepared != 2 {
			t.Errorf("found out %d times in six minutes, want twice", prepared)
		}
	})
}

// SEC-85: what one resource server takes is nothing to another, and a token that
// differs in one byte is another.
func TestAccessTokenIsKeptApart(t *testing.T) {
	s, other := newRP(t), newRP(t)
	one := s.taking()
	raw := s.p.Issue(testop.AccessToken{Audience: audience})
	if _, err := one.AccessToken(t.Context(), secret.New(raw)); err != nil {
		t.Fatal(err)
	}
	_, err := other.taking().AccessToken(t.Context(), secret.New(raw))
	wantError(t, err, authflow.ReasonTokenIssuer, authflow.NoLogin)
	elsewhere := s.taking(func(p *authflow.ResourcePolicy) { p.Audiences = []string{"else"} })
	_, err = elsewhere.AccessToken(t.Context(), secret.New(raw))
	wantError(t, err, authflow.ReasonAudMismatch, authflow.NoLogin)
	if _, err := one.AccessToken(t.Context(), secret.New(raw[:len(raw)-4]+"AAAA")); err == nil {
		t.Error("another signature counts")
	}
	policy := authflow.ResourcePolicy{Audiences: []string{audience}, Algs: []string{"ES256"}} // by keys that differ
	both := must(authflow.NewResourceServer(policy, s.client, other.client))
	for i, from := range []rp{s, other} {
		token, err := both.AccessToken(t.Context(), secret.New(from.p.Issue(testop.AccessToken{Audience: audience, Alg: "ES256"})))
		if err != nil || token.Client != from.client {
			t.Errorf("issuer %d: %v", i, err)
		}
	}
	_, err = both.AccessToken(t.Context(), secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Alg: "ES256", Claims: testop.Edit{"iss": other.p.Issuer()}})))
	wantError(t, err, authflow.ReasonSignature, authflow.NoLogin)
}

// The provider is away: what is known counts on, what is not cannot be told.
func TestAccessTokenWhileTheProviderIsAway(t *testing.T) {
	s := newRP(t)
	server := s.taking(introspect)
	known, unknown := secret.New(s.p.Issue(testop.AccessToken{Audience: audience})), secret.New(s.p.Issue(testop.AccessToken{Audience: audience}))
	opaque := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true}))
	if _, err := server.AccessToken(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	s.p.Down()
	for _, raw := range []secret.String{known, unknown} { // the keys are there
		if _, err := server.AccessToken(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}
	_, err := server.AccessToken(t.Context(), opaque)
	wantError(t, err, authflow.ReasonProviderUnavailable, authflow.Unavailable)
	fresh := rp{t: t, p: s.p, client: newClient(t, s.p)}
	_, err = fresh.taking().AccessToken(t.Context(), known)
	wantError(t, err, authflow.ReasonDiscovery, authflow.Unavailable)
}

// An issuer at which nobody signs in (Kubernetes, a CI service) has keys and no
// endpoints, or addresses that are none.
func TestIssuerOfKeysAlone(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.KeysOnly = true })
	s.p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{
			"authorization_endpoint": "urn:kubernetes:programmatic_authorization", "token_endpoint": testop.Absent, "userinfo_endpoint": "none",
		}
	})
	raw := secret.New(s.p.Issue(testop.AccessToken{Audience: audience}))
	if _, err := s.taking().AccessToken(t.Context(), raw); err != nil {
		t.Error(err)
	}
	s.p.Set(func(b *testop.Behaviour) { b.Discovery["jwks_uri"] = "http://evil.example/keys" })
	strict := rp{t: t, p: s.p, client: newClient(t, s.p, func(cfg *authflow.Config) { cfg.KeysOnly = true })}
	_, err := strict.taking().AccessToken(t.Context(), raw)
	wantError(t, err, authflow.ReasonDiscovery, authflow.Unavailable)
}

func TestNewResourceServerRefuses(t *testing.T) {
	s := newRP(t)
	for name, policy := range map[string]authflow.ResourcePolicy{
		"SEC-83 no audience": {}, "SEC-81 HS256": {Audiences: []string{audience}, Algs: []string{"HS256"}}, "none": {Audiences: []string{audience}, Algs: []string{"none"}},
	} {
		if _, err := authflow.NewResourceServer(policy, s.client); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestIntrospection: RFC 7662 2, 4.
func TestIntrospection(t *testing.T) {
	s := newRP(t)
	server := s.taking(introspect)
	edit := func(name string, value any) testop.Behaviour {
		return testop.Behaviour{Introspection: testop.Edit{name: value}}
	}
	fault := func(f testop.Fault) testop.Behaviour {
		return testop.Behaviour{Faults: map[string]testop.Fault{testop.Introspection: f}}
	}
	for _, test := range []struct {
		name    string
		b       testop.Behaviour
		refused authflow.Reason
		kind    authflow.Kind
	}{
		{"right", testop.Behaviour{}, "", 0},
		{"no exp, no iss, no sub", testop.Behaviour{Introspection: testop.Edit{"exp": testop.Absent, "iss": testop.Absent, "sub": testop.Absent}}, "", 0},
		{"active is a text", edit("active", "true"), authflow.ReasonIntrospection, authflow.Provider},
		{"active is a number", edit("active", 1), authflow.ReasonIntrospection, authflow.Provider},
		{"active is absent", edit("active", testop.Absent), authflow.ReasonIntrospection, authflow.Provider},
		{"active is null", edit("active", nil), authflow.ReasonIntrospection, authflow.Provider},
		{"inactive", edit("active", false), authflow.ReasonTokenInactive, authflow.NoLogin},
		{"exp is over", edit("exp", unixIn(-2*time.Minute)), authflow.ReasonTokenExpired, authflow.NoLogin},
		{"exp in quotes", edit("exp", "9999999999"), authflow.ReasonClaimMalformed, authflow.NoLogin},
		{"nbf to come", edit("nbf", unixIn(2*time.Minute)), authflow.ReasonClockSkew, authflow.NoLogin},
		{"SEC-83 aud absent", edit("aud", testop.Absent), authflow.ReasonAudMismatch, authflow.NoLogin},
		{"SEC-83 aud of another", edit("aud", "https://other.example.com"), authflow.ReasonAudMismatch, authflow.NoLogin},
		{"iss of another", edit("iss", "https://evil.example"), authflow.ReasonIDTokenIssuer, authflow.NoLogin},
		{"sub with a line break", edit("sub", "a\r\nX-Admin: 1"), authflow.ReasonSubMalformed, authflow.NoLogin},
		{"cnf unknown", edit("cnf", map[string]string{"kid": "x"}), authflow.ReasonTokenBinding, authflow.NoLogin},
		{"token_type in other letters", edit("token_type", "bEARER"), "", 0},
		{"a token of another type", edit("token_type", "refresh_token"), authflow.ReasonTokenKind, authflow.NoLogin},
		{"Hydra's refresh token", edit("token_use", "refresh_token"), authflow.ReasonTokenKind, authflow.NoLogin},
		{"Keycloak's refresh token", edit("typ", "Refresh"), authflow.ReasonTokenKind, authflow.NoLogin},
		{"not JSON", testop.Behaviour{IntrospectionBody: "true"}, authflow.ReasonIntrospection, authflow.Provider},
		{"active twice", testop.Behaviour{IntrospectionBody: `{"active":false,"ACTIVE":true}`}, authflow.ReasonIntrospection, authflow.Provider},
		{"signed, though not agreed", testop.Behaviour{IntrospectionBody: s.p.Issue(testop.AccessToken{Audience: audience})}, authflow.ReasonIntrospection, authflow.Provider},
		{"huge", fault(testop.Fault{Pad: 2 << 20}), authflow.ReasonIntrospection, authflow.Provider},
		{"it takes another method", testop.Behaviour{OnlyClientAuth: "private_key_jwt"}, authflow.ReasonIntrospection, authflow.Provider},
		{"status 500", fault(testop.Fault{Status: 500}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		{"status 429", fault(testop.Fault{Status: 429}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		{"SEC-113 redirect", fault(testop.Fault{Status: 302}), authflow.ReasonIntrospection, authflow.Provider},
		{"no answer", fault(testop.Fault{Abort: true}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true}))
			s.p.Set(func(b *testop.Behaviour) { *b = test.b })
			defer s.p.Behave()
			_, err := server.AccessToken(t.Context(), raw)
			if test.refused != "" {
				wantError(t, err, test.refused, test.kind)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
	sent := s.p.Requests(testop.Introspection)[0]
	if !strings.HasPrefix(sent.Header.Get("Authorization"), "Basic ") || sent.PostForm.Get("token_type_hint") != "access_token" || sent.URL.RawQuery != "" {
		t.Errorf("asked with %v %v", sent.Header, sent.PostForm)
	}
	var err error
	for _, endpoint := range []any{testop.Absent, "http://id.example.com/introspect", "/introspect"} { // RFC 7662 2: https
		s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{"introspection_endpoint": endpoint} })
		without := rp{t: t, p: s.p, client: newClient(t, s.p)}
		_, err = without.taking(introspect).AccessToken(t.Context(), secret.New("opaque"))
		wantError(t, err, authflow.ReasonIntrospectionMissing, authflow.Internal)
	}
	calls := s.p.Calls(testop.Introspection)
	_, err = s.taking().AccessToken(t.Context(), secret.New("opaque"))
	wantError(t, err, authflow.ReasonTokenMalformed, authflow.NoLogin)
	if s.p.Calls(testop.Introspection) != calls {
		t.Error("asked although nobody wanted it")
	}
}

// What is found out counts for half a minute, never past exp, and a "no" for five
// seconds; a hundred requests with one token are one question.
func TestIntrospectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		server := s.taking(introspect)
		calls := func(want int, when string) {
			t.Helper()
			if got := s.p.Calls(testop.Introspection); got != want {
				t.Errorf("%s: asked %d times, want %d", when, got, want)
			}
		}
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Introspection: {Delay: time.Second}}
		})
		raw := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true}))
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if _, err := server.AccessToken(t.Context(), raw); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		calls(1, "a hundred at once")
		s.p.Behave()
		s.p.Forget(raw.Reveal())
		time.Sleep(25 * time.Second)
		if _, err := server.AccessToken(t.Context(), raw); err != nil {
			t.Error(err)
		}
		calls(1, "within half a minute")
		time.Sleep(10 * time.Second)
		for range 3 {
			_, err := server.AccessToken(t.Context(), raw)
			wantError(t, err, authflow.ReasonTokenInactive, authflow.NoLogin)
		}
		calls(2, "a revoked one, three times")
		time.Sleep(6 * time.Second)
		_, err := server.AccessToken(t.Context(), raw)
		wantError(t, err, authflow.ReasonTokenInactive, authflow.NoLogin)
		calls(3, "after the moment of a no")

		short := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true, Claims: testop.Edit{"exp": unixIn(10 * time.Second)}}))
		if _, err := server.AccessToken(t.Context(), short); err != nil {
			t.Error(err)
		}
		s.p.Forget(short.Reveal())
		time.Sleep(11 * time.Second)
		_, err = server.AccessToken(t.Context(), short)
		wantError(t, err, authflow.ReasonTokenInactive, authflow.NoLogin)
		calls(5, "past exp")

		// Who gives up stops nobody else.
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Introspection: {Delay: time.Second}}
		})
		patient := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true}))
		gone, cancel := context.WithCancel(t.Context())
		wait.Go(func() {
			if _, err := server.AccessToken(gone, patient); err == nil {
				t.Error("the one that has gone got an answer")
			}
		})
		synctest.Wait()
		wait.Go(func() {
			if _, err := server.AccessToken(t.Context(), patient); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		wait.Wait()
		calls(6, "one of two gone")
	})
}

// TestSignedIntrospection: RFC 9701 5.
func TestSignedIntrospection(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.IntrospectionAlg = "ES256" })
	server := s.taking(introspect)
	signed := func(b testop.Behaviour) testop.Behaviour { b.IntrospectionAlg = "ES256"; return b }
	around := func(name string, value any) testop.Behaviour {
		return signed(testop.Behaviour{SignedIntrospection: testop.Edit{name: value}})
	}
	for _, test := range []struct {
		name    string
		b       testop.Behaviour
		refused authflow.Reason
		kind    authflow.Kind
	}{
		{"right", signed(testop.Behaviour{}), "", 0},
		{"inactive", signed(testop.Behaviour{Introspection: testop.Edit{"active": false}}), authflow.ReasonTokenInactive, authflow.NoLogin},
		{"not signed", testop.Behaviour{}, authflow.ReasonIntrospection, authflow.Provider},
		{"another alg", testop.Behaviour{IntrospectionAlg: "RS256"}, authflow.ReasonIntrospection, authflow.Provider},
		{"signature", signed(testop.Behaviour{CorruptIntrospection: true}), authflow.ReasonIntrospection, authflow.Provider},
		{"typ of an access token", signed(testop.Behaviour{IntrospectionHeader: testop.Edit{"typ": "at+jwt"}}), authflow.ReasonIntrospection, authflow.Provider},
		{"typ absent", signed(testop.Behaviour{IntrospectionHeader: testop.Edit{"typ": testop.Absent}}), authflow.ReasonIntrospection, authflow.Provider},
		{"crit", signed(testop.Behaviour{IntrospectionHeader: testop.Edit{"crit": []string{"exp"}}}), authflow.ReasonIntrospection, authflow.Provider},
		{"iss of another", around("iss", "https://evil.example"), authflow.ReasonIntrospection, authflow.Provider},
		{"aud of another", around("aud", "else"), authflow.ReasonIntrospection, authflow.Provider},
		{"aud is the resource server", around("aud", []string{audience}), "", 0},
		{"aud absent", around("aud", testop.Absent), authflow.ReasonIntrospection, authflow.Provider},
		{"iat absent", around("iat", testop.Absent), authflow.ReasonIntrospection, authflow.Provider},
		{"an old answer", around("iat", unixIn(-2*time.Minute)), authflow.ReasonIntrospection, authflow.Provider},
		{"no answer in it", around("token_introspection", true), authflow.ReasonIntrospection, authflow.Provider},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw := secret.New(s.p.Issue(testop.AccessToken{Audience: audience, Opaque: true}))
			s.p.Set(func(b *testop.Behaviour) { *b = test.b })
			defer s.p.Behave()
			_, err := server.AccessToken(t.Context(), raw)
			if test.refused != "" {
				wantError(t, err, test.refused, test.kind)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}
