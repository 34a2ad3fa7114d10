package authflow_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

func jwtMode(cfg *authflow.Config) { cfg.ResponseMode = "jwt" }

// TestJWTResponse: JARM 2.1, 2.3.1. The answer is one parameter, and what it says counts as if it stood in the query.
func TestJWTResponse(t *testing.T) {
	for name, behave := range map[string]func(*testop.Behaviour){
		"by RS256":   func(*testop.Behaviour) {},
		"typ jwt":    func(b *testop.Behaviour) { b.ResponseHeader = testop.Edit{"typ": "jwt"} },
		"no typ":     func(b *testop.Behaviour) { b.ResponseHeader = testop.Edit{"typ": testop.Absent} },
		"no kid":     func(b *testop.Behaviour) { b.NoKeyIDs = true },
		"aud a list": func(b *testop.Behaviour) { b.AuthorizationResponse = testop.Edit{"aud": []string{"client"}} },
		"exp 50 s ago": func(b *testop.Behaviour) {
			b.AuthorizationResponse = testop.Edit{"exp": time.Now().Add(-50 * time.Second).Unix()}
		},
		"by ES256, of which alone the metadata speaks": func(b *testop.Behaviour) {
			b.ResponseAlg = "ES256"
			b.Discovery = testop.Edit{"authorization_signing_alg_values_supported": []string{"ES256"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, jwtMode)
			s.p.Set(behave)
			if s.client.FormPost() {
				t.Error("a query is taken for a form")
			}
			_, callback, err := s.begin("bob")
			if err != nil {
				t.Fatal(err)
			}
			if query := callback.URL.Query(); len(query) != 1 || strings.Count(query.Get("response"), ".") != 2 {
				t.Errorf("the answer is %v", query)
			}
			if grant := s.mustLogin("bob"); grant.Subject != "sub-bob" {
				t.Errorf("signed in %s", grant.Subject)
			}
		})
	}
}

// TestJWTResponseByForm: JARM 2.3.3.
func TestJWTResponseByForm(t *testing.T) {
	s, attempt, page := answeredByForm(t, "form_post.jwt")
	wantFormFinished(t, s, attempt, url.Values{"response": {valueIn(page, "response")}})
}

// TestJWTResponseRefused holds each check of JARM 2.4. What is wrong with an answer that a browser brings is a bad request, and
// no code is redeemed for it.
func TestJWTResponseRefused(t *testing.T) {
	claims := func(e testop.Edit) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.AuthorizationResponse = e }
	}
	alg := func(name string) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.ResponseAlg = name } }
	for name, test := range map[string]struct {
		behave func(*testop.Behaviour)
		reason authflow.Reason
	}{
		"(2) no state":            {claims(testop.Edit{"state": testop.Absent}), authflow.ReasonStateUnknown},
		"(2) state altered":       {claims(testop.Edit{"state": testop.Change(func(right any) any { return strings.ToUpper(right.(string)) })}), authflow.ReasonStateUnknown},
		"(2) state is a number":   {claims(testop.Edit{"state": 7}), authflow.ReasonResponseMalformed},
		"(2) state outside alone": {func(b *testop.Behaviour) { b.BesideResponse = map[string]string{"state": "x"} }, authflow.ReasonResponseMalformed},
		"(2) a code besides":      {func(b *testop.Behaviour) { b.BesideResponse = map[string]string{"code": "stolen"} }, authflow.ReasonResponseMalformed},
		"SEC-66 response twice":   {func(b *testop.Behaviour) { b.TwiceInResponse = "response" }, authflow.ReasonDuplicateParameter},
		"(3) no iss, and none announced": {func(b *testop.Behaviour) {
			b.AuthorizationResponse = testop.Edit{"iss": testop.Absent}
			b.Discovery = testop.Edit{"authorization_response_iss_parameter_supported": testop.Absent}
		}, authflow.ReasonIssMissing},
		"(3) iss of another":                {claims(testop.Edit{"iss": testop.Append("1")}), authflow.ReasonIssMismatch},
		"(4) no aud":                        {claims(testop.Edit{"aud": testop.Absent}), authflow.ReasonAudMismatch},
		"(4) aud of another":                {claims(testop.Edit{"aud": testop.Append("1")}), authflow.ReasonAudMismatch},
		"(4) aud of another as well":        {claims(testop.Edit{"aud": []string{"client", "eve"}}), authflow.ReasonAudUntrusted},
		"(5) no exp":                        {claims(testop.Edit{"exp": testop.Absent}), authflow.ReasonExpMissing},
		"(5) exp two minutes ago":           {claims(testop.Edit{"exp": time.Now().Add(-2 * time.Minute).Unix()}), authflow.ReasonTokenExpired},
		"RFC 7519 4.1.5 nbf ahead":          {claims(testop.Edit{"nbf": time.Now().Add(2 * time.Minute).Unix()}), authflow.ReasonClockSkew},
		"(5) exp is a text":                 {claims(testop.Edit{"exp": "tomorrow"}), authflow.ReasonClaimMalformed},
		"(6) alg none":                      {alg("none"), authflow.ReasonAlg},
		"(6) by the client secret":          {alg("HS256"), authflow.ReasonAlg},
		"(6) by an algorithm not agreed on": {alg("ES256"), authflow.ReasonAlg},
		"(6) another signature":             {func(b *testop.Behaviour) { b.CorruptResponse = true }, authflow.ReasonSignature},
		"RFC 8725 3.11 an access token":     {func(b *testop.Behaviour) { b.ResponseHeader = testop.Edit{"typ": "at+jwt"} }, authflow.ReasonIDTokenHeader},
		"RFC 7515 4.1.11 crit":              {func(b *testop.Behaviour) { b.ResponseHeader = testop.Edit{"crit": []string{"b64"}, "b64": true} }, authflow.ReasonIDTokenHeader},
		"not signed, although asked for":    {func(b *testop.Behaviour) { b.OtherResponseMode = true }, authflow.ReasonResponseMode},
		"no code":                           {claims(testop.Edit{"code": testop.Absent}), authflow.ReasonCodeMissing},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, jwtMode)
			s.p.Set(test.behave)
			_, err := s.login("bob")
			wantError(t, err, test.reason, authflow.BadRequest)
			if asked := s.p.Requests(testop.Token); len(asked) != 0 {
				t.Error("a code was redeemed")
			}
		})
	}
}

// TestJWTResponseOfAnError: JARM 2.1. Errors are signed as well, and are the provider's word only then.
func TestJWTResponseOfAnError(t *testing.T) {
	s := newRP(t, jwtMode)
	s.p.Set(func(b *testop.Behaviour) { b.AuthorizationError = "access_denied" })
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonProviderDenied, authflow.Denied)
	s.p.Set(func(b *testop.Behaviour) { b.CorruptResponse = true })
	_, err = s.login("bob")
	wantError(t, err, authflow.ReasonSignature, authflow.BadRequest)
}

// A provider whose keys cannot be fetched is away, which is no fault of the browser's.
func TestJWTResponseWhileTheKeysAreAway(t *testing.T) {
	s := newRP(t, jwtMode)
	s.p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.JWKS: {Status: 503}} })
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)
}

// TestUnaskedJWTResponse: who did not ask for a JWT has not agreed on how it is signed.
func TestUnaskedJWTResponse(t *testing.T) {
	s := newRP(t)
	s.p.Set(func(b *testop.Behaviour) { b.OtherResponseMode = true })
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonResponseMode, authflow.BadRequest)
}
