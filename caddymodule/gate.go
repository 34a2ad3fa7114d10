package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
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
	users           *siteUsers  // nil: no token URL of our own
	issued          *authflow.IssuedTokens
	tokenWatches    requestWatches
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
	lists           *followedLists
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

// ServeHTTP is the whole of what happens to a request. Whatever becomes of it, it is
// cleaned first.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v, err := g.receive(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if v.gate == g && !v.asked {
		if name, ours := g.endpoint(r); ours {
			return g.serveEndpoint(w, r, v, name)
		}
		if g.AnswerTokens {
			return notFound(w)
		}
		if r, err = g.returnedForm(w, r, v); err != nil {
			return g.fail(w, r, v, err)
		}
	}
	public, err := g.isPublic(r)
	switch {
	case err != nil:
		return g.fail(w, r, v, err)
	case g.Preflight == "pass" && v.brought == nil && isPreflight(r):
		v.identify(r, g, identity{})
		return g.pass(w, r, v, next)
	case !public:
		return g.serveProtected(w, r, v, next)
	case v.gate == g:
		return g.servePublic(w, r, v, next)
	default:
		return next.ServeHTTP(w, r) // what the outermost has said of it stands
	}
}

// serveProtected lets a request pass only as somebody who may: its errors end here.
func (g *Gate) serveProtected(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	needed, err := g.required(r, v.stepUp)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	v.stepUp = needed
	if err := v.demand(g); err != nil {
		return g.fail(w, r, v, err)
	}
	who, err := g.checkProtected(r, v)
	failed := v.deliver(w, r)
	switch {
	case failed != nil:
		return g.fail(w, r, v, failed)
	case err != nil && !g.passesAsNobody(v, err):
		return g.refuse(w, r, v, err)
	case err == nil && isEarly(r) && !isSafe(r.Method):
		return tooEarly()
	}
	v.identify(r, g, who)
	v.giveNonce(w, r)
	if err := g.forward(r, v); err != nil {
		return g.fail(w, r, v, err)
	}
	return g.pass(w, r, v, next)
}

// servePublic lets a request pass as whoever is there, and be it nobody.
func (g *Gate) servePublic(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	needed, err := g.required(r, v.stepUp)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	who, err := g.checkPublic(r, v, needed)
	failed := v.deliver(w, r)
	switch {
	case failed != nil:
		return g.fail(w, r, v, failed)
	case err == nil && isEarly(r) && !isSafe(r.Method):
		return tooEarly()
	}
	v.identify(r, g, who)
	v.giveNonce(w, r)
	return g.pass(w, r, v, next)
}

// pass sends a request on, and sees to what comes back.
func (g *Gate) pass(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	if v.answer.ResponseWriter == nil {
		v.answer.ResponseWriter = w
		w = &v.answer
	}
	v.answer.guard(v.gate)
	if !v.identity.isNobody() && v.gate.PrivateResponses != "off" {
		v.answer.private = true
	}
	return g.handOn(w, r, v, next)
}

// isPublic reports whether a request needs no sign-in: the user's matcher takes
// none of its readings, or public paths take all of them.
func (g *Gate) isPublic(r *http.Request) (bool, error) {
	if len(g.matchers) == 0 && len(g.public) == 0 {
		return false, nil
	}
	views := []*http.Request{r} // which stays on the stack
	// public asks for the path alone, so that a method that a request names beside its
	// own counts for matchers only.
	if !hasOnePath(r) || len(g.matchers) > 0 && !hasOneReading(r) {
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

// checkProtected answers who is calling a protected path, or why the request may not
// pass as anybody.
func (g *Gate) checkProtected(r *http.Request, v *visit) (identity, error) {
	if v.brought != nil {
		return g.checkToken(r, v, v.stepUp)
	}
	p, err := g.openSession(r, v)
	if err != nil {
		return identity{}, err
	}
	if err := g.renew(r, v, p); err != nil {
		return identity{}, err
	}
	s := v.live.Session()
	if err := g.hasClaims(p, s); err != nil {
		return identity{}, err
	}
	if err := g.checkTokens(s); err != nil {
		return identity{}, err
	}
	return g.checkSession(r, v, p, v.stepUp)
}

// checkPublic answers who is calling a public path. A session is taken as it is there:
// one that is due for a refresh waits for a path that needs it.
func (g *Gate) checkPublic(r *http.Request, v *visit, needed stepUp) (identity, error) {
	if v.brought != nil {
		return g.checkToken(r, v, needed)
	}
	p, err := g.openSession(r, v)
	if err != nil {
		return identity{}, err
	}
	if err := g.hasClaims(p, v.live.Session()); err != nil {
		return identity{}, err
	}
	return g.checkSession(r, v, p, needed)
}

// openSession opens the session of a request, and finds its provider.
func (g *Gate) openSession(r *http.Request, v *visit) (*provider, error) {
	if err := v.checkHost(r); err != nil {
		return nil, err
	}
	if !v.takesSessions() {
		return nil, tokensOnly()
	}
	live, err := v.load(r)
	if err != nil {
		return nil, err
	}
	return g.providerOf(live.Session())
}

// checkSession answers who is calling by a session that says all that is needed.
func (g *Gate) checkSession(r *http.Request, v *visit, p *provider, needed stepUp) (identity, error) {
	if err := g.crossOrigin(r, v.site()); err != nil {
		return identity{}, err
	}
	s := v.live.Session()
	who := identity{session: s, provider: p, prefixed: len(v.gate.speakers) > 1}
	if err := g.admitTo(v, r, who); err != nil {
		return identity{}, err
	}
	if err := needed.check(s, g.now); err != nil {
		return identity{}, err
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
func (g *Gate) admit(r *http.Request, who identity) error {
	if who.user() == "" {
		if who.provider.userClaim == "email" && scalar(who.claim("email")) != "" {
			return who.denied(ReasonEmailUnverified, "Your e-mail address is not verified by the provider.")
		}
		return who.denied(ReasonUserMissing, "The provider did not tell the name that this site knows you by.")
	}
	passes, err := g.judge(r, &who)
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
	return problem(authflow.Denied, ReasonDenied, "Your account may not open this page.", &refused{who, g.lacking(&who)})
}

// refused is the error of who may not pass: the page that says so tells who that is.
type refused struct {
	identity
	lacks []string // the claims that allow asks for and that are not there, for the log
}

func (id *identity) denied(reason authflow.Reason, public string) error {
	return problem(authflow.Denied, reason, public, &refused{identity: *id})
}

// Error implements error.
func (e *refused) Error() string {
	text := fmt.Sprintf("user %q of %s", e.user(), e.session.Issuer)
	if len(e.lacks) > 0 {
		text += ", without the claim that allow asks for: " + strings.Join(e.lacks, ", ")
	}
	return text
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
	target := v.returnTarget(r)
	if v.gate.cookies.SameSite == http.SameSiteStrictMode && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// The browser keeps a strict cookie out of what another site begins; a
		// navigation of our own shows whether it has one.
		return g.continuePage(w, v, http.StatusUnauthorized, target)
	}
	options := loginOptions{returnTo: target, providers: providers}
	if v.elsewhere != (origin{}) {
		return g.loginElsewhere(w, r, v, options)
	}
	return g.login(w, r, v, options)
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
