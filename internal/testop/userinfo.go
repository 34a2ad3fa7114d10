package testop

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// claims is a claims endpoint (OpenID Connect Core 5.6.2).
func (p *Provider) claims(w http.ResponseWriter, _ *http.Request, b Behaviour) {
	if b.ClaimsBody == "" {
		http.NotFound(w, nil)
		return
	}
	w.Header().Set("Content-Type", "application/jose")
	io.WriteString(w, b.ClaimsBody) //nolint:errcheck // the caller may be gone
}

// userInfo is OpenID Connect Core 5.3.
func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request, b Behaviour) {
	scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && r.Method == http.MethodPost {
		presented = r.PostForm.Get("access_token")
	}
	p.mu.Lock()
	g, ok := p.access[presented]
	good := ok && !g.revoked
	subject := ""
	if good {
		subject = g.user.Subject
		if g.refreshed && b.RefreshedSubject != "" {
			subject = b.RefreshedSubject
		}
	}
	p.mu.Unlock()
	if !good {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		fail(w, http.StatusUnauthorized, "invalid_token", "unknown or revoked")
		return
	}
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
