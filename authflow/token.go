package authflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokens is a successful token response (RFC 6749 5.1, OIDC Core 3.1.3.3).
type tokens struct {
	access, refresh, id string
	expiry              time.Time // zero if the provider does not say
}

// requestTokens makes a token request. It is the only function that does, and
// makes one HTTP request: a code or a refresh token that is sent twice looks
// stolen (RFC 9700 4.14.2). refused is the reason if the provider takes the
// grant for invalid, revoked or expired (invalid_grant); everything else says
// nothing about the grant.
func (c *Client) requestTokens(ctx context.Context, grant url.Values, refused Reason) (*tokens, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	auth, err := c.clientAuth(meta)
	if err != nil {
		return nil, err
	}
	// Of x/oauth2's ways to ask, this one sends all parameters of any grant.
	request := clientcredentials.Config{
		ClientID:       c.cfg.ClientID,
		ClientSecret:   auth.secret.Reveal(),
		TokenURL:       meta.TokenEndpoint,
		AuthStyle:      auth.style,
		EndpointParams: auth.with(grant),
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.http)
	response, err := request.Token(ctx)
	if err != nil {
		return nil, tokenError(err, refused)
	}
	return parseTokens(response, c.cfg.Now(), c.cfg.isPlain())
}

// refusedGrant are the codes that take a grant for invalid, revoked or expired: of
// RFC 6749 5.2, and GitHub's, which it sends with status 200.
var refusedGrant = []string{"invalid_grant", "bad_verification_code", "bad_refresh_token"}

// tokenError gives a reason to a failed token request. The response's body stays
// out of it: nobody knows what stands there.
func tokenError(err error, refused Reason) error {
	response, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return callError(err, ReasonTokenEndpoint)
	}
	e := newEndpointError(response.Response, response.ErrorCode, response.ErrorDescription)
	if slices.Contains(refusedGrant, e.Code) && !e.temporary() {
		return NewError(refused, e)
	}
	return callError(e, ReasonTokenEndpoint)
}

// parseTokens reads what this client uses of a token response. plain is a provider
// that issues no ID tokens; what else goes by that name is not looked at.
func parseTokens(response *oauth2.Token, now time.Time, plain bool) (*tokens, error) {
	// RFC 6749 7.1: a token of a type that it does not know MUST NOT be used.
	// The comparison ignores case (5.1).
	if response.TokenType != "" && !strings.EqualFold(response.TokenType, "Bearer") {
		return nil, NewError(ReasonTokenType, fmt.Errorf("token_type is %.64q", response.TokenType))
	}
	id, ok := response.Extra("id_token").(string)
	if response.Extra("id_token") != nil && !ok && !plain {
		return nil, NewError(ReasonIDTokenMalformed, errors.New("id_token is no string"))
	}
	t := &tokens{access: response.AccessToken, refresh: response.RefreshToken, id: id}
	if lifetime := expiresIn(response); lifetime > 0 {
		t.expiry = now.Add(lifetime)
	}
	return t, nil
}

// expiresIn returns expires_in, or 0 if it is absent or not positive. x/oauth2
// has refused what is not a whole number, and counts from its own clock.
func expiresIn(response *oauth2.Token) time.Duration {
	var seconds float64
	switch v := response.Extra("expires_in").(type) {
	case float64:
		seconds = v
	case string: // some providers quote it
		seconds, _ = strconv.ParseFloat(v, 64)
	}
	return time.Duration(min(max(seconds, 0), math.MaxInt32)) * time.Second
}
