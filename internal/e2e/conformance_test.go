package e2e_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The modules of the OpenID Foundation's conformance suite for relying parties, by its own names, so that a log of the
// suite and these tests join by grep. Each runs one Caddy in front of a provider that does what the module's does, and holds
// the gate to what the suite looks for (which requests come, in which order, and that no other comes) and to what it cannot
// see: the session or none, the reason, the page.
//
// In the suite a request that the flow does not need fails a module, or turns its verdict after the end. Here the provider's
// requests are compared as a whole.

// module is one module of a plan.
type module struct {
	name   string
	words  string                                         // of the provider in the Caddyfile, besides the plan's
	gate   string                                         // words of the site
	quiet  bool                                           // userinfo is not asked
	opened func(*rp)                                      // opens the site and looks at it, in place of a sign-in
	behave func(op *testop.Provider, b *testop.Behaviour) // what the provider does wrong, or oddly
	status int                                            // of the page on which the sign-in ends; 0 = at the application
	reason string
	trace  string           // what is asked of the provider; "" = signIn
	open   func(*rp) string // where a link of the provider's leads; nil = a page is opened
	after  func(*rp)
}

const (
	// signIn is what a sign-in asks of the provider, once each, in this order, and nothing else: the first one, and
	// further ones of the same process.
	signIn      = "discovery authorization token jwks userinfo"
	signInAgain = "authorization token userinfo"
	// refusedToken is what is asked if the ID token is not accepted, refusedUnread if its header alone is enough to say so.
	refusedToken  = "discovery authorization token jwks"
	refusedUnread = "discovery authorization token"
)

// rp is a relying party as the suite's run of one module has it: one process, one browser.
type rp struct {
	*Site
	at      string // the site
	browser *Browser
	module  module
	trace   string // that the provider was last held to
	t       *testing.T
}

// conformance is the Caddyfile of every plan; {$PLAN} holds a plan's own words of the provider.
const conformance = `{
	gatehouse {
		provider {
			issuer        {$ISSUER}
			client_id     ` + "`{$CLIENT_ID}`" + `
			client_secret {$CLIENT_SECRET}
			client_auth   client_secret_basic
			scopes        openid profile email
			userinfo      {$USERINFO}
			user_claim    preferred_username
			{$PLAN}
		}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		{$GATE}
	}
	reverse_proxy {$APP}
}
`

// asTheSuite makes the provider one like the suite's: a JWKS with keys of all kinds, claims in userinfo alone, tokens that
// do not say when they expire, no endpoint that is not needed, a parameter of session management in every answer.
func asTheSuite(b *testop.Behaviour) {
	b.StrangeKeys, b.ThinIDToken, b.RefreshTokenInfix = true, true, `"&{[?+% `
	b.TokenResponse = testop.Edit{"expires_in": testop.Absent}
	b.UserInfo = testop.Edit{"email_verified": false}
	b.AuthorizationResponse = testop.Edit{"iss": testop.Absent, "session_state": "salted.hash"}
	b.Discovery = testop.Edit{
		"revocation_endpoint":                            testop.Absent,
		"pushed_authorization_request_endpoint":          testop.Absent,
		"authorization_response_iss_parameter_supported": testop.Absent,
	}
}

// start runs a relying party against a provider that behaves as the module says. The issuer ends in a slash; what the provider
// gives out has any characters.
func start(t *testing.T, words string, m module) *rp {
	t.Helper()
	userinfo := "required"
	if m.quiet {
		userinfo = "off"
	}
	caddyfile := strings.NewReplacer("{$PLAN}", words+"\n\t\t\t"+m.words, "{$GATE}", m.gate, "{$USERINFO}", userinfo).Replace(conformance)
	s := StartSite(t, caddyfile, func(p *testop.Provider) { p.Path, p.ClientID = "/test/a/gatehouse/", `client"&{[?:+%` })
	s.OP.Set(func(b *testop.Behaviour) {
		asTheSuite(b)
		if m.behave != nil {
			m.behave(s.OP, b)
		}
	})
	return &rp{Site: s, at: s.HTTPS("app.example.test"), browser: NewBrowser(t), module: m, t: t}
}

