package authflow

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// AuthorizationResponse is what came back through the browser (RFC 6749 4.1.2).
// Nothing of it can be believed before [Client.Finish] has compared it.
type AuthorizationResponse struct {
	// State has the form of [Attempt.State], so that it may be part of a
	// cookie's name.
	State string
	// Issuer is iss (RFC 9207 2), "" if absent.
	Issuer string
	// Code is the authorization code, empty if there is an error.
	Code secret.String
	// Error is error, "" if absent.
	Error string
	// ErrorDescription is error_description as it was sent: some providers put
	// line breaks into it.
	ErrorDescription string

	jwt string // the whole of it, as JARM signs it; "" if it is none
}

// responseParameters are the parameters of an authorization response. None may
// be there twice.
var responseParameters = []string{"response", "state", "iss", "error", "error_description", "error_uri", "code"}

// ParseAuthorizationResponse reads the response from a GET's query or, with
// response mode form_post, a POST's body; parameters of the response in both are
// one too many. One that is a JWT (JARM 2.1) is read, and verified by
// [Client.Finish] alone. Reasons: response_malformed, duplicate_parameter, and
// state_unknown if there is no state or none that Begin makes.
func ParseAuthorizationResponse(r *http.Request) (AuthorizationResponse, error) {
	values, err := readQueryAndForm(r)
	if err != nil {
		return AuthorizationResponse{}, NewError(ReasonResponseMalformed, err)
	}
	for _, name := range responseParameters {
		// RFC 6749 3.1: parameters MUST NOT be included more than once. Whoever
		// adds one must not choose which of them counts (SEC-66).
		if len(values[name]) > 1 {
			return AuthorizationResponse{}, NewError(ReasonDuplicateParameter, fmt.Errorf("%s is there twice", name))
		}
	}
	raw, values, err := openJWT(values)
	if err != nil {
		return AuthorizationResponse{}, NewError(ReasonResponseMalformed, err)
	}
	for _, name := range responseParameters {
		if name != "error_description" && !isPrintable(values.Get(name)) {
			return AuthorizationResponse{}, NewError(ReasonResponseMalformed, fmt.Errorf("%s has control characters", name))
		}
	}
	if _, err := parseState(values.Get("state")); err != nil {
		return AuthorizationResponse{}, NewError(ReasonStateUnknown, err)
	}
	return AuthorizationResponse{
		State:            values.Get("state"),
		Issuer:           values.Get("iss"),
		Code:             secret.New(values.Get("code")),
		Error:            values.Get("error"),
		ErrorDescription: values.Get("error_description"),
		jwt:              raw,
	}, nil
}

// Grant is what a provider has granted, all of it checked.
type Grant struct {
	// Issuer and Subject say who it is; ClientID says for whom.
	Issuer, Subject, ClientID string
	// SessionID is the provider's sid (OIDC Back-Channel Logout 2.1), "" if it
	// tells none.
	SessionID string
	// Nonce is the one of the login, with which a refreshed ID token is compared.
	Nonce string
	// ACR is acr, "" if it tells none.
	ACR string
	// AuthTime is auth_time, zero if it tells none.
	AuthTime time.Time
	// IDTokenIssued is iat of the ID token, zero if a refresh brought none.
	IDTokenIssued time.Time
	// Claims are those of the ID token and of UserInfo; SignedClaims those of the
	// ID token alone, nil if a refresh brought none. Both hold what their sources
	// have told (see Config.ClaimSources).
	Claims, SignedClaims Claims
	// IDToken is the ID token, empty if a refresh brought none.
	IDToken secret.String
	// AccessToken and its type, and RefreshToken, empty if there is none.
	AccessToken  secret.String
	TokenType    string // TokenTypeBearer or TokenTypeDPoP
	RefreshToken secret.String
	// DPoPKey is the key that the tokens are bound to (see [ParseDPoPKey]), empty
	// if they are Bearer tokens.
	DPoPKey secret.String
	// AccessExpiry is when the access token expires, zero if the provider does
	// not say.
	AccessExpiry time.Time
}

// FinishRequest is what the caller knows when an authorization response comes.
type FinishRequest struct {
	// Attempt is the one that this browser began with the response's state, nil
	// if it began none. The caller lets each be finished once.
	Attempt *Attempt
	// Response is what came.
	Response AuthorizationResponse
	// RedirectURI is where it came to: the one that the attempt was begun with.
	RedirectURI string
	// NeededClaims are the paths (see [Claims.Lookup]) whose absence from the ID
	// token UserInfoOnMissingClaims acts upon.
	NeededClaims []string
}

