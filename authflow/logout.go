package authflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// EndSessionRequest asks the provider to end its session with the browser too
// (OIDC RP-Initiated Logout 2). All fields are optional.
type EndSessionRequest struct {
	// IDTokenHint is an ID token of the session that ends; without it, many
	// providers ask the person first.
	IDTokenHint secret.String
	// PostLogoutRedirectURI is where the browser is to come back to, exactly as
	// it is registered.
	PostLogoutRedirectURI string
	// State comes back with the browser.
	State string
}

// EndSessionURL returns the URL to which the browser is to be sent for that.
// Errors: no_end_session if the provider offers none that can be used, and those of discovery.
func (c *Client) EndSessionURL(ctx context.Context, req EndSessionRequest) (string, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return "", err
	}
	endpoint, err := c.usable("end_session_endpoint", meta.EndSessionEndpoint, ReasonNoEndSession)
	if err != nil {
		return "", err
	}
	if endpoint == "" {
		return "", NewError(ReasonNoEndSession, errors.New("the provider has no end_session_endpoint"))
	}
	return withParameters(endpoint, map[string]string{
		"client_id":                c.cfg.ClientID,
		"id_token_hint":            req.IDTokenHint.Reveal(),
		"post_logout_redirect_uri": req.PostLogoutRedirectURI,
		"state":                    req.State,
	})
}

// FrontchannelLogout is a request of the provider's logout page, through the
// browser (OIDC Front-Channel Logout 2). Anybody can make one: it says which
// session is meant, and proves nothing.
type FrontchannelLogout struct {
	// Issuer and SessionID are iss and sid; both are "" if there is neither.
	Issuer, SessionID string
}

// ParseFrontchannelLogout reads the query of a GET. Reasons:
// logout_request_malformed, also if there is one of iss and sid alone, and
// duplicate_parameter.
func ParseFrontchannelLogout(r *http.Request) (FrontchannelLogout, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return FrontchannelLogout{}, NewError(ReasonLogoutRequest, fmt.Errorf("query: %w", err))
	}
	for _, name := range []string{"iss", "sid"} {
		if len(query[name]) > 1 {
			return FrontchannelLogout{}, NewError(ReasonDuplicateParameter, fmt.Errorf("%s is there twice", name))
		}
	}
	l := FrontchannelLogout{Issuer: query.Get("iss"), SessionID: query.Get("sid")}
	if (l.Issuer == "") != (l.SessionID == "") {
		return FrontchannelLogout{}, NewError(ReasonLogoutRequest, errors.New("one of iss and sid without the other"))
	}
	return l, nil
}
