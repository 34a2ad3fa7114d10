package testop

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// accounts is a resource that its owner's access token opens, by GET alone: the end of
// every good way through the plans of FAPI 2.0.
func (p *Provider) accounts(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if r.Method != http.MethodGet {
		fail(w, http.StatusMethodNotAllowed, "invalid_request", "GET only")
		return
	}
	g, ok := p.bearer(w, r, p.base(), b)
	if !ok {
		return
	}
	answer(w, http.StatusOK, map[string]any{"owner": g.user.Subject, "accounts": []string{"1", "2"}})
}

// certificateOf is the thumbprint of the certificate that a client has shown, as
// tokens that are bound to it hold it (RFC 8705 3.1, x5t#S256); "" if it has shown
// none.
func certificateOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
