package authflow_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// stepUp is a login that asks for more.
func (s rp) stepUp(acr []string, maxAge time.Duration) (*authflow.Grant, error) {
	s.t.Helper()
	attempt, location, err := s.client.Begin(s.t.Context(), authflow.AuthorizationRequest{
		Provider: "idp", RedirectURI: redirectURI, ReturnTo: "/", ACRValues: acr, MaxAge: maxAge,
	})
	if err != nil {
		return nil, err
	}
	return s.answer(attempt, location)
}

// answer takes the browser to the provider and back, and finishes the attempt.
func (s rp) answer(attempt *authflow.Attempt, location string) (*authflow.Grant, error) {
	s.t.Helper()
	data, err := attempt.MarshalBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	if attempt, err = authflow.ParseAttempt(attempt.State, data); err != nil {
		s.t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	s.p.ServeHTTP(recorder, httptest.NewRequest("GET", location, nil))
	response, err := authflow.ParseAuthorizationResponse(httptest.NewRequest("GET", recorder.Header().Get("Location"), nil))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.client.Finish(s.t.Context(), s.finish(attempt, response))
}

// TestStepUpIsAsked: OIDC Core 3.1.2.1.
func TestStepUpIsAsked(t *testing.T) {
	s := newRP(t)
	_, location, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{
		RedirectURI: redirectURI, ACRValues: []string{"phr", "phrh"}, MaxAge: 5 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	if query := u.Query(); query.Get("acr_values") != "phr phrh" || query.Get("max_age") != "300" {
		t.Errorf("asked for acr_values %q, max_age %q", query.Get("acr_values"), query.Get("max_age"))
	}
	if err := start(t, s.client); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(mustBegin(t, s.client), "acr_values") {
		t.Error("asked for without need")
	}
}

func mustBegin(t *testing.T, client *authflow.Client) string {
	t.Helper()
	_, location, err := client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// TestStepUpIsChecked: OIDC Core 3.1.3.7 (12), (13). A provider that does not
// deliver what was asked for signs nobody in, and its userinfo is not asked.
func TestStepUpIsChecked(t *testing.T) {
	type edit = testop.Edit
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	idToken := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.IDToken = e } }
	acr, age := []string{"phr", "phrh"}, 5*time.Minute
	tests := map[string]struct {
		acr       []string
		maxAge    time.Duration
		misbehave func(*testop.Behaviour)
		reason    authflow.Reason // "" = signed in
	}{
		"delivered":                  {acr, age, func(*testop.Behaviour) {}, ""},
		"the other value":            {acr, age, idToken(edit{"acr": "phrh"}), ""},
		"nothing asked":              {nil, 0, idToken(edit{"auth_time": testop.Absent}), ""},
		"rule 21 acr ignored":        {acr, 0, func(b *testop.Behaviour) { b.NoStepUp = true }, authflow.ReasonACR},
		"rule 21 acr weaker":         {acr, 0, idToken(edit{"acr": "0"}), authflow.ReasonACR},
		"rule 21 acr both in one":    {acr, 0, idToken(edit{"acr": "phr phrh"}), authflow.ReasonACR},
		"rule 21 acr part of one":    {acr, 0, idToken(edit{"acr": "ph"}), authflow.ReasonACR},
		"rule 21 acr a list":         {acr, 0, idToken(edit{"acr": acr}), authflow.ReasonACR},
		"rule 21 acr empty":          {acr, 0, idToken(edit{"acr": ""}), authflow.ReasonACR},
		"rule 21 auth_time absent":   {nil, age, idToken(edit{"auth_time": testop.Absent}), authflow.ReasonAuthTime},
		"rule 21 auth_time old":      {nil, age, idToken(edit{"auth_time": ago(10 * time.Minute)}), authflow.ReasonAuthTime},
		"rule 21 max_age ignored":    {nil, age, func(b *testop.Behaviour) { b.NoStepUp, b.SignedInAgo = true, time.Hour }, authflow.ReasonAuthTime},
		"rule 21 auth_time a string": {nil, age, idToken(edit{"auth_time": "1"}), authflow.ReasonAuthTime},
		"rule 21 auth_time to come":  {nil, age, idToken(edit{"auth_time": ago(-10 * time.Minute)}), authflow.ReasonAuthTime},
		"within the leeway":          {nil, age, idToken(edit{"auth_time": ago(5*time.Minute + 30*time.Second)}), ""},
		"signs in anew":              {nil, age, func(b *testop.Behaviour) { b.SignedInAgo = time.Hour }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
			s.p.Set(test.misbehave)
			_, err := s.stepUp(test.acr, test.maxAge)
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.reason, authflow.Denied)
			if calls := s.p.Calls(testop.UserInfo); calls != 0 {
				t.Errorf("%d calls to userinfo", calls)
			}
		})
	}
}

