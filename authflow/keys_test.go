package authflow_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// clientRSA is one RSA key for all tests.
var clientRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func newEd() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

func pkcs8(key any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
}

func jwkFile(key any, members string) []byte {
	data := must(json.Marshal(jose.JSONWebKey{Key: key}))
	return []byte(strings.TrimSuffix(string(data), "}") + members + "}")
}

// TestParseClientKey: RFC 7517, RFC 7518 3.3 and 3.4, RFC 7638.
func TestParseClientKey(t *testing.T) {
	ec := newEC(elliptic.P256())
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	sec1 := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(ec))})...)
	tests := map[string]struct {
		data     []byte
		kid      string
		alg, has string // of the published key; "" = it is refused
	}{
		"PKCS #8 RSA":                  {pkcs8(clientRSA()), "", "-", ""},
		"PKCS #8 P-256":                {pkcs8(ec), "", "ES256", ""},
		"PKCS #8 P-384":                {pkcs8(newEC(elliptic.P384())), "", "ES384", ""},
		"PKCS #8 P-521":                {pkcs8(newEC(elliptic.P521())), "", "ES512", ""},
		"PKCS #8 Ed25519":              {pkcs8(newEd()), "", "EdDSA", ""},
		"PKCS #1":                      {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(clientRSA())}), "", "-", ""},
		"SEC 1 behind its parameters":  {sec1, "", "ES256", ""},
		"a kid of ours":                {pkcs8(ec), "k1", "ES256", "k1"},
		"JWK":                          {jwkFile(ec, `,"kid":"own"`), "", "ES256", "own"},
		"JWK, a kid of ours":           {jwkFile(ec, `,"kid":"own"`), "k1", "ES256", "k1"},
		"JWK without kid":              {jwkFile(newEd(), ""), "", "EdDSA", ""},
		"JWK with alg":                 {jwkFile(clientRSA(), `,"alg":"PS256","use":"sig"`), "", "PS256", ""},
		"RFC 7518 3.3 RSA of 1024":     {pkcs8(weak), "", "", ""},
		"a JWK of RSA 1024":            {jwkFile(weak, ""), "", "", ""},
		"P-224":                        {pkcs8(newEC(elliptic.P224())), "", "", ""},
		"a public key as PEM":          {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(ec.Public()))}), "", "", ""},
		"a public JWK":                 {jwkFile(ec.Public(), ""), "", "", ""},
		"a secret as JWK":              {[]byte(`{"kty":"oct","k":"c2VjcmV0"}`), "", "", ""},
		"a JWK for encryption":         {jwkFile(ec, `,"use":"enc"`), "", "", ""},
		"SEC-81 a JWK for HS256":       {jwkFile(clientRSA(), `,"alg":"HS256"`), "", "", ""},
		"a JWK with alg of another":    {jwkFile(ec, `,"alg":"ES384"`), "", "", ""},
		"PEM that is cut off":          {pkcs8(ec)[:80], "", "", ""},
		"PEM that is no key":           {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "", "", ""},
		"nothing":                      {nil, "", "", ""},
		"JSON that is cut off":         {jwkFile(ec, "")[:40], "", "", ""},
		"a secret that is no key file": {[]byte("hunter2"), "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := authflow.ParseClientKey(test.data, test.kid)
			if test.alg == "" {
				if !errors.Is(err, authflow.ErrClientKey) {
					t.Fatalf("error %v, want ErrClientKey", err)
				}
				if text := strings.TrimSpace(string(test.data)); text != "" && strings.Contains(err.Error(), text) {
					t.Errorf("the error shows the file: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var set jose.JSONWebKeySet
			encoded := must(authflow.MarshalKeySet([]authflow.ClientKey{key, key}))
			if err := json.Unmarshal(encoded, &set); err != nil || len(set.Keys) != 1 {
				t.Fatalf("%s, %v: want one key", encoded, err)
			}
			public := set.Keys[0]
			if !public.IsPublic() || strings.Contains(string(encoded), `"d":`) || public.Use != "sig" || public.Algorithm != strings.Trim(test.alg, "-") {
				t.Errorf("published %s", encoded)
			}
			want := test.has
			if want == "" {
				want = base64.RawURLEncoding.EncodeToString(must(public.Thumbprint(crypto.SHA256)))
			}
			if public.KeyID != want {
				t.Errorf("kid %q, want %q", public.KeyID, want)
			}
			if printed := fmt.Sprintf("%v %+v %#v", key, key, []authflow.ClientKey{key}); strings.Contains(printed, "Curve") || strings.Contains(printed, "Primes") {
				t.Errorf("prints as %.200s", printed)
			}
		})
	}
}

