package authflow

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// testKeys are keys of every kind that is or could be in a JWK Set.
type testKeys struct {
	rsa, weak        *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

func newTestKeys(t testing.TB) testKeys {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	var k testKeys
	var errs [6]error
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.weak, errs[1] = rsa.GenerateKey(rand.Reader, 1024)
	k.p256, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, errs[3] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, errs[4] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, k.ed, errs[5] = ed25519.GenerateKey(rand.Reader)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// jwk encodes a key with more members.
func jwk(t testing.TB, key any, members string) string {
	t.Helper()
	data, err := jose.JSONWebKey{Key: key}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data[:len(data)-1]) + members + "}"
}

// TestParseKeys: RFC 7517 5. One member that is of no use takes no other down.
func TestParseKeys(t *testing.T) {
	k := newTestKeys(t)
	public := k.rsa.Public()
	tests := map[string]struct {
		member string
		usable bool
	}{
		"RSA":                {jwk(t, public, ``), true},
		"P-521":              {jwk(t, k.p521.Public(), `,"use":"sig","alg":"ES512"`), true},
		"Ed25519":            {jwk(t, k.ed.Public(), `,"key_ops":["sign","verify"]`), true},
		"unknown members":    {jwk(t, public, `,"ext":1,"exp":2`), true},
		"broken certificate": {jwk(t, public, `,"x5c":["AAAA"],"x5t":7`), true},
		"use enc":            {jwk(t, public, `,"use":"enc"`), false},
		"key_ops encrypt":    {jwk(t, public, `,"key_ops":["encrypt"]`), false},
		"key_ops empty":      {jwk(t, public, `,"key_ops":[]`), false},
		"key_ops a string":   {jwk(t, public, `,"key_ops":"verify"`), false},
		"SEC-81 RSA of 1024": {jwk(t, k.weak.Public(), ``), false},
		"private":            {jwk(t, k.rsa, ``), false},
		"symmetric":          {jwk(t, []byte("0123456789abcdef0123456789abcdef"), ``), false},
		"secp256k1":          {`{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`, false},
		"off the curve":      {`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, false},
		"no kty":             {`{"kid":"a"}`, false},
		"a string":           {`"key"`, false},
		"null":               {`null`, false},
	}
	good := jwk(t, k.p256.Public(), `,"kid":"good"`)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			keys, err := parseKeys(fmt.Appendf(nil, `{"keys":[%s,%s]}`, test.member, good))
			if err != nil {
				t.Fatal(err)
			}
			if usable := len(keys) == 2; usable != test.usable || keys[len(keys)-1].kid != "good" {
				t.Errorf("usable %t, want %t: %v", usable, test.usable, keys)
			}
			keys, err = parseKeys(fmt.Appendf(nil, `{"keys":[%s]}`, test.member))
			if (err == nil) != test.usable || (keys == nil) == test.usable {
				t.Errorf("alone: %v, %v", keys, err)
			}
		})
	}
}

// TestKeyFits: RFC 7515 10.6, RFC 8725 3.1. A key makes only signatures of its own
// kind, and only those that the JWK Set lets it.
func TestKeyFits(t *testing.T) {
	k := newTestKeys(t)
	kinds := map[string]crypto.PublicKey{
		"rsa": k.rsa.Public(), "p256": k.p256.Public(), "p384": k.p384.Public(), "p521": k.p521.Public(), "ed": k.ed.Public(),
	}
	algs := map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed", "HS256": "", "none": "", "": "", "ES256K": "",
	}
	for kind, key := range kinds {
		for alg, of := range algs {
			if got := (publicKey{key: key}).fits("", alg); got != (kind == of) {
				t.Errorf("%s fits %q: %t", kind, alg, got)
			}
		}
	}
	for _, test := range []struct {
		key      publicKey
		kid, alg string
		fits     bool
	}{
		{publicKey{kid: "a"}, "a", "RS256", true},
		{publicKey{kid: "a"}, "", "RS256", true},
		{publicKey{kid: "a"}, "b", "RS256", false},
		{publicKey{}, "a", "RS256", false},
		{publicKey{alg: "PS256"}, "", "PS256", true},
		{publicKey{alg: "PS256"}, "", "RS256", false},
	} {
		test.key.key = k.rsa.Public()
		if got := test.key.fits(test.kid, test.alg); got != test.fits {
			t.Errorf("kid %q, alg %q fits kid %q, alg %q: %t", test.kid, test.alg, test.key.kid, test.key.alg, got)
		}
	}
}

// TestVerifyWith: SEC-81. Only the provider's keys count, whatever key the token
// brings along, and all that fit are tried.
func TestVerifyWith(t *testing.T) {
	k := newTestKeys(t)
	evil, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key *rsa.PrivateKey) *jose.JSONWebSignature {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(`{"sub":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		jws, err = jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	keys := []publicKey{{key: k.p256.Public()}, {key: k.ed.Public()}, {key: k.rsa.Public()}}
	if _, err := verifyWith(keys, sign(evil)); ReasonOf(err) != ReasonSignature {
		t.Errorf("a key in the header: %v, want %s", err, ReasonSignature)
	}
	if _, err := verifyWith(keys[:2], sign(k.rsa)); ReasonOf(err) != ReasonKeyUnknown {
		t.Errorf("no key of its kind: %v, want %s", err, ReasonKeyUnknown)
	}
	if _, err := verifyWith(nil, sign(k.rsa)); ReasonOf(err) != ReasonKeyUnknown {
		t.Errorf("no keys: %v, want %s", err, ReasonKeyUnknown)
	}
	payload, err := verifyWith(append([]publicKey{{key: evil.Public()}}, keys...), sign(k.rsa))
	if err != nil || !json.Valid(payload) {
		t.Errorf("%q, %v", payload, err)
	}
}
