package testop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// keySet is one generation of keys: RSA, P-256 and Ed25519, all in the JWKS.
type keySet struct {
	number int
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
}

// sharedRSA spares every test but the first the making of two RSA keys: the one
// that providers start with, and one that no JWKS ever holds.
var sharedRSA = sync.OnceValue(func() [2]*rsa.PrivateKey {
	return [2]*rsa.PrivateKey{mustRSA(2048), mustRSA(2048)}
})

// weakRSA is shared as well.
var weakRSA = sync.OnceValue(func() *rsa.PrivateKey { return mustRSA(1024) })

func mustRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return key
}

func newKeys(number int, key *rsa.PrivateKey) *keySet {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return &keySet{number: number, rsa: key, ec: ec, ed: ed}
}

func firstKeys() *keySet { return newKeys(1, sharedRSA()[0]) }

// RotateKeys replaces all keys; the JWKS holds the old ones no more.
func (p *Provider) RotateKeys() {
	p.mu.Lock()
	number := p.keys.number
	p.mu.Unlock()
	next := newKeys(number+1, mustRSA(2048))
	p.mu.Lock()
	p.keys = next
	p.mu.Unlock()
}

// PublicKeyPEM is the RSA key that signs, as the attack that takes it for an HMAC
// secret would write it.
func (p *Provider) PublicKeyPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(p.currentKeys().rsa.Public())
	if err != nil {
		panic(err) // an RSA key always encodes
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (p *Provider) currentKeys() *keySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys
}

// kid names a key of this generation.
func (k *keySet) kid(kind string) string { return fmt.Sprintf("%s-%d", kind, k.number) }

// signingKey is the key for alg and the kid to be told.
func (p *Provider) signingKey(alg string, b Behaviour) (any, string, error) {
	keys := p.currentKeys()
	switch {
	case strings.HasPrefix(alg, "HS"):
		if b.HMACKey != nil {
			return b.HMACKey, keys.kid("rsa"), nil
		}
		// go-jose wants a key as long as the hash. HMAC itself fills a short key
		// with zeros up to its block, so this is the same key.
		return []byte(p.ClientSecret + strings.Repeat("\x00", max(0, 64-len(p.ClientSecret)))), "", nil
	case b.WrongKey && (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")):
		return sharedRSA()[1], keys.kid("rsa"), nil
	case b.WeakKey && alg == "RS256":
		return weakRSA(), keys.kid("rsa"), nil
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		return keys.rsa, keys.kid("rsa"), nil
	case alg == "ES256":
		if b.WrongKey {
			return newKeys(0, nil).ec, keys.kid("ec"), nil
		}
		return keys.ec, keys.kid("ec"), nil
	case alg == "EdDSA":
		if b.WrongKey {
			return newKeys(0, nil).ed, keys.kid("ed"), nil
		}
		return keys.ed, keys.kid("ed"), nil
	}
	return nil, "", fmt.Errorf("testop: no key for %q", alg)
}

// jwks is the JWK Set (RFC 7517 5).
func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request, b Behaviour) {
	keys := p.currentKeys()
	rsaAlg, otherAlg := "RS256", "PS256"
	if strings.HasPrefix(b.Alg, "PS") {
		rsaAlg, otherAlg = b.Alg, "RS256"
	}
	var members []any
	if b.StrangeKeys {
		members = append(members, strangeKeys...)
	}
	if b.DecoyKeys {
		decoys := newKeys(0, sharedRSA()[1])
		members = append(members,
			publicKey(decoys.ec, keys.kid("rsa"), "ES256"), publicKey(decoys.ed, keys.kid("rsa"), "EdDSA"),
			publicKey(decoys.rsa, keys.kid("rsa"), otherAlg))
	}
	rsaKey := keys.rsa
	if b.WeakKey {
		rsaKey = weakRSA()
	}
	for _, key := range []jose.JSONWebKey{
		publicKey(rsaKey, keys.kid("rsa"), rsaAlg),
		publicKey(keys.ec, keys.kid("ec"), "ES256"),
		publicKey(keys.ed, keys.kid("ed"), "EdDSA"),
	} {
		if b.NoKeyIDs {
			key.KeyID = ""
		}
		members = append(members, key)
	}
	if b.RSAKeys > 0 {
		members = onlyRSA(b, members[len(members)-3])
	}
	answer(w, http.StatusOK, map[string]any{"keys": members})
}

// onlyRSA is a JWKS of RSA keys of which the last one signs.
func onlyRSA(b Behaviour, signing any) []any {
	var members []any
	for i := range b.RSAKeys - 1 {
		other := publicKey(sharedRSA()[1], fmt.Sprintf("rsa-other-%d", i), "RS256")
		if b.NoKeyIDs {
			other.KeyID = ""
		}
		members = append(members, other)
	}
	return append(members, signing)
}

func publicKey(private crypto.Signer, kid, alg string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: private.Public(), KeyID: kid, Algorithm: alg, Use: "sig"}
}

// strangeKeys must be passed over (RFC 7517 5): each is something that providers
// were seen to publish.
var strangeKeys = []any{
	json.RawMessage(`{"kty":"EC","crv":"secp256k1","alg":"ES256K","kid":"k1","use":"sig",` +
		`"x":"WKn-ZIGevcwGIyyrzFoZNBdaq9_TsqzGl96oc0CWuis","y":"y77t-RvAHRKTsSGdIYUfweuOvwrvDD-Q3Hv5J0fSKbE"}`),
	json.RawMessage(`{"kty":"EC","crv":"secp256k1","kid":"k1-without-alg","use":"sig",` +
		`"x":"WKn-ZIGevcwGIyyrzFoZNBdaq9_TsqzGl96oc0CWuis","y":"y77t-RvAHRKTsSGdIYUfweuOvwrvDD-Q3Hv5J0fSKbE"}`),
	json.RawMessage(`{"kty":"EC","crv":"P-256","kid":"off-curve","use":"sig","x":"AQ","y":"AQ"}`),
	json.RawMessage(`{"kty":"RSA","kid":"no-modulus","e":"AQAB"}`),
	json.RawMessage(`{"kty":"RSA","kid":"for-encryption","use":"enc","alg":"RSA-OAEP","n":"` +
		strings.Repeat("q", 342) + `","e":"AQAB"}`),
	json.RawMessage(`{"kty":"AKP","alg":"ML-DSA-44","kid":"post-quantum","pub":"AAAA"}`),
	json.RawMessage(`{"kty":"AKP","alg":"ML-DSA-9999","kid":"post-quantum-to-come","use":"sig","pub":"AAAA"}`),
	json.RawMessage(`{"kty":"OKP-TO-COME","alg":"TO-COME","kid":"of-no-known-type","use":"sig"}`),
	json.RawMessage(`{"kid":"no-type"}`),
	json.RawMessage(`{"kty":7}`),
	json.RawMessage(`{}`),
	json.RawMessage(`"a string"`),
	json.RawMessage(`null`),
}
