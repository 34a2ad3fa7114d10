package testop

import (
	"encoding/json"
	"io"
	"net/http"
)

// userInfo is OpenID Connect Core 5.3.
func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request, b Behaviour) {
	g, ok := p.bearer(w, r, p.base(), b)
	if !ok {
		return
	}
	p.mu.Lock()
	subject := g.user.Subject
	if g.refreshed && b.RefreshedSubject != "" {
		subject = b.RefreshedSubject
	}
	p.mu.Unlock()
	if b.UserInfoBody != "" {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, b.UserInfoBody) //nolint:errcheck // the caller may be gone
		return
	}
	claims := g.user.claims(g.scopes)
	claims["sub"] = subject
	if b.UserInfoAlg != "" {
		claims["iss"], claims["aud"] = p.Issuer(), p.ClientID
	}
	b.UserInfo.apply(claims)
	if b.UserInfoAlg == "" {
		answer(w, http.StatusOK, claims)
		return
	}
	payload, err := json.Marshal(claims)
	if err == nil {
		var compact string
		if compact, err = p.signAs(b.UserInfoAlg, payload, Behaviour{CorruptSignature: b.CorruptUserInfo}); err == nil {
			w.Header().Set("Content-Type", "application/jwt; charset=UTF-8")
			io.WriteString(w, compact) //nolint:errcheck // the caller may be gone
			return
		}
	}
	fail(w, http.StatusInternalServerError, "server_error", err.Error())
}