// signIn opens a page and goes where it leads; a form of the provider's is sent as its script would.
func (r *rp) signIn(b *Browser) *Page {
	r.t.Helper()
	var page *Page
	if r.module.open != nil {
		page = b.Follow(&Page{URL: r.issuer()}, r.module.open(r))
	} else {
		page = b.Navigate(r.at + "/wanted?x=1")
	}
	if _, posts := findForm(page, "/oauth2/callback"); posts {
		way := page.Hops
		page = b.Submit(page, "/oauth2/callback", nil)
		page.Hops = append(way, page.Hops...)
	}
	return page
}

func (r *rp) issuer() *url.URL {
	u, err := url.Parse(r.OP.Issuer())
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

// wantTrace holds the requests that the provider got so far to a list.
func (r *rp) wantTrace(want string) {
	r.t.Helper()
	r.trace = want
	if got := strings.Join(r.OP.Trace(), " "); got != want {
		r.t.Errorf("asked of the provider:\n got %s\nwant %s", got, want)
	}
}

// wantSignedIn holds a page to be the one that was wanted, of the application, which knows the user.
func (r *rp) wantSignedIn(b *Browser, page *Page) {
	r.t.Helper()
	got := seen(r.t, page)
	if page.URL.String() != r.at+"/wanted?x=1" || got.URI != "/wanted?x=1" {
		r.t.Errorf("wanted /wanted?x=1, arrived at %s", page.URL)
	}
	if user := got.Header.Get("X-Forwarded-User"); user != "alice" {
		r.t.Errorf("the application is told of %q", user)
	}
	if mail := got.Header.Get("X-Forwarded-Email"); mail != "" {
		r.t.Errorf("an address that is not verified reached the application: %s", mail)
	}
	for _, request := range r.OP.Requests(testop.UserInfo) {
		if _, token, _ := strings.Cut(request.Header.Get("Authorization"), " "); strings.Contains(page.Body, token) {
			r.t.Error("an access token reached the application, which did not ask for it")
		}
	}
	if b.Jar.Cookie("__Host-gatehouse") == nil {
		r.t.Errorf("no session: %v", b.Jar.Names("app.example.test"))
	}
}

// wantClean holds the site's own answers on the way to a page: redirects are 303 (RFC 9700 4.12), and after the callback
// nothing of the response is left, in no address and no cache (RFC 9700 4.2.4). What an attempt needs comes back across sites
// by form_post alone.
func (r *rp) wantClean(page *Page, formPost bool) {
	r.t.Helper()
	for _, hop := range page.Hops {
		location := hop.Header.Get("Location")
		if origin(hop.URL) != r.at {
			continue
		}
		for _, cookie := range hop.Header.Values("Set-Cookie") {
			if strings.HasPrefix(cookie, "__Host-gatehouse_a_") && !strings.Contains(cookie, "Max-Age=0") && strings.Contains(cookie, "SameSite=None") != formPost {
				r.t.Errorf("the attempt's cookie: %s", cookie)
			}
		}
		if location != "" && hop.Status != http.StatusSeeOther {
			r.t.Errorf("%s redirects by %d", hop.URL.Path, hop.Status)
		}
		if hop.URL.Path == "/oauth2/callback" && (strings.Contains(location, "code") || hop.Header.Get("Cache-Control") != "no-store" || hop.Header.Get("Referrer-Policy") != "no-referrer") {
			r.t.Errorf("the callback answers %d %v", hop.Status, hop.Header)
		}
	}
}

// wantRefused holds a page to a refusal, behind which there is no session.
func (r *rp) wantRefused(b *Browser, page *Page, status int, reason string) {
	r.t.Helper()
	wantReason(r.t, page, status, reason)
	if page.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		r.t.Errorf("headers of the page: %v", page.Header)
	}
	if !strings.Contains(page.Body, "<h1>") || !strings.Contains(page.Body, `class="main"`) {
		r.t.Errorf("the page says nothing, or has no way on:\n%s", brief(page))
	}
	for _, token := range []string{"eyJ", "at-", "code-", r.OP.ClientSecret} {
		if strings.Contains(brief(page), token) {
			r.t.Errorf("the page shows a secret (%s…):\n%s", token, brief(page))
		}
	}
	if cookie := b.Jar.Cookie("__Host-gatehouse"); cookie != nil {
		r.t.Error("there is a session")
	}
	wantReason(r.t, b.Fetch(r.at, "GET", r.at+"/api", nil, ""), http.StatusUnauthorized, "no_session")
}

