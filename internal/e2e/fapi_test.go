package e2e_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The modules of fapi2-security-profile-final-client-test-plan (plain_fapi, openid_connect), by the suite's names. A module
// that goes well ends with the accounts, which are fetched through the gate with a token that is bound to it. One Caddy serves
// a plan: each module has a site and a provider of its own, so that they share neither metadata nor keys nor sessions.

// fapiPlan is the plan for one way to bind tokens.
type fapiPlan struct {
	words   string                                         // of the provider in the Caddyfile
	behave  func(op *testop.Provider, b *testop.Behaviour) // what every module's provider does
	up      string                                         // the transport to the accounts
	traces  map[string]string                              // how far a module goes, in requests to the provider
	auth    func(r *rp, request testop.Request)            // how the client proves itself
	scheme  string                                         // of the access token
	signed  bool                                           // requests are signed, and answers
	modules []module
}

// How far a module goes.
const (
	toDiscovery = "discovery"
	toAnswer    = "answer"   // the authorization response
	toSignature = "signed"   // the keys, with which a signed one is verified
	toTokens    = "tokens"   // the token response, whose ID token's header is enough to refuse it
	toKeys      = "keys"     // the keys, with which it is verified
	toAccounts  = "accounts" // the end
)

// fapiPath is where the accounts are, at the provider as at the site.
const fapiPath = "/test/a/gatehouse/accounts"

// fapiCommon is what every FAPI 2.0 plan has.
var fapiCommon = []module{
	{name: "fapi2-security-profile-final-client-test-happy-path", trace: toAccounts},
	{name: "fapi2-security-profile-final-client-test-discovery-issuer-mismatch", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.Discovery["issuer"] = testop.Append("INVALID")
	}, status: badGateway, reason: "discovery_issuer_mismatch", trace: toDiscovery},
	{name: "fapi2-security-profile-final-client-test-invalid-iss", behave: inIDToken(testop.Edit{"iss": testop.Append("1")}), status: badGateway, reason: "id_token_iss_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-aud", behave: inIDToken(testop.Edit{"aud": testop.Append("1")}), status: badGateway, reason: "aud_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-missing-iss", behave: inIDToken(testop.Edit{"iss": testop.Absent}), status: badGateway, reason: "id_token_iss_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-missing-aud", behave: inIDToken(testop.Edit{"aud": testop.Absent}), status: badGateway, reason: "aud_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-missing-exp", behave: inIDToken(testop.Edit{"exp": testop.Absent}), status: badGateway, reason: "exp_missing", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-expired-exp", behave: inIDToken(testop.Edit{
		"exp": testop.Change(func(any) any { return time.Now().Add(-6 * time.Minute).Unix() }),
	}), status: badGateway, reason: "token_expired", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-secondary-aud", behave: inIDToken(testop.Edit{
		"aud": testop.Change(func(right any) any { return []any{right, right.(string) + "1"} }),
	}), status: badGateway, reason: "aud_untrusted", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-valid-aud-as-array", behave: inIDToken(testop.Edit{
		"aud": testop.Change(func(right any) any { return []any{right} }),
	}), trace: toAccounts},
	{name: "fapi2-security-profile-final-client-test-invalid-null-alg", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.Alg = "none" }, status: badGateway, reason: "alg_refused", trace: toTokens},
	{name: "fapi2-security-profile-final-client-test-invalid-alternate-alg", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.Alg = "RS256" }, status: badGateway, reason: "alg_refused", trace: toTokens},
	{name: "fapi2-security-profile-final-client-test-invalid-nonce", behave: inIDToken(testop.Edit{"nonce": testop.Append("1")}), status: badGateway, reason: "nonce_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-missing-nonce", behave: inIDToken(testop.Edit{"nonce": testop.Absent}), status: badGateway, reason: "nonce_mismatch", trace: toKeys},
	{name: "fapi2-security-profile-final-client-test-invalid-authorization-response-iss", behave: inAnswer(testop.Edit{"iss": testop.Append("1")}), status: http.StatusBadRequest, reason: "iss_mismatch", trace: toAnswer},
	{name: "fapi2-security-profile-final-client-test-remove-authorization-response-iss", behave: inAnswer(testop.Edit{"iss": testop.Absent}), status: http.StatusBadRequest, reason: "iss_missing", trace: toAnswer},
	{name: "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-state-fails", behave: inAnswer(testop.Edit{
		"state": testop.Change(func(right any) any { return strings.ToUpper(right.(string)) }),
	}), status: http.StatusBadRequest, reason: "state_unknown", trace: toAnswer},
	{name: "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-missing-state-fails", behave: inAnswer(testop.Edit{"state": testop.Absent}), status: http.StatusBadRequest, reason: "state_unknown", trace: toAnswer},
	{name: "fapi2-security-profile-final-client-test-token-endpoint-response-without-expires_in", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.TokenResponse = testop.Edit{"expires_in": testop.Absent}
	}, trace: toAccounts},
	{name: "fapi2-security-profile-final-client-test-token-type-case-insensitivity", behave: func(_ *testop.Provider, b *testop.Behaviour) {
		b.TokenResponse = testop.Edit{"token_type": testop.Change(func(right any) any { return swapCase(right.(string)) })}
	}, trace: toAccounts},
	{name: "fapi2-security-profile-final-client-test-happy-path-no-mtls-endpoint-aliases", behave: func(op *testop.Provider, b *testop.Behaviour) {
		b.Discovery["token_endpoint"], b.Discovery["pushed_authorization_request_endpoint"] = op.URL(testop.Token), op.URL(testop.Push)
		b.Discovery["mtls_endpoint_aliases"] = testop.Absent
	}, trace: toAccounts},
}

