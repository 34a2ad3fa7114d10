package caddymodule

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

func init() {
	caddy.RegisterModule(new(Gate))
}

// Gate is the handler http.handlers.gatehouse: it stands in front of an
// application, signs browsers in, and tells the application who is calling.
type Gate struct {
	GateConfig

	app             *App
	now             func() time.Time
	logger          *zap.Logger
	counters        *counters
	matchers        caddyhttp.MatcherSets
	public          caddyhttp.MatchPath
	providers       []*provider // at which people sign in
	speakers        []*provider // whose word counts: these, and issuers of access tokens
	bearer          *bearer     // nil: no access tokens
	users           *provider   // nil: no token URL of our own
	issued          *authflow.IssuedTokens
	sessions        *session.Manager
	sessionConfig   SessionConfig
	keys            session.Keys
	state           *session.State
	cookies         session.CookieConfig
	terms           sessionTerms
	behind          func() ([]*Gate, error)
	allow, deny     []rule
	needs           []string // the claims that rules and headers read
	identityHeaders []HeaderConfig
	names           *nameSet // every identity header
	own             *nameSet // those that this gate sets
	rulesMatch      bool     // some rule has a matcher of its own
	requires        []requirement
	forwards        []ForwardConfig
	publicOrigin    origin
	trusted         map[string]struct{}
	returnTo        []string
	postLogout      string
	basePath        string
	passErrors      bool
	pages           *pages
	cookieSeen      sync.Once // the upstream has set a cookie of ours
	assertion       atomic.Pointer[assertionKeys]
}

// CaddyModule returns the Caddy module information.
func (*Gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatehouse", New: func() caddy.Module { return new(Gate) }}
}

// ServeHTTP is the whole of what happens to a request.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v, err := g.receive(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if err := v.readToken(r); err != nil {
		return g.fail(w, r, v, err)
	}
	if v.gate == g {
		if name, ours := g.endpoint(r); ours {
			return g.serveEndpoint(w, r, v, name)
		}
		if r, err = g.returnedForm(w, r, v); err != nil {
			return g.fail(w, r, v, err)
		}
	}
	open, err := g.isOpen(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if g.Preflight == "pass" && v.brought == nil && isPreflight(r) {
		v.identify(r, g, nil)
		return g.pass(w, r, v, nil, next, false)
	}
	if open && v.gate != g {
		return next.ServeHTTP(w, r) // what the outermost has said of it stands
	}
	needed, err := g.required(r, v.stepUp)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if !open {
		v.stepUp = needed
		if err := v.demand(g); err != nil {
			return g.fail(w, r, v, err)
		}
	}
	who, err := g.check(r, v, open, needed)
	v.answer.unguard()
	delivered, failed := v.deliver(w)
	switch {
	case failed != nil:
		return g.fail(w, r, v, failed)
	case err != nil && !open && !g.passesAsNobody(v, err):
		return g.refuse(w, r, v, err)
	case err == nil && isEarly(r) && !isSafe(r.Method):
		return tooEarly()
	}
	v.identify(r, g, who)
	v.giveNonce(w, r)
	if who != nil && !open {
		if err := g.forward(r, v, who); err != nil {
			return g.fail(w, r, v, err)
		}
	}
	return g.pass(w, r, v, who, next, delivered || who != nil && v.gate.PrivateResponses != "off")
}

// pass sends a request on, and sees to what comes back.
func (g *Gate) pass(w http.ResponseWriter, r *http.Request, v *visit, who *identity, next caddyhttp.Handler, private bool) error {
	if v.answer == nil {
		v.answer = newPrivateWriter(w)
		w = v.answer
	}
	v.answer.guard(v.gate)
	if v.delivered && v.answer.late == nil {
		v.answer.late = func(w http.ResponseWriter) {
			if v.live != nil {
				_ = v.gate.sessions.DeliverAgain(r.Context(), w, v.live, v.scope()) // its next request learns why
			}
		}
	}
	v.answer.private = v.answer.private || private
	v.answer.ofForm = v.replayed
	return g.handOn(w, r, v, who, next)
}

// isOpen reports whether a request needs no sign-in: the user's matcher takes
// none of its readings, or public paths take all of them.
func (g *Gate) isOpen(r *http.Request) (bool, error) {
	if len(g.matchers) == 0 && len(g.public) == 0 {
		return false, nil
	}
	views := []*http.Request{r} // which stays on the stack
	if !hasOneReading(r) {
		var err error
		if views, err = readings(r); err != nil {
			return false, matcherFailed(err)
		}
	}
	protected, public := false, len(g.public) > 0
	for _, view := range views {
		matched, err := g.matchers.AnyMatchWithError(view)
		if err != nil {
			return false, matcherFailed(err)
		}
		protected = protected || matched
		if public {
			if public, err = g.public.MatchWithError(view); err != nil {
				return false, matcherFailed(err)
			}
		}
	}
	return !protected || public, nil
}