// run is a module from beginning to end.
func (m module) run(t *testing.T, words string) {
	t.Parallel()
	r := start(t, words, m)
	r.wantTrace("") // nothing before the suite is ready
	defer func() {  // nor anything after the end
		time.Sleep(100 * time.Millisecond)
		r.wantTrace(r.trace)
	}()
	if m.opened != nil {
		m.opened(r)
		return
	}
	page := r.signIn(r.browser)
	formPost := strings.Contains(words+m.words, "form_post")
	r.wantClean(page, formPost)
	trace := m.trace
	if m.status != 0 {
		r.wantRefused(r.browser, page, m.status, m.reason)
	} else {
		r.wantSignedIn(r.browser, page)
		if trace == "" {
			trace = signIn
		}
	}
	r.wantTrace(trace)
	r.wantRequests(formPost)
	if m.after != nil {
		m.after(r)
		return
	}
	if m.status == 0 {
		r.wantSignedIn(r.browser, r.browser.Navigate(r.at+"/wanted?x=1"))
		r.wantTrace(trace) // a session asks nothing
	}
}

var (
	urlSafe = regexp.MustCompile(`^[A-Za-z0-9_-]{22,43}$`)
	s256    = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

// wantRequests holds every request that was made to what the suite asks of all modules (its conditions on the authorization
// request, PKCE, client authentication and the access token).
func (r *rp) wantRequests(formPost bool) {
	r.t.Helper()
	verifiers := map[string]bool{}
	for _, request := range r.OP.Requests(testop.Authorization) {
		form := request.Form
		for name, values := range form {
			if len(values) != 1 || values[0] == "" {
				r.t.Errorf("authorization request: %s is %q", name, values)
			}
		}
		if request.Method != http.MethodGet || form.Get("client_id") != r.OP.ClientID || form.Get("response_type") != "code" ||
			form.Get("redirect_uri") != r.at+"/oauth2/callback" || form.Get("scope") != "openid profile email" ||
			form.Get("code_challenge_method") != "S256" || !s256.MatchString(form.Get("code_challenge")) ||
			!urlSafe.MatchString(form.Get("nonce")) || form.Get("state") == "" || (form.Get("response_mode") == "form_post") != formPost {
			r.t.Errorf("authorization request: %s %v", request.Method, form)
		}
	}
	for _, request := range r.OP.Requests(testop.Token) {
		form := request.PostForm
		id, password, basic := (&http.Request{Header: request.Header}).BasicAuth()
		if !basic || id != url.QueryEscape(r.OP.ClientID) || password != url.QueryEscape(r.OP.ClientSecret) {
			r.t.Errorf("client_secret_basic is not what it says, or not form-encoded: %q", id)
		}
		if request.URL.RawQuery != "" || form.Has("client_secret") || form.Has("client_assertion") {
			r.t.Errorf("token request: ?%s %v", request.URL.RawQuery, form)
		}
		if grant := form.Get("grant_type"); grant == "refresh_token" {
			continue
		} else if grant != "authorization_code" {
			r.t.Errorf("grant_type %s", grant)
		}
		if verifier := form.Get("code_verifier"); !s256.MatchString(verifier) || verifiers[verifier] {
			r.t.Errorf("code_verifier %q is weak, or was used before", verifier)
		}
		verifiers[form.Get("code_verifier")] = true
	}
	for _, request := range r.OP.Requests(testop.UserInfo) {
		if request.URL.RawQuery != "" || !strings.HasPrefix(request.Header.Get("Authorization"), "Bearer ") {
			r.t.Errorf("userinfo request: %s", request.URL)
		}
	}
}

// again is a second sign-in in the same process, by another browser.
func again(trace string) func(*rp) {
	return func(r *rp) {
		b := NewBrowser(r.t)
		r.wantSignedIn(b, r.signIn(b))
		r.wantTrace(trace)
		r.wantRequests(false)
	}
}

func inIDToken(e testop.Edit) func(*testop.Provider, *testop.Behaviour) {
	return func(_ *testop.Provider, b *testop.Behaviour) { b.IDToken = e }
}

const badGateway = http.StatusBadGateway

// basic is oidcc-client-basic-certification-test-plan, and with response_mode form_post the one of Form Post.
var basic = []module{
	{name: "oidcc-client-test"},
	{name: "oidcc-client-test-invalid-iss", behave: inIDToken(testop.Edit{"iss": testop.Append("1")}), status: badGateway, reason: "id_token_iss_mismatch", trace: refusedToken},
	{name: "oidcc-client-test-missing-sub", behave: inIDToken(testop.Edit{"sub": testop.Absent}), status: badGateway, reason: "sub_missing", trace: refusedToken},
	{name: "oidcc-client-test-invalid-aud", behave: inIDToken(testop.Edit{"aud": testop.Append("1")}), status: badGateway, reason: "aud_mismatch", trace: refusedToken},
	{name: "oidcc-client-test-missing-iat", behave: inIDToken(testop.Edit{"iat": testop.Absent}), status: badGateway, reason: "iat_missing", trace: refusedToken},
	{name: "oidcc-client-test-kid-absent-single-jwks", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.NoKeyIDs, b.RSAKeys = true, 1 }},
	{name: "oidcc-client-test-kid-absent-multiple-jwks", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.NoKeyIDs, b.RSAKeys = true, 3 }},
	{name: "oidcc-client-test-idtoken-sig-rs256"},
	sigNone,
	{name: "oidcc-client-test-invalid-sig-rs256", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.CorruptSignature = true }, status: badGateway, reason: "signature_invalid", trace: refusedToken},
	{name: "oidcc-client-test-userinfo-invalid-sub", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.UserInfo["sub"] = testop.Append("1") }, status: badGateway, reason: "userinfo_sub_mismatch", trace: signIn},
	{name: "oidcc-client-test-nonce-invalid", behave: inIDToken(testop.Edit{"nonce": testop.Append("1")}), status: badGateway, reason: "nonce_mismatch", trace: refusedToken},
	{name: "oidcc-client-test-scope-userinfo-claims", after: func(r *rp) {
		got := seen(r.t, r.browser.Navigate(r.at+"/"))
		if name := got.Header.Get("X-Forwarded-Preferred-Username"); name != "alice" {
			r.t.Errorf("the claim of the scope profile did not arrive: %q", name)
		}
	}},
	{name: "oidcc-client-test-client-secret-basic", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.OnlyClientAuth = "client_secret_basic" }},
}

