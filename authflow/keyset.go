package authflow

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysMaxAge is how old the keys may become before newer ones are fetched,
	// so that a key which the provider has withdrawn stops being trusted.
	keysMaxAge = time.Hour
	// renewBurst and renewInterval bound the fetches that unknown keys cause
	// (OIDC Core 10.1.1): a provider may rotate twice in a moment, a flood of
	// invented key ids costs one fetch per interval (P17).
	renewBurst    = 5
	renewInterval = 10 * time.Second
)

// errBadSignature means that no key which fits has made the signature.
var errBadSignature = errors.New("the signature is not by the key that the token names")

// publicKey is one usable member of a provider's JWK Set.
type publicKey struct {
	kid, alg string // "" if the set does not say
	key      any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// parseKeys reads a JWK Set (RFC 7517 5). Members that it does not understand,
// that lack something, or that are not for signatures are skipped: one of them
// must not take the others down.
func parseKeys(body []byte) ([]publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decode JWK Set: %w", err)
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		if key, err := parseKey(raw); err == nil {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys can be used", len(set.Keys))
	}
	return keys, nil
}

// parseKey reads a JWK that verifies signatures.
func parseKey(raw []byte) (publicKey, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return publicKey{}, fmt.Errorf("decode JWK: %w", err)
	}
	// Certificates are not looked at, so one that cannot be read does no harm.
	for _, name := range []string{"x5c", "x5t", "x5t#S256"} {
		delete(members, name)
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return publicKey{}, fmt.Errorf("encode JWK: %w", err)
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(raw, &jwk); err != nil {
		return publicKey{}, fmt.Errorf("decode JWK: %w", err)
	}
	// RFC 7517 4.2, 4.3: both may be absent.
	if jwk.Use != "" && jwk.Use != "sig" {
		return publicKey{}, fmt.Errorf("use is %q", jwk.Use)
	}
	if ops, ok := members["key_ops"]; ok {
		var operations []string
		if err := json.Unmarshal(ops, &operations); err != nil || !slices.Contains(operations, "verify") {
			return publicKey{}, fmt.Errorf("key_ops are %.64q", ops)
		}
	}
	if k, ok := jwk.Key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return publicKey{}, fmt.Errorf("an RSA key of %d bits", k.N.BitLen())
	}
	if !jwk.IsPublic() { // oct and private keys
		return publicKey{}, errors.New("not a public key")
	}
	return publicKey{kid: jwk.KeyID, alg: jwk.Algorithm, key: jwk.Key}, nil
}

// fits tells whether the key may have made a signature with that header. kty
// and crv belong to the algorithm (RFC 7518 3.1), so that a key of one kind is
// never used as one of another; alg binds if the set names it (RFC 7517 4.4);
// without a kid all keys are tried (OIDC Core 10.1).
func (k publicKey) fits(kid, alg string) bool {
	if (kid != "" && kid != k.kid) || (k.alg != "" && k.alg != alg) {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == ecdsaAlgs[key.Curve.Params().Name]
	case ed25519.PublicKey:
		return alg == string(jose.EdDSA)
	}
	return false
}

// ecdsaAlgs maps a curve to its only algorithm (RFC 7518 3.4).
var ecdsaAlgs = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

// fetchKeys fetches the provider's keys from where its metadata says.
func (c *Client) fetchKeys(ctx context.Context) (*[]publicKey, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.getJSON(ctx, meta.JWKSURI)
	if err == nil {
		var keys []publicKey
		if keys, err = parseKeys(body); err == nil {
			return &keys, nil
		}
	}
	c.discovery.doubt(meta)
	c.cfg.Logger.Warn("the provider's keys could not be fetched", "issuer", c.cfg.Issuer, "error", err)
	return nil, err
}

// currentKeys returns the provider's keys.
func (c *Client) currentKeys(ctx context.Context) (*[]publicKey, error) {
	if c.cfg.isPlain() {
		return nil, NewError(ReasonKeyUnknown, errors.New("the provider is plain OAuth 2.0 and has no keys"))
	}
	keys, err := c.keys.get(ctx)
	if err != nil {
		return nil, NewError(ReasonKeysUnavailable, err).retryAfter(c.keys.pause())
	}
	return keys, nil
}

// signatureCheck is the key set for one token, as go-oidc wants it. It keeps its
// own error, since go-oidc turns it into text.
type signatureCheck struct {
	client *Client
	algs   []jose.SignatureAlgorithm

	done bool // it was asked
	err  error
}

// checkSignature verifies the signature of a JWS by this provider's keys.
func (c *Client) checkSignature(ctx context.Context, raw string, algs []jose.SignatureAlgorithm) error {
	_, err := (&signatureCheck{client: c, algs: algs}).VerifySignature(ctx, raw)
	return err
}

// VerifySignature implements oidc.KeySet. If the provider's keys do not have the
// one that the token names, they are fetched again, once.
func (s *signatureCheck) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	var payload []byte
	s.done = true
	payload, s.err = s.verify(ctx, token)
	return payload, s.err
}

func (s *signatureCheck) verify(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, s.algs)
	if err != nil {
		return nil, NewError(ReasonIDTokenMalformed, err)
	}
	keys, err := s.client.currentKeys(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := verifyWith(*keys, jws)
	named := jws.Signatures[0].Header.KeyID != ""
	if err == nil || (named && ReasonOf(err) == ReasonSignature) {
		return payload, err // a newer set would hold no other key by that name
	}
	newer, renewErr := s.client.keys.renew(ctx, keys)
	if errors.Is(renewErr, errThrottled) {
		return nil, err
	}
	if renewErr != nil {
		return nil, NewError(ReasonKeysUnavailable, renewErr).retryAfter(s.client.keys.pause())
	}
	return verifyWith(*newer, jws)
}

// verifyWith returns the payload if one of the keys made the signature.
func verifyWith(keys []publicKey, jws *jose.JSONWebSignature) ([]byte, error) {
	header := jws.Signatures[0].Header
	var tried int
	for _, key := range keys {
		if !key.fits(header.KeyID, header.Algorithm) {
			continue
		}
		tried++
		if payload, err := jws.Verify(key.key); err == nil {
			return payload, nil
		}
	}
	if tried == 0 {
		return nil, NewError(ReasonKeyUnknown,
			fmt.Errorf("no key for alg %s and kid %.64q", header.Algorithm, header.KeyID))
	}
	return nil, NewError(ReasonSignature, errBadSignature)
}
