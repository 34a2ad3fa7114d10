package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const api = "https://api.example.test"

// tokenSite is a site for browsers and programs; BEARER are further words of its block bearer, and GATE of the gate.
const tokenSite = `{
	` + trustLoopback + `
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	@pay path /pay/*
	gatehouse {
		bearer {
			audience ` + api + `
			BEARER
		}
		GATE
	}
	reverse_proxy {$APP}
}
`

func startTokenSite(t *testing.T, bearer, gate string) *Site {
	t.Helper()
	return StartSite(t, strings.NewReplacer("BEARER", bearer, "GATE", gate).Replace(tokenSite))
}

// call is the request of a program: no cookies, and no headers but these.
func call(t *testing.T, method, address string, header http.Header) *Page {
	t.Helper()
	return callFrom(NewBrowser(t), method, address, header)
}

// callFrom is that with a browser's cookies.
func callFrom(b *Browser, method, address string, header http.Header) *Page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	return b.Do(r)
}

// bearing is the header of a program with a token.
func bearing(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// aliceToken is a token that says what alice's session says.
func aliceToken(claims testop.Edit) testop.AccessToken {
	all := testop.Edit{
		"preferred_username": "alice", "name": "alice", "email": "alice@example.com", "email_verified": true, "groups": []string{"staff", "ops"},
	}
	maps.Copy(all, claims)
	return testop.AccessToken{Audience: api, Scope: "read write", Claims: all}
}

// asking are the headers of somebody who opens a page in a browser.
var asking = http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}}