// TestParametersAreChecked: it does not matter who has asked.
func TestParametersAreChecked(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) {
		cfg.Parameters = map[string]string{"acr_values": "phr", "max_age": "0"}
	})
	s.p.Set(func(b *testop.Behaviour) { b.NoStepUp = true })
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonACR, authflow.Denied)
	s.p.Set(func(b *testop.Behaviour) {
		b.NoStepUp, b.SignedInAgo, b.IDToken = true, time.Hour, testop.Edit{"acr": "phr"}
	})
	_, err = s.login("bob")
	wantError(t, err, authflow.ReasonAuthTime, authflow.Denied)
	s.p.Behave()
	s.mustLogin("bob")

	odd := newClient(t, s.p, func(cfg *authflow.Config) { cfg.ParametersFromRequest = []string{"max_age"} })
	_, _, err = odd.Begin(t.Context(), authflow.AuthorizationRequest{
		RedirectURI: redirectURI, Parameters: map[string]string{"max_age": "soon"},
	})
	if authflow.ReasonOf(err) != authflow.ReasonParameter {
		t.Errorf("max_age soon: %v", err)
	}
}

// TestParseLoginInitiation: OIDC Core 4.
func TestParseLoginInitiation(t *testing.T) {
	form := func(body string) func() (authflow.LoginInitiation, error) {
		return func() (authflow.LoginInitiation, error) {
			r := httptest.NewRequest("POST", "/oauth2/login", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return authflow.ParseLoginInitiation(r)
		}
	}
	query := func(query string) func() (authflow.LoginInitiation, error) {
		return func() (authflow.LoginInitiation, error) {
			return authflow.ParseLoginInitiation(httptest.NewRequest("GET", "/oauth2/login?"+query, nil))
		}
	}
	want := authflow.LoginInitiation{Issuer: "https://id.example.com/", LoginHint: "bob@x", TargetLinkURI: "/a?b"}
	const right = "iss=https%3A%2F%2Fid.example.com%2F&login_hint=bob%40x&target_link_uri=%2Fa%3Fb"
	for name, test := range map[string]struct {
		parse  func() (authflow.LoginInitiation, error)
		reason authflow.Reason
	}{
		"GET":                        {query(right), ""},
		"POST":                       {form(right), ""},
		"SEC-66 iss twice":           {query(right + "&iss=https://evil.example"), authflow.ReasonDuplicateParameter},
		"SEC-66 target twice":        {form(right + "&target_link_uri=%2Fevil"), authflow.ReasonDuplicateParameter},
		"line break in login_hint":   {query("iss=https://id.example.com/&login_hint=a%0d%0ab"), authflow.ReasonResponseMalformed},
		"SEC-113 a body of a MB":     {form(right + "&x=" + strings.Repeat("a", 1<<20)), authflow.ReasonResponseMalformed},
		"SEC-113 a long target":      {query("iss=a&target_link_uri=/" + strings.Repeat("a", 4000)), authflow.ReasonResponseMalformed},
		"no form":                    {form("%zz"), authflow.ReasonResponseMalformed},
		"SEC-113 a query of 20000 B": {query(strings.Repeat("a", 20000)), authflow.ReasonResponseMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.parse()
			if authflow.ReasonOf(err) != test.reason || test.reason == "" && got != want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
