package authflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// idTokenOnly are the claims that say how and for whom an ID token was made.
// UserInfo, which nobody signs, cannot add them.
var idTokenOnly = []string{
	"iss", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "auth_time", "acr", "amr", "sid",
	"at_hash", "c_hash", "s_hash",
}

// verifiedBy pairs a claim with the one that says whether it is verified.
var verifiedBy = map[string]string{"email": "email_verified", "phone_number": "phone_number_verified"}

// withUserInfo returns what is known of the subject: the claims of the ID token,
// which may be nil, and what UserInfo adds to them if the policy asks for it.
func (c *Client) withUserInfo(ctx context.Context, claims Claims, subject string, t *tokens, needed []string) (Claims, error) {
	if !c.needsUserInfo(claims, needed) {
		return claims, nil
	}
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	endpoint, err := c.usable("userinfo_endpoint", meta.UserInfoEndpoint, ReasonUserInfoMissing)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		if c.cfg.UserInfo == UserInfoRequired {
			return nil, NewError(ReasonUserInfoMissing, errors.New("the provider has no userinfo_endpoint"))
		}
		return claims, nil
	}
	info, err := c.fetchUserInfo(ctx, endpoint, t)
	if err != nil {
		return nil, err
	}
	// OIDC Core 5.3.2: sub MUST be there and MUST be the ID token's, else the
	// answer MUST NOT be used: it may be about somebody else.
	if sub, err := info.String("sub"); err != nil || sub != subject {
		return nil, NewError(ReasonUserInfoSubject, fmt.Errorf("sub is %.300q, expected %q", sub, subject))
	}
	return mergeClaims(claims, c.withSources(ctx, info, needed)), nil
}

// needsUserInfo tells whether the policy asks for UserInfo.
func (c *Client) needsUserInfo(claims Claims, needed []string) bool {
	switch c.cfg.UserInfo {
	case UserInfoRequired:
		return true
	case UserInfoOnMissingClaims:
		return slices.ContainsFunc(needed, func(path string) bool {
			_, ok := claims.Lookup(path)
			return !ok
		})
	}
	return false
}

// fetchUserInfo makes the UserInfo request (OIDC Core 5.3.1).
func (c *Client) fetchUserInfo(ctx context.Context, endpoint string, t *tokens) (Claims, error) {
	if c.cfg.UserInfoAlg != "" {
		return c.fetchSignedUserInfo(ctx, endpoint, t)
	}
	body, err := c.getWithToken(ctx, endpoint, t, "application/json")
	switch {
	case errors.Is(err, errJWT):
		// OIDC Core 5.3.2: a JWT only if this client was registered for one
		// (Config.UserInfoAlg).
		return nil, NewError(ReasonUserInfoJWT, err)
	case err != nil:
		return nil, callError(err, ReasonUserInfo)
	}
	info, err := DecodeClaims(body)
	if err != nil {
		return nil, NewError(ReasonUserInfo, err)
	}
	return info, nil
}

// mergeClaims adds to the ID token's claims those of UserInfo that it lacks. The
// signed one counts where both have a claim. A claim and the word that it is
// verified come from one place, or else somebody's own address would be vouched
// for by what was said of another.
func mergeClaims(signed, unsigned Claims) Claims {
	merged, info := maps.Clone(signed), maps.Clone(unsigned)
	for _, name := range idTokenOnly {
		delete(info, name)
	}
	for claim, verified := range verifiedBy {
		ours, ok := signed[claim]
		if !ok {
			delete(merged, verified)
		} else if !reflect.DeepEqual(ours, info[claim]) {
			delete(info, verified)
		}
	}
	maps.Copy(info, merged)
	ours, _ := signed[claimNames].(map[string]any)
	theirs, _ := unsigned[claimNames].(map[string]any)
	if len(ours) > 0 && len(theirs) > 0 { // what either says to stand elsewhere does
		names := maps.Clone(theirs)
		maps.Copy(names, ours)
		info[claimNames] = names
	}
	return info
}