// fapiJARM are the modules about answers that are JWTs.
var fapiJARM = []module{
	jarm("ensure-jarm-without-iss-fails", inAnswer(testop.Edit{"iss": testop.Absent}), "iss_missing", toAnswer),
	jarm("ensure-jarm-with-invalid-iss-fails", inAnswer(testop.Edit{"iss": testop.Append("1")}), "iss_mismatch", toAnswer),
	jarm("ensure-jarm-without-aud-fails", inAnswer(testop.Edit{"aud": testop.Absent}), "aud_mismatch", toAnswer),
	jarm("ensure-jarm-with-invalid-aud-fails", inAnswer(testop.Edit{"aud": testop.Append("1")}), "aud_mismatch", toAnswer),
	jarm("ensure-jarm-without-exp-fails", inAnswer(testop.Edit{"exp": testop.Absent}), "exp_missing", toAnswer),
	jarm("ensure-jarm-with-expired-exp-fails", inAnswer(testop.Edit{
		"exp": testop.Change(func(any) any { return time.Now().Add(-6 * time.Minute).Unix() }),
	}), "token_expired", toAnswer),
	jarm("ensure-jarm-with-invalid-sig-fails", func(_ *testop.Provider, b *testop.Behaviour) { b.CorruptResponse = true }, "signature_invalid", toSignature),
	jarm("ensure-jarm-signature-is-not-none", func(_ *testop.Provider, b *testop.Behaviour) { b.ResponseAlg = "none" }, "alg_refused", toAnswer),
}

func jarm(name string, behave func(*testop.Provider, *testop.Behaviour), reason, trace string) module {
	return module{name: "fapi2-security-profile-final-client-test-" + name, behave: behave, status: http.StatusBadRequest, reason: reason, trace: trace}
}