// Two keys of two clients may have one kid: both are published.
func TestMarshalKeySetOfOneKid(t *testing.T) {
	one := must(authflow.ParseClientKey(pkcs8(newEd()), "k"))
	two := must(authflow.ParseClientKey(pkcs8(newEd()), "k"))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(must(authflow.MarshalKeySet([]authflow.ClientKey{one, two, one})), &set); err != nil || len(set.Keys) != 2 {
		t.Errorf("%d keys, %v", len(set.Keys), err)
	}
	if empty := string(must(authflow.MarshalKeySet(nil))); empty != `{"keys":[]}` {
		t.Errorf("without keys: %s", empty)
	}
}

// keyed is a client that signs with keys, and whose provider knows them.
func keyed(t testing.TB, keys []authflow.ClientKey, options ...func(*authflow.Config)) rp {
	t.Helper()
	p := testop.Start(t, func(p *testop.Provider) { p.ClientJWKS = string(must(authflow.MarshalKeySet(keys))) })
	p.Set(func(b *testop.Behaviour) { b.OnlyClientAuth = "private_key_jwt" })
	withKeys := func(cfg *authflow.Config) {
		cfg.ClientSecret = nil
		cfg.ClientKeys = func() ([]authflow.ClientKey, error) { return keys, nil }
	}
	return rp{t: t, p: p, client: newClient(t, p, append([]func(*authflow.Config){withKeys}, options...)...)}
}

// TestPrivateKeyJWT: OIDC Core 9, RFC 7523 3, FAPI 2.0 5.3.3.1. The provider
// refuses an assertion of another audience or with a jti that was there before.
func TestPrivateKeyJWT(t *testing.T) {
	second := must(authflow.ParseClientKey(pkcs8(newEd()), "next"))
	for name, test := range map[string]struct {
		key any
		alg string
	}{
		"RSA": {clientRSA(), "PS256"}, "P-256": {newEC(elliptic.P256()), "ES256"}, "Ed25519": {newEd(), "EdDSA"},
		"P-384": {newEC(elliptic.P384()), "ES384"}, "P-521": {newEC(elliptic.P521()), "ES512"},
	} {
		t.Run(name, func(t *testing.T) {
			s := keyed(t, []authflow.ClientKey{must(authflow.ParseClientKey(pkcs8(test.key), "first")), second})
			grant := s.mustLogin("bob")
			for range 2 { // RFC 6749 6: refreshing authenticates as well
				var err error
				if grant, err = s.client.Refresh(t.Context(), refreshOf(grant)); err != nil {
					t.Fatal(err)
				}
			}
			seen := make(map[string]bool)
			for _, request := range s.p.Requests(testop.Token) {
				header, claims := decodeJWT(t, request.PostForm.Get("client_assertion"))
				if header["alg"] != test.alg || header["kid"] != "first" {
					t.Errorf("header %v", header)
				}
				if claims["aud"] != s.p.Issuer() {
					t.Errorf("aud %v, want the issuer as one string", claims["aud"])
				}
				if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime <= 0 || lifetime > 60 {
					t.Errorf("good for %v seconds", lifetime)
				}
				if claims["iss"] != s.p.ClientID || claims["sub"] != s.p.ClientID {
					t.Errorf("iss %v, sub %v", claims["iss"], claims["sub"])
				}
				if jti := claims["jti"].(string); seen[jti] || len(jti) < 16 {
					t.Errorf("jti %q", jti)
				} else {
					seen[jti] = true
				}
				if request.PostForm.Has("client_secret") || request.Header.Get("Authorization") != "" {
					t.Error("two methods of client authentication")
				}
			}
			if len(seen) != 3 {
				t.Errorf("%d assertions", len(seen))
			}
		})
	}
}

