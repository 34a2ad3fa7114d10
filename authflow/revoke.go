package authflow

import (
	"context"
	"errors"
	"net/url"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// RevokeRequest is what a session that is over holds.
type RevokeRequest struct {
	// RefreshToken and AccessToken may each be empty. A provider ends the grant
	// with its refresh token (RFC 7009 2.1), so the access token is told only where
	// there is no other.
	RefreshToken, AccessToken secret.String
}

// Revoke tells the provider that a session's token is not used any more (RFC 7009
// 2.1). It makes one call, and none if there is no token or the provider offers no
// revocation. A token that the provider does not know, or not any more, is a
// success. Whatever the error, the session is as over as it was before.
func (c *Client) Revoke(ctx context.Context, req RevokeRequest) error {
	token, hint := req.RefreshToken, "refresh_token"
	if token.Empty() {
		token, hint = req.AccessToken, "access_token"
	}
	if token.Empty() {
		return nil
	}
	meta, err := c.metadata(ctx)
	if err != nil {
		return err
	}
	endpoint, err := c.usable("revocation_endpoint", meta.RevocationEndpoint, ReasonRevocation)
	if err != nil || endpoint == "" {
		return err
	}
	_, err = c.post(ctx, c.http, meta, endpoint, url.Values{
		"token":           {token.Reveal()},
		"token_type_hint": {hint},
	}, ReasonRevocation)
	if errors.Is(err, ErrNotClaims) || errors.Is(err, errJWT) {
		return nil // it is a 2xx: the status says it all, the body is ignored (RFC 7009 2.2)
	}
	return err
}
