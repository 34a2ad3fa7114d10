package authflow

import (
	"context"
	"errors"

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
// Errors: no_end_session if the provider offers none, and those of discovery.
func (c *Client) EndSessionURL(ctx context.Context, req EndSessionRequest) (string, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return "", err
	}
	if meta.EndSessionEndpoint == "" {
		return "", NewError(ReasonNoEndSession, errors.New("the provider has no end_session_endpoint"))
	}
	return withParameters(meta.EndSessionEndpoint, map[string]string{
		"client_id":                c.cfg.ClientID,
		"id_token_hint":            req.IDTokenHint.Reveal(),
		"post_logout_redirect_uri": req.PostLogoutRedirectURI,
		"state":                    req.State,
	})
}