// P24, RFC 6750, RFC 9470: a request that brings a token is judged by it alone, and answered as a program understands,
// whatever it says that it accepts.
func TestBearer(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "scopes read", "public /public/*\n\t\tallow groups staff\n\t\trequire @pay acr gold\n\t\trequire @pay max_age 10m")
	good := s.OP.Issue(aliceToken(nil))
	later := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	corrupt := aliceToken(nil)
	corrupt.Corrupt = true
	scopeless, elsewhere := aliceToken(nil), aliceToken(nil)
	scopeless.Scope, elsewhere.Audience = "write", "https://other.example.test"
	b := s.As(NewBrowser(t), "alice")
	session := seen(t, b.Navigate(s.HTTP()+"/x"))
	both := http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}
	for _, tt := range []struct {
		name, target string
		header       http.Header
		status       int
		reason       string
		says         string // of the challenge
	}{
		{"right", "/x", bearing(good), 200, "", ""},
		{"the scheme in other letters", "/x", http.Header{"Authorization": {"bEARER " + good}}, 200, "", ""},
		{"expired", "/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"exp": later(-2 * time.Minute)}))), 401, "token_expired", `error="invalid_token"`},
		{"signature", "/x", bearing(s.OP.Issue(corrupt)), 401, "signature_invalid", `error="invalid_token"`},
		{"SEC-83 of another service", "/x", bearing(s.OP.Issue(elsewhere)), 401, "aud_mismatch", `error="invalid_token"`},
		{"SEC-83 of another issuer", "/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"iss": "https://evil.example"}))), 401, "token_issuer_unknown", `error="invalid_token"`},
		{"SEC-84 any text", "/x", bearing("x"), 401, "access_token_malformed", `error="invalid_token"`},
		{"SEC-84 in the query alone", "/x?access_token=" + good, nil, 401, "no_session", `resource_metadata="`},
		{"SEC-84 in a cookie", "/x", http.Header{"Cookie": {"access_token=" + good}}, 401, "no_session", `resource_metadata="`},
		{"RFC 6750 2 in the query as well", "/x?access_token=" + good, bearing(good), 400, "token_malformed", `error="invalid_request"`},
		{"RFC 6750 2 two headers", "/x", both, 400, "token_malformed", `error="invalid_request"`},
		{"two headers of other schemes", "/x", http.Header{"Authorization": {"Basic eDp5", "Bearer " + good}}, 400, "token_malformed", `error="invalid_request"`},
		{"a scheme without token", "/x", http.Header{"Authorization": {"Bearer"}}, 400, "token_malformed", `error="invalid_request"`},
		{"RFC 6750 2.1 padding in the middle", "/x", bearing("a=b"), 400, "token_malformed", `error="invalid_request"`},
		{"RFC 6750 2.1 padding alone", "/x", bearing("=="), 400, "token_malformed", `error="invalid_request"`},
		{"two tokens in one", "/x", bearing(good + ", " + good), 400, "token_malformed", `error="invalid_request"`},
		{"not bound, and sent as DPoP", "/x", http.Header{"Authorization": {"DPoP " + good}}, 401, "token_binding_refused", `DPoP algs="`},
		{"none", "/x", nil, 401, "no_session", `resource_metadata="`},
		{"RFC 6750 3.1 a scope that all need", "/x", bearing(s.OP.Issue(scopeless)), 403, "insufficient_scope", `error="insufficient_scope", scope="read"`},
		{"by the rules", "/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"groups": []string{"guests"}}))), 403, "denied", ""},
		{"a claim that nobody could pass on", "/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"preferred_username": "alice\r\nX-Admin: 1"}))), 401, "claim_unsafe", `error="invalid_token"`},
		{"RFC 9470 acr", "/pay/x", bearing(good), 401, "acr_required", `error="insufficient_user_authentication", acr_values="gold", max_age="600"`},
		{"RFC 9470 auth_time absent", "/pay/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"acr": "gold"}))), 401, "auth_too_old", `error="insufficient_user_authentication"`},
		{"RFC 9470 auth_time long ago", "/pay/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"acr": "gold", "auth_time": later(-time.Hour)}))), 401, "auth_too_old", `max_age="600"`},
		{"RFC 9470 strong and recent", "/pay/x", bearing(s.OP.Issue(aliceToken(testop.Edit{"acr": "gold", "auth_time": later(-5 * time.Minute)}))), 200, "", ""},
		{"public, without", "/public/x", nil, 200, "", ""},
		{"public, a wrong one", "/public/x", bearing("x"), 200, "", ""},
		{"public, two", "/public/x", both, 400, "token_malformed", `error="invalid_request"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			brings := tt.header["Authorization"] != nil
			for _, how := range []http.Header{nil, asking} {
				header := maps.Clone(how)
				if header == nil {
					header = http.Header{}
				}
				maps.Copy(header, tt.header)
				if how != nil && !brings && tt.status == 401 {
					continue // who opens a page without a token signs in
				}
				page := call(t, "GET", s.HTTP()+tt.target, header)
				if len(page.Header["Set-Cookie"]) > 0 || page.Header.Get("Location") != "" {
					t.Fatalf("P24: a cookie or a redirect: %v", page.Header)
				}
				if tt.status == 200 {
					user := seen(t, page).Header.Get("X-Forwarded-User")
					if want := map[bool]string{true: "alice"}[tt.header.Get("Authorization") != "" && !strings.HasPrefix(tt.name, "public")]; user != want {
						t.Errorf("as %q, want %q", user, want)
					}
					continue
				}
				wantReason(t, page, tt.status, tt.reason)
				challenges := page.Header["Www-Authenticate"]
				if tt.says != "" && (len(challenges) == 0 || !strings.Contains(challenges[0], tt.says)) || tt.says == "" && challenges != nil {
					t.Errorf("challenge %q, want %q first", challenges, tt.says)
				}
				if !brings && (len(challenges) != 2 || strings.Contains(challenges[0], "error=")) {
					t.Errorf("RFC 6750 3.1: challenges %q without a token", challenges)
				}
				if brings && (len(challenges) > 1 || strings.Contains(page.Body, `"login"`)) {
					t.Errorf("a program is told to sign in: %q %s", challenges, page.Body)
				}
				if page.Header.Get("Content-Type") != "application/json" || page.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("answered with %v", page.Header)
				}
			}
		})
	}

	// The application sees the same, however somebody comes.
	if got := seen(t, call(t, "GET", s.HTTP()+"/x", bearing(good))); !maps.Equal(identityOf(got), identityOf(session)) {
		t.Errorf("as a program %v, as a browser %v", identityOf(got), identityOf(session))
	}
	spoofed := bearing(good)
	spoofed["X-Forwarded-User"], spoofed["X_Forwarded_User"], spoofed["Remote-User"] = []string{"root"}, []string{"root"}, []string{"root"}
	if got := seen(t, call(t, "GET", s.HTTP()+"/x", spoofed)); !maps.Equal(identityOf(got), identityOf(session)) {
		t.Errorf("with headers of its own %v", identityOf(got))
	}

	// A token and a cookie: the token alone, and another site's page cannot add one.
	bob := s.OP.Issue(aliceToken(testop.Edit{"preferred_username": "bob"}))
	if got := seen(t, callFrom(b, "GET", s.HTTP()+"/x", bearing(bob))); got.Header.Get("X-Forwarded-User") != "bob" {
		t.Errorf("bob's token and alice's cookie are %q", got.Header.Get("X-Forwarded-User"))
	}
	wantReason(t, callFrom(b, "GET", s.HTTP()+"/x", bearing("x")), 401, "access_token_malformed")
	wantReason(t, callFrom(b, "GET", s.HTTP()+"/oauth2/userinfo", bearing("x")), 401, "access_token_malformed")
	if got := seen(t, callFrom(b, "GET", s.HTTP()+"/public/x", bearing("x"))); got.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("a wrong token and alice's cookie are %q on a public path", got.Header.Get("X-Forwarded-User"))
	}
	if page := callFrom(b, "GET", s.HTTP()+"/oauth2/userinfo", bearing(bob)); page.Status != 200 || !strings.Contains(page.Body, `"user":"bob"`) {
		t.Errorf("userinfo with bob's token: %d %s", page.Status, page.Body)
	}
	post := bearing(good)
	post["Origin"], post["Sec-Fetch-Site"] = []string{"https://elsewhere.test"}, []string{"cross-site"}
	if page := call(t, "POST", s.HTTP()+"/x", post); page.Status != 200 {
		t.Errorf("a token brought from another origin, as nobody's cookie can be: %d", page.Status)
	}
}

// Scopes in rules, and what a refusal then says.
func TestBearerScopes(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "allow scope read\n\t\tdeny scope banned\n\t\theader X-Scopes scope")
	with := func(scope string) http.Header {
		token := aliceToken(nil)
		token.Scope = scope
		return bearing(s.OP.Issue(token))
	}
	if got := seen(t, call(t, "GET", s.HTTP()+"/x", with("read  write"))); got.Header.Get("X-Scopes") != "read,write" {
		t.Errorf("scopes %q", got.Header.Get("X-Scopes"))
	}
	page := call(t, "GET", s.HTTP()+"/x", with("reader"))
	wantReason(t, page, 403, "denied")
	if got := page.Header.Get("Www-Authenticate"); !strings.HasSuffix(got, `, error="insufficient_scope", scope="read"`) {
		t.Errorf("challenge %q", got)
	}
	page = call(t, "GET", s.HTTP()+"/x", with("read banned"))
	wantReason(t, page, 403, "denied")
	if got := page.Header.Get("Www-Authenticate"); got != "" {
		t.Errorf("more scopes would not help, and the challenge is %q", got)
	}
	// A session has no scopes.
	wantReason(t, s.As(NewBrowser(t), "alice").Navigate(s.HTTP()+"/"), 403, "denied")
}

// Only programs: no session counts, nobody is sent to sign in.
func TestBearerOnly(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "")
	b := s.As(NewBrowser(t), "alice")
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.Reload(s.fill(strings.NewReplacer("BEARER", "only", "GATE", "").Replace(tokenSite)))
	for name, page := range map[string]*Page{"a session": b.Step(s.HTTP() + "/"), "nobody": call(t, "GET", s.HTTP()+"/", asking), "userinfo": b.Fetch(s.HTTP(), "GET", s.HTTP()+"/oauth2/userinfo", nil, "")} {
		if page.Status != 401 || reason(page) != "no_session" || page.Header.Get("Location") != "" || page.Header["Set-Cookie"] != nil {
			t.Errorf("%s: %d %v", name, page.Status, page.Header)
		}
		if got := page.Header["Www-Authenticate"]; len(got) != 1 || !strings.HasPrefix(got[0], "Bearer resource_metadata=") || strings.Contains(page.Body, "/oauth2/login") {
			t.Errorf("%s: told to sign in: %q", name, got)
		}
	}
	if got := seen(t, callFrom(b, "GET", s.HTTP()+"/x", bearing(s.OP.Issue(aliceToken(nil))))); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Error("a token does not count")
	}
}

// Who lets everybody through is still told nothing wrong by a token (SEC-84).
func TestUnauthenticatedPassRefusesWrongTokens(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "unauthenticated pass")
	if got := seen(t, call(t, "GET", s.HTTP()+"/x", nil)); got.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("nobody is %q", got.Header.Get("X-Forwarded-User"))
	}
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing("x")), 401, "access_token_malformed")
}

// RFC 6750 5.3: over plain http, from elsewhere than this machine, anybody on the way has read the token.
func TestBearerNeedsHTTPS(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "public /public/*")
	header := bearing(s.OP.Issue(aliceToken(nil)))
	header["X-Forwarded-For"] = []string{"203.0.113.9"}
	wantReason(t, call(t, "GET", s.HTTP()+"/x", header), 500, "not_https")
	if got := seen(t, call(t, "GET", s.HTTP()+"/public/x", header)); got.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("on a public path as %q", got.Header.Get("X-Forwarded-User"))
	}
}

// RFC 7662: opaque tokens; 503, and never 200, while the provider is away.
func TestBearerIntrospection(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "introspect", "")
	opaque := func(claims testop.Edit) string {
		token := aliceToken(claims)
		token.Opaque = true
		return s.OP.Issue(token)
	}
	good := opaque(nil)
	for range 3 {
		if got := seen(t, call(t, "GET", s.HTTP()+"/x", bearing(good))); got.Header.Get("X-Forwarded-User") != "alice" || got.Header.Get("X-Forwarded-Groups") != "staff,ops" {
			t.Errorf("as %v", identityOf(got))
		}
	}
	if calls := s.OP.Calls(testop.Introspection); calls != 1 {
		t.Errorf("%d questions", calls)
	}
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing("unknown")), 401, "token_inactive")
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(opaque(testop.Edit{"aud": "else"}))), 401, "aud_mismatch")
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(opaque(testop.Edit{"preferred_username": testop.Absent}))), 403, "user_missing")
	s.OP.Set(func(b *testop.Behaviour) { b.Introspection = testop.Edit{"active": "true"} })
	page := call(t, "GET", s.HTTP()+"/x", bearing(opaque(nil)))
	wantReason(t, page, 502, "introspection_failed")
	if page.Header.Get("Www-Authenticate") != "" {
		t.Errorf("it is not the token's fault: %v", page.Header)
	}
	s.OP.Down()
	unknown := opaque(nil)
	page = call(t, "GET", s.HTTP()+"/x", bearing(unknown))
	wantReason(t, page, 503, "provider_unavailable")
	if page.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.OP.Up(t)
	s.OP.Behave()
	seen(t, call(t, "GET", s.HTTP()+"/x", bearing(unknown)))
}

// P35, RFC 9728: an agent that knows the address alone finds out whom to ask for a token, and one for another part of the
// site does not open this one.
func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.NewReplacer("audience "+api, "audience "+api+" http://localhost:{$PORT}/mcp http://localhost:{$PORT}/api", "BEARER", "scopes read", "GATE", "").Replace(tokenSite))
	page := call(t, "POST", s.HTTP()+"/mcp", http.Header{"Accept": {"application/json, text/event-stream"}})
	wantReason(t, page, 401, "no_session")
	at := s.HTTP() + "/.well-known/oauth-protected-resource"
	if got := page.Header.Get("Www-Authenticate"); got != `Bearer resource_metadata="`+at+`/mcp"` {
		t.Fatalf("challenge %q", got)
	}
	for path, want := range map[string]string{"/mcp/deeper": "/mcp", "/mcpx": "", "/": "", "/api?x": "/api"} {
		if got := call(t, "POST", s.HTTP()+path, nil).Header.Get("Www-Authenticate"); got != `Bearer resource_metadata="`+at+want+`"` {
			t.Errorf("challenge at %s: %q", path, got)
		}
	}
	for path, resource := range map[string]string{"/mcp": s.HTTP() + "/mcp", "/api": s.HTTP() + "/api", "": s.HTTP(), "/": s.HTTP()} {
		page := call(t, "GET", at+path, nil)
		var says map[string]any
		if page.Status != 200 || json.Unmarshal([]byte(page.Body), &says) != nil {
			t.Fatalf("%s: %d %s", path, page.Status, page.Body)
		}
		if says["resource"] != resource || !slices.Equal(says["authorization_servers"].([]any), []any{s.OP.Issuer()}) ||
			!slices.Equal(says["scopes_supported"].([]any), []any{"read"}) || !slices.Equal(says["bearer_methods_supported"].([]any), []any{"header"}) {
			t.Errorf("%s says %s", path, page.Body)
		}
		if page.Header.Get("Access-Control-Allow-Origin") != "*" || page.Header["Set-Cookie"] != nil {
			t.Errorf("%s has %v", path, page.Header)
		}
	}
	if page := call(t, "OPTIONS", at+"/mcp", http.Header{"Origin": {"https://inspector.test"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"mcp-protocol-version"}}); page.Status != 204 || page.Header.Get("Access-Control-Allow-Headers") != "*" {
		t.Errorf("preflight: %d %v", page.Status, page.Header)
	}
	for _, path := range []string{"/nothing", "/mcp/deeper", "/mcp%2f..", "/../mcp"} {
		if page := call(t, "GET", at+path, nil); page.Status != 404 {
			t.Errorf("%s: %d", path, page.Status)
		}
	}
	if page := call(t, "POST", at, nil); page.Status != 405 {
		t.Errorf("POST: %d", page.Status)
	}
	token := func(audience string) http.Header {
		all := aliceToken(nil)
		all.Audience = audience
		return bearing(s.OP.Issue(all))
	}
	mcp, whole := token(s.HTTP()+"/mcp"), token(api)
	for path, status := range map[string]int{
		"/mcp": 200, "/mcp/deeper": 200, "/mcpx": 401, "/api": 401, "/": 401, "/mcp/../api": 401, "/mcp/..%2fapi": 401, "/mcp/%2e%2e/api": 401, "/mcp/..;/api": 401,
	} {
		page := call(t, "GET", s.HTTP()+path, mcp)
		if page.Status != status || status == 401 && reason(page) != "aud_mismatch" {
			t.Errorf("a token for /mcp at %s: %d %s", path, page.Status, reason(page))
		}
		if page := call(t, "GET", s.HTTP()+path, whole); page.Status != 200 {
			t.Errorf("a token for the whole site at %s: %d %s", path, page.Status, reason(page))
		}
	}
	wantReason(t, call(t, "GET", s.HTTP()+"/mcp", token(s.HTTP()+"/mcp/deeper")), 401, "aud_mismatch")
	// Without bearer the address is the application's.
	s.Reload(s.fill(strings.Replace(oneSite, "/public/*", "/.well-known/*", 1)))
	if got := seen(t, call(t, "GET", at+"/mcp", nil)); got.URI != "/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("the application was asked for %s", got.URI)
	}
}

// proofs makes proofs of one key (RFC 9449 4.2).
type proofs struct {
	t   *testing.T
	key *authflow.DPoPKey
}

func newProofs(t *testing.T) proofs {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	key, err := authflow.ParseDPoPKey(secret.New(string(scalar)))
	if err != nil {
		t.Fatal(err)
	}
	return proofs{t, key}
}

// header is that of a request with a bound token.
func (p proofs) header(method, address, token, nonce string) http.Header {
	p.t.Helper()
	proof, err := p.key.Proof(authflow.ProofRequest{Method: method, URL: address, AccessToken: secret.New(token), Nonce: nonce, Now: time.Now()})
	if err != nil {
		p.t.Fatal(err)
	}
	return http.Header{"Authorization": {"DPoP " + token}, "Dpop": {proof}}
}

// RFC 9449 7: a token that is bound to a key is worth nothing without it.
func TestBearerDPoP(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "require_bound", "public /public/*")
	p := newProofs(t)
	bound := s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"jkt": p.key.Thumbprint()}}))
	at := s.HTTP() + "/x?y=1"
	if got := call(t, "POST", at, nil).Header.Get("Www-Authenticate"); !strings.HasPrefix(got, `DPoP algs="ES256 `) {
		t.Errorf("challenge without a token: %q", got)
	}
	used := p.header("GET", at, bound, "")
	if got := seen(t, call(t, "GET", at, used)); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("as %q", got.Header.Get("X-Forwarded-User"))
	}
	twice := p.header("GET", at, bound, "")
	twice["Dpop"] = append(twice["Dpop"], p.header("GET", at, bound, "")["Dpop"]...)
	for name, tt := range map[string]struct {
		header       http.Header
		reason, says string
	}{
		"replayed":             {used, "dpop_proof_used", `error="invalid_dpop_proof"`},
		"of another method":    {p.header("POST", at, bound, ""), "dpop_proof_refused", `error="invalid_dpop_proof"`},
		"of another page":      {p.header("GET", s.HTTP()+"/y", bound, ""), "dpop_proof_refused", `error="invalid_dpop_proof"`},
		"of another key":       {newProofs(t).header("GET", at, bound, ""), "dpop_proof_refused", `error="invalid_dpop_proof"`},
		"two proofs":           {twice, "dpop_proof_refused", `error="invalid_dpop_proof"`},
		"no proof":             {http.Header{"Authorization": {"DPoP " + bound}}, "dpop_proof_refused", `error="invalid_dpop_proof"`},
		"sent as Bearer":       {bearing(bound), "token_binding_refused", `error="invalid_token"`},
		"bound to nothing":     {bearing(s.OP.Issue(aliceToken(nil))), "token_binding_refused", `error="invalid_token"`},
		"bound to what is new": {bearing(s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"new": "x"}}))), "token_binding_refused", `error="invalid_token"`},
	} {
		page := call(t, "GET", at, tt.header)
		wantReason(t, page, 401, tt.reason)
		if got := page.Header["Www-Authenticate"]; len(got) != 1 || !strings.Contains(got[0], tt.says) {
			t.Errorf("%s: challenge %q", name, got)
		}
	}
	if got := seen(t, call(t, "GET", s.HTTP()+"/public/x", bearing(bound))); got.Header.Get("X-Forwarded-User") != "" {
		t.Error("a stolen token is somebody on a public path")
	}
}

// RFC 9449 11.1: a process that has just started does not know which proofs were used. One from before counts with a
// nonce that this process has given, and a client whose clock is right never notices.
func TestBearerDPoPAfterARestart(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "")
	p := newProofs(t)
	bound := s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"jkt": p.key.Thumbprint()}}))
	at := s.HTTP() + "/x"
	used := p.header("GET", at, bound, "")
	made := time.Now()
	seen(t, call(t, "GET", at, used))
	again := strings.NewReplacer("BEARER", "", "GATE", "").Replace(tokenSite)
	s.Reload(s.fill(again))
	wantReason(t, call(t, "GET", at, used), 401, "dpop_proof_used")
	eventually(5*time.Second, func() bool { return time.Now().Unix() > made.Unix()+1 })
	s.Restart(s.fill(again))
	page := call(t, "GET", at, used)
	wantReason(t, page, 401, "dpop_nonce_needed")
	nonce := page.Header.Get("DPoP-Nonce")
	if got := page.Header.Get("Www-Authenticate"); !strings.Contains(got, `error="use_dpop_nonce"`) || nonce == "" {
		t.Errorf("challenge %q, nonce %q", got, nonce)
	}
	seen(t, call(t, "GET", at, p.header("GET", at, bound, "")))
	seen(t, call(t, "GET", at, p.header("GET", at, bound, nonce)))
}

