package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// visitVar is the request variable in which gates find the visit.
const visitVar = "gatehouse.visit"

// visit is what one request is to the gates that it passes: computed once, by the
// outermost of them, which also decides endpoints, origin, session and pages.
type visit struct {
	gate *Gate // the outermost

	// What the browser sent.
	origin        origin          // none: no host that anybody could be signed in at
	secure        bool            // sessions may travel on this connection
	cookies       session.Cookies // ours, taken out of the request
	brought       *brought        // the access token, which then counts alone; nil: none
	authenticated bool            // basic_auth has passed somebody before us

	// Who wants to know.
	asked       bool     // another proxy asks about a request, and has its body
	askedURL    []string // the X-Original-Url that it may have sent
	elsewhere   origin   // of that request, where it is another host than ours; zero: it is ours
	answersOnly bool     // who asks can do nothing with a redirect

	// The session, once somebody has asked for it.
	live    *session.Live
	loadErr error
	carried carried // by the attempt of a callback

	// What the gates so far ask.
	demanded []*provider // the providers that every protecting one accepts
	stepUp   stepUp      // of a session
	clean    *nameSet    // the identity headers that hold nothing but what they have set

	// What they have decided.
	decided  bool     // the request has passed one, or was refused: only then is it known who is signed in
	identity identity // who passed, for upstream and placeholders

	// What becomes of it behind them.
	bound   *bound        // an access token that the transport sends
	answer  privateWriter // what the upstream answers by
	watched bool          // the request is cut when its session ends
	// standing is what the last gate with lists in files let it pass by; nil: none did
	standing *standing
}

// receive cleans a request and computes its visit. A later gate of the same
// request finds the visit, and clears those of its own header names that no gate
// has cleared before: what a gate has set stays.
func (g *Gate) receive(r *http.Request) (*visit, error) {
	if v, ok := caddyhttp.GetVar(r.Context(), visitVar).(*visit); ok {
		clearIdentity(r, g.own.without(v.clean))
		v.clean = v.clean.union(g.own)
		return v, nil
	}
	v := &visit{gate: g, cookies: g.cookies.Cut(r.Header), clean: g.names}
	v.askedURL = r.Header["X-Original-Url"]
	tokenErr := v.readToken(r) // before what it stands in is cleared: `forward` may send another there
	clearIdentity(r, g.names)
	reduceConnection(r.Header)
	caddyhttp.SetVar(r.Context(), visitVar, v)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		_, v.authenticated = repl.Get("http.auth.user.id")
		repl.Map(v.placeholder)
	}
	if r.Method == http.MethodConnect && r.Header.Get(":protocol") != "websocket" && !(r.ProtoMajor == 3 && r.Proto == "websocket") {
		return v, problem(authflow.BadRequest, ReasonMethodRefused, "This method is not allowed here.", nil)
	}
	v.origin, v.secure, _ = g.browserOrigin(r)
	return v, tokenErr
}

// checkHost refuses a request that names no host that anybody could be signed in at.
func (v *visit) checkHost(r *http.Request) error {
	if v.origin != (origin{}) {
		return nil
	}
	return problem(authflow.BadRequest, ReasonHostInvalid, "The request names no valid host.", fmt.Errorf("host %q", r.Host))
}

// conflict reports what a later gate asks for and only the outermost could do. It
// is an error, never silence: an option that does nothing is a hole (SEC-90).
func (g *Gate) conflict(v *visit) error {
	if g == v.gate {
		return nil
	}
	outer := v.gate
	for _, option := range []struct {
		word    string
		differs bool
	}{
		{"base_path", g.BasePath != "" && g.basePath != outer.basePath},
		{"public_url", g.PublicURL != "" && g.publicOrigin != outer.publicOrigin},
		{"session", g.Session != nil && !reflect.DeepEqual(g.sessionConfig, outer.sessionConfig)},
		{"bearer", g.Bearer != nil},
		{"users", g.users != nil && g.users != outer.users},
		{"pages", g.Pages != nil},
		{"errors", g.Errors != "" && g.passErrors != outer.passErrors},
		{"return_to", len(g.ReturnTo) > 0 && !slices.Equal(g.returnTo, outer.returnTo)},
		{"post_logout", g.PostLogout != "" && g.postLogout != outer.postLogout},
		{"answer_tokens", g.AnswerTokens && !outer.AnswerTokens},
		{"private_responses", g.PrivateResponses != "" && (g.PrivateResponses == "off") != (outer.PrivateResponses == "off")},
		{"preserve_post", g.PreservePost != 0 && g.PreservePost != outer.PreservePost},
		{"streams", g.Streams != "" && (g.Streams == "keep") != (outer.Streams == "keep")},
	} {
		if option.differs {
			return gateConflict(fmt.Errorf("%s belongs into the outermost gatehouse directive of the request; a later one has it as well", option.word))
		}
	}
	return nil
}

