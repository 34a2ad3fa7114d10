package authflow_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

const state = "0tr8ao0AAAAAAAAAAAAAAAAAAAAAA"

// TestParseAuthorizationResponse: SEC-66, SEC-68. Whatever comes to the callback
// is a response or an error, and a parameter counts once.
func TestParseAuthorizationResponse(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	malformed, unknown, twice := authflow.ReasonResponseMalformed, authflow.ReasonStateUnknown, authflow.ReasonDuplicateParameter
	big := strings.Repeat("x", 1<<20)
	tests := map[string]struct {
		method, query, contentType, body string
		reason                           authflow.Reason
	}{
		"GET":                          {"GET", "state=" + state + "&code=c&iss=i", "", "", ""},
		"GET with an error":            {"GET", "state=" + state + "&error=e&error_description=d", "", "", ""},
		"line breaks of a provider":    {"GET", "state=" + state + "&error=e&error_description=AADSTS50105%3A+x%0d%0aTrace+ID", "", "", ""},
		"GET with strangers twice":     {"GET", "state=" + state + "&code=c&x=1&x=2&session_state=s", "", "", ""},
		"GET, body ignored":            {"GET", "state=" + state + "&code=c", form, "code=d", ""},
		"POST":                         {"POST", "", form, "state=" + state + "&code=c&iss=i", ""},
		"POST with a charset":          {"POST", "", form + "; charset=UTF-8", "state=" + state + "&code=c", ""},
		"no parameters":                {"GET", "", "", "", unknown},
		"only code":                    {"GET", "code=c", "", "", unknown},
		"state empty":                  {"GET", "state=&code=c", "", "", unknown},
		"state of 1 MB":                {"GET", "code=c&state=" + big, "", "", malformed},
		"state cut":                    {"GET", "code=c&state=" + state[1:], "", "", unknown},
		"state for a cookie attribute": {"GET", "code=c&state=" + url.QueryEscape(state[:20]+";Path=/x;"), "", "", unknown},
		"state not canonical":          {"GET", "code=c&state=" + state[:28] + "B", "", "", unknown},
		"state as an array":            {"GET", "code=c&state[]=" + state, "", "", unknown},
		"state twice":                  {"GET", "state=" + state + "&state=" + state + "&code=c", "", "", twice},
		"code twice":                   {"GET", "state=" + state + "&code=c&code=d", "", "", twice},
		"code twice, escaped":          {"GET", "state=" + state + "&code=c&c%6fde=d", "", "", twice},
		"code once empty":              {"GET", "state=" + state + "&code=c&code=", "", "", twice},
		"iss twice":                    {"GET", "state=" + state + "&code=c&iss=a&iss=b", "", "", twice},
		"error twice":                  {"GET", "state=" + state + "&error=a&error=b", "", "", twice},
		"error_description twice":      {"GET", "state=" + state + "&error=a&error_description=a&error_description=b", "", "", twice},
		"code in query and body":       {"POST", "code=c", form, "state=" + state + "&code=c", twice},
		"code twice in the body":       {"POST", "", form, "state=" + state + "&code=c&code=d", twice},
		"code with NUL":                {"GET", "state=" + state + "&code=c%00", "", "", malformed},
		"code with DEL":                {"GET", "state=" + state + "&code=c%7f", "", "", malformed},
		"iss with a line break":        {"GET", "state=" + state + "&code=c&iss=a%0d%0ab", "", "", malformed},
		"semicolons":                   {"GET", "state=" + state + ";code=c", "", "", malformed},
		"bad escape":                   {"GET", "state=" + state + "&code=%zz", "", "", malformed},
		"query of 1 MB":                {"GET", "state=" + state + "&code=" + big, "", "", malformed},
		"body of 1 MB":                 {"POST", "", form, "state=" + state + "&code=" + big, malformed},
		"body with a bad escape":       {"POST", "", form, "state=%zz", malformed},
		"body is JSON":                 {"POST", "", "application/json", `{"state":"` + state + `"}`, malformed},
		"body without type":            {"POST", "", "", "state=" + state + "&code=c", malformed},
		"HEAD":                         {"HEAD", "state=" + state + "&code=c", "", "", malformed},
		"OPTIONS":                      {"OPTIONS", "state=" + state + "&code=c", "", "", malformed},
		"PUT":                          {"PUT", "state=" + state + "&code=c", "", "", malformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/oauth2/callback", strings.NewReader(test.body))
			r.URL.RawQuery = test.query
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			response, err := authflow.ParseAuthorizationResponse(r)
			if test.reason != "" {
				wantError(t, err, test.reason, authflow.BadRequest)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if response.State != state || (response.Code.Reveal() != "c") != (response.Error == "e") {
				t.Errorf("%+v", response)
			}
		})
	}
}

// What the provider says of its error is kept, for the log.
func TestParseErrorResponse(t *testing.T) {
	r := httptest.NewRequest("GET", "/oauth2/callback?state="+state+"&error=access_denied&error_description=not%20today&iss=i", nil)
	response, err := authflow.ParseAuthorizationResponse(r)
	if err != nil || response.Error != "access_denied" || response.ErrorDescription != "not today" || response.Issuer != "i" || !response.Code.Empty() {
		t.Errorf("%+v, %v", response, err)
	}
}

// A body that breaks off is no response.
func TestFormPostBreaksOff(t *testing.T) {
	r := httptest.NewRequest("POST", "/oauth2/callback", io.MultiReader(strings.NewReader("state="+state+"&code=c"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err := authflow.ParseAuthorizationResponse(r)
	wantError(t, err, authflow.ReasonResponseMalformed, authflow.BadRequest)
}

// TestFormPost: OAuth 2.0 Form Post Response Mode.
func TestFormPost(t *testing.T) {
	s := newRP(t)
	attempt, callback, err := s.begin("alice")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, redirectURI, strings.NewReader(callback.URL.RawQuery))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := authflow.ParseAuthorizationResponse(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Finish(t.Context(), s.finish(attempt, response)); err != nil {
		t.Error(err)
	}
}
