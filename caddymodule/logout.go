package caddymodule

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// serveLogout ends the session, here and at the provider. If a page of another site has
// led there, the person is asked to confirm it.
func (g *Gate) serveLogout(w http.ResponseWriter, r *http.Request, v *visit) error {
	if isEarly(r) {
		return tooEarly()
	}
	switch r.Method {
	case http.MethodGet:
		if !isOwnNavigation(r) {
			return g.confirmPage(w, r, v)
		}
	case http.MethodPost:
		if err := g.crossOrigin(r, v.origin); err != nil {
			return g.fail(w, r, v, err)
		}
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	default:
		return g.methodRefused(w, r, v, "GET, POST")
	}
	returnTo := ""
	if rd := r.FormValue("rd"); rd != "" {
		var refused error
		if returnTo, refused = v.policy().FromOutside(rd); refused != nil {
			// Who wants to sign out is signed out, wherever a link would have led then.
			g.logger.Warn("the return URL of a sign-out is not allowed, and was left out", zap.Error(refused), zap.String("host", v.origin.host))
		}
	}
	return g.signOut(w, r, v, returnTo)
}

// isOwnNavigation reports that a person followed a link of this site, or typed the address;
// a browser that looks ahead has not been asked to.
func isOwnNavigation(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "same-site", "none":
		return authflow.IsNavigation(r)
	}
	return false
}

// signOut ends the session, so that a copy of the cookie is dead too, before it
// tells the browser and sends it to the provider.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request, v *visit, returnTo string) error {
	live, p, err := g.signedIn(r, v)
	if err != nil && asProblem(err).Kind != authflow.NoLogin && asProblem(err).Reason != ReasonKeysNotShared {
		return g.fail(w, r, v, err) // what cannot be ended is not said to be; another replica's cookie is only dropped
	}
	location := ""
	if err == nil {
		// The Location may hold the ID token: out of the access log with it.
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
		if location, err = g.endSessionURL(r, v, live, p, returnTo); err != nil {
			g.logger.Info("signed out here only", zap.String("provider", p.name), zap.Error(err))
		}
		g.logger.Info("signed out", zap.String("provider", p.name), zap.String("subject", live.Session().Subject), zap.String("host", v.origin.host))
	}
	// The session ends also if it is idle, or of a provider that is not one any more.
	if err := g.sessions.EndBrought(r.Context(), v.cookies, v.scope()); err != nil {
		return g.fail(w, r, v, sessionProblem(err))
	}
	if err := g.sessions.Clear(w, v.cookies, v.scope()); err != nil {
		return g.fail(w, r, v, err)
	}
	if live != nil {
		g.revokeTokens(r, p, live.Session())
	}
	w.Header().Set("Clear-Site-Data", `"cache"`)
	switch {
	case location != "":
		return redirect(w, location)
	case returnTo != "":
		return redirect(w, returnTo)
	}
	return redirect(w, v.endpoint("signed-out"))
}

// revokePatience is how long a sign-out waits for the provider to revoke.
const revokePatience = 2 * time.Second

// revokeTokens has the provider end what a session that is over could have gone on
// using (RFC 7009). The browser is signed out whatever comes of it.
func (g *Gate) revokeTokens(r *http.Request, p *provider, s *session.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), revokePatience)
	defer cancel()
	err := p.client.Revoke(ctx, authflow.RevokeRequest{RefreshToken: s.RefreshToken, AccessToken: s.AccessToken})
	if err != nil {
		g.logger.Warn("the tokens of a session that was signed out could not be revoked",
			zap.String("reason", string(authflow.ReasonOf(err))), zap.Error(err), zap.String("provider", p.name))
	}
}

// endSessionURL is where the provider ends its own session. The state carries
// where to go afterwards; the provider's landing page takes any other as well.
func (g *Gate) endSessionURL(r *http.Request, v *visit, live *session.Live, p *provider, returnTo string) (string, error) {
	state := rand.Text()
	if returnTo != "" {
		var err error
		if state, err = g.seal(r, v.purpose(purposePostLogout), []byte(returnTo)); err != nil {
			return "", err
		}
	}
	return p.client.EndSessionURL(r.Context(), authflow.EndSessionRequest{
		IDTokenHint:           g.hint(r, v, live.Session()),
		PostLogoutRedirectURI: v.origin.String() + v.endpoint("signed-out"),
		State:                 state,
	})
}

// serveSignedOut is where the provider sends the browser after its logout, with
// our state, another, or none (OIDC RP-Initiated Logout 3).
func (g *Gate) serveSignedOut(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	if state := r.URL.Query().Get("state"); state != "" {
		if stored, err := g.unseal(r, v.purpose(purposePostLogout), state); err == nil {
			if target, err := v.policy().Emit(string(stored)); err == nil {
				return redirect(w, target)
			}
		}
	}
	if g.postLogout != "" {
		return redirect(w, g.postLogout)
	}
	return g.signedOutPage(w, r, v)
}

// keepHint keeps the ID token for a sign-out, which sends it to the provider (OIDC
// RP-Initiated Logout 2): in a cookie that browsers bring to our own endpoints only, so
// that no other request carries its bytes. It is bound to its session.
func (g *Gate) keepHint(w http.ResponseWriter, r *http.Request, v *visit, s *session.Session, idToken secret.String) error {
	if idToken.Empty() {
		return nil
	}
	sealed, err := g.seal(r, v.purpose(purposeHint), []byte(s.ID.String()+" "+idToken.Reveal()))
	if err != nil {
		return err
	}
	return g.cookies.SetSmall(w, v.scope(), session.Hint, sealed, s.Expires.Sub(g.now()))
}

// hint returns the ID token that was kept for a session, empty if there is none. A
// sign-out works without it, too.
func (g *Gate) hint(r *http.Request, v *visit, s *session.Session) secret.String {
	sealed, err := v.cookies.Small(v.scope(), session.Hint)
	if err != nil {
		return secret.String{}
	}
	opened, err := g.unseal(r, v.purpose(purposeHint), sealed)
	if err != nil {
		return secret.String{}
	}
	id, idToken, _ := strings.Cut(string(opened), " ")
	if id != s.ID.String() {
		return secret.String{}
	}
	return secret.New(idToken)
}
