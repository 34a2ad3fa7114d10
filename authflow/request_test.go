package authflow_test

import (
	"crypto/elliptic"
	"errors"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// SEC-67, rule 20: nobody but us sets what the answer is judged by.
func TestParametersOfOthersReplaceNoneOfOurs(t *testing.T) {
	for _, name := range []string{
		"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type",
		"code", "code_verifier", "grant_type", "iss", "dpop_jkt", "id_token_hint", "registration", "", "a b",
	} {
		for where, set := range map[string]func(*authflow.Config){
			"param":              func(c *authflow.Config) { c.Parameters = map[string]string{name: "x"} },
			"param_from_request": func(c *authflow.Config) { c.ParametersFromRequest = []string{name} },
		} {
			cfg := authflow.Config{Issuer: "https://id.example.com", ClientID: "app", ClientSecret: noSecret}
			set(&cfg)
			if _, err := authflow.New(cfg); err == nil || !strings.Contains(err.Error(), `": param: `) {
				t.Errorf("%s %q: %v", where, name, err)
			}
		}
	}
	for _, value := range []string{"", "a\nb"} {
		_, err := authflow.New(authflow.Config{
			Issuer: "https://id.example.com", ClientID: "app", ClientSecret: noSecret, Parameters: map[string]string{"hd": value},
		})
		if err == nil {
			t.Errorf("param hd %q is taken", value)
		}
	}
}

func noSecret() (secret.String, error) { return secret.String{}, errors.New("nobody asked") }

// TestParameters: the configuration's, over them the browser's, over them ours.
func TestParameters(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) {
		cfg.Parameters = map[string]string{"hd": "example.com", "ui_locales": "en", "prompt": "consent"}
		cfg.ParametersFromRequest = []string{"login_hint", "ui_locales", "prompt"}
	})
	begin := func(prompt string, query url.Values) url.Values {
		t.Helper()
		passed, err := s.client.RequestParameters(query)
		if err != nil {
			t.Fatal(err)
		}
		_, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI, Prompt: prompt, Parameters: passed})
		if err != nil {
			t.Fatal(err)
		}
		return must(url.Parse(location)).Query()
	}
	for name, test := range map[string]struct {
		prompt string
		query  url.Values
		want   map[string]string
	}{
		"the configuration's": {"", nil, map[string]string{"hd": "example.com", "ui_locales": "en", "prompt": "consent", "login_hint": ""}},
		"the browser's": {
			"",
			url.Values{"ui_locales": {"de fr"}, "login_hint": {"a&state=evil"}, "prompt": {"none"}},
			map[string]string{"ui_locales": "de fr", "login_hint": "a&state=evil", "prompt": "none"},
		},
		"ours": {"login", url.Values{"prompt": {"none"}}, map[string]string{"prompt": "login"}},
		"SEC-67 of the browser's, what is not allowed": {
			"",
			url.Values{"hd": {"evil.example"}, "state": {"evil"}, "scope": {"all"}, "client_id": {"evil"}, "nonce": {"evil"}, "acr_values": {"0"}},
			map[string]string{"hd": "example.com", "scope": "openid profile email groups", "client_id": s.p.ClientID, "acr_values": ""},
		},
		"empty": {"", url.Values{"ui_locales": {""}}, map[string]string{"ui_locales": "en"}},
	} {
		t.Run(name, func(t *testing.T) {
			query := begin(test.prompt, test.query)
			for parameter, want := range test.want {
				if got := query[parameter]; strings.Join(got, "|") != want {
					t.Errorf("%s is %q, want %q", parameter, got, want)
				}
			}
		})
	}
	for name, query := range map[string]url.Values{
		"RFC 6749 3.1 twice": {"login_hint": {"a", "b"}},
		"too long":           {"login_hint": {strings.Repeat("a", 513)}},
		"a line break":       {"login_hint": {"a\r\nb"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.client.RequestParameters(query)
			wantError(t, err, authflow.ReasonParameter, authflow.BadRequest)
		})
	}
	if passed, err := s.client.RequestParameters(url.Values{"hd": {"a", "b"}, "login_hint": {strings.Repeat("a", 512)}}); err != nil || len(passed) != 1 {
		t.Errorf("%v, %v", passed, err)
	}
	// What the caller hands over is held to the allow-list again.
	_, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{
		RedirectURI: redirectURI, Parameters: map[string]string{"state": "evil", "acr_values": "0", "login_hint": "bob"},
	})
	if query := must(url.Parse(location)).Query(); err != nil || query.Get("state") == "evil" || query.Has("acr_values") || query.Get("login_hint") != "bob" {
		t.Errorf("%s, %v", location, err)
	}
}

