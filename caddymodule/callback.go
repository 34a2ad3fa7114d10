package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// isCallback reports an endpoint to which a provider sends the browser back: callback, or
// callback/<provider> where there are several.
func isCallback(name string) bool {
	return name == "callback" || strings.HasPrefix(name, "callback/")
}

// serveCallback takes the authorization response. Whether it came to the address
// that its attempt was begun with, [authflow.Client.Finish] compares.
func (g *Gate) serveCallback(w http.ResponseWriter, r *http.Request, v *visit) error {
	// The code and the state stand in the address: out of the access log with it.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	if isEarly(r) {
		return tooEarly()
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return g.methodRefused(w, r, v, "GET, POST")
	}
	if !v.secure {
		return g.fail(w, r, v, problem(authflow.BadRequest, ReasonNotHTTPS, "This site cannot sign anybody in over plain http.", nil))
	}
	response, err := authflow.ParseAuthorizationResponse(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	attempt, err := g.takeAttempt(w, r, v, response.State)
	if err != nil {
		return g.strayCallback(w, r, v, response.State, attempt, err)
	}
	p := g.signInProvider(attempt.Provider)
	if p == nil {
		return g.fail(w, r, v, problem(authflow.BadRequest, ReasonUnknownProvider, "This site knows no such provider any more.", nil))
	}
	grant, err := p.client.Finish(r.Context(), authflow.FinishRequest{
		Attempt: attempt, Response: response, RedirectURI: v.origin.String() + originalURL(r).Path, NeededClaims: g.neededPaths(p),
	})
	if err != nil {
		return g.fail(w, r, v, err)
	}
	return g.signIn(w, r, v, p, attempt, grant)
}

// strayCallback answers a callback that belongs to no attempt of this browser: a
// reload, the back button, a bookmark. A browser with a session goes on to where the
// attempt led, or to "/"; without one, the person may begin again (P02, P23).
func (g *Gate) strayCallback(w http.ResponseWriter, r *http.Request, v *visit, state string, attempt *authflow.Attempt, err error) error {
	if r.Method == http.MethodPost && asProblem(err).Kind == authflow.BadRequest {
		// The POST of another site brings no session; a GET does, and says the rest.
		return redirect(w, originalURL(r).EscapedPath()+"?state="+url.QueryEscape(state))
	}
	if _, notSignedIn := v.load(r); notSignedIn != nil || asProblem(err).Kind != authflow.BadRequest {
		return g.fail(w, r, v, err)
	}
	target := "/"
	if attempt != nil {
		if stored, refused := v.policy().Emit(attempt.ReturnTo); refused == nil {
			target = stored
		}
	}
	return redirect(w, target)
}

// signIn makes the session, and sends the browser to where it wanted to go.
func (g *Gate) signIn(w http.ResponseWriter, r *http.Request, v *visit, p *provider, attempt *authflow.Attempt, grant *authflow.Grant) error {
	s, err := g.newSession(v, p, grant, g.now())
	if err != nil {
		return g.fail(w, r, v, err)
	}
	target, err := v.policy().Emit(attempt.ReturnTo)
	if err != nil {
		g.logger.Warn("the return URL of a sign-in is not allowed any more", zap.Error(err))
		target = "/"
	}
	if err := g.endCarried(r, v); err != nil {
		return g.fail(w, r, v, sessionProblem(err))
	}
	live, err := g.sessions.Create(r.Context(), w, v.cookies, v.scope(), s)
	if err != nil {
		return g.fail(w, r, v, sessionProblem(err))
	}
	if err := g.keepHint(w, r, v, live.Session(), grant.IDToken); err != nil {
		g.logger.Debug("no id_token_hint is kept for the sign-out", zap.Error(err))
	}
	if err := g.releaseForm(w, r, v, live.Session()); err != nil {
		g.logger.Info("a form is not sent again", zap.Error(err))
	}
	if err := g.keepFinished(w, r, v); err != nil {
		return g.fail(w, r, v, sessionProblem(err))
	}
	g.counters.signedIn(p.name)
	g.logger.Info("signed in", zap.String("provider", p.name), zap.String("subject", s.Subject), zap.String("host", v.origin.host))
	g.outwaitLogout(r, live.Session())
	if g.cookies.SameSite == http.SameSiteStrictMode {
		// A redirect goes on with the navigation that the provider's site began, and
		// browsers keep a strict cookie out of that; a page begins a new one.
		return g.continuePage(w, v, http.StatusOK, target)
	}
	return redirect(w, target)
}
