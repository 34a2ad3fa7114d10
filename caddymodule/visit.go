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
	gate   *Gate
	origin origin
	secure bool // sessions may travel on this connection
	// hostProblem says that the request names no host that anybody could be signed
	// in at.
	hostProblem error
	cookies     session.Cookies // ours, taken out of the request

	loaded bool
	// delivered: the answer sets cookies of the session.
	delivered bool
	live      *session.Live
	loadErr   error

	// deciding: no gate has let the request pass yet, nor refused it. Who is signed in
	// cannot be a condition of that.
	deciding bool
	clean    *nameSet  // the identity headers that hold nothing but what gates have set
	identity *identity // who passed, or nil; placeholders read it
	refused  *identity // who did not, for the page that says so
	carried  carried   // by the attempt of a callback
	// answersOnly: another proxy asks, which can do nothing with a redirect.
	answersOnly bool
	asked       bool // another proxy asks about a request, and has its body
	// authenticated: basic_auth has passed somebody before us.
	authenticated bool
	replayed      bool // a form that was sent before the sign-in
	watched       bool // the request is cut when its session ends
	// brought is the access token of the request, which then counts alone. It is in
	// sent, the headers that a program sends it in, before `forward` takes them.
	brought *brought
	sent    struct{ authorization, proofs, originalURL []string }
	bound   *bound // an access token that the transport sends
	// answer is what the upstream answers by, once a gate has let the request pass.
	answer *privateWriter
	// demanded are the providers that every protecting gate so far accepts.
	demanded []*provider
	// stepUp is what they ask of a session.
	stepUp stepUp
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
	v := &visit{gate: g, cookies: g.cookies.Cut(r.Header), clean: g.names, deciding: true}
	v.sent.authorization, v.sent.proofs, v.sent.originalURL = r.Header["Authorization"], r.Header["Dpop"], r.Header["X-Original-Url"]
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
	var valid bool
	if v.origin, v.secure, valid = g.browserOrigin(r); !valid {
		v.hostProblem = problem(authflow.BadRequest, ReasonHostInvalid, "The request names no valid host.", fmt.Errorf("host %q", r.Host))
	}
	return v, nil
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
		{"users", g.users != nil && (outer.users == nil || !g.users.same(outer.users))},
		{"pages", g.Pages != nil},
		{"errors", g.Errors != "" && g.passErrors != outer.passErrors},
		{"return_to", len(g.ReturnTo) > 0 && !slices.Equal(g.returnTo, outer.returnTo)},
		{"post_logout", g.PostLogout != "" && g.postLogout != outer.postLogout},
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
	if v.loaded {
		return v.live, v.loadErr
	}
	v.loaded = true
	if !v.secure || v.hostProblem != nil {
		v.loadErr = sessionProblem(session.ErrNone)
		return nil, v.loadErr
	}
	live, err := v.gate.sessions.Load(r.Context(), v.cookies, v.scope())
	if err != nil {
		v.loadErr = sessionProblem(err)
		return nil, v.loadErr
	}
	v.live = live
	return live, nil
}

// deliver sets the cookies that the browser lacks, whatever becomes of its request,
// and reports whether it did.
func (v *visit) deliver(w http.ResponseWriter) (bool, error) {
	if v.live == nil {
		return false, nil
	}
	before := len(w.Header()["Set-Cookie"])
	if err := v.gate.sessions.Deliver(w, v.live, v.scope()); err != nil {
		return false, sessionProblem(err)
	}
	delivered := len(w.Header()["Set-Cookie"]) > before
	v.delivered = v.delivered || delivered
	return delivered, nil
}

// identify tells the upstream and the placeholders who passed a gate; nil is nobody.
func (v *visit) identify(r *http.Request, g *Gate, who *identity) {
	v.identity, v.deciding = who, false
	if who == nil {
		clearIdentity(r, g.own)
		v.unbind(g.own)
		return
	}
	g.setIdentity(r, who)
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
	if v.identity == nil {
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
	if len(query) == 0 {
		return v.endpoint("login")
	}
	return v.endpoint("login") + "?" + query.Encode()
}
