package authflow_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

func post(target, body, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

// RFC 6749 3.2, 4.3.2, 3.3.
func TestParsePasswordGrant(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	const good = "grant_type=password&username=ada&password=a%26b+c"
	for _, tt := range []struct {
		name, target, body, contentType string
		reason                          authflow.Reason
		scopes                          []string
	}{
		{"right", "/", good, form, "", nil},
		{"scopes", "/", good + "&scope=a+b", form, "", []string{"a", "b"}},
		{"empty scope", "/", good + "&scope=", form, "", nil},
		{"unknown parameters", "/", good + "&client_id=x&client_secret=y&z=", form, "", nil},
		{"scope with a quotation mark", "/", good + "&scope=a%22", form, authflow.ReasonScopeRefused, nil},
		{"scope with a line break", "/", good + "&scope=a%0Ab", form, authflow.ReasonScopeRefused, nil},
		{"scope not of ASCII", "/", good + "&scope=%C3%BC", form, authflow.ReasonScopeRefused, nil},
		{"username twice", "/", good + "&username=ada", form, authflow.ReasonTokenRequest, nil},
		{"empty username", "/", "grant_type=password&username=&password=x", form, authflow.ReasonTokenRequest, nil},
		{"no password", "/", "grant_type=password&username=ada", form, authflow.ReasonTokenRequest, nil},
		{"no grant_type", "/", "username=ada&password=x", form, authflow.ReasonTokenRequest, nil},
		{"another grant", "/", "grant_type=authorization_code&code=x", form, authflow.ReasonGrantType, nil},
		{"grant in other letters", "/", "grant_type=Password&username=ada&password=x", form, authflow.ReasonGrantType, nil},
		{"in the address", "/?" + good, "", form, authflow.ReasonTokenRequest, nil},
		{"half in the address", "/?x=1", good, form, authflow.ReasonTokenRequest, nil},
		{"JSON", "/", `{"grant_type":"password"}`, "application/json", authflow.ReasonTokenRequest, nil},
		{"no media type", "/", good, "", authflow.ReasonTokenRequest, nil},
		{"not decodable", "/", good + "&x=%zz", form, authflow.ReasonTokenRequest, nil},
		{"semicolons", "/", good + ";x=1", form, authflow.ReasonTokenRequest, nil},
		{"too long", "/", good + "&x=" + strings.Repeat("x", 16<<10), form, authflow.ReasonTokenRequest, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := authflow.ParsePasswordGrant(post(tt.target, tt.body, tt.contentType))
			if authflow.ReasonOf(err) != tt.reason {
				t.Fatalf("%v, want %s", err, tt.reason)
			}
			if err == nil && (grant.Username != "ada" || grant.Password.Reveal() != "a&b c" || !slices.Equal(grant.Scopes, tt.scopes)) {
				t.Errorf("%+v", grant)
			}
			if err != nil && strings.Contains(err.Error(), "a&b c") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// RFC 7009 2.1.
func TestParseRevocation(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	token, err := authflow.ParseRevocation(post("/", "token=abc&token_type_hint=access_token", form))
	if err != nil || token.Reveal() != "abc" {
		t.Errorf("%v %v", token, err)
	}
	for _, body := range []string{"", "token=", "token=a&token=b"} {
		if _, err := authflow.ParseRevocation(post("/", body, form)); authflow.ReasonOf(err) != authflow.ReasonTokenRequest {
			t.Errorf("%q: %v", body, err)
		}
	}
}