// TestPAR: RFC 9126 2.1 and 4, FAPI 2.0 5.3.3.2.
func TestPAR(t *testing.T) {
	required := func(b *testop.Behaviour) { b.RequirePAR = true }
	for name, test := range map[string]struct {
		par    string
		behave func(*testop.Behaviour)
		pushes bool
	}{
		"auto, required":     {"", required, true},
		"auto, not required": {authflow.PARAuto, func(*testop.Behaviour) {}, false},
		"on, not required":   {authflow.PAROn, func(*testop.Behaviour) {}, true},
		"off":                {authflow.PAROff, func(*testop.Behaviour) {}, false},
	} {
		for _, method := range []string{"client_secret_basic", "client_secret_post"} {
			t.Run(name+", "+method, func(t *testing.T) {
				s := newRP(t, func(cfg *authflow.Config) { cfg.PAR, cfg.ClientAuth = test.par, method })
				s.p.Set(func(b *testop.Behaviour) { b.OnlyClientAuth = method; test.behave(b) })
				s.mustLogin("bob")
				s.mustLogin("bob")
				uris := map[string]bool{}
				for _, request := range s.p.Requests(testop.Authorization) {
					query := request.URL.Query()
					if names := slices.Sorted(maps.Keys(query)); test.pushes != slices.Equal(names, []string{"client_id", "request_uri"}) {
						t.Errorf("the browser carries %v", names)
					}
					uris[query.Get("request_uri")] = true
				}
				if !test.pushes {
					if calls := s.p.Calls(testop.Push); calls != 0 {
						t.Errorf("%d were pushed", calls)
					}
					return
				}
				if calls := s.p.Calls(testop.Push); calls != 2 || len(uris) != 2 {
					t.Errorf("%d were pushed, %d used", calls, len(uris))
				}
				form := s.p.Requests(testop.Push)[0].PostForm
				for parameter, want := range map[string]string{
					"response_type": "code", "redirect_uri": redirectURI, "login_hint": "bob", "code_challenge_method": "S256", "client_id": s.p.ClientID,
				} {
					if got := form[parameter]; len(got) != 1 || got[0] != want {
						t.Errorf("pushed %s is %q, want %q once", parameter, got, want)
					}
				}
			})
		}
	}
}

// The endpoint's own query stays, but nothing of the request stands in it, where the request is pushed or signed.
func TestEndpointsOwnQueryIsNoRequest(t *testing.T) {
	key := must(authflow.ParseClientKey(pkcs8(newEd()), ""))
	for name, test := range map[string]struct {
		set  func(*authflow.Config)
		want []string
	}{
		"pushed": {func(cfg *authflow.Config) { cfg.PAR = authflow.PAROn }, []string{"client_id", "request_uri", "tenant"}},
		"signed": {func(cfg *authflow.Config) { cfg.RequestObject = true }, []string{"client_id", "request", "response_type", "scope", "tenant"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := keyed(t, []authflow.ClientKey{key}, test.set, func(cfg *authflow.Config) { cfg.Parameters = map[string]string{"hd": "example.com"} })
			s.p.Set(func(b *testop.Behaviour) {
				b.Discovery = testop.Edit{"authorization_endpoint": s.p.URL(testop.Authorization) + "?tenant=a&scope=all&hd=evil&request=evil&request_uri=evil"}
			})
			_, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
			if err != nil {
				t.Fatal(err)
			}
			query := must(url.Parse(location)).Query()
			if names := slices.Sorted(maps.Keys(query)); !slices.Equal(names, test.want) {
				t.Errorf("the browser carries %v", names)
			}
			if strings.Contains(location, "evil") || query.Get("scope") == "all" {
				t.Errorf("something of the endpoint's own query is asked for: %s", location)
			}
		})
	}
}

