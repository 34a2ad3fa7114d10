package authflow

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// minRSA is the length in bits of the shortest RSA key that signs or verifies (RFC 7518
// 3.3, 3.5; FAPI 2.0 5.4.1).
const minRSA = 2048

// ErrClientKey means that bytes are no private key that a client can sign with.
var ErrClientKey = errors.New("no usable private key")

// ClientKey is a private key of this client: it signs client assertions and
// request objects (OIDC Core 9, RFC 9101). It prints as its key id.
type ClientKey struct{ jwk jose.JSONWebKey }

// ParseClientKey reads a private key out of a PEM file (PKCS #8, PKCS #1 or SEC
// 1) or a JWK file (RFC 7517): RSA of 2048 bits or more, P-256, P-384, P-521 or
// Ed25519. kid is its key id; if it is empty that of the JWK is, else the
// thumbprint (RFC 7638). A JWK's alg is what the key signs with. What is no such
// key is [ErrClientKey].
func ParseClientKey(data []byte, kid string) (ClientKey, error) {
	jwk, err := parsePrivate(data)
	if err != nil {
		return ClientKey{}, fmt.Errorf("%w: %w", ErrClientKey, err)
	}
	algs := keyAlgs(jwk.Key)
	switch {
	case algs == nil:
		return ClientKey{}, fmt.Errorf("%w: neither RSA of %d bits, P-256, P-384, P-521 nor Ed25519", ErrClientKey, minRSA)
	case jwk.Use != "" && jwk.Use != "sig":
		return ClientKey{}, fmt.Errorf("%w: its use is %.16q", ErrClientKey, jwk.Use)
	case jwk.Algorithm != "" && !slices.Contains(algs, jwk.Algorithm):
		return ClientKey{}, fmt.Errorf("%w: alg is %.16q, which is none of %s", ErrClientKey, jwk.Algorithm, strings.Join(algs, ", "))
	case jwk.Algorithm == "" && len(algs) == 1:
		jwk.Algorithm = algs[0]
	}
	if kid != "" {
		jwk.KeyID = kid
	}
	if jwk.KeyID == "" {
		thumbprint, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return ClientKey{}, fmt.Errorf("%w: %w", ErrClientKey, err)
		}
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	}
	return ClientKey{jose.JSONWebKey{Key: jwk.Key, KeyID: jwk.KeyID, Algorithm: jwk.Algorithm, Use: "sig"}}, nil
}

// seedBytes is how many bytes make a key: 16 more than it has, so that all keys are
// as likely (FIPS 186-5 A.2.1).
const seedBytes = 48

// KeyFromSeed makes the P-256 key that belongs to 48 bytes, which nobody could guess;
// its key id is the thumbprint. Who has the same bytes has the same key. Fewer or more
// are [ErrClientKey].
func KeyFromSeed(seed []byte) (ClientKey, error) {
	if len(seed) != seedBytes {
		return ClientKey{}, fmt.Errorf("%w: a seed of %d bytes, not %d", ErrClientKey, len(seed), seedBytes)
	}
	one := big.NewInt(1)
	scalar := new(big.Int).Mod(new(big.Int).SetBytes(seed), new(big.Int).Sub(elliptic.P256().Params().N, one))
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar.Add(scalar, one).FillBytes(make([]byte, 32)))
	if err != nil {
		return ClientKey{}, ErrClientKey // the other error could quote the key
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return ClientKey{}, ErrClientKey
	}
	return ParseClientKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "")
}

// Sign makes a JWT of claims (RFC 7519), whose typ says what it is for, so that it
// passes for no other (RFC 8725 3.11).
func (k ClientKey) Sign(typ string, claims any) (string, error) { return k.sign(typ, claims, nil) }

// parsePrivate reads a private key by what its bytes begin with. No error quotes
// them.
func parsePrivate(data []byte) (jose.JSONWebKey, error) {
	var jwk jose.JSONWebKey
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		if err := json.Unmarshal(data, &jwk); err != nil || !jwk.Valid() {
			return jwk, errors.New("the JSON is no JWK")
		}
		return jwk, nil
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			jwk.Key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			jwk.Key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			jwk.Key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // EC PARAMETERS and certificates may stand in front
			continue
		}
		if err != nil {
			return jwk, errors.New("the PEM block is malformed, or encrypted")
		}
		return jwk, nil
	}
	return jwk, errors.New("neither PEM nor a JWK")
}

// keyAlgs are the algorithms that a private key can sign with, the usual one
// first; nil if it is none of ours.
func keyAlgs(key any) []string {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() >= minRSA {
			return []string{"RS256", "PS256", "RS384", "PS384", "RS512", "PS512"}
		}
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PrivateKey:
		return []string{"EdDSA"}
	}
	return nil
}

// String names the key, and never shows it.
func (k ClientKey) String() string { return "client key " + k.jwk.KeyID }

// GoString is String: %#v does not show the key either.
func (k ClientKey) GoString() string { return k.String() }

// alg is what the key signs with: its own algorithm. An RSA key of a PEM file has
// none; it uses PS256 if the provider offers it (FAPI 2.0 5.4.1), else RS256.
func (k ClientKey) alg(offered []string) jose.SignatureAlgorithm {
	switch {
	case k.jwk.Algorithm != "":
		return jose.SignatureAlgorithm(k.jwk.Algorithm)
	case slices.Contains(offered, "PS256"):
		return jose.PS256
	}
	return jose.RS256
}

// sign makes a JWT of claims, with a typ if there is one.
func (k ClientKey) sign(typ string, claims any, offered []string) (string, error) {
	options := new(jose.SignerOptions)
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg(offered), Key: k.jwk}, options)
	if err != nil {
		return "", fmt.Errorf("%s: %w", k, err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("%s: %w", k, err)
	}
	return signed.CompactSerialize()
}

// MarshalKeySet encodes the public halves of keys as a JWK Set (RFC 7517 5), for
// the provider to verify with; a key that is there twice is in it once.
func MarshalKeySet(keys []ClientKey) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	seen := make(map[string]bool)
	for _, key := range keys {
		thumbprint, err := key.jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if same := key.jwk.KeyID + " " + string(thumbprint); !seen[same] {
			seen[same] = true
			set.Keys = append(set.Keys, key.jwk.Public())
		}
	}
	return json.Marshal(set)
}

// Keys returns the client's keys as they are now, none if it has none. An error
// is client_key_unreadable.
func (c *Client) Keys() ([]ClientKey, error) {
	if c.cfg.ClientKeys == nil {
		return nil, nil
	}
	keys, err := c.cfg.ClientKeys()
	if err != nil {
		return nil, NewError(ReasonClientKey, fmt.Errorf("read the client keys: %w", err))
	}
	return keys, nil
}

// signingKey returns the first of the keys.
func (c *Client) signingKey() (ClientKey, error) {
	keys, err := c.Keys()
	if err == nil && len(keys) == 0 {
		err = NewError(ReasonClientKey, errors.New("there is no client key"))
	}
	if err == nil && c.cfg.fapi2() {
		if refused := keys[0].checkFAPI2(); refused != nil {
			err = NewError(ReasonClientKey, refused)
		}
	}
	if err != nil {
		return ClientKey{}, err
	}
	return keys[0], nil
}
