package testop

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// token is the token endpoint (RFC 6749 3.2).
func (p *Provider) token(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if r.Method != http.MethodPost {
		fail(w, http.StatusMethodNotAllowed, "invalid_request", "POST only")
		return
	}
	if reason := p.clientAuth(r, b); reason != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="testop"`)
		fail(w, http.StatusUnauthorized, "invalid_client", reason)
		return
	}
	jkt, ok := p.endpointProof(w, r, b, true)
	if !ok {
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		p.codeGrant(w, r, jkt, b)
	case "refresh_token":
		p.refreshGrant(w, r.PostForm, jkt, b)
	default:
		fail(w, http.StatusBadRequest, "unsupported_grant_type", r.PostForm.Get("grant_type"))
	}
}

// clientAuth tells why the client is not who it says, or "". Basic holds the
// form-encoded id and secret (RFC 6749 2.3.1); two methods at once are refused.
func (p *Provider) clientAuth(r *http.Request, b Behaviour) string {
	method, id, secret := "none", r.PostForm.Get("client_id"), ""
	if r.PostForm.Has("client_secret") {
		method, secret = "client_secret_post", r.PostForm.Get("client_secret")
	}
	if r.PostForm.Has("client_assertion") {
		if method != "none" {
			return "two methods of client authentication"
		}
		method = "private_key_jwt"
	}
	if method == "none" && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		method = "tls_client_auth"
	}
	if user, password, ok := r.BasicAuth(); ok {
		if method != "none" {
			return "two methods of client authentication"
		}
		var errID, errSecret error
		id, errID = url.QueryUnescape(user)
		secret, errSecret = url.QueryUnescape(password)
		if errID != nil || errSecret != nil {
			return "client_secret_basic is not form-encoded"
		}
		method = "client_secret_basic"
	}
	switch {
	case b.OnlyClientAuth != "" && method != b.OnlyClientAuth:
		return "wants " + b.OnlyClientAuth
	case id != p.ClientID:
		return "unknown client"
	case method == "private_key_jwt":
		return p.clientAssertion(r.PostForm)
	case method == "tls_client_auth" && r.TLS.PeerCertificates[0].Equal(p.ClientCertificate):
		return "" // RFC 8705 2
	case method == "none" && (b.OnlyClientAuth == "none" || p.ClientSecret == ""):
		return "" // a public client
	case secret != p.ClientSecret:
		return "wrong secret"
	}
	return ""
}

// tokenError is the status of an error.
func (b Behaviour) tokenError() int {
	if b.PlainOAuth {
		return http.StatusOK
	}
	return http.StatusBadRequest
}

// codeGrant is RFC 6749 4.1.3 with RFC 7636 4.6. A code is good once; a second use
// revokes what the first one gave.
func (p *Provider) codeGrant(w http.ResponseWriter, r *http.Request, jkt string, b Behaviour) {
	form := r.PostForm
	if b.CodeError != "" {
		fail(w, b.tokenError(), b.CodeError, "testop")
		return
	}
	p.mu.Lock()
	g, ok := p.codes[form.Get("code")]
	used := ok && g.codeUsed
	if ok {
		g.codeUsed = true
		g.revoked = g.revoked || used
	}
	p.mu.Unlock()
	digest := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case !ok:
		fail(w, http.StatusBadRequest, "invalid_grant", "unknown code")
	case used:
		fail(w, http.StatusBadRequest, "invalid_grant", "code used twice")
	case form.Get("redirect_uri") != g.redirectURI:
		fail(w, http.StatusBadRequest, "invalid_grant", "other redirect_uri")
	case !b.AcceptAnyVerifier && base64.RawURLEncoding.EncodeToString(digest[:]) != g.challenge:
		fail(w, http.StatusBadRequest, "invalid_grant", "wrong code_verifier")
	case b.binds() && g.jkt != "" && g.jkt != jkt: // RFC 9449 10
		fail(w, http.StatusBadRequest, "invalid_grant", "the code is bound to another key")
	default:
		p.mu.Lock()
		if g.jkt = jkt; jkt == "" { // what a key binds, a certificate need not
			g.certificate = certificateOf(r)
		}
		p.mu.Unlock()
		p.giveTokens(w, g, b, "")
	}
}

// refreshGrant is RFC 6749 6 with rotation: each refresh token is good once, and a
// spent one that comes back ends its whole family (RFC 9700 4.14.2).
func (p *Provider) refreshGrant(w http.ResponseWriter, form url.Values, jkt string, b Behaviour) {
	if b.RefreshError != "" {
		fail(w, b.tokenError(), b.RefreshError, "testop")
		return
	}
	presented := form.Get("refresh_token")
	p.mu.Lock()
	g, ok := p.refresh[presented]
	if ok && g.jkt != "" && g.jkt != jkt && b.binds() { // RFC 9449 5
		p.mu.Unlock()
		fail(w, http.StatusBadRequest, "invalid_grant", "the refresh token is bound to another key")
		return
	}
	if ok {
		g.jkt = jkt
	}
	good := ok && !g.revoked && g.current == presented
	switch {
	case good && !b.NoRefreshRotation:
		g.current = "" // spent, before another request with it gets in
	case ok && !good:
		p.reuses++
		g.revoked = g.revoked || !b.NoReuseDetection
	}
	p.mu.Unlock()
	if !good {
		fail(w, http.StatusBadRequest, "invalid_grant", "refresh token unknown, spent or revoked")
		return
	}
	p.giveTokens(w, g, b, presented)
}

// giveTokens writes the token response for g; presented is the refresh token that
// earned it, "" at sign-in.
func (p *Provider) giveTokens(w http.ResponseWriter, g *grant, b Behaviour, presented string) {
	refreshing := presented != ""
	response := map[string]any{
		"access_token": random("at" + b.AccessTokenInfix), "token_type": "Bearer", "scope": strings.Join(g.scopes, " "),
		"expires_in": int(orHour(b.AccessTokenLifetime).Seconds()),
	}
	if b.binds() {
		response["token_type"] = "DPoP"
	}
	if b.AccessTokenCarriesName {
		response["access_token"] = random("at-" + g.user.Name)
	}
	switch {
	case refreshing && b.NoRefreshRotation, !refreshing && b.NoRefreshToken:
	default:
		response["refresh_token"] = random("rt" + b.RefreshTokenInfix)
	}
	subject := g.user.Subject
	if refreshing && b.RefreshedSubject != "" {
		subject = b.RefreshedSubject
	}
	p.remember(g, response, refreshing)
	if !(refreshing && b.RefreshWithoutIDToken) && !(!refreshing && b.NoIDToken) {
		idToken, err := p.idToken(g, subject, response["access_token"].(string), b, refreshing)
		if err != nil {
			fail(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		response["id_token"] = idToken
		p.mu.Lock()
		p.idTokens[idToken] = g
		p.mu.Unlock()
	}
	if b.PlainOAuth {
		response["token_type"] = "bearer"
		delete(response, "id_token")
	}
	b.TokenResponse.apply(response)
	answer(w, http.StatusOK, response)
}

// remember makes the new tokens good.
func (p *Provider) remember(g *grant, response map[string]any, refreshing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.refreshed = refreshing
	p.access[response["access_token"].(string)] = g
	if response["token_type"] == "DPoP" {
		p.bound[response["access_token"].(string)] = g.jkt
	}
	if text, ok := response["refresh_token"].(string); ok {
		p.refresh[text], g.current = g, text
	}
}

func orHour(d time.Duration) time.Duration {
	if d == 0 {
		return time.Hour
	}
	return d
}
