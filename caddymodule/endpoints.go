package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// endpoint finds which of our endpoints a request is for, by the path as the
// browser sent it: a rewrite does not move them.
func (g *Gate) endpoint(r *http.Request) (string, bool) {
	u := originalURL(r)
	escaped := u.EscapedPath()
	if below, ours := strings.CutPrefix(escaped, resourceMetadataPath); ours && g.bearer != nil && (below == "" || below[0] == '/') {
		return resourceMetadataPath + below, true
	}
	if below, ours := strings.CutPrefix(escaped, g.basePath+"/auth/"); ours {
		return "auth/" + below, true // of the request that is asked about, byte for byte
	}
	name, ours := strings.CutPrefix(u.Path, g.basePath+"/")
	return name, ours && u.RawPath == ""
}

// serveEndpoint answers a request below our base path. Besides our own names
// those work that users of oauth2-proxy have in bookmarks and provider settings.
func (g *Gate) serveEndpoint(w http.ResponseWriter, r *http.Request, v *visit, name string) error {
	noStore(w.Header())
	if err := v.checkHost(r); err != nil && name != "ping" {
		return g.fail(w, r, v, err)
	}
	if g.AnswerTokens && !isForProxies(name) {
		return notFound(w)
	}
	if below, asked := strings.CutPrefix(name, "auth/"); asked {
		if query := originalURL(r).RawQuery; query != "" {
			below += "?" + query
		}
		return g.serveAuth(w, r, v, "/"+below)
	}
	if path, is := strings.CutPrefix(name, resourceMetadataPath); is {
		return g.serveResourceMetadata(w, r, v, path)
	}
	if len(g.providers) == 0 && isSignInEndpoint(name) {
		name = ""
	}
	if isCallback(name) {
		return g.serveCallback(w, r, v)
	}
	switch name {
	case "auth":
		return g.serveAuth(w, r, v, "")
	case "login", "start", "sign_in":
		return g.serveLogin(w, r, v)
	case "logout", "sign_out":
		return g.serveLogout(w, r, v)
	case "signed-out":
		return g.serveSignedOut(w, r, v)
	case "backchannel-logout":
		return g.serveBackchannelLogout(w, r, v)
	case "frontchannel-logout":
		return g.serveFrontchannelLogout(w, r, v)
	case "session":
		return g.serveSession(w, r, v)
	case "userinfo":
		return g.serveUserinfo(w, r, v)
	case "token":
		if g.users != nil {
			return g.serveToken(w, r, v)
		}
	case "revoke":
		if g.users != nil {
			return g.serveRevoke(w, r, v)
		}
	case "jwks":
		return g.serveKeys(w, r, v)
	case "ping":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := w.Write([]byte("ok\n"))
		return err
	}
	return notFound(w)
}

// serveLogin starts a sign-in on purpose: `rd` is where to come back to,
// `provider` whom to ask, `prompt` may ask for another account; others begin one by
// `iss`, `target_link_uri` and `login_hint` (OIDC Core 4). Nothing else of
// the query reaches the provider but what param_from_request lets through (SEC-67).
func (g *Gate) serveLogin(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return g.methodRefused(w, r, v, "GET, POST")
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && !isLoginNavigation(r) {
		return g.fail(w, r, v, problem(authflow.NoLogin, ReasonNoSession, "Please sign in.", errors.New("only a navigation starts a sign-in")))
	}
	query := r.URL.Query()
	options := loginOptions{returnTo: v.askedBefore(r), providers: g.providers, query: query}
	if isInitiated(r) {
		if err := g.initiate(r, v, &options); err != nil {
			return g.fail(w, r, v, err)
		}
		return g.login(w, r, v, options)
	}
	if rd := query.Get("rd"); rd != "" {
		target, err := v.policy().FromOutside(rd)
		if err != nil {
			return g.fail(w, r, v, problem(authflow.BadRequest, ReasonReturnRefused, "The address to return to is not one of this site.", err))
		}
		options.returnTo = target
	}
	if name := query.Get("provider"); name != "" {
		chosen := g.signInProvider(name)
		if chosen == nil {
			return g.fail(w, r, v, problem(authflow.BadRequest, ReasonUnknownProvider, "This site knows no such provider.", nil))
		}
		options.providers = []*provider{chosen}
	}
	if sealed := query.Get("step_up"); sealed != "" { // of a link on the chooser page
		if needed, err := g.openStepUp(r, v, sealed); err == nil {
			v.stepUp = needed
		}
	}
	if prompt := query.Get("prompt"); slices.Contains([]string{"login", "select_account"}, prompt) {
		options.prompt = prompt
	}
	return g.login(w, r, v, options)
}

// signInProvider finds a provider by the name in a query or an attempt: one of
// this gate, or of the app, for a later gate of the same site.
func (g *Gate) signInProvider(name string) *provider {
	for _, p := range g.providers {
		if p.name == name {
			return p
		}
	}
	return g.app.resolved(name)
}

// loginOptions say how a sign-in starts.
type loginOptions struct {
	returnTo  string
	providers []*provider
	prompt    string
	loginHint string
	issuer    string // of a sign-in that somebody else began (OIDC Core 4)
	form      []byte // the handle of a form that waits for the sign-in
	// query is that of a sign-in on purpose, and parameters what of it the provider
	// gets (param_from_request).
	query      url.Values
	parameters map[string]string
}