// withMessageSigning is fapi2-message-signing-final-client-test-plan: the same with signed requests (signed_non_repudiation)
// and signed answers (jarm), in which iss is a claim.
func (p fapiPlan) withMessageSigning() fapiPlan {
	p.signed = true
	if !strings.Contains(p.words, "client_key") {
		p.words += "\n\t\tclient_key {$SIGNING}"
	}
	p.words += "\n\t\tjar\n\t\tresponse_mode jwt"
	p.modules = slices.DeleteFunc(slices.Clone(p.modules), func(m module) bool { return strings.HasSuffix(m.name, "-authorization-response-iss") })
	p.modules = append(p.modules, fapiJARM...)
	traces := map[string]string{}
	for name, trace := range p.traces { // the keys are fetched with the answer, and kept
		trace = strings.Replace(strings.Replace(trace, " jwks", "", 1), " token", " jwks token", 1)
		traces[name] = trace
	}
	traces[toSignature] = traces[toAnswer] + " jwks"
	p.traces = traces
	behave := p.behave
	p.behave = func(op *testop.Provider, b *testop.Behaviour) {
		behave(op, b)
		b.RequireRequestObject, b.ResponseAlg = true, "ES256"
		b.Discovery["authorization_signing_alg_values_supported"] = []string{"PS256", "ES256"}
	}
	return p
}

// fapi1Advanced is fapi1-advanced-final-client-test-plan (plain_fapi, openid_connect, pushed, jarm, mutual TLS), as far as its
// modules are for a client whose ID tokens come from the token endpoint. A client of FAPI 2.0 Message Signing is one of it.
func fapi1Advanced() fapiPlan {
	p := fapiMutualTLS().withMessageSigning()
	const ours, theirs = "fapi2-security-profile-final-client-test-", "fapi1-advanced-final-client-test"
	p.modules = nil
	for _, m := range fapiCommon {
		name := strings.TrimPrefix(m.name, ours)
		if name == "happy-path" {
			p.modules = append(p.modules, module{name: theirs, trace: m.trace})
		}
		if strings.HasPrefix(name, "invalid-") && !strings.Contains(name, "response-iss") || name == "valid-aud-as-array" || name == "happy-path-no-mtls-endpoint-aliases" {
			m.name = theirs + "-" + name
			p.modules = append(p.modules, m)
		}
	}
	p.modules = append(p.modules,
		module{name: theirs + "-invalid-signature", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.CorruptSignature = true }, status: badGateway, reason: "signature_invalid", trace: toKeys},
		module{name: theirs + "-no-scope-in-token-endpoint-response", behave: func(_ *testop.Provider, b *testop.Behaviour) {
			b.TokenResponse = testop.Edit{"scope": testop.Absent, "expires_in": testop.Absent}
		}, trace: toAccounts},
	)
	behave := p.behave
	p.behave = func(op *testop.Provider, b *testop.Behaviour) { // before RFC 9207
		behave(op, b)
		b.Discovery["authorization_response_iss_parameter_supported"] = testop.Absent
	}
	return p
}

// The happy path of the plans' other ways to prove the client.

// fapiKeyAndMutualTLS: a key proves the client, its certificate binds tokens.
func fapiKeyAndMutualTLS() fapiPlan {
	p := fapiMutualTLS()
	p.words, p.auth, p.modules = "client_certificate {$OURS}\n\t\tclient_key {$SIGNING}\n\t\tclient_auth private_key_jwt", fapiDPoP().auth, fapiCommon[:1]
	behave := p.behave
	p.behave = func(op *testop.Provider, b *testop.Behaviour) {
		behave(op, b)
		b.OnlyClientAuth = "private_key_jwt"
	}
	return p
}

// fapiMutualTLSAndDPoP: a certificate proves the client, a key of each session binds tokens.
func fapiMutualTLSAndDPoP() fapiPlan {
	p, mutual := fapiDPoP(), fapiMutualTLS()
	p.words, p.auth, p.modules = mutual.words+"\n\t\tdpop", mutual.auth, fapiCommon[:1]
	p.behave = func(op *testop.Provider, b *testop.Behaviour) {
		mutual.behave(op, b)
		b.DPoP, b.DPoPNonces = true, true
		b.Discovery["tls_client_certificate_bound_access_tokens"] = testop.Absent
	}
	return p
}

func inAnswer(e testop.Edit) func(*testop.Provider, *testop.Behaviour) {
	return func(_ *testop.Provider, b *testop.Behaviour) { b.AuthorizationResponse = e }
}