// The suite takes an unsigned ID token from the token endpoint or a refusal (then its verdict is SKIPPED); the gate refuses.
var sigNone = module{
	name:   "oidcc-client-test-idtoken-sig-none",
	behave: func(_ *testop.Provider, b *testop.Behaviour) { b.Alg = "none" }, status: badGateway, reason: "alg_refused", trace: refusedUnread,
}

// config is oidcc-client-config-certification-test-plan.
var config = []module{
	// The suite ends these two as soon as it was asked for what they are about, and holds every request after that against the
	// client: the browser stays here in the one, and userinfo is off in the other.
	{name: "oidcc-client-test-discovery-openid-config", opened: func(r *rp) {
		page := r.browser.Step(r.at + "/oauth2/login")
		if location := page.Header.Get("Location"); page.Status != http.StatusSeeOther || !strings.HasPrefix(location, r.OP.URL(testop.Authorization)+"?") {
			r.t.Errorf("the sign-in begins with %d %s", page.Status, location)
		}
		r.wantTrace("discovery")
	}},
	{name: "oidcc-client-test-discovery-jwks-uri-keys", quiet: true, trace: refusedToken, behave: func(op *testop.Provider, b *testop.Behaviour) {
		b.Discovery["jwks_uri"], b.ThinIDToken = op.URL(testop.JWKS)+"/zIGevcwGIy", false
		b.IDToken = testop.Edit{"email_verified": false}
	}, after: func(r *rp) {
		if path := r.OP.Requests(testop.JWKS)[0].URL.Path; !strings.HasSuffix(path, "/jwks/zIGevcwGIy") {
			r.t.Errorf("the keys were fetched from %s", path)
		}
	}},
	{name: "oidcc-client-test-discovery-issuer-mismatch", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.Discovery["issuer"] = testop.Append("INVALID")
	}, status: badGateway, reason: "discovery_issuer_mismatch", trace: "discovery"},
	sigNone,
	{
		name:   "oidcc-client-test-signing-key-rotation-just-before-signing",
		behave: func(_ *testop.Provider, b *testop.Behaviour) { b.RotateOnSign = true },
		after:  again(signIn + " authorization token jwks userinfo"),
	},
	{name: "oidcc-client-test-signing-key-rotation", after: func(r *rp) {
		r.OP.RotateKeys()
		again(signIn + " authorization token jwks userinfo")(r)
		again(signIn + " authorization token jwks userinfo " + signInAgain)(r) // the new keys are kept
	}},
}