// An RSA key signs with what its file says, else with PS256 where it is offered.
func TestPrivateKeyJWTAlgorithm(t *testing.T) {
	for name, test := range map[string]struct {
		data    []byte
		offered any
		want    string
	}{
		"PS256 is offered":     {pkcs8(clientRSA()), []string{"RS256", "PS256"}, "PS256"},
		"RS256 is offered":     {pkcs8(clientRSA()), []string{"RS256"}, "RS256"},
		"nothing is offered":   {pkcs8(clientRSA()), testop.Absent, "RS256"},
		"the file says PS384":  {jwkFile(clientRSA(), `,"alg":"PS384"`), []string{"RS256"}, "PS384"},
		"the file says RS256":  {jwkFile(clientRSA(), `,"alg":"RS256"`), []string{"PS256"}, "RS256"},
		"EC whatever they say": {pkcs8(newEC(elliptic.P256())), []string{"PS256"}, "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			s := keyed(t, []authflow.ClientKey{must(authflow.ParseClientKey(test.data, ""))})
			s.p.Set(func(b *testop.Behaviour) {
				b.Discovery = testop.Edit{"token_endpoint_auth_signing_alg_values_supported": test.offered}
			})
			s.mustLogin("bob")
			header, _ := decodeJWT(t, s.p.Requests(testop.Token)[0].PostForm.Get("client_assertion"))
			if header["alg"] != test.want {
				t.Errorf("alg %v, want %s", header["alg"], test.want)
			}
		})
	}
}

// A changed key signs the next request; one that cannot be read is an error of
// its own, and the code is not spent on it.
func TestClientKeyChanges(t *testing.T) {
	keys := []authflow.ClientKey{must(authflow.ParseClientKey(pkcs8(newEd()), "old")), must(authflow.ParseClientKey(pkcs8(newEd()), "new"))}
	var now []authflow.ClientKey
	var broken error
	s := keyed(t, keys, func(cfg *authflow.Config) {
		cfg.ClientKeys = func() ([]authflow.ClientKey, error) { return now, broken }
	})
	for i, kid := range []string{"old", "new"} {
		now = keys[i:]
		s.mustLogin("bob")
		header, _ := decodeJWT(t, s.p.Requests(testop.Token)[i].PostForm.Get("client_assertion"))
		if header["kid"] != kid {
			t.Errorf("kid %v, want %s", header["kid"], kid)
		}
	}
	now, broken = nil, errors.New("no such file")
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonClientKey, authflow.Internal)
	broken = nil
	_, err = s.login("bob")
	wantError(t, err, authflow.ReasonClientKey, authflow.Internal)
	if calls := s.p.Calls(testop.Token); calls != 2 {
		t.Errorf("%d token requests", calls)
	}
}

// refreshOf is the request that refreshes a grant.
func refreshOf(g *authflow.Grant) authflow.RefreshRequest {
	return authflow.RefreshRequest{
		RefreshToken: g.RefreshToken, Issuer: g.Issuer, Subject: g.Subject, Nonce: g.Nonce, AuthTime: g.AuthTime,
	}
}

// decodeJWT reads a JWT without verifying it.
func decodeJWT(t testing.TB, compact string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", compact)
	}
	for i, target := range []*map[string]any{&header, &claims} {
		if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[i])), target); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// FIPS 186-5 A.2.1: one seed is one key, any seed of the right length is a key, and none shows.
func TestKeyFromSeed(t *testing.T) {
	seed := func(b byte) []byte { return bytes.Repeat([]byte{b}, 48) }
	kids := map[string]bool{}
	for _, b := range []byte{0, 1, 0xff} {
		key, again := must(authflow.KeyFromSeed(seed(b))), must(authflow.KeyFromSeed(seed(b)))
		if key.String() != again.String() || kids[key.String()] {
			t.Errorf("seed %d: %s, then %s", b, key, again)
		}
		kids[key.String()] = true
		compact := must(key.Sign("test+jwt", map[string]string{"a": "b"}))
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(must(authflow.MarshalKeySet([]authflow.ClientKey{key})), &set); err != nil || len(set.Keys) != 1 {
			t.Fatal(err)
		}
		signed := must(jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256}))
		if payload, err := signed.Verify(set.Keys[0]); err != nil || string(payload) != `{"a":"b"}` {
			t.Errorf("seed %d: %v %s", b, err, payload)
		}
		if header := signed.Signatures[0].Protected; header.KeyID != set.Keys[0].KeyID || header.ExtraHeaders[jose.HeaderType] != "test+jwt" {
			t.Errorf("header %+v", header)
		}
	}
	for _, size := range []int{0, 32, 47, 49} {
		if _, err := authflow.KeyFromSeed(make([]byte, size)); !errors.Is(err, authflow.ErrClientKey) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