// login sends a navigation to the provider, or shows which there are.
func (g *Gate) login(w http.ResponseWriter, r *http.Request, v *visit, o loginOptions) error {
	if !v.secure {
		return g.fail(w, r, v, notHTTPS("This site cannot sign anybody in over plain http."))
	}
	err := g.looping(r, v)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if len(o.providers) > 1 {
		return g.chooserPage(w, r, v, o)
	}
	p := o.providers[0]
	if known := v.gate.signInProvider(p.name); known == nil || !known.same(p) {
		return g.fail(w, r, v, gateConflict(fmt.Errorf("the outermost gatehouse directive does not know provider %s of this one, and serves its callback", p.name)))
	}
	if o.parameters, err = p.client.RequestParameters(o.query); err != nil {
		return g.fail(w, r, v, err)
	}
	location, err := v.gate.begin(w, r, v, p, o)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	return v.gate.sendToSignIn(w, r, v, location)
}

// begin begins an attempt and keeps it in the browser. An address to return to that
// does not fit is shortened: to its path, and then to the start.
func (g *Gate) begin(w http.ResponseWriter, r *http.Request, v *visit, p *provider, o loginOptions) (string, error) {
	path, _, _ := strings.Cut(o.returnTo, "?")
	var tooLarge error
	for _, returnTo := range []string{o.returnTo, path, "/"} {
		attempt, location, err := p.client.Begin(r.Context(), authflow.AuthorizationRequest{
			Provider: p.name, RedirectURI: v.origin.String() + v.callback(p), ReturnTo: returnTo, Prompt: o.prompt, LoginHint: o.loginHint,
			ACRValues: v.stepUp.acr, MaxAge: v.stepUp.maxAge, Parameters: o.parameters,
		})
		if err != nil {
			return "", err
		}
		tooLarge = g.keepAttempt(w, r, v, attempt, p.client.FormPost(), o.form)
		if !errors.Is(tooLarge, session.ErrTooLarge) && !errors.Is(tooLarge, seal.ErrTooLarge) {
			return location, tooLarge
		}
	}
	return "", tooLarge
}

// redirect sends the browser on, as GET whatever brought it here (RFC 9700 4.12).
func redirect(w http.ResponseWriter, location string) error {
	noStore(w.Header())
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// isCallback reports an endpoint at which some provider may answer.
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
// reload, the back button, a bookmark. Who is signed in goes on to where the
// attempt led, or to the start; who is not may begin again (P02, P23).
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

func (g *Gate) methodRefused(w http.ResponseWriter, r *http.Request, v *visit, allow string) error {
	w.Header().Set("Allow", allow)
	if v.gate.passErrors {
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s", r.Method))
	}
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return nil
}

// serveUserinfo tells the application's own scripts who is signed in: what the
// upstream is told, no tokens, and nothing to another site (SEC-93).
func (g *Gate) serveUserinfo(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return g.fail(w, r, v, crossOriginProblem("userinfo for another site"))
	}
	s, p, err := g.callingAs(r, v)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	who := &identity{session: s, provider: p, prefixed: len(g.speakers) > 1}
	claims := make(map[string]any)
	for _, name := range g.app.needed() {
		if value := plainValue(who.claim(name)); value != nil && !(name == "email" && who.email() == "") {
			claims[name] = value
		}
	}
	groups := who.values("groups", false)
	return writeJSON(w, http.StatusOK, userinfoBody{
		User: who.user(), Email: who.email(), Groups: groups, Provider: p.name, Subject: s.Subject,
		PreferredUsername: who.header("preferred_username"),
		Expires:           s.Expires.UTC().Truncate(time.Second), Claims: claims,
	})
}

// userinfoBody is the current user, as the endpoint `userinfo` tells it.
type userinfoBody struct {
	User     string         `json:"user"`
	Email    string         `json:"email,omitempty"`
	Groups   []string       `json:"groups"`
	Provider string         `json:"provider"`
	Subject  string         `json:"sub"`
	Expires  time.Time      `json:"expires"`
	Claims   map[string]any `json:"claims"`
	// PreferredUsername is where scripts written for oauth2-proxy look for it.
	PreferredUsername string `json:"preferredUsername,omitempty"`
}

// callingAs finds who is calling, by access token or session, without judging the
// rules.
func (g *Gate) callingAs(r *http.Request, v *visit) (*session.Session, *provider, error) {
	if v.brought != nil {
		who, err := v.openToken(r)
		if err != nil {
			return nil, nil, err
		}
		return who.session, who.issuer, nil
	}
	if !v.takesSessions() {
		return nil, nil, tokensOnly()
	}
	live, p, err := g.signedIn(r, v)
	if err != nil {
		return nil, nil, err
	}
	return live.Session(), p, nil
}

// signedIn finds the session and its provider, without judging the rules: who
// somebody is may be asked by who may not pass.
func (g *Gate) signedIn(r *http.Request, v *visit) (*session.Live, *provider, error) {
	live, err := v.load(r)
	if err != nil {
		return nil, nil, err
	}
	s := live.Session()
	p := g.signInProvider(s.Provider)
	if p == nil || !p.isOf(s) {
		return nil, nil, problem(authflow.NoLogin, ReasonOtherProvider, "Please sign in.", nil)
	}
	return live, p, nil
}