// comprehensive are modules of oidcc-client-test-plan that stand in no plan above.
var comprehensive = []module{
	{name: "oidcc-client-test-missing-aud", behave: inIDToken(testop.Edit{"aud": testop.Absent}), status: badGateway, reason: "aud_mismatch", trace: refusedToken},
	{name: "oidcc-client-test-invalid-sig-es256", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.Alg, b.CorruptSignature = "ES256", true
		b.Discovery["id_token_signing_alg_values_supported"] = []string{"ES256"}
	}, status: badGateway, reason: "signature_invalid", trace: refusedToken},
	{name: "oidcc-client-test-invalid-sig-hs256", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.Alg, b.CorruptSignature = "HS256", true
	}, status: badGateway, reason: "alg_refused", trace: refusedUnread},
	{name: "oidcc-client-test-userinfo-bearer-header"},
	{name: "oidcc-client-test-userinfo-signed", words: "userinfo_signed_response_alg RS256", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.UserInfoAlg = "RS256" }},
	{name: "oidcc-client-test-ignores-unparseable-key-in-jwks"}, // every module's JWKS has such keys
	{name: "oidcc-client-test-form-post-error", words: "response_mode form_post\n\t\t\tparam prompt none\n\t\t\tparam max_age 0", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.AuthorizationError = "login_required"
	}, status: badGateway, reason: "provider_error", trace: "discovery authorization", after: func(r *rp) {
		// The suite stops the module unless both are asked for.
		if asked := r.OP.Requests(testop.Authorization)[0].Form; asked.Get("prompt") != "none" || asked.Get("max_age") != "0" {
			r.t.Errorf("asked with %v", asked)
		}
	}},
	// The suite's sources say things that nobody vouches for: a JWT that is not signed, and one that has no iss. It looks at
	// the call alone; nothing of them is believed.
	{name: "oidcc-client-test-aggregated-claims", words: "claim_source {$ISSUER}", gate: "header X-Phone phone_number", behave: elsewhere("phone_number", func(op *testop.Provider) (any, string) {
		unsigned, err := op.SignAs("none", map[string]any{"phone_number": "+1 (310) 123-4567"}, nil)
		if err != nil {
			panic(err) // a map of strings always encodes
		}
		return map[string]any{"JWT": unsigned}, ""
	}), after: unlearned("X-Phone", signIn)},
	{name: "oidcc-client-test-distributed-claims", words: "claim_source {$ISSUER}", gate: "header X-Score credit_score", behave: elsewhere("credit_score", func(op *testop.Provider) (any, string) {
		statement, err := op.Sign(map[string]any{"credit_score": 650}, nil)
		if err != nil {
			panic(err) // a map of numbers always signs
		}
		return map[string]any{"endpoint": op.URL(testop.Claims), "access_token": "for-the-source"}, statement
	}), trace: signIn + " claims", after: func(r *rp) {
		if sent := r.OP.Requests(testop.Claims)[0].Header.Get("Authorization"); sent != "Bearer for-the-source" {
			r.t.Errorf("the source was asked with %q", sent)
		}
		unlearned("X-Score", signIn+" claims")(r)
	}},
}