// swapCase makes bEARER of Bearer.
func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if lower := strings.ToLower(string(r)); lower != string(r) {
			return []rune(lower)[0]
		}
		return []rune(strings.ToUpper(string(r)))[0]
	}, s)
}

// fapiMutualTLS is the plan with mutual TLS: a certificate proves the client, and binds its tokens.
func fapiMutualTLS() fapiPlan {
	return fapiPlan{
		words:  "client_certificate {$OURS}\n\t\tclient_auth tls_client_auth",
		up:     "http {\n\t\t\ttls_client_auth {$OURS}\n\t\t\ttls_trust_pool file {$CA}\n\t\t}",
		scheme: "Bearer",
		behave: func(op *testop.Provider, b *testop.Behaviour) {
			b.OnlyClientAuth = "tls_client_auth"
			aliases := map[string]string{}
			for member, endpoint := range map[string]string{"token_endpoint": testop.Token, "pushed_authorization_request_endpoint": testop.Push} {
				b.Discovery[member], aliases[member] = "https://127.0.0.1:1/without-a-certificate", op.URL(endpoint)
			}
			b.Discovery["mtls_endpoint_aliases"], b.Discovery["tls_client_certificate_bound_access_tokens"] = aliases, true
		},
		traces: map[string]string{
			toDiscovery: "discovery",
			toAnswer:    "discovery par authorization",
			toTokens:    "discovery par authorization token",
			toKeys:      "discovery par authorization token jwks",
			toAccounts:  "discovery par authorization token jwks accounts",
		},
		auth: func(r *rp, request testop.Request) {
			if form := request.PostForm; form.Has("client_secret") || form.Has("client_assertion") || request.Header.Get("Authorization") != "" {
				r.t.Errorf("beside its certificate the client shows %v", form)
			}
		},
		modules: fapiCommon,
	}
}

// fapiDPoP is the plan with DPoP: a key proves the client, and one of each session binds its tokens. Both servers ask for
// their nonces at the first request.
func fapiDPoP() fapiPlan {
	return fapiPlan{
		words:  "client_key {$SIGNING}",
		up:     "gatehouse {\n\t\t\ttls_trust_pool file {$CA}\n\t\t}",
		scheme: "DPoP",
		behave: func(_ *testop.Provider, b *testop.Behaviour) {
			b.OnlyClientAuth, b.DPoP, b.DPoPNonces = "private_key_jwt", true, true
			b.Discovery["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": "https://127.0.0.1:1/for-clients-with-a-certificate"}
		},
		traces: map[string]string{
			toDiscovery: "discovery",
			toAnswer:    "discovery par par authorization",
			toTokens:    "discovery par par authorization token",
			toKeys:      "discovery par par authorization token jwks",
			toAccounts:  "discovery par par authorization token jwks accounts accounts",
			"unasked":   "discovery par authorization token jwks accounts",
		},
		auth: func(r *rp, request testop.Request) {
			form := request.PostForm
			if form.Has("client_secret") || request.Header.Get("Authorization") != "" {
				r.t.Errorf("beside its assertion the client shows %v", form)
			}
			header, claims := readJWT(r.t, form.Get("client_assertion"))
			if header["alg"] != "ES256" || claims["aud"] != r.OP.Issuer() {
				r.t.Errorf("an assertion by %v for %v", header["alg"], claims["aud"])
			}
		},
		modules: append(slices.Clone(fapiCommon),
			module{name: "fapi2-security-profile-final-client-test-happy-path-no-dpop-nonce", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.DPoPNonces = false }, trace: "unasked"},
			module{name: "fapi2-security-profile-final-client-test-rs-dpop-auth-scheme-case-insensitivity", behave: func(_ *testop.Provider, b *testop.Behaviour) { b.DPoPScheme = "dPoP" }, trace: toAccounts},
		),
	}
}

// readJWT reads a JWT without verifying it.
func readJWT(t *testing.T, compact string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", compact)
	}
	for i, target := range []*map[string]any{&header, &claims} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		decode(t, string(part), target)
	}
	return header, claims
}

