package testop

import (
	"net/http"
	"net/url"
	"strings"
)

// endSession is OpenID Connect RP-Initiated Logout 2. The user is asked nothing;
// without a hint of ours nobody is sent anywhere.
func (p *Provider) endSession(w http.ResponseWriter, r *http.Request, b Behaviour) {
	p.mu.Lock()
	g, known := p.idTokens[r.Form.Get("id_token_hint")]
	if known {
		g.revoked = true
	}
	p.mu.Unlock()
	target := r.Form.Get("post_logout_redirect_uri")
	if !known || target == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("signed out at the provider\n")) //nolint:errcheck // the caller may be gone
		return
	}
	response := map[string]any{}
	if r.Form.Has("state") {
		response["state"] = r.Form.Get("state")
	}
	b.LogoutResponse.apply(response)
	parameters := url.Values{}
	for name, value := range response {
		if text, ok := value.(string); ok {
			parameters.Set(name, text)
		}
	}
	if len(parameters) > 0 {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + parameters.Encode()
	}
	http.Redirect(w, r, target, http.StatusFound)
}

// LogoutTokenClaims are the claims of a right logout token (OpenID Connect
// Back-Channel Logout 2.4) for a subject, an IdP session or both; "" leaves one
// out. Sign them with [Provider.Sign] and the header {"typ": "logout+jwt"}.
func (p *Provider) LogoutTokenClaims(subject, sessionID string, edit Edit) map[string]any {
	claims := map[string]any{
		"iss": p.Issuer(), "aud": p.ClientID, "iat": p.Now().Unix(), "exp": p.Now().Unix() + 120, "jti": random("jti"),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if subject != "" {
		claims["sub"] = subject
	}
	if sessionID != "" {
		claims["sid"] = sessionID
	}
	edit.apply(claims)
	return claims
}
