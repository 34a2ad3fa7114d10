package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// validateUserInfo refuses a policy that there is not, and an algorithm that no UserInfo
// answer can have, or that none is asked for.
func (cfg Config) validateUserInfo() error {
	switch {
	case cfg.UserInfo < UserInfoOff || cfg.UserInfo > UserInfoRequired:
		return fmt.Errorf("userinfo: unknown policy %d", cfg.UserInfo)
	case cfg.UserInfoAlg == "":
		return nil
	case cfg.UserInfo == UserInfoOff:
		return errors.New("userinfo_signed_response_alg: userinfo is never asked")
	}
	return checkAlgNames("userinfo_signed_response_alg", cfg.UserInfoAlg)
}

// fetchSignedUserInfo makes the UserInfo request of a client that was registered
// for signed answers (OIDC Core 5.3.2). One that is not signed, or not as was
// agreed, is refused: somebody on the way could have put it there.
func (c *Client) fetchSignedUserInfo(ctx context.Context, endpoint string, t *tokens) (Claims, error) {
	body, err := c.getWithToken(ctx, endpoint, t, mediaTypeJWT)
	if errors.Is(err, errNoJWT) {
		return nil, NewError(ReasonUserInfoJWT, err)
	}
	if err != nil {
		return nil, callError(err, ReasonUserInfo)
	}
	claims, err := c.verifyUserInfo(ctx, strings.TrimSpace(string(body)))
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Unavailable {
		return nil, NewError(ReasonUserInfoJWT, err)
	}
	return claims, err
}

// verifyUserInfo returns the claims of a signed UserInfo answer: of the pinned
// algorithm, by the provider's keys, from the provider (iss) and for this client
// (aud), OIDC Core 5.3.2, 5.3.4. exp and nbf need not be there, but hold if they
// are (RFC 7519 4.1.4, 4.1.5). Whose claims they are is compared by the caller.
func (c *Client) verifyUserInfo(ctx context.Context, raw string) (Claims, error) {
	algs := jwsAlgs([]string{c.cfg.UserInfoAlg})
	claims, err := decodeToken(raw, algs)
	if err != nil {
		return nil, err
	}
	if err := c.checkSignature(ctx, raw, algs); err != nil {
		return nil, err
	}
	if err := cmp.Or(
		checkIssuer(claims, c.cfg.Issuer),
		checkAudience(claims, c.cfg.ClientID, c.cfg.TrustedAudiences),
		c.checkLifetime(claims),
	); err != nil {
		return nil, err
	}
	return claims, nil
}