// asFAPI makes the provider one like the suite's: it signs by PS256, its keys have decoys, and it takes pushed requests alone,
// although it does not say so.
func (p fapiPlan) asFAPI(op *testop.Provider, b *testop.Behaviour) {
	b.Alg, b.DecoyKeys, b.StrangeKeys, b.RequirePAR = "PS256", true, true, true
	b.Discovery = testop.Edit{
		"require_pushed_authorization_requests": testop.Absent,
		"id_token_signing_alg_values_supported": []string{"RS256", "PS256", "ES256"},
	}
	p.behave(op, b)
}

// loadCertificate makes a certificate with its key, as files and loaded.
func loadCertificate(t *testing.T) (certificate, key string, pair tls.Certificate) {
	t.Helper()
	certificate, key = writeCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key, pair
}

// start runs the relying parties of a plan's modules: one process, and for each a site, a provider and a browser.
func (p fapiPlan) start(t *testing.T) []*rp {
	t.Helper()
	certificate, key, ours := loadCertificate(t)
	_, _, server := loadCertificate(t)
	signing := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, signing)
	fill := strings.NewReplacer("{$OURS}", certificate+" "+key, "{$CA}", writeAuthority(t), "{$SIGNING}", signing)
	var sites strings.Builder
	parties := make([]*rp, len(p.modules))
	for i, m := range p.modules {
		op := testop.Start(t, func(op *testop.Provider) {
			op.Path, op.ClientID, op.ClientCertificate = "/test/a/gatehouse/", fmt.Sprintf("client-%d", i), ours.Leaf
			op.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert}
		})
		op.Set(func(b *testop.Behaviour) {
			p.asFAPI(op, b)
			if m.behave != nil {
				m.behave(op, b)
			}
		})
		origin, _, _ := strings.Cut(op.Issuer(), "/test/")
		sites.WriteString(fill.Replace(fmt.Sprintf(`https://m%d.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse %s {
		profile fapi2
		client_id %s
		tls_trust_pool file {$CA}
		userinfo off
		%s
		forward access_token Authorization
	}
	reverse_proxy %s {
		transport %s
	}
}
`, i, op.Issuer(), op.ClientID, p.words, origin, p.up)))
		parties[i] = &rp{Site: &Site{OP: op, t: t}, browser: NewBrowser(t), module: m}
	}
	caddy := StartCaddy(t, sites.String())
	for i, r := range parties {
		r.Caddy, r.at = caddy, caddy.HTTPS(fmt.Sprintf("m%d.example.test", i))
		if strings.Contains(p.words, "client_key") {
			r.OP.ClientJWKS = NewBrowser(t).Step(r.at + "/oauth2/jwks").Body
		}
	}
	return parties
}

// run is a module from beginning to end.
func (p fapiPlan) run(t *testing.T, r *rp) {
	t.Parallel()
	r.t = t
	m, trace := r.module, p.traces[r.module.trace]
	r.wantTrace("") // nothing before the suite is ready
	defer func() {  // nor anything after the end
		time.Sleep(100 * time.Millisecond)
		r.wantTrace(r.trace)
	}()
	page := r.browser.Navigate(r.at + fapiPath)
	r.wantClean(page, false)
	if m.status != 0 {
		r.wantRefused(r.browser, page, m.status, m.reason)
	} else {
		r.wantAccounts(page)
	}
	r.wantTrace(trace)
	p.wantRequests(r)
	if m.status == 0 { // a session asks the provider nothing
		r.wantAccounts(r.browser.Navigate(r.at + fapiPath))
		r.wantTrace(trace + " accounts")
		p.wantRequests(r)
		r.wantBound()
	}
}

