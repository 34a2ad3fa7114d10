package caddymodule

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// serveFrontchannelLogout ends the session of this browser, in a frame of the provider's
// logout page (OIDC Front-Channel Logout 2). The request is not signed, so it does no
// more than that: no other session ends, and no token is revoked (SEC-107). A browser
// without a session is signed out already.
func (g *Gate) serveFrontchannelLogout(w http.ResponseWriter, r *http.Request, v *visit) error {
	if isEarly(r) {
		return tooEarly()
	}
	if r.Method != http.MethodGet {
		return g.methodRefused(w, r, v, "GET")
	}
	request, err := authflow.ParseFrontchannelLogout(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if request.SessionID == "" && !isFramed(r) {
		return g.confirmPage(w, r, v) // a link that anybody can write
	}
	live, err := v.load(r)
	switch {
	case err != nil && asProblem(err).Kind != authflow.NoLogin:
		return g.fail(w, r, v, err)
	case err != nil:
		return g.frontchannelDone(w, request.Issuer)
	}
	s := live.Session()
	if request.SessionID != "" && (request.Issuer != s.Issuer || request.SessionID != s.IdPSession) {
		return g.fail(w, r, v, problem(authflow.BadRequest, ReasonLogoutMismatch, "This is not about the session of this browser.",
			errors.New("iss and sid are not those of this browser's session")))
	}
	if err := g.sessions.End(r.Context(), session.BySession(live)); err != nil {
		return g.fail(w, r, v, sessionProblem(err))
	}
	if err := g.sessions.Clear(w, v.cookies, v.scope()); err != nil {
		return g.fail(w, r, v, err)
	}
	g.logger.Info("signed out by the provider's page", zap.String("provider", s.Provider), zap.String("subject", s.Subject), zap.String("host", v.origin.host))
	return g.frontchannelDone(w, request.Issuer)
}

// isFramed reports whether the browser loads the answer into a frame.
func isFramed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame":
		return true
	}
	return false
}

// frontchannelDone answers within the frame. Only pages of the provider may frame the
// answer: of the given issuer, or, without one, of any provider of this site.
func (g *Gate) frontchannelDone(w http.ResponseWriter, issuer string) error {
	ancestors := []string{"frame-ancestors"}
	for _, p := range g.knownProviders() {
		u, err := url.Parse(p.client.Issuer())
		if err != nil || issuer != "" && issuer != p.client.Issuer() {
			continue
		}
		if o, valid := makeOrigin(u.Scheme, u.Host); valid && !slices.Contains(ancestors, o.String()) {
			ancestors = append(ancestors, o.String())
		}
	}
	if len(ancestors) == 1 {
		ancestors = append(ancestors, "'none'")
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; "+strings.Join(ancestors, " "))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	_, err := w.Write([]byte("signed out\n"))
	return err
}

// knownProviders are the providers that a session of this site may come from: those of
// this gate, and those of the app, which a later gate of the same site may name.
func (g *Gate) knownProviders() []*provider { return slices.Concat(g.providers, g.app.providers) }
