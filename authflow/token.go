package authflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// tokens is a successful token response (RFC 6749 5.1, OIDC Core 3.1.3.3).
type tokens struct {
	access, refresh, id string
	expiry              time.Time // zero if the provider does not say
	key                 *DPoPKey  // that they are bound to; nil if they are Bearer tokens
}

// tokenType is the type of the access token, and the scheme that it is sent with.
func (t *tokens) tokenType() string {
	if t.key != nil {
		return TokenTypeDPoP
	}
	return TokenTypeBearer
}

// requestTokens makes a token request, for tokens that are bound to key unless that
// is nil. It is the only function that does, and makes one HTTP request: a code or a
// refresh token that is sent twice looks stolen (RFC 9700 4.14.2). A second one
// follows only where the provider has not looked at the first, but asked for its
// nonce (RFC 9449 8). refused is the reason if the provider takes the
// grant for invalid, revoked or expired (invalid_grant); everything else says
// nothing about the grant.
func (c *Client) requestTokens(ctx context.Context, grant url.Values, key *DPoPKey, refused Reason) (*tokens, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	response, err := proving(c, key, &c.nonces, secret.String{}, func(client *http.Client) (*oauth2.Token, error) {
		return c.tokenRequest(context.WithValue(ctx, oauth2.HTTPClient, client), meta, grant, refused)
	})
	if err != nil {
		if ReasonOf(err) != refused {
			c.discovery.doubt(meta)
		}
		return nil, err
	}
	return parseTokens(response, c.cfg.Now(), key, c.cfg.isPlain())
}

// tokenRequest is one request to the token endpoint, by the HTTP client that x/oauth2
// finds in ctx.
func (c *Client) tokenRequest(ctx context.Context, meta *metadata, grant url.Values, refused Reason) (*oauth2.Token, error) {
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
	response, err := request.Token(ctx)
	if err != nil {
		return nil, tokenError(err, refused)
	}
	return response, nil
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

// parseTokens reads what this client uses of a token response to a request with
// proofs of key, or without if that is nil. plain is a provider that issues no ID
// tokens; what else goes by that name is not looked at.
func parseTokens(response *oauth2.Token, now time.Time, key *DPoPKey, plain bool) (*tokens, error) {
	if err := checkTokenType(response.TokenType, key != nil); err != nil {
		return nil, err
	}
	id, ok := response.Extra("id_token").(string)
	if response.Extra("id_token") != nil && !ok && !plain {
		return nil, NewError(ReasonIDTokenMalformed, errors.New("id_token is no string"))
	}
	t := &tokens{access: response.AccessToken, refresh: response.RefreshToken, id: id, key: key}
	if lifetime := expiresIn(response); lifetime > 0 {
		t.expiry = now.Add(lifetime)
	}
	return t, nil
}

// checkTokenType: RFC 6749 7.1, RFC 9449 5. A token of a type that it does not know
// MUST NOT be used, and who asked for one that is bound must not take another for
// it: whoever steals that can use it. The comparison ignores case (RFC 6749 5.1).
func checkTokenType(is string, bound bool) error {
	err := fmt.Errorf("token_type is %.64q", is)
	bearer := is == "" || strings.EqualFold(is, TokenTypeBearer)
	switch {
	case bound && bearer:
		return NewError(ReasonDPoPDowngrade, err)
	case bound && strings.EqualFold(is, TokenTypeDPoP), !bound && bearer:
		return nil
	}
	return NewError(ReasonTokenType, err)
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
