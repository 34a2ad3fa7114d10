package testop

import (
	"cmp"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The two servers that have nonces of their own (RFC 9449 8, 9).
const (
	authorizationServer = "authorization server"
	resourceServer      = "resource server"
)

// proofAlgs are what a proof may be signed with.
var proofAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA}

// proofWindow is how far iat of a proof may be from now.
const proofWindow = time.Minute

// RotateNonces makes all nonces for proofs old.
func (p *Provider) RotateNonces() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.nonces)
}

// Key is the thumbprint of the key that an access token is bound to (RFC 9449 6.1,
// cnf.jkt), "" if it is bound to none or unknown.
func (p *Provider) Key(accessToken string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound[accessToken]
}

// Resource is a resource server that takes this provider's access tokens, then
// calls next. origin is the one that clients know it by, "" that of the request.
// It has the nonces of the userinfo endpoint.
func (p *Provider) Resource(origin string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := origin
		if at == "" {
			at = "http://" + r.Host
			if r.TLS != nil {
				at = "https://" + r.Host
			}
		}
		p.mu.Lock()
		b := p.behaviour.clone()
		p.mu.Unlock()
		if _, ok := p.bearer(w, r, at, b); ok {
			next.ServeHTTP(w, r)
		}
	})
}

// binds tells whether tokens are bound to a key.
func (b Behaviour) binds() bool { return b.DPoP && !b.DPoPDowngrade }

// endpointProof checks the proof of a request to the authorization server, and
// returns the thumbprint of its key, "" if there is no proof and none is needed. It
// answers what it refuses.
func (p *Provider) endpointProof(w http.ResponseWriter, r *http.Request, b Behaviour, needed bool) (jkt string, ok bool) {
	if !b.binds() || !needed && len(r.Header.Values("DPoP")) == 0 {
		return "", true
	}
	proof, err := p.openProof(r, p.base(), "")
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_dpop_proof", err.Error())
		return "", false
	}
	if !p.nonce(w, authorizationServer, proof.nonce, b) {
		fail(w, http.StatusBadRequest, "use_dpop_nonce", "another nonce")
		return "", false
	}
	return proof.jkt, true
}

// bearer finds the grant of the access token that a request to a resource server
// at an origin brings. It answers what it refuses (RFC 6750 3, RFC 9449 7.1).
func (p *Provider) bearer(w http.ResponseWriter, r *http.Request, origin string, b Behaviour) (*grant, bool) {
	scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" && r.Method == http.MethodPost {
		scheme, presented = "Bearer", r.PostForm.Get("access_token")
	}
	p.mu.Lock()
	g, ok := p.access[presented]
	good := ok && !g.revoked
	jkt := p.bound[presented]
	p.mu.Unlock()
	refuse := func(code, description string) (*grant, bool) {
		challenge := "Bearer"
		if b.binds() {
			challenge = cmp.Or(b.DPoPScheme, "DPoP") + ` algs="ES256 PS256 EdDSA",`
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("%s error=%q, error_description=%q", challenge, code, description))
		fail(w, http.StatusUnauthorized, code, description)
		return nil, false
	}
	switch {
	case !good:
		return refuse("invalid_token", "unknown or revoked")
	case len(r.Header.Values("Authorization")) > 1:
		return refuse("invalid_request", "two tokens")
	case g.certificate != "" && g.certificate != certificateOf(r): // RFC 8705 3
		return refuse("invalid_token", "bound to another certificate")
	case jkt == "" && !strings.EqualFold(scheme, "Bearer"), jkt != "" && !strings.EqualFold(scheme, "DPoP"):
		return refuse("invalid_token", "not with the scheme "+scheme) // RFC 9449 7.2
	case jkt == "":
		return g, true
	}
	proof, err := p.openProof(r, origin, presented)
	switch {
	case err != nil:
		return refuse("invalid_dpop_proof", err.Error())
	case proof.jkt != jkt:
		return refuse("invalid_token", "bound to another key")
	case !p.nonce(w, resourceServer, proof.nonce, b):
		return refuse("use_dpop_nonce", "another nonce")
	}
	return g, true
}

// nonce tells whether a server takes a nonce, and gives the client the one that is
// good now (RFC 9449 8, 8.2).
func (p *Provider) nonce(w http.ResponseWriter, server, nonce string, b Behaviour) bool {
	if !b.DPoPNonces && !b.DPoPNonceOnce && !b.DPoPNonceLoop {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	good := nonce != "" && nonce == p.nonces[server] && !b.DPoPNonceLoop
	if p.nonces[server] == "" || b.DPoPNonceLoop || good && b.DPoPNonceOnce {
		p.nonces[server] = random("nonce")
	}
	w.Header()["Dpop-Nonce"] = []string{p.nonces[server]}
	if b.DPoPNonceHeader != nil {
		w.Header()["Dpop-Nonce"] = b.DPoPNonceHeader
	}
	return good
}

// proof is a proof that is right but for its nonce, which is yet to be compared.
type proof struct{ jkt, nonce string }

// openProof checks the proof of a request (RFC 9449 4.3) to a server that clients
// know by an origin. token is the access token that it brings, if it does.
func (p *Provider) openProof(r *http.Request, origin, token string) (proof, error) {
	headers := r.Header.Values("DPoP")
	if len(headers) != 1 {
		return proof{}, fmt.Errorf("%d proofs", len(headers))
	}
	signed, err := jose.ParseSignedCompact(headers[0], proofAlgs)
	if err != nil {
		return proof{}, fmt.Errorf("no JWT, or of another alg: %w", err)
	}
	header := signed.Signatures[0].Header
	switch {
	case header.ExtraHeaders[jose.HeaderType] != "dpop+jwt":
		return proof{}, fmt.Errorf("typ is %v", header.ExtraHeaders[jose.HeaderType])
	case header.JSONWebKey == nil:
		return proof{}, fmt.Errorf("no jwk")
	case !header.JSONWebKey.IsPublic() || !header.JSONWebKey.Valid():
		return proof{}, fmt.Errorf("jwk is no public key")
	}
	payload, err := signed.Verify(header.JSONWebKey)
	if err != nil {
		return proof{}, fmt.Errorf("signature: %w", err)
	}
	var claims struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Hash   string `json:"ath"`
		Nonce  string `json:"nonce"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return proof{}, fmt.Errorf("claims: %w", err)
	}
	hash := ""
	if token != "" {
		digest := sha256.Sum256([]byte(token))
		hash = base64.RawURLEncoding.EncodeToString(digest[:])
	}
	age := p.Now().Sub(time.Unix(claims.Issued, 0)).Abs()
	switch at := origin + r.URL.EscapedPath(); {
	case claims.Method != r.Method:
		return proof{}, fmt.Errorf("htm is %q, not %q", claims.Method, r.Method)
	case claims.URL != at:
		return proof{}, fmt.Errorf("htu is %q, not %q", claims.URL, at)
	case age > proofWindow:
		return proof{}, fmt.Errorf("iat is %s away", age)
	case claims.Hash != hash:
		return proof{}, fmt.Errorf("ath is of another token")
	case claims.ID == "" || !p.firstUse(claims.ID):
		return proof{}, fmt.Errorf("no jti, or used before")
	}
	thumbprint, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	return proof{base64.RawURLEncoding.EncodeToString(thumbprint), claims.Nonce}, err
}

// firstUse tells whether the jti of a proof is new, and remembers it.
func (p *Provider) firstUse(jti string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.proofs[jti]
	p.proofs[jti] = true
	return first
}

// base is the origin of the provider.
func (p *Provider) base() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.origin
}