// check answers who is calling, or why the request may not pass as anybody.
func (g *Gate) check(r *http.Request, v *visit, open bool, needed stepUp) (*identity, error) {
	if err := v.hostProblem; err != nil {
		return nil, err
	}
	if v.brought != nil {
		return g.checkToken(r, v, needed)
	}
	if !v.takesSessions() {
		return nil, tokensOnly()
	}
	live, err := v.load(r)
	if err != nil {
		return nil, err
	}
	provider, err := g.providerOf(live.Session())
	if err != nil {
		return nil, err
	}
	if !open {
		if err := g.renew(r, v, provider); err != nil {
			return nil, err
		}
	}
	s := v.live.Session()
	if err := g.hasClaims(provider, s); err != nil {
		return nil, err
	}
	if !open {
		if err := g.checkTokens(s); err != nil {
			return nil, err
		}
	}
	if err := g.crossOrigin(r, v.origin); err != nil {
		return nil, err
	}
	who := &identity{session: s, provider: provider, prefixed: len(v.gate.speakers) > 1}
	if err := g.admit(r, v, who); err != nil {
		return nil, err
	}
	if needed.acr != nil || needed.maxAge != 0 {
		if err := needed.check(s, g.now()); err != nil {
			return nil, err
		}
	}
	return who, nil
}

// providerOf finds the provider that a session is of, among those of this gate.
func (g *Gate) providerOf(s *session.Session) (*provider, error) {
	for _, p := range g.providers {
		if p.isOf(s) {
			return p, nil
		}
	}
	return nil, problem(authflow.NoLogin, ReasonOtherProvider, "You are signed in with an account that does not count here.",
		fmt.Errorf("the session is of provider %s (%s)", s.Provider, s.Issuer))
}

// hasClaims holds that a session knows everything that this gate reads. A claim
// that the provider left out is known, as absent; one that the configuration did
// not ask for when the session was made is not.
func (g *Gate) hasClaims(p *provider, s *session.Session) error {
	for _, claims := range [][]string{g.needs, g.app.matched} {
		for _, claim := range claims {
			if _, known := s.Claims[p.key(claim)]; !known {
				return problem(authflow.NoLogin, ReasonClaimsChanged, "This site needs to know more of you. Please sign in again.",
					fmt.Errorf("the session was made without claim %s", p.key(claim)))
			}
		}
	}
	return nil
}

// admit judges an identity by the rules.
func (g *Gate) admit(r *http.Request, v *visit, who *identity) error {
	if who.user() == "" {
		if who.provider.userClaim == "email" && scalar(who.claim("email")) != "" {
			return g.denied(v, who, ReasonEmailUnverified, "Your e-mail address is not verified by the provider.")
		}
		return g.denied(v, who, ReasonUserMissing, "The provider did not tell the name that this site knows you by.")
	}
	passes, err := g.judge(r, who)
	if err != nil {
		return matcherFailed(err)
	}
	if passes {
		return nil
	}
	if g.ReportOnly {
		g.logger.Warn("report_only: would have been denied",
			zap.String("user", who.user()), zap.String("path", originalURL(r).Path))
		return nil
	}
	return g.denied(v, who, ReasonDenied, "Your account may not open this page.")
}

// denied remembers who was refused, for the page that says so.
func (g *Gate) denied(v *visit, who *identity, reason authflow.Reason, public string) error {
	v.refused = who
	return problem(authflow.Denied, reason, public, fmt.Errorf("user %q of %s", who.user(), who.session.Issuer))
}

// passesAsNobody reports an error that means nobody is signed in, where that is no
// reason to stop (unauthenticated pass). A session that is there and too weak is one,
// and so is an access token, however wrong.
func (g *Gate) passesAsNobody(v *visit, err error) bool {
	return g.Unauthenticated == "pass" && v.brought == nil && asProblem(err).Kind == authflow.NoLogin && stepUpChallenge(err) == ""
}

// refuse answers who may not pass: a navigation without session, or with one that
// is too weak, signs in.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	if answered, failed := g.loginWithForm(w, r, v, err); answered {
		return failed
	}
	if asProblem(err).Kind != authflow.NoLogin || g.Unauthenticated == "reject" || v.answersOnly || !isNavigation(r) {
		return g.fail(w, r, v, err)
	}
	providers := v.demanded
	if stepUpChallenge(err) != "" { // the same person at the same provider
		p, err := g.providerOf(v.live.Session())
		if err != nil {
			return g.fail(w, r, v, err)
		}
		providers = []*provider{p}
	}
	target := v.policy().OwnTarget(originalTarget(r))
	if g.cookies.SameSite == http.SameSiteStrictMode && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// The browser keeps a strict cookie out of what another site begins; a
		// navigation of our own shows whether it has one.
		return g.continuePage(w, v, http.StatusUnauthorized, target)
	}
	return g.login(w, r, v, loginOptions{returnTo: target, providers: providers})
}

// isNavigation judges the request as the browser sent it, not as a rewrite left it.
func isNavigation(r *http.Request) bool {
	sent := *r
	sent.Method = originalMethod(r)
	return authflow.IsNavigation(&sent)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Gate)(nil)
	_ caddyhttp.MiddlewareHandler = (*Gate)(nil)
)