// Finish turns an authorization response into a grant. The order of the checks is that of the
// specifications: state, issuer, signature, error, code, tokens, ID token, UserInfo; nothing
// is asked of the provider before the response is known to be its own.
//
// Every error is an *Error; those of Kind Unavailable say that the provider
// could not be reached, and the attempt is spent all the same.
func (c *Client) Finish(ctx context.Context, req FinishRequest) (*Grant, error) {
	attempt, response := req.Attempt, req.Response
	if err := c.checkAttempt(attempt, response.State, req.RedirectURI); err != nil {
		return nil, err
	}
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.checkResponse(ctx, meta, response); err != nil {
		return nil, err
	}
	var key *DPoPKey
	if c.cfg.DPoP {
		if key, err = c.attemptKey(meta, attempt); err != nil {
			return nil, err
		}
	}
	tokens, err := c.requestTokens(ctx, url.Values{ // RFC 6749 4.1.3, RFC 7636 4.5
		"grant_type":    {"authorization_code"},
		"code":          {response.Code.Reveal()},
		"redirect_uri":  {req.RedirectURI},
		"code_verifier": {attempt.verifier()},
	}, key, ReasonCodeRefused)
	if err != nil {
		return nil, err
	}
	if c.cfg.isPlain() {
		return c.finishPlain(ctx, req, tokens)
	}
	if tokens.id == "" { // OIDC Core 3.1.3.3
		return nil, NewError(ReasonIDTokenMissing, errors.New("the token response has no id_token"))
	}
	claims, err := c.verifyIDToken(ctx, tokens)
	if err := cmp.Or(
		err,
		checkNonce(claims, attempt.Nonce()),
		attempt.required.check(claims, c.cfg.Now(), c.cfg.Leeway), // OIDC Core 3.1.3.7 (12), (13)
	); err != nil {
		return nil, err
	}
	claims = c.withSources(ctx, claims, req.NeededClaims)
	grant := c.newGrant(claims, tokens)
	grant.Nonce = attempt.Nonce()
	grant.Claims, err = c.withUserInfo(ctx, claims, grant.Subject, tokens, req.NeededClaims)
	if err != nil {
		return nil, err
	}
	return grant, nil
}

// newGrant reads what there is to know from tokens and from verified claims.
// Claims that only describe the login count as absent if they are malformed.
func (c *Client) newGrant(claims Claims, t *tokens) *Grant {
	g := &Grant{
		Issuer:       c.cfg.Issuer,
		ClientID:     c.cfg.ClientID,
		Claims:       claims,
		SignedClaims: claims,
		IDToken:      secret.New(t.id),
		AccessToken:  secret.New(t.access),
		TokenType:    t.tokenType(),
		RefreshToken: secret.New(t.refresh),
		AccessExpiry: t.expiry,
	}
	if t.key != nil {
		g.DPoPKey = t.key.Marshal()
	}
	g.Subject, _ = claims.String("sub")
	g.SessionID, _ = claims.String("sid")
	g.ACR, _ = claims.String("acr")
	g.AuthTime, _ = claims.Time("auth_time")
	g.IDTokenIssued, _ = claims.Time("iat")
	return g
}

// checkAttempt: RFC 6749 10.12, RFC 9700 4.7.1. The response belongs to an
// attempt that this browser began, at this client and address, and not too long ago. Else
// somebody could be signed in as the one who sent the link (SEC-60), or a code
// reach a provider that it is not from (SEC-65).
func (c *Client) checkAttempt(attempt *Attempt, state, redirectURI string) error {
	if attempt == nil || subtle.ConstantTimeCompare([]byte(attempt.State), []byte(state)) != 1 {
		return NewError(ReasonStateUnknown, errors.New("no attempt of this browser has that state"))
	}
	if attempt.binding != bindingOf(c.cfg.Issuer, c.cfg.ClientID, redirectURI) {
		return NewError(ReasonAttemptMismatch,
			fmt.Errorf("begun at another issuer than %q, as another client than %q, or for another address than %q", c.cfg.Issuer, c.cfg.ClientID, redirectURI))
	}
	if age := c.cfg.Now().Sub(attempt.Created); age > AttemptLifetime || age < -c.cfg.Leeway {
		return NewError(ReasonAttemptExpired, fmt.Errorf("begun %s ago", age))
	}
	return nil
}

// checkResponseIssuer: RFC 9207 2.4. The response is from the provider that was
// asked: compared whenever iss is there, and required if the provider says that
// it sends it, or if the profile does (FAPI 2.0 5.3.2.2). It holds for errors too.
func checkResponseIssuer(iss, issuer string, promised bool) error {
	switch {
	case iss == "" && promised:
		return NewError(ReasonIssMissing, errors.New("the provider did not send iss, although it announces it or its profile wants it"))
	case iss != "" && iss != issuer:
		return NewError(ReasonIssMismatch, fmt.Errorf("iss is %.256q, expected %q", iss, issuer))
	}
	return nil
}

// checkResponseError: RFC 6749 4.1.2.1.
func checkResponseError(response AuthorizationResponse) error {
	err := fmt.Errorf("error %.64q, error_description %.256q", response.Error, response.ErrorDescription)
	switch {
	case response.Error == "":
		return nil
	case response.Error == "access_denied":
		return NewError(ReasonProviderDenied, err)
	case isTemporary(response.Error):
		return NewError(ReasonProviderUnavailable, err).retryAfter(0)
	}
	return NewError(ReasonProviderError, err)
}

// checkCode: RFC 6749 4.1.2.
func checkCode(response AuthorizationResponse) error {
	if response.Code.Empty() {
		return NewError(ReasonCodeMissing, errors.New("neither error nor code"))
	}
	return nil
}

// checkResponse: the response is this provider's, and an answer to what was asked.
func (c *Client) checkResponse(ctx context.Context, meta *metadata, response AuthorizationResponse) error {
	signed := c.cfg.jwtMode()
	if signed != (response.jwt != "") {
		return NewError(ReasonResponseMode, fmt.Errorf("response mode %q was asked for; error %.64q", c.cfg.ResponseMode, response.Error))
	}
	if err := checkResponseIssuer(response.Issuer, c.cfg.Issuer, signed || meta.ResponseIss || c.cfg.fapi2()); err != nil {
		return err
	}
	if signed {
		if err := c.checkJWT(ctx, meta, response.jwt); err != nil {
			return asResponse(err)
		}
	}
	return cmp.Or(checkResponseError(response), checkCode(response))
}