func TestPARRefuses(t *testing.T) {
	tests := map[string]struct {
		behave func(*testop.Provider, *testop.Behaviour)
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"no endpoint": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.Discovery = testop.Edit{"pushed_authorization_request_endpoint": testop.Absent}
		}, authflow.ReasonPARMissing, authflow.Internal},
		"SEC-113 an endpoint on http": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.Discovery = testop.Edit{"pushed_authorization_request_endpoint": "http://evil.example/"}
		}, authflow.ReasonPARMissing, authflow.Internal},
		"RFC 9126 2.3 invalid_request": {func(_ *testop.Provider, b *testop.Behaviour) { b.PushError = "invalid_request" }, authflow.ReasonPARRefused, authflow.Provider},
		"another method of client authentication": {
			func(_ *testop.Provider, b *testop.Behaviour) { b.OnlyClientAuth = "client_secret_post" }, authflow.ReasonPARRefused, authflow.Provider,
		},
		"no request_uri": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.PushResponse = testop.Edit{"request_uri": testop.Absent}
		}, authflow.ReasonPARRefused, authflow.Provider},
		"a request_uri that is a number": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.PushResponse = testop.Edit{"request_uri": 7}
		}, authflow.ReasonPARRefused, authflow.Provider},
		"503": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Push: {Status: 503}}
		}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"server_error": {func(_ *testop.Provider, b *testop.Behaviour) { b.PushError = "server_error" }, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"the connection ends": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Push: {Abort: true}}
		}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"SEC-71 a redirect with our credentials": {func(p *testop.Provider, b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Push: {Status: 307, Header: http.Header{"Location": {p.URL(testop.Push)}}, Times: 1}}
		}, authflow.ReasonPARRefused, authflow.Provider},
		"no JSON": {func(_ *testop.Provider, b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Push: {Status: 201, Body: "<html>"}}
		}, authflow.ReasonPARRefused, authflow.Provider},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.PAR, cfg.ClientAuth = authflow.PAROn, "client_secret_basic" })
			s.p.Set(func(b *testop.Behaviour) { test.behave(s.p, b) })
			attempt, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
			wantError(t, err, test.reason, test.kind)
			if attempt != nil || location != "" {
				t.Errorf("an attempt all the same, to %q", location)
			}
			if calls := s.p.Calls(testop.Push); calls > 1 {
				t.Errorf("%d requests", calls)
			}
		})
	}
}