// wantBound holds that the access token is of no use to who has seen it.
func (r *rp) wantBound() {
	r.t.Helper()
	for _, seen := range r.OP.Requests(testop.Accounts) {
		stolen, err := http.NewRequest(http.MethodGet, r.OP.URL(testop.Accounts), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		stolen.Header.Set("Authorization", seen.Header.Get("Authorization"))
		if page := NewBrowser(r.t).Do(stolen); page.Status != http.StatusUnauthorized {
			r.t.Errorf("somebody else's request with the access token: %d", page.Status)
		}
		r.trace += " accounts"
	}
}

// wantAccounts holds a page to be the accounts of who has signed in.
func (r *rp) wantAccounts(page *Page) {
	r.t.Helper()
	var got struct {
		Owner    string
		Accounts []string
	}
	if page.Status != http.StatusOK || json.Unmarshal([]byte(page.Body), &got) != nil || got.Owner != "sub-alice" || len(got.Accounts) != 2 {
		r.t.Fatalf("%s answered %d, not with the accounts:\n%s", page.URL, page.Status, brief(page))
	}
	if page.URL.String() != r.at+fapiPath {
		r.t.Errorf("arrived at %s", page.URL)
	}
}

// wantSignedRequest holds a pushed form to have a request object and nothing of a request besides, and that to what the suite
// looks at: RFC 9101 4, 10.8, FAPI 2.0 Message Signing 5.3.2. It returns what is asked for inside.
func (r *rp) wantSignedRequest(form url.Values) url.Values {
	r.t.Helper()
	for name := range form {
		if !slices.Contains([]string{"request", "client_id", "client_assertion", "client_assertion_type"}, name) {
			r.t.Errorf("beside a signed request: %s", name)
		}
	}
	header, claims := readJWT(r.t, form.Get("request"))
	now := float64(time.Now().Unix())
	exp, _ := claims["exp"].(float64)
	nbf, _ := claims["nbf"].(float64)
	if header["alg"] != "ES256" || header["typ"] != "oauth-authz-req+jwt" || claims["iss"] != r.OP.ClientID || claims["aud"] != r.OP.Issuer() ||
		claims["sub"] != nil || exp <= now || exp > now+3600 || nbf > now || nbf < now-3600 || claims["response_mode"] != "jwt" {
		r.t.Errorf("a request object by %v: %v", header, claims)
	}
	inside := url.Values{}
	for name, value := range claims {
		if text, ok := value.(string); ok && name != "iss" && name != "aud" && name != "jti" {
			inside.Set(name, text)
		}
	}
	return inside
}

// pushedURI is what the test provider calls a pushed request.
var pushedURI = regexp.MustCompile(`^urn:ietf:params:oauth:request_uri:[\w-]+$`)

// wantRequests holds every request to what the suite asks of all modules of the plan.
func (p fapiPlan) wantRequests(r *rp) {
	r.t.Helper()
	for _, request := range r.OP.Requests(testop.Push) {
		form := request.PostForm
		if p.signed {
			form = r.wantSignedRequest(form)
		}
		for name, values := range form {
			if len(values) != 1 || values[0] == "" || name == "request_uri" || name == "request" {
				r.t.Errorf("pushed: %s is %q", name, values)
			}
		}
		if request.URL.RawQuery != "" || form.Get("client_id") != r.OP.ClientID || form.Get("response_type") != "code" ||
			form.Get("redirect_uri") != r.at+"/oauth2/callback" || !slices.Contains(strings.Fields(form.Get("scope")), "openid") ||
			form.Get("code_challenge_method") != "S256" || !s256.MatchString(form.Get("code_challenge")) || // RFC 7636 4.2
			!urlSafe.MatchString(form.Get("nonce")) || form.Get("state") == "" { // FAPI 2.0 5.3.3.2: a nonce of 64 at most
			r.t.Errorf("pushed: %v", form)
		}
		p.auth(r, request)
	}
	for _, request := range r.OP.Requests(testop.Authorization) { // FAPI 2.0 5.3.3.2
		query := request.URL.Query()
		if names := slices.Sorted(maps.Keys(query)); request.Method != http.MethodGet || !slices.Equal(names, []string{"client_id", "request_uri"}) ||
			query.Get("client_id") != r.OP.ClientID || !pushedURI.MatchString(query.Get("request_uri")) {
			r.t.Errorf("authorization request: %s %v", request.Method, query)
		}
	}
	for _, request := range r.OP.Requests(testop.Token) {
		form := request.PostForm
		if request.URL.RawQuery != "" || form.Get("grant_type") != "authorization_code" || !s256.MatchString(form.Get("code_verifier")) {
			r.t.Errorf("token request: ?%s %v", request.URL.RawQuery, form)
		}
		p.auth(r, request)
	}
	for _, request := range r.OP.Requests(testop.Accounts) { // FAPI 2.0 5.3.3.1: in the header
		scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
		if request.Method != http.MethodGet || request.URL.RawQuery != "" || scheme != p.scheme || !strings.HasPrefix(token, "at-") || len(request.Header["Authorization"]) != 1 {
			r.t.Errorf("accounts request: %s %s %v", request.Method, request.URL, request.Header)
		}
	}
}

// With the profile and no certificate tokens are bound by DPoP, said or not: they go upstream by `transport gatehouse` alone.
func TestFAPI2NeedsATransport(t *testing.T) {
	t.Parallel()
	signing := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, signing)
	logs := CaddyFails(t, `http://localhost:{$PORT} {
	gatehouse http://127.0.0.1:1 {
		profile fapi2
		client_id app
		client_key `+signing+`
		forward access_token Authorization
	}
	reverse_proxy 127.0.0.1:1
}
`)
	if !strings.Contains(logs, "transport gatehouse") {
		t.Errorf("Caddy said:\n%s", logs)
	}
}

