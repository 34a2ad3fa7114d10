package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// serveLogin starts a sign-in for which somebody has followed a link. In its query, `rd`
// is where to come back to, `provider` which provider to use, and `prompt` may ask for
// another account; a provider or a portal sends `iss`, `target_link_uri` and
// `login_hint` instead (OIDC Core 4). Nothing else of
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
			return g.fail(w, r, v, returnRefused(err))
		}
		options.returnTo = target
	}
	if name := query.Get("provider"); name != "" {
		chosen := g.signInProvider(name)
		if chosen == nil {
			return g.fail(w, r, v, unknownProvider(nil))
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
	return g.app.provider(name)
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
	err := g.checkLoop(r, v)
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

// begin begins an attempt, keeps it in a cookie, and returns the URL of the provider. If
// the cookie would be too large, the browser returns to the path without its query, and
// if that is still too long, to "/".
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

// again is the address at which a sign-in begins anew, with what it was asked for.
func (o loginOptions) again(v *visit, more []string) string {
	if o.issuer == "" {
		return v.loginURL(o.returnTo, more...)
	}
	more = append(more, "iss", o.issuer, "target_link_uri", o.returnTo)
	if o.loginHint != "" {
		more = append(more, "login_hint", o.loginHint)
	}
	return v.loginURL("", more...)
}

// redirectHeader is where a proxy in front, which sends a browser to sign in, tells
// what it had asked for.
const redirectHeader = "X-Auth-Request-Redirect"

// askedBefore is where to come back to if a link to the sign-in does not say it. The
// header is believed as little as `rd`; one that leads to no page of this site, such as
// the address of the sign-in itself, says nothing.
func (v *visit) askedBefore(r *http.Request) string {
	target, err := v.policy().FromOutside(r.Header.Get(redirectHeader))
	if err != nil {
		return "/"
	}
	return target
}

// sendToSignIn sends the browser to the provider. Proxies that show the answer of
// `sign_in` under a status of their own (nginx: error_page 401 =403 /oauth2/sign_in)
// take the redirect away with it; there a page leads on as well.
func (g *Gate) sendToSignIn(w http.ResponseWriter, r *http.Request, v *visit, location string) error {
	if originalURL(r).Path != v.endpoint("sign_in") {
		return redirect(w, location)
	}
	w.Header().Set("Location", location)
	return g.continuePage(w, v, http.StatusSeeOther, location)
}
