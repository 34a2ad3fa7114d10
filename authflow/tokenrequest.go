package authflow

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// PasswordGrant is a request for an access token by a name and a password (RFC 6749
// 4.3.2), as it comes to a token endpoint of our own. It is never sent to a provider.
type PasswordGrant struct {
	Username string
	Password secret.String
	// Scopes are what the token shall be for; nil if the request does not say.
	Scopes []string
}

// ParsePasswordGrant reads a request to the token endpoint. All parameters stand in
// the body, as a form (RFC 6749 3.2): in an address they would stand in logs. One
// without a value counts as left out, one that is there twice is refused, one that is
// unknown ignored, and so is what the request says of its client: there is none to
// know. It reads at most 16 KiB. Its errors are token_request_malformed,
// grant_type_unsupported and scope_refused.
func ParsePasswordGrant(r *http.Request) (*PasswordGrant, error) {
	form, err := readParameters(r)
	if err != nil {
		return nil, err
	}
	switch form["grant_type"] {
	case "password":
	case "":
		return nil, NewError(ReasonTokenRequest, errors.New("no grant_type"))
	default:
		return nil, NewError(ReasonGrantType, fmt.Errorf("%.64q", form["grant_type"]))
	}
	if form["username"] == "" || form["password"] == "" {
		return nil, NewError(ReasonTokenRequest, errors.New("no username, or no password"))
	}
	grant := &PasswordGrant{Username: form["username"], Password: secret.New(form["password"])}
	for scope := range strings.SplitSeq(form["scope"], " ") {
		switch {
		case scope == "":
		case !IsScope(scope):
			return nil, NewError(ReasonScopeRefused, fmt.Errorf("%.64q is no scope", scope))
		default:
			grant.Scopes = append(grant.Scopes, scope)
		}
	}
	return grant, nil
}

// ParseRevocation reads a request to end a token (RFC 7009 2.1), by the same rules.
// Its one error is token_request_malformed.
func ParseRevocation(r *http.Request) (secret.String, error) {
	form, err := readParameters(r)
	if err != nil {
		return secret.String{}, err
	}
	if form["token"] == "" {
		return secret.String{}, NewError(ReasonTokenRequest, errors.New("no token"))
	}
	return secret.New(form["token"]), nil
}

// readParameters reads the one form that a request is.
func readParameters(r *http.Request) (map[string]string, error) {
	if r.URL.RawQuery != "" {
		return nil, NewError(ReasonTokenRequest, errors.New("parameters in the address"))
	}
	form, err := readForm(r)
	if err != nil {
		return nil, NewError(ReasonTokenRequest, err)
	}
	parameters := make(map[string]string, len(form))
	for name, values := range form {
		if len(values) > 1 {
			return nil, NewError(ReasonTokenRequest, fmt.Errorf("%.64q is there twice", name))
		}
		parameters[name] = values[0]
	}
	return parameters, nil
}