// testFAPI plays the FAPI 2.0 plans, as TestConformance does the others.
func testFAPI(t *testing.T) {
	for _, plan := range []struct {
		name string
		fapiPlan
		count int // as the suite has them, but for the plans of which one way is played above
	}{
		{"fapi2-mtls", fapiMutualTLS(), 21},
		{"fapi2-dpop", fapiDPoP(), 23},
		{"fapi2-private-key-mtls", fapiKeyAndMutualTLS(), 1},
		{"fapi2-mtls-dpop", fapiMutualTLSAndDPoP(), 1},
		{"fapi1-advanced", fapi1Advanced(), 16},
		{"fapi2-message-signing-mtls", fapiMutualTLS().withMessageSigning(), 27},
		{"fapi2-message-signing-dpop", fapiDPoP().withMessageSigning(), 29},
	} {
		t.Run(plan.name, func(t *testing.T) {
			names := map[string]bool{}
			for _, r := range plan.start(t) {
				names[r.module.name] = true
				t.Run(r.module.name, func(t *testing.T) { plan.run(t, r) })
			}
			if len(names) != plan.count {
				t.Errorf("%d modules, the plan has %d", len(names), plan.count)
			}
		})
	}
}

// FAPI 2.0 5.2.1: of TLS 1.2, the suites that BCP 195 recommends.
func TestFAPI2CipherSuites(t *testing.T) {
	t.Parallel()
	certificate, key := writeCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	op := testop.Start(t, func(op *testop.Provider) {
		op.TLS = &tls.Config{
			Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		}
	})
	op.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"tls_client_certificate_bound_access_tokens": true}
		b.OnlyClientAuth = "tls_client_auth"
	})
	site := func(host, word string) string {
		return `https://` + host + `.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse ` + op.Issuer() + ` {
		client_id client
		client_certificate ` + certificate + ` ` + key + `
		tls_trust_pool file ` + writeAuthority(t) + `
		` + word + `
	}
}
`
	}
	c := StartCaddy(t, site("plain", "")+site("fapi", "profile fapi2"))
	if page := NewBrowser(t).Step(c.HTTPS("plain.example.test") + "/"); page.Status != http.StatusSeeOther {
		t.Errorf("without the profile: %d %s", page.Status, brief(page))
	}
	wantReason(t, NewBrowser(t).Step(c.HTTPS("fapi.example.test")+"/"), http.StatusServiceUnavailable, "discovery_failed")
}
