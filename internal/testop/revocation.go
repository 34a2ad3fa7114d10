package testop

import "net/http"

// revoke is RFC 7009: an unknown token is a success as well.
func (p *Provider) revoke(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if reason := p.clientAuth(r, b); reason != "" {
		fail(w, http.StatusUnauthorized, "invalid_client", reason)
		return
	}
	presented := r.PostForm.Get("token")
	p.mu.Lock()
	if g, ok := p.refresh[presented]; ok {
		g.revoked = true
	}
	delete(p.access, presented)
	p.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}
