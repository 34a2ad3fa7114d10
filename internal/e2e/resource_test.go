package e2e_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// resource is a resource server that takes access tokens bound to a key, and checks everything that RFC 9449 4.3 and 7
// have it check. It answers with what it got, as StartApplication does.
type resource struct {
	*httptest.Server

	mu     sync.Mutex
	origin string  // what htu has to begin with; "" = http and the Host of the request
	nonce  string  // what proofs have to hold; "" = none
	fresh  bool    // each nonce is good once
	before func()  // runs before each request is judged
	seen   []proof // of every request, good or not
	jtis   map[string]bool
}

// proof is what a request brought.
type proof struct {
	Method, URI, Body, Token string
	Thumbprint, ID, Nonce    string
	Status                   int
	Err                      error
}

func startResource(t *testing.T) *resource {
	t.Helper()
	s := &resource{jtis: map[string]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// set changes what the server wants.
func (s *resource) set(change func(*resource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// take returns the requests so far, and forgets them.
func (s *resource) take() []proof {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// ServeHTTP judges the proof before it reads the body, as a server that protects itself does.
func (s *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := proof{Method: r.Method, URI: r.RequestURI, Status: http.StatusOK}
	s.mu.Lock()
	if s.before != nil {
		s.before()
	}
	p.Err = s.check(r, &p)
	var wantsNonce *nonceError
	switch {
	case errors.As(p.Err, &wantsNonce):
		p.Status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer, dpop algs="ES256", error="use_dpop_nonce"`)
	case p.Err != nil:
		p.Status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`DPoP error="invalid_dpop_proof", error_description=%q`, p.Err))
	case s.fresh:
		s.nonce += "+"
	}
	if s.nonce != "" {
		w.Header().Set("DPoP-Nonce", s.nonce)
	}
	s.mu.Unlock()
	if p.Status == http.StatusOK || r.ContentLength >= 0 && r.ContentLength < 1<<16 {
		body, _ := io.ReadAll(r.Body)
		p.Body = string(body)
	}
	s.mu.Lock()
	s.seen = append(s.seen, p)
	s.mu.Unlock()
	if r.Header.Get("Upgrade") != "" && p.Status == http.StatusOK {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(Seen{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, p.Body})
}

type nonceError struct{ got string }

func (e *nonceError) Error() string { return "nonce is " + e.got }

// check is RFC 9449 4.3 (1) to (12), with nothing beside what has to be there.
func (s *resource) check(r *http.Request, p *proof) error {
	if n := len(r.Header["Dpop"]); n != 1 {
		return fmt.Errorf("(1) %d proofs", n)
	}
	if n := len(r.Header["Authorization"]); n != 1 {
		return fmt.Errorf("%d Authorization headers", n)
	}
	token, isBound := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	if p.Token = token; !isBound || token == "" || strings.Contains(token, " ") {
		return fmt.Errorf("Authorization: %.20s", r.Header.Get("Authorization"))
	}
	compact := r.Header.Get("DPoP")
	signed, err := jose.ParseSigned(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("(2), (5) %w", err)
	}
	head, _, _ := strings.Cut(compact, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return fmt.Errorf("(2) %w", err)
	}
	var header struct {
		Typ, Alg string
		JWK      struct{ Kty, Crv, X, Y string } `json:"jwk"`
	}
	if err := strictly(raw, &header); err != nil {
		return fmt.Errorf("(3), (7) header: %w", err)
	}
	if header.Typ != "dpop+jwt" || header.JWK.Kty != "EC" || header.JWK.Crv != "P-256" {
		return fmt.Errorf("(4) header %+v", header)
	}
	key := signed.Signatures[0].Protected.JSONWebKey
	if key == nil || !key.IsPublic() {
		return errors.New("(7) jwk is no public key")
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return fmt.Errorf("(6) %w", err)
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	p.Thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint)
	return s.checkClaims(r, p, payload)
}

func (s *resource) checkClaims(r *http.Request, p *proof, payload []byte) error {
	var claims struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Hash   string `json:"ath"`
		Nonce  string
	}
	if err := strictly(payload, &claims); err != nil {
		return fmt.Errorf("(3) claims: %w", err)
	}
	p.ID, p.Nonce = claims.ID, claims.Nonce
	path, _, _ := strings.Cut(r.RequestURI, "?")
	origin := s.origin
	if origin == "" {
		origin = "http://" + r.Host
	}
	digest := sha256.Sum256([]byte(p.Token))
	age := time.Since(time.Unix(claims.Issued, 0))
	switch {
	case claims.Method != r.Method:
		return fmt.Errorf("(8) htm %s", claims.Method)
	case claims.URL != origin+path:
		return fmt.Errorf("(9) htu %s, want %s", claims.URL, origin+path)
	case age < -2*time.Second || age > time.Minute:
		return fmt.Errorf("(11) %s old", age)
	case claims.Hash != base64.RawURLEncoding.EncodeToString(digest[:]):
		return errors.New("(12) ath")
	case len(claims.ID) < 16 || s.jtis[claims.ID]:
		return fmt.Errorf("11.1 jti %q", claims.ID)
	}
	s.jtis[claims.ID] = true
	if claims.Nonce != s.nonce {
		return &nonceError{claims.Nonce}
	}
	return nil
}

// strictly decodes what has no member that is not expected.
func strictly(data []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
