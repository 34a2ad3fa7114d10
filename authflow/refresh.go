package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// RefreshRequest is what a session knows of the login that it came from.
type RefreshRequest struct {
	// Issuer and Subject are those of the login.
	Issuer, Subject string
	// Nonce and AuthTime are those of the original ID token.
	Nonce    string
	AuthTime time.Time
	// RefreshToken is the newest that the provider gave. It is used up: two
	// refreshes with one token are two too many, and the caller prevents them.
	RefreshToken secret.String
	// DPoPKey is the Grant's.
	DPoPKey secret.String
	// NeededClaims is as in FinishRequest.
	NeededClaims []string
}

// Refresh gets new tokens for a session (RFC 6749 6, OIDC Core 12).
//
// An error of Kind NoLogin is final: the provider has ended the grant, or the
// new ID token is not about this login; the session is over. Every other error
// says nothing about the session, which goes on within its own limits (P05).
//
// The grant holds the old refresh token if the provider gave no new one. Its
// Claims are nil if there is nothing new to know, and the session's stay (P32):
// then the provider sent no ID token and UserInfo was not asked, or did not
// answer; SignedClaims hold what an ID token said all the same. Without an ID
// token, Claims are those of UserInfo alone, to be laid over the session's.
// SessionID, ACR and IDTokenIssued are empty if not told anew.
func (c *Client) Refresh(ctx context.Context, req RefreshRequest) (*Grant, error) {
	if req.Issuer != c.cfg.Issuer {
		return nil, NewError(ReasonRefreshIssuer, fmt.Errorf("the session is of %q", req.Issuer))
	}
	if req.RefreshToken.Empty() {
		return nil, NewError(ReasonRefreshRefused, errors.New("the session has no refresh token"))
	}
	// The keys come first: once the refresh token is used up, an ID token that
	// cannot be verified would cost the session.
	if !c.cfg.isPlain() {
		if _, err := c.currentKeys(ctx); err != nil {
			return nil, err
		}
	}
	var key *DPoPKey
	if c.cfg.DPoP {
		var err error
		if key, err = refreshKey(req.DPoPKey); err != nil {
			return nil, final(NewError(ReasonDPoPKey, err))
		}
	}
	tokens, err := c.requestTokens(ctx, url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {req.RefreshToken.Reveal()},
	}, key, ReasonRefreshRefused)
	if err != nil {
		return nil, err
	}
	if c.cfg.isPlain() {
		return c.refreshPlain(ctx, req, tokens)
	}
	var claims Claims
	if tokens.id != "" {
		claims, err = c.verifyIDToken(ctx, tokens)
		if err := cmp.Or(err, checkRefreshed(claims, req)); err != nil {
			return nil, final(err)
		}
		claims = c.withSources(ctx, claims, req.NeededClaims)
	}
	grant := c.newGrant(claims, tokens)
	grant.Subject, grant.Nonce, grant.AuthTime = req.Subject, req.Nonce, req.AuthTime
	grant.Claims, err = c.withUserInfo(ctx, claims, req.Subject, tokens, req.NeededClaims)
	switch {
	case ReasonOf(err) == ReasonUserInfoSubject:
		return nil, final(err)
	case err != nil:
		// The new tokens are kept, since the old refresh token is used up.
		c.cfg.Logger.Warn("no claims at refresh", "issuer", c.cfg.Issuer, "error", err)
		grant.Claims = nil
	}
	return grant, nil
}

// checkRefreshed: OIDC Core 12.2. The new ID token continues the login that the
// session came from: iss, aud and azp were compared with this client's, and with
// the session's by that; here sub, nonce and auth_time.
func checkRefreshed(claims Claims, req RefreshRequest) error {
	if sub, _ := claims.String("sub"); sub != req.Subject {
		return NewError(ReasonRefreshSubject, fmt.Errorf("sub is %.300q, expected %q", sub, req.Subject))
	}
	if _, ok := claims["nonce"]; ok {
		if err := checkNonce(claims, req.Nonce); err != nil {
			return err
		}
	}
	authTime, err := claims.Time("auth_time")
	if err == nil && !req.AuthTime.IsZero() && authTime.Unix() != req.AuthTime.Unix() {
		return NewError(ReasonRefreshAuthTime, errors.New("auth_time is not that of the login"))
	}
	return nil
}

// final makes an error about what was granted end the session.
func final(err error) error { return reclassify(err, NoLogin, publicOver) }