// elsewhere makes userinfo say that a claim stands elsewhere, and where; the second value is what the claims endpoint answers.
func elsewhere(claim string, source func(op *testop.Provider) (any, string)) func(*testop.Provider, *testop.Behaviour) {
	return func(op *testop.Provider, b *testop.Behaviour) {
		where, statement := source(op)
		b.ClaimsBody = statement
		b.UserInfo["_claim_names"] = map[string]any{claim: "src1"}
		b.UserInfo["_claim_sources"] = map[string]any{"src1": where}
	}
}

// unlearned holds that the application is told of nothing that its source has not signed in its own name.
func unlearned(header, trace string) func(*rp) {
	return func(r *rp) {
		page := r.browser.Navigate(r.at + "/wanted?x=1")
		r.wantSignedIn(r.browser, page)
		if value, told := seen(r.t, page).Header[header]; told {
			r.t.Errorf("%s is %q", header, value)
		}
		r.WaitLog("claims of another source cannot be learned")
		r.wantTrace(trace)
	}
}

// rpInitiatedLogout is oidcc-client-rp-initiated-logout-rp-basic. The state comes back as it was, with something behind it, or
// not at all; the landing page takes all three.
var rpInitiatedLogout = []module{
	{name: "oidcc-client-test-rp-init-logout", after: signOut(nil)},
	{name: "oidcc-client-test-rp-init-logout-other-state", after: signOut(testop.Edit{"state": testop.Append("junk")})},
	{name: "oidcc-client-test-rp-init-logout-no-state", after: signOut(testop.Edit{"state": testop.Absent})},
}

func signOut(response testop.Edit) func(*rp) {
	return func(r *rp) {
		r.OP.Set(func(b *testop.Behaviour) { b.LogoutResponse = response })
		copied := r.browser.Twin()
		page := r.browser.Navigate(r.at + "/oauth2/logout")
		if page.Status != http.StatusOK || page.URL.Path != "/oauth2/signed-out" || !strings.Contains(page.Body, "Signed out") {
			r.t.Errorf("landed at %s: %d %s", page.URL, page.Status, brief(page))
		}
		r.wantTrace(signIn + " end_session")
		sent := r.OP.Requests(testop.EndSession)[0].Form
		if sent.Get("post_logout_redirect_uri") != r.at+"/oauth2/signed-out" || sent.Get("client_id") != r.OP.ClientID || sent.Get("state") == "" {
			r.t.Errorf("end_session: %v", sent)
		}
		if hint := sent.Get("id_token_hint"); strings.Count(hint, ".") != 2 {
			r.t.Errorf("id_token_hint: %q", hint)
		}
		for name, b := range map[string]*Browser{"the browser": r.browser, "a copy of its cookies": copied} {
			if page := b.Fetch(r.at, "GET", r.at+"/api", nil, ""); page.Status != http.StatusUnauthorized {
				r.t.Errorf("%s got %d after the sign-out", name, page.Status)
			}
		}
		r.wantTrace(signIn + " end_session")
	}
}

// thirdPartyLogin is oidcc-client-test-3rd-party-init-login-test-plan: a link of the provider's begins the sign-in.
var thirdPartyLogin = []module{
	{name: "oidcc-client-test-3rd-party-init-login", open: func(r *rp) string {
		return r.at + "/oauth2/login?" + url.Values{"iss": {r.OP.Issuer()}, "target_link_uri": {r.at + "/wanted?x=1"}}.Encode()
	}, after: func(r *rp) {
		// The suite sends iss and nothing else.
		b := NewBrowser(r.t)
		page := b.Follow(&Page{URL: r.issuer()}, r.at+"/oauth2/login?"+url.Values{"iss": {r.OP.Issuer()}}.Encode())
		if got := seen(r.t, page); page.URL.String() != r.at+"/" || got.Header.Get("X-Forwarded-User") != "alice" {
			r.t.Errorf("arrived at %s as %q", page.URL, got.Header.Get("X-Forwarded-User"))
		}
		r.wantTrace(signIn + " " + signInAgain)
	}},
}

