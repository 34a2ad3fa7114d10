package authflow

import (
	"fmt"
	"net/http"
)

// LoginInitiation is a request of somebody else, the provider or a portal of
// applications, that the browser be signed in (OIDC Core 4). Anybody can send a
// browser here with one, so nothing of it can be believed.
type LoginInitiation struct {
	// Issuer is iss: at which provider. "" if this is no such request.
	Issuer string
	// LoginHint is login_hint, for the provider; "" if absent.
	LoginHint string
	// TargetLinkURI is target_link_uri, where the browser wants to go afterwards:
	// it has to pass [ReturnPolicy.FromOutside]. "" if absent.
	TargetLinkURI string
}

// ParseLoginInitiation reads such a request from a GET's query or a POST's form,
// of 16 KiB at most. Reasons: response_malformed, and duplicate_parameter if a
// parameter is there twice (RFC 6749 3.1).
func ParseLoginInitiation(r *http.Request) (LoginInitiation, error) {
	values, err := readQueryAndForm(r)
	if err != nil {
		return LoginInitiation{}, NewError(ReasonResponseMalformed, err)
	}
	for _, name := range []string{"iss", "login_hint", "target_link_uri"} {
		switch {
		case len(values[name]) > 1:
			return LoginInitiation{}, NewError(ReasonDuplicateParameter, fmt.Errorf("%s is there twice", name))
		case len(values.Get(name)) > MaxReturnURL || !isPrintable(values.Get(name)):
			return LoginInitiation{}, NewError(ReasonResponseMalformed, fmt.Errorf("%s is too long or has control characters", name))
		}
	}
	return LoginInitiation{
		Issuer: values.Get("iss"), LoginHint: values.Get("login_hint"), TargetLinkURI: values.Get("target_link_uri"),
	}, nil
}
