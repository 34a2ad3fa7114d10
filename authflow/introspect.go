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

// introspectionReasons say of the endpoint, not of the token, what is wrong.
var introspectionReasons = []Reason{ReasonIntrospection, ReasonIntrospectionMissing}

// introspect asks the provider about an access token that only it can read (RFC
// 7662 2), as this client. The provider may know a token that is not meant for us:
// the caller judges what it says.
func (c *Client) introspect(ctx context.Context, raw secret.String, _ ResourcePolicy) (*AccessToken, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if meta.IntrospectionEndpoint == "" {
		return nil, NewError(ReasonIntrospectionMissing, errors.New("the provider has no introspection_endpoint"))
	}
	body, err := c.post(ctx, c.http, meta, meta.IntrospectionEndpoint, url.Values{
		"token": {raw.Reveal()}, "token_type_hint": {"access_token"},
	}, ReasonIntrospection)
	if err != nil {
		return nil, err
	}
	claims, err := DecodeClaims(body)
	if err != nil {
		return nil, NewError(ReasonIntrospection, err)
	}
	// RFC 7662 2.2: a boolean, and nothing else that could be taken for one.
	active, ok := claims["active"].(bool)
	if !ok {
		return nil, NewError(ReasonIntrospection, errors.New("active is no boolean"))
	}
	if !active {
		return nil, NewError(ReasonTokenInactive, errors.New("the provider says that it is not active"))
	}
	token, err := parseAccessToken(nil, claims, len(body))
	if err != nil {
		return nil, err
	}
	if iss := cmp.Or(token.Issuer, c.cfg.Issuer); iss != c.cfg.Issuer {
		return nil, NewError(ReasonIDTokenIssuer, fmt.Errorf("iss is %.256q, expected %q", iss, c.cfg.Issuer))
	}
	token.Issuer = c.cfg.Issuer
	return token, nil
}

// How long what was found out about a token is kept at most. A JWT is as good as the
// keys that it was verified with; a lookup as good as the provider's memory.
const (
	verifiedFor     = 5 * time.Minute
	introspectedFor = 30 * time.Second
	inactiveFor     = 5 * time.Second
)