// demand notes that a gate protects this request: it may ask for nothing that the
// outermost does otherwise, and narrows the providers to those that it accepts.
func (v *visit) demand(g *Gate) error {
	if err := g.conflict(v); err != nil {
		return err
	}
	if len(g.providers) == 0 {
		v.answersOnly = true // nobody signs in there
		return nil
	}
	if v.demanded == nil {
		v.demanded = g.providers
		return nil
	}
	both := slices.DeleteFunc(slices.Clone(v.demanded), func(p *provider) bool { return !slices.ContainsFunc(g.providers, p.same) })
	if len(both) == 0 {
		return gateConflict(fmt.Errorf("two gatehouse directives on one request name different providers; nobody could pass both (one without issuer and names means those of the global option, not that of another directive)"))
	}
	v.demanded = both
	return nil
}

// load opens the session that the browser brought, once.
func (v *visit) load(r *http.Request) (*session.Live, error) {
	if v.live != nil || v.loadErr != nil {
		return v.live, v.loadErr
	}
	err := session.ErrNone
	if v.secure {
		v.live, err = v.gate.sessions.Load(r.Context(), v.cookies, v.scope())
	}
	if err != nil {
		v.live, v.loadErr = nil, sessionProblem(err)
	}
	return v.live, v.loadErr
}

// deliver sets the cookies that the browser lacks, whatever becomes of its request. An
// answer that sets any is private.
func (v *visit) deliver(w http.ResponseWriter, r *http.Request) error {
	v.answer.unguard()
	if v.live == nil {
		return nil
	}
	before := len(w.Header()["Set-Cookie"])
	if err := v.gate.sessions.Deliver(w, v.live, v.scope()); err != nil {
		return sessionProblem(err)
	}
	if len(w.Header()["Set-Cookie"]) == before {
		return nil
	}
	v.answer.private = true
	v.answer.late = func(w http.ResponseWriter) {
		if v.live != nil {
			_ = v.gate.sessions.DeliverAgain(r.Context(), w, v.live, v.scope()) // its next request learns why
		}
	}
	return nil
}

// identify tells the upstream and the placeholders who passed a gate.
func (v *visit) identify(r *http.Request, g *Gate, who identity) {
	v.identity, v.decided = who, true
	if who.isNobody() {
		clearIdentity(r, g.own)
		v.unbind(g.own)
		return
	}
	g.setIdentity(r, &v.identity)
	if v.authenticated {
		// basic_auth has set it; a fixed value goes before those that are asked for.
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			repl.Set("http.auth.user.id", who.user())
		}
	}
}

// names is what placeholders know a list by: a joined string in headers, a list
// in expressions.
type names []string

// String implements fmt.Stringer.
func (n names) String() string { return strings.Join(n, ",") }

// placeholder answers {http.auth.user.*}. The access log's user_id is one of
// them. They are empty for who is not signed in, and the groups a list, so that
// neither a header nor an expression trips over them.
func (v *visit) placeholder(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, "http.auth.user.")
	if !ours {
		return nil, false
	}
	if v.identity.isNobody() {
		if name == "groups" {
			return names{}, true
		}
		return "", true
	}
	switch name {
	case "id":
		return v.identity.user(), true
	case "groups":
		groups := v.identity.values("groups", false)
		return names(groups), true
	}
	claim := strings.TrimPrefix(name, "claims.")
	if _, isList := v.identity.claim(claim).([]any); isList {
		values := v.identity.values(claim, false)
		return names(values), true
	}
	return v.identity.header(claim), true
}

// scope is where the browser keeps cookies of this visit.
func (v *visit) scope() session.Scope {
	return session.Scope{Host: v.origin.hostname(), Secure: v.origin.scheme == "https", BasePath: v.gate.basePath}
}

// policy says where a browser of this visit may be sent.
func (v *visit) policy() authflow.ReturnPolicy {
	return authflow.ReturnPolicy{Origin: v.origin.String(), Allowed: v.gate.returnTo, BasePath: v.gate.basePath}
}

// endpoint is the path of one of our endpoints, as browsers see it.
func (v *visit) endpoint(name string) string { return v.gate.basePath + "/" + name }

// callback is the endpoint at which a provider answers. Where there are several, each
// has its own, so that none can have the answer of another taken for its own: an
// attempt ends at the one that it was begun with (RFC 9700 4.4.2.2).
func (v *visit) callback(p *provider) string {
	if of := v.gate.providers; len(of) == 1 && of[0].same(p) {
		return v.endpoint("callback")
	}
	return v.endpoint("callback/" + p.name)
}

// anotherURL is where somebody signs in with another account, at the one provider
// that counts here, if there is but one.
func (v *visit) anotherURL(returnTo string) string {
	if len(v.demanded) == 1 && len(v.gate.providers) > 1 {
		return v.loginURL(returnTo, "prompt", "select_account", "provider", v.demanded[0].name)
	}
	return v.loginURL(returnTo, "prompt", "select_account")
}

// loginURL is where somebody signs in and comes back to a target.
func (v *visit) loginURL(returnTo string, more ...string) string {
	query := url.Values{}
	if returnTo != "" {
		query.Set("rd", returnTo)
	}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	login := v.endpoint("login")
	if v.elsewhere != (origin{}) {
		login = v.origin.String() + login
	}
	if len(query) == 0 {
		return login
	}
	return login + "?" + query.Encode()
}
