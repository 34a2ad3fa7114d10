package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// logoutEvent is the member of events that makes a logout token (OIDC
	// Back-Channel Logout 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutType is the typ of a logout token. Older providers send none.
	logoutType = "logout+jwt"
	// maxLogoutAge is how long before now a logout token may have been issued,
	// the leeway aside: providers send it at once (SEC-107).
	maxLogoutAge = 2 * time.Minute
)

// LogoutToken is what a provider wants ended (OIDC Back-Channel Logout 2.4), all
// of it checked. Whoever gets it ends the sessions, and sees to it that an ID
// counts once.
type LogoutToken struct {
	// Issuer is the provider's; ID is jti, unique to it.
	Issuer, ID string
	// SessionID is sid: the sessions that began in that session at the provider
	// end. If it is "", all sessions of Subject that began up to Issued do.
	SessionID string
	// Subject is sub, "" if there is none; then there is a SessionID.
	Subject string
	// SessionTold says that the provider's ID tokens have a sid as well (OIDC
	// Back-Channel Logout 2.1, backchannel_logout_session_supported).
	SessionTold bool
	// Issued is iat, by the provider's clock.
	Issued time.Time
	// Expires is from when on [Client.LogoutToken] refuses this token, so that ID
	// need not be remembered any longer.
	Expires time.Time
}

// ParseLogoutRequest returns the logout token of a back-channel logout request
// (OIDC Back-Channel Logout 2.5): a form in the body of a POST, of 16 KiB at
// most, that holds one. Other parameters are ignored. Reasons:
// logout_request_malformed, duplicate_parameter.
func ParseLogoutRequest(r *http.Request) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", NewError(ReasonLogoutRequest, fmt.Errorf("query: %w", err))
	}
	form, err := readForm(r)
	if err != nil {
		return "", NewError(ReasonLogoutRequest, err)
	}
	const name = "logout_token"
	switch sent := form[name]; {
	case len(sent)+len(query[name]) > 1:
		// Of two, what looks at the request and what acts on it may take different
		// ones.
		return "", NewError(ReasonDuplicateParameter, fmt.Errorf("%s is there twice", name))
	case len(sent) == 0 || sent[0] == "":
		return "", NewError(ReasonLogoutRequest, fmt.Errorf("the body has no %s", name))
	default:
		return sent[0], nil
	}
}

// LogoutTokenIssuer returns who issued a logout token, by its own word. Nobody
// has verified that: it says which [Client] to ask, and nothing else.
func LogoutTokenIssuer(raw string) (string, error) {
	if len(raw) > maxJWT {
		return "", asLogout(NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxJWT)))
	}
	_, claims, err := decodeJWS(raw)
	if err != nil {
		return "", asLogout(err)
	}
	issuer, _ := claims.String("iss")
	return issuer, nil
}

// LogoutToken returns what a logout token asks to end, after the checks of OIDC
// Back-Channel Logout 2.6, whose numbers stand beside them. (1), encryption, is
// not supported; (8) to (10) are the caller's, who remembers IDs and sessions. It
// keeps nothing.
//
// An error of Kind BadRequest says that the token is none that this client obeys.
// One of Kind Unavailable says that its signature cannot be verified now.
func (c *Client) LogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	algs := c.algs(meta) // those of ID tokens
	claims, err := decodeToken(raw, algs, logoutType)
	if err != nil {
		return nil, asLogout(err)
	}
	if _, err := c.verifySignature(ctx, raw, algs); err != nil { // (2), (3)
		return nil, asLogout(err)
	}
	now, leeway := c.cfg.Now(), c.cfg.Leeway
	if err := cmp.Or(
		checkIssuer(claims, c.cfg.Issuer),                                     // (4)
		checkAudience(claims, c.cfg.ClientID, c.cfg.TrustedAudiences),         // (4)
		checkExpiry(claims, now.Add(-leeway)),                                 // (4)
		checkIssuedAt(claims, now.Add(-leeway-maxLogoutAge), now.Add(leeway)), // (4)
		checkNotBefore(claims, now.Add(leeway)),                               // RFC 7519 4.1.5
		checkLogoutTarget(claims),                                             // (5)
		checkLogoutEvent(claims),                                              // (6)
		checkLogoutNonce(claims),                                              // (7)
		checkTokenID(claims),                                                  // 2.4
	); err != nil {
		return nil, asLogout(err)
	}
	t := &LogoutToken{Issuer: c.cfg.Issuer, SessionTold: meta.LogoutSession}
	t.ID, _ = claims.String("jti")
	t.SessionID, _ = claims.String("sid")
	t.Subject, _ = claims.String("sub")
	t.Issued, _ = claims.Time("iat")
	t.Expires, _ = claims.Time("exp")
	if stale := t.Issued.Add(maxLogoutAge); stale.Before(t.Expires) {
		t.Expires = stale
	}
	t.Expires = t.Expires.Add(leeway + time.Second) // both limits are themselves accepted
	return t, nil
}

// asLogout makes an error about a logout token one of the request that brought it:
// whoever sends a wrong one gets 400 (OIDC Back-Channel Logout 2.8).
func asLogout(err error) error { return reclassify(err, BadRequest, publicNotEnded) }

// checkLogoutTarget: OIDC Back-Channel Logout 2.6 (5). It says whose sessions
// end. What is there and says nothing is refused, too, rather than taken for
// absent: a sid that is no string would end more than was meant.
func checkLogoutTarget(claims Claims) error {
	sid, errSID := claims.String("sid")
	errSub := checkSubject(claims)
	_, hasSub := claims["sub"]
	switch {
	case errors.Is(errSID, ErrClaimAbsent) && !hasSub:
		return NewError(ReasonLogoutTarget, errors.New("neither sub nor sid"))
	case errSID != nil && !errors.Is(errSID, ErrClaimAbsent):
		return NewError(ReasonClaimMalformed, errSID)
	case errSID == nil && sid == "":
		return NewError(ReasonLogoutTarget, errors.New("sid is empty"))
	case hasSub:
		return errSub
	}
	return nil
}

// checkLogoutEvent: OIDC Back-Channel Logout 2.6 (6). It is what tells a logout
// token from every other token that the provider signs for this client (4.1):
// its value is an object.
func checkLogoutEvent(claims Claims) error {
	events, _ := claims["events"].(map[string]any)
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return NewError(ReasonLogoutEvent, fmt.Errorf("events has no object named %s", logoutEvent))
	}
	return nil
}

// checkLogoutNonce: OIDC Back-Channel Logout 2.6 (7). With a nonce it could be
// used as an ID token.
func checkLogoutNonce(claims Claims) error {
	if _, ok := claims["nonce"]; ok {
		return NewError(ReasonLogoutNonce, errors.New("it has a nonce"))
	}
	return nil
}

// checkTokenID: OIDC Back-Channel Logout 2.4. Without jti a token could not be
// told from its copy.
func checkTokenID(claims Claims) error {
	jti, err := claims.String("jti")
	switch {
	case errors.Is(err, ErrClaimAbsent) || err == nil && jti == "":
		return NewError(ReasonTokenID, errors.New("no jti"))
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	}
	return nil
}