// backChannelLogout is oidcc-client-back-channel-logout-rp-basic. The provider calls while the browser is on its way to it:
// the session is over here already.
var backChannelLogout = []module{
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout", after: logoutToken("RS256", nil, http.StatusOK, "")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-alg-none", after: logoutToken("none", nil, http.StatusBadRequest, "alg_refused")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-no-event", after: logoutToken("RS256", testop.Edit{"events": testop.Absent}, http.StatusBadRequest, "logout_event_missing")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-with-nonce", after: logoutToken("RS256", testop.Edit{"nonce": "n"}, http.StatusBadRequest, "logout_nonce_present")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg", after: logoutToken("ES256", nil, http.StatusBadRequest, "alg_refused")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-aud", after: logoutToken("RS256", testop.Edit{"aud": testop.Append("1")}, http.StatusBadRequest, "aud_mismatch")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-event", after: logoutToken("RS256", testop.Edit{
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout1": map[string]any{}},
	}, http.StatusBadRequest, "logout_event_missing")},
	{name: "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-iss", after: logoutToken("RS256", testop.Edit{"iss": testop.Append("1")}, http.StatusBadRequest, "unknown_provider")},
}

// logoutToken signs out, sends a logout token meanwhile, and looks at the answer; another session of that person lives on.
func logoutToken(alg string, edit testop.Edit, status int, code string) func(*rp) {
	return func(r *rp) {
		other := NewBrowser(r.t)
		r.wantSignedIn(other, r.signIn(other))
		endSession := r.browser.Step(r.at + "/oauth2/logout").Header.Get("Location")
		raw, err := r.OP.SignAs(alg, r.OP.LogoutTokenClaims("sub-alice", r.sid(endSession), edit), testop.Edit{"typ": "logout+jwt"})
		if err != nil {
			r.t.Fatal(err)
		}
		request, err := http.NewRequest(http.MethodPost, r.at+"/oauth2/backchannel-logout", strings.NewReader(url.Values{"logout_token": {raw}, "other": {"x"}}.Encode()))
		if err != nil {
			r.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := NewBrowser(r.t).Do(request)
		wantReason(r.t, answer, status, code)
		if answer.Header.Get("Cache-Control") != "no-store" {
			r.t.Errorf("headers: %v", answer.Header)
		}
		if page := r.browser.Navigate(endSession); page.Status != http.StatusOK || page.URL.Path != "/oauth2/signed-out" {
			r.t.Errorf("landed at %s: %d", page.URL, page.Status)
		}
		r.wantSignedIn(other, other.Navigate(r.at+"/wanted?x=1"))
		r.wantTrace(signIn + " " + signInAgain + " end_session")
	}
}

// sid reads the provider's session out of the id_token_hint of an address.
func (r *rp) sid(endSession string) string {
	r.t.Helper()
	u, err := url.Parse(endSession)
	if err != nil {
		r.t.Fatal(err)
	}
	parts := strings.Split(u.Query().Get("id_token_hint"), ".")
	if len(parts) != 3 {
		r.t.Fatalf("no id_token_hint: %s", endSession)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		r.t.Fatal(err)
	}
	var claims struct{ SID string }
	decode(r.t, string(payload), &claims)
	return claims.SID
}

// frontChannelLogout is oidcc-client-front-channel-logout-rp-basic: the provider's page holds ours in a frame.
var frontChannelLogout = []module{
	{name: "oidcc-client-test-rp-frontchannel-rpinitlogout", after: func(r *rp) {
		endSession := r.browser.Step(r.at + "/oauth2/logout").Header.Get("Location")
		frame, err := http.NewRequest(http.MethodGet, r.at+"/oauth2/frontchannel-logout?"+url.Values{"iss": {r.OP.Issuer()}, "sid": {r.sid(endSession)}}.Encode(), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"} {
			frame.Header.Set(name, value)
		}
		page := r.browser.Do(frame)
		policy := page.Header.Get("Content-Security-Policy")
		if page.Status != http.StatusOK || page.Header.Get("Cache-Control") != "no-store" || !strings.HasSuffix(policy, "frame-ancestors "+origin(r.issuer())) || page.Header.Get("X-Frame-Options") != "" {
			r.t.Errorf("the frame: %d %v", page.Status, page.Header)
		}
		if page := r.browser.Navigate(endSession); page.Status != http.StatusOK || page.URL.Path != "/oauth2/signed-out" {
			r.t.Errorf("landed at %s: %d", page.URL, page.Status)
		}
		r.wantTrace(signIn + " end_session")
	}},
}

// refresh is oidcc-client-refreshtoken-test-plan. A wrong ID token of a refresh ends the session: no userinfo, no page.
var refresh = []module{
	{name: "oidcc-client-test-refresh-token", after: func(r *rp) {
		r.waitRefresh(http.StatusOK, signIn+" token userinfo")
		if asked := r.OP.Requests(testop.UserInfo); len(asked) == 2 && asked[0].Header.Get("Authorization") == asked[1].Header.Get("Authorization") {
			r.t.Error("userinfo was asked with the old access token")
		}
		r.waitRefresh(http.StatusOK, signIn+" token userinfo token userinfo")
		if r.OP.Reuses() != 0 {
			r.t.Error("an old refresh token was sent again")
		}
	}},
	{name: "oidcc-client-test-refresh-token-invalid-issuer", after: refusedRefresh(testop.Edit{"iss": testop.Append("1")}, "id_token_iss_mismatch")},
	{name: "oidcc-client-test-refresh-token-invalid-sub", after: refusedRefresh(testop.Edit{"sub": testop.Append("1")}, "refresh_subject_mismatch")},
}

// waitRefresh lets a refresh fall due and makes a request, which a slow refresh does not hold up: hence the patience.
func (r *rp) waitRefresh(status int, trace string) {
	r.t.Helper()
	time.Sleep(refreshDue)
	var page *Page
	eventually(10*time.Second, func() bool {
		page = r.browser.Fetch(r.at, "GET", r.at+"/api", nil, "")
		return page.Status == status
	})
	eventually(10*time.Second, func() bool { return strings.Join(r.OP.Trace(), " ") == trace })
	r.wantTrace(trace)
	if page.Status != status || status == http.StatusUnauthorized && reason(page) != "session_ended" {
		r.t.Errorf("after the refresh: %d %s, want %d", page.Status, reason(page), status)
	}
}

// refreshDue is a little longer than refresh_interval of the plan's Caddyfile.
const refreshDue = 4200 * time.Millisecond

func refusedRefresh(e testop.Edit, code string) func(*rp) {
	return func(r *rp) {
		r.OP.Set(func(b *testop.Behaviour) { b.RefreshedIDToken = e })
		r.waitRefresh(http.StatusUnauthorized, signIn+" token")
		r.WaitLog(`"reason":"` + code + `"`)
		wantReason(r.t, r.browser.Fetch(r.at, "GET", r.at+"/api", nil, ""), http.StatusUnauthorized, "session_ended")
		r.wantTrace(signIn + " token")
	}
}

// TestConformance plays the plans. docs/conformance.md says how to run the suite itself.
func TestConformance(t *testing.T) {
	for _, plan := range []struct {
		name    string
		words   string // of the provider
		modules []module
		count   int // as the suite has them, but for the last
	}{
		{"basic", "", basic, 14},
		{"config", "", config, 6},
		{"refresh", "refresh_interval 4s", refresh, 3},
		{"formpost-basic", "response_mode form_post", basic, 14},
		{"third-party-initiated-login", "", thirdPartyLogin, 1},
		{"rp-initiated-logout", "", rpInitiatedLogout, 3},
		{"back-channel-logout", "", backChannelLogout, 8},
		{"front-channel-logout", "", frontChannelLogout, 1},
		{"comprehensive", "", comprehensive, 9},
	} {
		t.Run(plan.name, func(t *testing.T) {
			names := map[string]bool{}
			for _, m := range plan.modules {
				names[m.name] = true
				t.Run(m.name, func(t *testing.T) { m.run(t, plan.words) })
			}
			if len(names) != plan.count {
				t.Errorf("%d modules, the plan has %d", len(names), plan.count)
			}
		})
	}
	testFAPI(t)
}