// TestRequestObject: RFC 9101 4, OIDC Core 6.1; RFC 9126 3 for one that is pushed.
func TestRequestObject(t *testing.T) {
	key := must(authflow.ParseClientKey(pkcs8(newEC(elliptic.P256())), "k"))
	for name, par := range map[string]string{"by value": authflow.PAROff, "pushed": authflow.PAROn} {
		t.Run(name, func(t *testing.T) {
			s := keyed(t, []authflow.ClientKey{key}, func(cfg *authflow.Config) {
				cfg.RequestObject, cfg.PAR = true, par
				cfg.Parameters = map[string]string{"max_age": "3600", "claims": `{"userinfo":{"email":null}}`}
			})
			s.p.Set(func(b *testop.Behaviour) { b.RequireRequestObject = true })
			grant := s.mustLogin("bob")
			if grant.Subject != "sub-bob" {
				t.Errorf("subject %s", grant.Subject)
			}
			outside := s.p.Requests(testop.Authorization)[0].URL.Query()
			want := []string{"client_id", "request", "response_type", "scope"}
			carrier := outside
			if par == authflow.PAROn {
				want = []string{"client_id", "request_uri"}
				carrier = s.p.Requests(testop.Push)[0].PostForm
				if names := slices.Sorted(maps.Keys(carrier)); !slices.Equal(names, []string{"client_assertion", "client_assertion_type", "client_id", "request"}) {
					t.Errorf("pushed %v", names)
				}
			}
			if names := slices.Sorted(maps.Keys(outside)); !slices.Equal(names, want) {
				t.Errorf("the browser carries %v", names)
			}
			header, claims := decodeJWT(t, carrier.Get("request"))
			if header["typ"] != "oauth-authz-req+jwt" || header["kid"] != "k" || header["alg"] != "ES256" {
				t.Errorf("header %v", header)
			}
			if claims["aud"] != s.p.Issuer() || claims["iss"] != s.p.ClientID || claims["sub"] != nil || claims["max_age"] != 3600.0 {
				t.Errorf("claims %v", claims)
			}
			if _, isObject := claims["claims"].(map[string]any); !isObject {
				t.Errorf("claims are %v", claims["claims"])
			}
			if lifetime := claims["exp"].(float64) - claims["nbf"].(float64); lifetime <= 0 || lifetime > time.Hour.Seconds() { // FAPI 2.0 Message Signing 5.3.1
				t.Errorf("good for %v seconds", lifetime)
			}
		})
	}
}

// answeredByForm begins an attempt in a mode that answers by a form, and returns the page with that form.
func answeredByForm(t *testing.T, mode string) (s rp, attempt *authflow.Attempt, page string) {
	t.Helper()
	s = newRP(t, func(cfg *authflow.Config) { cfg.ResponseMode = mode })
	if !s.client.FormPost() {
		t.Error("FormPost is false")
	}
	attempt, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI, LoginHint: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(location)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return s, attempt, string(must(io.ReadAll(answer.Body)))
}

// valueIn returns the value of a field of the form.
func valueIn(page, field string) string {
	_, value, _ := strings.Cut(page, `name="`+field+`" value="`)
	value, _, _ = strings.Cut(value, `"`)
	return html.UnescapeString(value)
}

// wantFormFinished sends the form's values to the redirect URI, and has the sign-in finished by them.
func wantFormFinished(t *testing.T, s rp, attempt *authflow.Attempt, values url.Values) {
	t.Helper()
	callback := httptest.NewRequest(http.MethodPost, redirectURI, strings.NewReader(values.Encode()))
	callback.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := authflow.ParseAuthorizationResponse(callback)
	if err != nil {
		t.Fatal(err)
	}
	if grant, err := s.client.Finish(t.Context(), s.finish(attempt, response)); err != nil || grant.Subject != "sub-bob" {
		t.Errorf("%v, %v", grant, err)
	}
}

// OAuth 2.0 Form Post Response Mode 2.
func TestFormPostEndToEnd(t *testing.T) {
	s, attempt, page := answeredByForm(t, "form_post")
	if !strings.Contains(page, `action="`+redirectURI+`"`) {
		t.Fatalf("no form for us: %s", page)
	}
	wantFormFinished(t, s, attempt, url.Values{"state": {attempt.State}, "code": {valueIn(page, "code")}, "iss": {s.p.Issuer()}})
}

// The attempt remembers what the caller will need at its end.
func TestBeginRemembers(t *testing.T) {
	s := newRP(t)
	attempt, _, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI, Provider: "main", ReturnTo: "/there?a=b"})
	if err != nil || attempt.Provider != "main" || attempt.ReturnTo != "/there?a=b" {
		t.Errorf("%+v, %v", attempt, err)
	}
}