// RFC 9449 9: proofs with a nonce of ours, which every replica with our keys knows.
func TestBearerDPoPNonce(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "dpop_nonce", "")
	p := newProofs(t)
	bound := s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"jkt": p.key.Thumbprint()}}))
	at := s.HTTP() + "/x"
	page := call(t, "GET", at, p.header("GET", at, bound, ""))
	wantReason(t, page, 401, "dpop_nonce_needed")
	nonce := page.Header.Get("DPoP-Nonce")
	if got := page.Header.Get("Www-Authenticate"); !strings.Contains(got, `error="use_dpop_nonce"`) || nonce == "" {
		t.Fatalf("challenge %q, nonce %q", got, nonce)
	}
	page = call(t, "GET", at, p.header("GET", at, bound, nonce))
	seen(t, page)
	next := page.Header.Get("DPoP-Nonce")
	if next == "" {
		t.Error("8.2: no nonce for the next one")
	}
	for name, invented := range map[string]string{"invented": "nonce", "changed": next[:len(next)-2] + "AA", "a cookie of ours": strings.Replace(next, "v1.", "v1.x", 1)} {
		page := call(t, "GET", at, p.header("GET", at, bound, invented))
		if page.Status != 401 || reason(page) != "dpop_nonce_needed" {
			t.Errorf("%s: %d %s", name, page.Status, reason(page))
		}
	}
	s.Restart(s.fill(strings.NewReplacer("BEARER", "dpop_nonce", "GATE", "").Replace(tokenSite)))
	seen(t, call(t, "GET", at, p.header("GET", at, bound, next)))
}

