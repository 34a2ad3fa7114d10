package authflow

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// dpopAlg is what proofs are signed with: the one algorithm of RFC 9449 that every
// implementation has and FAPI 2.0 5.4.1 allows.
const dpopAlg = "ES256"

// TokenTypeDPoP and TokenTypeBearer are the values of [Grant.TokenType] (RFC 9449
// 5, RFC 6750 6.1.1), which are also the schemes that a token is sent with.
const (
	TokenTypeBearer = "Bearer"
	TokenTypeDPoP   = "DPoP"
)

// ErrDPoPKey means that a text is not from [DPoPKey.Marshal].
var ErrDPoPKey = errors.New("no DPoP key")

// DPoPKey is the private key that a session's tokens are bound to (RFC 9449): who
// has stolen one of them cannot use it without the key. It is safe for concurrent
// use, and prints as its thumbprint.
type DPoPKey struct {
	private    *ecdsa.PrivateKey
	header     string // the JOSE header of every proof, encoded (RFC 9449 4.2)
	thumbprint string
}

// newDPoPKey makes the key of a scalar: 32 bytes, big-endian, from 1 to the order
// of P-256 less one.
func newDPoPKey(scalar []byte) (*DPoPKey, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, ErrDPoPKey // the other error could quote the key
	}
	public := jose.JSONWebKey{Key: private.Public()}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDPoPKey, err)
	}
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": dpopAlg, "jwk": public})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDPoPKey, err)
	}
	return &DPoPKey{private, base64.RawURLEncoding.EncodeToString(header), base64.RawURLEncoding.EncodeToString(thumbprint)}, nil
}

// generateDPoPKey makes a key that is derived from nothing.
func generateDPoPKey() (*DPoPKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDPoPKey, err)
	}
	scalar, err := private.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDPoPKey, err)
	}
	return newDPoPKey(scalar)
}

// ParseDPoPKey reads what [DPoPKey.Marshal] wrote, and nothing else: ErrDPoPKey.
func ParseDPoPKey(marshalled secret.String) (*DPoPKey, error) {
	return newDPoPKey([]byte(marshalled.Reveal()))
}

// Marshal returns the private key for a session to keep: the scalar of 32 bytes,
// which are not text.
func (k *DPoPKey) Marshal() secret.String {
	scalar, err := k.private.Bytes()
	if err != nil {
		return secret.String{} // no key of this package: each was made of a scalar
	}
	return secret.New(string(scalar))
}

// Thumbprint is the SHA-256 thumbprint of the public key in base64url (RFC 7638):
// jkt and dpop_jkt (RFC 9449 6.1, 10).
func (k *DPoPKey) Thumbprint() string { return k.thumbprint }

// String names the key, and never shows it.
func (k *DPoPKey) String() string { return "DPoP key " + k.thumbprint }

// GoString is String: %#v does not show the key either.
func (k *DPoPKey) GoString() string { return k.String() }

// ProofRequest is the one request that a proof is for.
type ProofRequest struct {
	// Method is the HTTP method, URL the absolute http or https URL without user,
	// as whoever checks the proof sees it. Query and fragment are left out of the
	// proof.
	Method, URL string
	// AccessToken is the token that the request brings, empty if it brings none.
	AccessToken secret.String
	// Nonce is the newest that the server gave, "" if it gave none.
	Nonce string
	// Now is the time.
	Now time.Time
}

// Proof makes the value of the DPoP header for one request, and for that alone:
// jti works once (RFC 9449 4.2).
func (k *DPoPKey) Proof(req ProofRequest) (string, error) {
	target, err := proofTarget(req.URL)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Hash   string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{rand.Text(), req.Method, target, req.Now.Unix(), tokenHash(req.AccessToken), req.Nonce})
	if err != nil {
		return "", fmt.Errorf("DPoP proof: %w", err)
	}
	return k.sign(k.header + "." + base64.RawURLEncoding.EncodeToString(payload))
}

// proofTarget is htu: a URL without query and fragment (RFC 9449 4.2). Whoever checks it
// ought to normalize it (4.3, RFC 3986 6.2.2.1, 6.2.3), and not everybody does, so it is
// so already: lower case, no default port, "/" for no path. The path is that on the wire.
func proofTarget(raw string) (string, error) {
	raw, _, _ = strings.Cut(raw, "#")
	raw, _, _ = strings.Cut(raw, "?")
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("DPoP proof: the URL is not absolute, of another scheme, or has a user")
	}
	_, rest, _ := strings.Cut(raw, "://")
	_, path, _ := strings.Cut(rest, "/")
	return originOf(u) + "/" + path, nil
}

// sign makes a JWS of its signing input (RFC 7515 7.1, RFC 7518 3.4). A request to
// an application may wait for it, and go-jose allocates twice as much.
func (k *DPoPKey) sign(input string) (string, error) {
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("DPoP proof: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// tokenHash is ath: whoever sees the proof cannot send it with another token.
func tokenHash(token secret.String) string {
	if token.Empty() {
		return ""
	}
	digest := sha256.Sum256([]byte(token.Reveal()))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// WantsDPoPNonce tells whether a resource server's answer asks for the request
// again, with the nonce that is in it (RFC 9449 9): 401 with a challenge whose
// scheme is DPoP, in any case, and whose error is use_dpop_nonce.
func WantsDPoPNonce(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized &&
		challengeError(resp.Header.Values("WWW-Authenticate"), TokenTypeDPoP) == errorUseNonce
}
