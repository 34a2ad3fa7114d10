package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// introspectionType is the typ of a signed answer, and mediaTypeIntrospection its
// media type (RFC 9701 5).
const (
	introspectionType      = "token-introspection+jwt"
	mediaTypeIntrospection = "application/" + introspectionType
)

// Bounds of what is looked up: anybody can invent tokens, and each costs the provider an
// authenticated call.
const (
	maxOpaque            = 8 << 10 // bytes
	introspectionsAtOnce = 32      // of one client
	introspectionsQueued = 1000    // that wait for one of these
	introspectionWait    = 5 * time.Second
)

// introspections bounds how much one client asks at once about tokens that are not
// known.
type introspections struct {
	running chan struct{}
	waiting atomic.Int32
}

// enter waits for its turn, and returns what ends it. Reason: introspection_busy.
func (i *introspections) enter(ctx context.Context) (leave func(), err error) {
	busy := NewError(ReasonIntrospectionBusy, fmt.Errorf("%d tokens are being looked up", introspectionsAtOnce)).retryAfter(introspectionWait)
	defer i.waiting.Add(-1)
	if i.waiting.Add(1) > introspectionsQueued {
		return nil, busy
	}
	ctx, cancel := context.WithTimeout(ctx, introspectionWait)
	defer cancel()
	select {
	case i.running <- struct{}{}:
		return func() { <-i.running }, nil
	case <-ctx.Done():
		return nil, busy
	}
}

// validateIntrospectionAlg refuses an algorithm that no answer can have.
func (cfg Config) validateIntrospectionAlg() error {
	if cfg.IntrospectionAlg == "" {
		return nil
	}
	return checkAlgNames("introspection_signed_response_alg", cfg.IntrospectionAlg)
}

// introspect asks the provider about an access token that only it can read (RFC
// 7662 2), as this client. The provider may know a token that is not meant for us:
// the caller judges what it says. One that has counted is asked about at once: a
// flood of invented ones keeps out nobody who is known.
func (c *Client) introspect(ctx context.Context, raw string, audiences []string, counted bool) (*AccessToken, error) {
	if len(raw) > maxOpaque {
		return nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxOpaque))
	}
	if !counted {
		leave, err := c.introspections.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	// Once it is asked, the answer is worth having.
	ctx = context.WithoutCancel(ctx)
	claims, size, err := c.introspection(ctx, raw, audiences)
	if err != nil {
		return nil, err
	}
	// RFC 7662 2.2: a boolean, and nothing else that could be taken for one.
	active, ok := claims["active"].(bool)
	if !ok {
		return nil, NewError(ReasonIntrospection, errors.New("active is no boolean"))
	}
	if !active {
		return nil, NewError(ReasonTokenInactive, errors.New("the provider says that it is not active"))
	}
	if err := checkUse(claims); err != nil {
		return nil, err
	}
	if _, has := claims["iss"]; has {
		if err := checkIssuer(claims, c.cfg.Issuer); err != nil {
			return nil, err
		}
	}
	if _, has := claims["sub"]; has {
		if err := checkSubject(claims); err != nil {
			return nil, err
		}
	}
	return c.newAccessToken(claims, size, introspectedFor)
}

// checkUse: RFC 7662 2.1, 2.2. The endpoint knows refresh tokens as well. Providers
// tell them by token_type, token_use (Hydra) or typ (Keycloak).
func checkUse(claims Claims) error {
	for name, uses := range map[string][]string{
		"token_type": {"bearer", "dpop"}, "typ": {"bearer", "dpop"}, "token_use": {"access_token", "access"},
	} {
		if use, has := claims[name]; has {
			if text, _ := use.(string); !slices.Contains(uses, strings.ToLower(text)) {
				return NewError(ReasonTokenKind, fmt.Errorf("%s is %.64q", name, use))
			}
		}
	}
	return nil
}

// introspection is the endpoint's answer, and its size in bytes.
func (c *Client) introspection(ctx context.Context, raw string, audiences []string) (Claims, int, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, 0, err
	}
	endpoint, err := c.usable("introspection_endpoint", meta.IntrospectionEndpoint, ReasonIntrospectionMissing)
	if err != nil {
		return nil, 0, err
	}
	if endpoint == "" {
		return nil, 0, NewError(ReasonIntrospectionMissing, errors.New("the provider has no introspection_endpoint"))
	}
	accept := "application/json"
	if c.cfg.IntrospectionAlg != "" {
		accept = mediaTypeIntrospection
	}
	body, err := c.postFor(ctx, c.http, meta, endpoint, accept, url.Values{
		"token": {raw}, "token_type_hint": {"access_token"},
	}, ReasonIntrospection)
	if err != nil {
		return nil, 0, err
	}
	var claims Claims
	if c.cfg.IntrospectionAlg != "" {
		claims, err = c.verifyIntrospection(ctx, strings.TrimSpace(string(body)), audiences)
	} else {
		claims, err = DecodeClaims(body)
	}
	if e, ok := errors.AsType[*Error](err); err != nil && !(ok && e.Kind == Unavailable) {
		return nil, 0, NewError(ReasonIntrospection, err)
	}
	return claims, len(body), err
}

// verifyIntrospection returns what a signed answer says (RFC 9701 5): of the pinned
// algorithm, by the provider's keys, made for this resource server, by whichever name
// the provider knows it, and now. One that is not signed, or not as was agreed, is
// refused: somebody on the way could have put it there.
func (c *Client) verifyIntrospection(ctx context.Context, raw string, audiences []string) (Claims, error) {
	algs := jwsAlgs([]string{c.cfg.IntrospectionAlg})
	header, claims, err := decodeJWS(raw)
	if err != nil {
		return nil, err
	}
	if typ, _ := header.String("typ"); !isType(typ, introspectionType) {
		return nil, NewError(ReasonIDTokenHeader, fmt.Errorf("typ is %.64q, expected %s", typ, introspectionType))
	}
	if err := cmp.Or(checkType(header, []string{introspectionType}), checkAlg(header, algs)); err != nil {
		return nil, err
	}
	if err := c.checkSignature(ctx, raw, algs); err != nil {
		return nil, err
	}
	now, leeway := c.cfg.Now(), c.cfg.Leeway
	if err := cmp.Or(
		checkIssuer(claims, c.cfg.Issuer),
		checkAnswerAudience(claims, append(slices.Clone(audiences), c.cfg.ClientID)),
		checkIssuedAt(claims, now.Add(-leeway-introspectedFor), now.Add(leeway)),
	); err != nil {
		return nil, err
	}
	answer, ok := claims["token_introspection"].(map[string]any)
	if !ok {
		return nil, NewError(ReasonClaimMalformed, errors.New("token_introspection is no object"))
	}
	return answer, nil
}

// checkAnswerAudience: RFC 9701 5.
func checkAnswerAudience(claims Claims, ours []string) error {
	audiences, err := claims.strings("aud")
	if err == nil && !slices.ContainsFunc(audiences, func(audience string) bool { return slices.Contains(ours, audience) }) {
		err = fmt.Errorf("want=%q got=%.256q", ours, audiences)
	}
	if err != nil {
		return NewError(ReasonAudMismatch, err)
	}
	return nil
}