// RFC 8705 3: the certificate that the token is bound to, on the connection to Caddy.
func TestBearerCertificate(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY} {
		client_auth {
			mode request
		}
	}
	gatehouse {
		bearer {
			audience `+api+`
			require_bound
		}
	}
	reverse_proxy {$APP}
}
`)
	show := func() (*Browser, string) {
		cert, key := writeCertificate(t, t.TempDir())
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		b := NewBrowser(t)
		b.transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
		sum := sha256.Sum256(pair.Certificate[0])
		return b, base64.RawURLEncoding.EncodeToString(sum[:])
	}
	own, thumbprint := show()
	other, _ := show()
	bound := bearing(s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"x5t#S256": thumbprint}})))
	at := s.HTTPS("app.example.test") + "/x"
	if got := seen(t, callFrom(own, "GET", at, bound)); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("as %q", got.Header.Get("X-Forwarded-User"))
	}
	for name, thief := range map[string]*Browser{"another certificate": other, "none": NewBrowser(t)} {
		page := callFrom(thief, "GET", at, bound)
		wantReason(t, page, 401, "token_certificate_mismatch")
		if got := page.Header.Get("Www-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
			t.Errorf("%s: challenge %q", name, got)
		}
	}
	wantReason(t, callFrom(own, "GET", at, bearing(s.OP.Issue(aliceToken(nil)))), 401, "token_binding_refused")
}

// An area is a second gate: its rules count for tokens, which are the outermost gate's to take.
func TestBearerInAnArea(t *testing.T) {
	t.Parallel()
	area := func(words string) string {
		return strings.NewReplacer("BEARER", "scopes read", "GATE", "", "\treverse_proxy", "\tgatehouse /admin/* {\n\t\t"+words+"\n\t}\n\treverse_proxy").Replace(tokenSite)
	}
	s := StartSite(t, area("allow groups admins"))
	token := bearing(s.OP.Issue(aliceToken(nil)))
	seen(t, call(t, "GET", s.HTTP()+"/x", token))
	wantReason(t, call(t, "GET", s.HTTP()+"/admin/x", token), 403, "denied")
	wantReason(t, call(t, "GET", s.HTTP()+"/admin/x", bearing("x")), 401, "access_token_malformed")
	admin := bearing(s.OP.Issue(aliceToken(testop.Edit{"groups": []string{"admins"}})))
	if got := seen(t, call(t, "GET", s.HTTP()+"/admin/x", admin)); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("as %q", got.Header.Get("X-Forwarded-User"))
	}
	s.Reload(s.fill(area("bearer {\n\t\t\taudience else\n\t\t}")))
	seen(t, call(t, "GET", s.HTTP()+"/x", token))
	wantReason(t, call(t, "GET", s.HTTP()+"/admin/x", admin), 500, "gate_conflict")
}

// Tokens of an issuer at which nobody signs in here: under its own name, so that its users are nobody else's.
func TestBearerOfAFurtherIssuer(t *testing.T) {
	t.Parallel()
	ci := testop.Start(t, func(p *testop.Provider) { p.User.Subject = "alice" })
	host := strings.ReplaceAll(strings.TrimPrefix(ci.Issuer(), "http://"), ":", "_")
	s := startTokenSite(t, "issuer "+ci.Issuer(), "allow user default:alice "+host+":alice\n\t\tallow {\n\t\t\tprovider default\n\t\t\tgroups default:ops\n\t\t}")
	ours, theirs := s.OP.Issue(aliceToken(nil)), ci.Issue(testop.AccessToken{Audience: api, Claims: testop.Edit{"preferred_username": "root"}})
	for token, want := range map[string]string{ours: "default:alice", theirs: host + ":alice"} {
		if got := seen(t, call(t, "GET", s.HTTP()+"/x", bearing(token))); got.Header.Get("X-Forwarded-User") != want {
			t.Errorf("as %q, want %q", got.Header.Get("X-Forwarded-User"), want)
		}
	}
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(ci.Issue(testop.AccessToken{Audience: api, Subject: "bob", Claims: testop.Edit{"groups": []string{"ops"}}}))), 403, "denied")
	wantReason(t, call(t, "GET", s.HTTP()+"/x", bearing(ci.Issue(testop.AccessToken{Audience: api, Alg: "ES256", Claims: testop.Edit{"iss": s.OP.Issuer()}}))), 401, "alg_refused")
	// An area's rules speak of the site's own providers, without their names: nobody else's groups count there.
	s.Reload(s.fill(strings.NewReplacer("BEARER", "issuer "+ci.Issuer(), "GATE", "allow any", "\treverse_proxy", "\tgatehouse /admin/* {\n\t\tallow groups ops\n\t}\n\treverse_proxy").Replace(tokenSite)))
	ops := ci.Issue(testop.AccessToken{Audience: api, Claims: testop.Edit{"groups": []string{"ops"}}})
	seen(t, call(t, "GET", s.HTTP()+"/x", bearing(ops)))
	wantReason(t, call(t, "GET", s.HTTP()+"/admin/x", bearing(ops)), 401, "other_provider")
	seen(t, call(t, "GET", s.HTTP()+"/admin/x", bearing(ours)))
	b := s.As(NewBrowser(t), "alice")
	if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "default:alice" {
		t.Errorf("a session is %q", got.Header.Get("X-Forwarded-User"))
	}
}

// A further issuer is reached as a provider is: by an authority of its own, elsewhere than its name says, through a proxy,
// without metadata. Each word is of one issuer alone.
func TestBearerOfAnIssuerElsewhere(t *testing.T) {
	t.Parallel()
	pool := "tls_trust_pool file " + writeAuthority(t)
	words, tokens := "", map[string]string{}
	for name, how := range map[string]func(back string) string{
		"reached": func(back string) string { return "reach " + back + "\n" + pool },
		"proxied": func(back string) string {
			return "forward_proxy_url " + startForwardProxy(t, strings.TrimPrefix(back, "https://")).URL + "\n" + pool
		},
		"by-hand": func(back string) string {
			return "discovery off\nendpoint jwks " + back + "/" + testop.JWKS + "\ninsecure_skip_tls_verify"
		},
		"untrusted": func(back string) string { return "reach " + back },
	} {
		ci, issuer := testop.Start(t), "https://"+name+".example.test"
		ci.Set(speakAs(issuer))
		words += "issuer " + issuer + " {\n" + how(startTLS(t, ci).URL) + "\n}\n"
		tokens[name] = ci.Issue(testop.AccessToken{Audience: api, Subject: "alice", Claims: testop.Edit{"iss": issuer}})
	}
	s := startTokenSite(t, words, "allow any")
	for name, token := range tokens {
		page := call(t, "GET", s.HTTP()+"/x", bearing(token))
		if name == "untrusted" {
			wantReason(t, page, http.StatusServiceUnavailable, "discovery_failed")
		} else if got := seen(t, page).Header.Get("X-Forwarded-User"); got != name+".example.test:alice" {
			t.Errorf("%s: as %q", name, got)
		}
	}
	s.WaitLog("insecure_skip_tls_verify: anyone on the network path can pretend to be the provider")
}

// What `forward` sends of a token that somebody brought: that token, unless it is bound; and of a session what it
// always sends. Headers that forward clears are read before.
func TestBearerIsForwarded(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "forward access_token Authorization\n\t\tforward id_token\n\t\tforward assertion")
	plain := s.OP.Issue(aliceToken(nil))
	got := seen(t, call(t, "GET", s.HTTP()+"/x", bearing(plain)))
	if got.Header.Get("Authorization") != "Bearer "+plain || got.Header.Get("X-Gatehouse-Assertion") == "" || got.Header["X-Forwarded-Id-Token"] != nil {
		t.Errorf("with a token: %v", got.Header)
	}
	p := newProofs(t)
	bound := s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"jkt": p.key.Thumbprint()}}))
	got = seen(t, call(t, "GET", s.HTTP()+"/x", p.header("GET", s.HTTP()+"/x", bound, "")))
	if got.Header.Get("X-Forwarded-User") != "alice" || got.Header["Authorization"] != nil || got.Header["Dpop"] != nil {
		t.Errorf("with a bound token: %v", got.Header)
	}
	got = seen(t, s.As(NewBrowser(t), "alice").Navigate(s.HTTP()+"/x"))
	if !strings.HasPrefix(got.Header.Get("Authorization"), "Bearer at-") || got.Header.Get("X-Forwarded-Id-Token") == "" {
		t.Errorf("with a session: %v", got.Header)
	}
}

// Another proxy that asks gets the answer for the token.
func TestForwardAuthWithTokens(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(askedSite, "public /public/*", "bearer {\n\t\t\taudience "+api+"\n\t\t}\n\t\tpublic /public/*", 1), askedPeople)
	asked := func(token, method, uri string) http.Header {
		h := told(method, uri)
		maps.Copy(h, bearing(token))
		return h
	}
	good := s.OP.Issue(aliceToken(nil))
	page := asks(t, s, "/oauth2/auth", "", asked(good, "GET", "/x"))
	if page.Status != 200 || page.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("%d as %q", page.Status, page.Header.Get("X-Forwarded-User"))
	}
	page = asks(t, s, "/oauth2/auth?login=redirect", "", asked("x", "GET", "/x"))
	wantReason(t, page, 401, "access_token_malformed")
	if page.Header.Get("Location") != "" || !strings.HasPrefix(page.Header.Get("Www-Authenticate"), "Bearer ") {
		t.Errorf("headers %v", page.Header)
	}
	wantReason(t, asks(t, s, "/oauth2/auth", "", asked(s.OP.Issue(aliceToken(testop.Edit{"groups": []string{"guests"}})), "GET", "/admin/x")), 403, "denied")
	if page := asks(t, s, "/oauth2/auth", "", asked("x", "GET", "/public/x")); page.Status != 200 || page.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("public: %d as %q", page.Status, page.Header.Get("X-Forwarded-User"))
	}
	// The proof is of the request that is asked about, at the address that the program uses.
	p := newProofs(t)
	bound := s.OP.Issue(aliceToken(testop.Edit{"cnf": map[string]string{"jkt": p.key.Thumbprint()}}))
	with := func(method, address string) http.Header {
		h := told("DELETE", "/x?y")
		maps.Copy(h, p.header(method, address, bound, ""))
		return h
	}
	if page := asks(t, s, "/oauth2/auth", "", with("DELETE", "https://app.example.test/x")); page.Status != 200 {
		t.Errorf("with a proof: %d %s", page.Status, reason(page))
	}
	wantReason(t, asks(t, s, "/oauth2/auth", "", with("GET", "https://app.example.test/x")), 401, "dpop_proof_refused")
	wantReason(t, asks(t, s, "/oauth2/auth", "", with("DELETE", "https://app.example.test/oauth2/auth")), 401, "dpop_proof_refused")
}

// P25: a preflight, which brings no credentials, reaches the application without identity; nothing else is let through
// by pretending to be one.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s := startTokenSite(t, "", "preflight pass")
	b := s.As(NewBrowser(t), "alice")
	seen(t, b.Navigate(s.HTTP()+"/"))
	preflight := func(more ...string) http.Header {
		h := http.Header{"Origin": {"https://app.other.test"}, "Access-Control-Request-Method": {"DELETE"}}
		for i := 0; i+1 < len(more); i += 2 {
			h[more[i]] = append(h[more[i]], more[i+1])
		}
		return h
	}
	spoof := preflight("X-Forwarded-User", "root", "X_Forwarded_User", "root", "Remote-User", "root")
	for name, page := range map[string]*Page{
		"of nobody": call(t, "OPTIONS", s.HTTP()+"/x", spoof), "with a session": callFrom(b, "OPTIONS", s.HTTP()+"/x", spoof),
	} {
		if got := seen(t, page); got.Method != "OPTIONS" || len(identityOf(got)) != 0 {
			t.Errorf("%s: %s as %v", name, got.Method, identityOf(got))
		}
	}
	for name, tt := range map[string]struct {
		method string
		header http.Header
	}{
		"no Origin":                   {"OPTIONS", http.Header{"Access-Control-Request-Method": {"GET"}}},
		"no requested method":         {"OPTIONS", http.Header{"Origin": {"https://app.other.test"}}},
		"two Origins":                 {"OPTIONS", preflight("Origin", "https://b.test")},
		"two requested methods":       {"OPTIONS", preflight("Access-Control-Request-Method", "GET")},
		"GET":                         {"GET", preflight()},
		"GET that says OPTIONS":       {"GET", preflight("X-Http-Method-Override", "OPTIONS", "X-Forwarded-Method", "OPTIONS", "X-Original-Method", "OPTIONS")},
		"options":                     {"options", preflight()},
		"OPTIONS that says DELETE":    {"OPTIONS", preflight("X-Http-Method-Override", "DELETE")},
		"OPTIONS that says it so":     {"OPTIONS", preflight("X-Method-Override", "DELETE")},
		"the application's own login": {"OPTIONS", preflight("Cookie", "app_session=1")},
		"OPTIONS for a proxy":         {"OPTIONS", preflight("Proxy-Authorization", "Basic eDp5")},
		"OPTIONS with a wrong token":  {"OPTIONS", preflight("Authorization", "Bearer x")},
		"OPTIONS with another scheme": {"OPTIONS", preflight("Authorization", "Basic eDp5")},
	} {
		if page := call(t, tt.method, s.HTTP()+"/x", tt.header); page.Status != 401 {
			t.Errorf("%s: %d", name, page.Status)
		}
	}
	for _, query := range []string{"?_method=GET", "?a=b&%5fmethod=GET", "?.method=GET", "?_METHOD=GET"} {
		if page := call(t, "OPTIONS", s.HTTP()+"/x"+query, preflight()); page.Status != 401 {
			t.Errorf("OPTIONS that says GET by %s: %d", query, page.Status)
		}
	}
	seen(t, call(t, "OPTIONS", s.HTTP()+"/x?method=list&payment_method=card", preflight()))
	r, err := http.NewRequest("OPTIONS", s.HTTP()+"/x", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, preflight())
	if page := NewBrowser(t).Do(r); page.Status != 401 {
		t.Errorf("OPTIONS with a body: %d", page.Status)
	}
	s.Reload(s.fill(strings.NewReplacer("BEARER", "", "GATE", "").Replace(tokenSite)))
	wantReason(t, call(t, "OPTIONS", s.HTTP()+"/x", preflight()), 401, "no_session")
}
