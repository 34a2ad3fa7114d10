package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// ResourcePolicy says which access tokens a resource server takes.
type ResourcePolicy struct {
	// Audiences are the names of this resource server, of which a token must be for
	// one (RFC 9068 4). At least one is needed.
	Audiences []string
	// AudienceClaim is the claim that says whom the token is for. Default: aud.
	// Providers that send none have something else there (client_id).
	AudienceClaim string
	// Algs are the algorithms that a JWT may be signed with, of those that
	// Config.SigningAlgs can name. Default: those of the issuer's ID tokens.
	Algs []string
	// AnyType takes a JWT whose typ is JWT or absent. What tells an access token from
	// an ID token is then only what one has and the other has not (see checkKind).
	AnyType bool
	// Introspect has a token that is no JWT looked up at the first issuer (RFC 7662).
	Introspect bool
	// Prepare makes of a token what the caller needs at each use of it, which
	// [AccessToken.Prepared] then holds. Default: nothing.
	Prepare func(*AccessToken) (any, error)
}

// ResourceServer judges access tokens (RFC 6750, RFC 9068 4). It keeps what it found
// out, for as long as it lives, and is safe for concurrent use.
type ResourceServer struct {
	policy  ResourcePolicy
	issuers []*Client
	tokens  tokenCache[*AccessToken]
}

// NewResourceServer checks a policy and returns the resource server that takes
// tokens of the given issuers, of which there is at least one.
func NewResourceServer(policy ResourcePolicy, issuers ...*Client) (*ResourceServer, error) {
	if len(policy.Audiences) == 0 {
		return nil, errors.New("audience: missing; without one a token that was given to any other service would be taken")
	}
	if err := checkAlgNames("alg", policy.Algs...); err != nil {
		return nil, err
	}
	return &ResourceServer{policy: policy, issuers: issuers}, nil
}

// AccessToken returns what an access token says, if this resource server takes it.
// A JWT is verified by its issuer's keys (RFC 9068 4), anything else looked up
// (RFC 7662), if the policy has it so. What was found is kept for a while, and its
// time judged at each use.
//
// An error of Kind NoLogin says that the token does not count, one of Kind
// Unavailable, Provider or Internal that this cannot be told.
func (s *ResourceServer) AccessToken(ctx context.Context, raw secret.String) (*AccessToken, error) {
	now := s.issuers[0].cfg.Now()
	token, err := s.tokens.get(ctx, tokenKeyOf(raw.Reveal()), now, func(ctx context.Context, counted bool) (*AccessToken, error) {
		return s.find(ctx, raw.Reveal(), counted)
	})
	if err != nil {
		return nil, asToken(err)
	}
	if err := token.CheckTime(now); err != nil {
		return nil, err
	}
	return token, nil
}

// Knows tells whether a token was found to count, and is kept: one that is not known
// may count as well.
func (s *ResourceServer) Knows(raw secret.String) bool {
	return s.tokens.has(tokenKeyOf(raw.Reveal()), s.issuers[0].cfg.Now())
}

// find finds out about a token that is not known now. counted says that it did when it was
// last looked at: nobody has invented it.
func (s *ResourceServer) find(ctx context.Context, raw string, counted bool) (*AccessToken, error) {
	if len(raw) > maxJWT {
		return nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxJWT))
	}
	token, err := s.read(ctx, raw, counted)
	if err != nil {
		return nil, err
	}
	if token.Audiences, err = s.audiencesOf(token.Claims); err != nil {
		return nil, err
	}
	if s.policy.Prepare != nil {
		if token.Prepared, err = s.policy.Prepare(token); err != nil {
			return nil, err
		}
	}
	return token, nil
}

// read verifies a JWT with the keys of the issuer that it names, and has anything
// else looked up.
func (s *ResourceServer) read(ctx context.Context, raw string, counted bool) (*AccessToken, error) {
	header, claims, err := decodeJWS(raw)
	if err != nil {
		if !s.policy.Introspect {
			return nil, err
		}
		return s.issuers[0].introspect(ctx, raw, s.policy.Audiences, counted)
	}
	iss, _ := claims.String("iss")
	at := slices.IndexFunc(s.issuers, func(c *Client) bool { return c.cfg.Issuer == iss })
	if at < 0 {
		return nil, NewError(ReasonTokenIssuer, fmt.Errorf("iss is %.256q, and tokens of it do not count here", iss))
	}
	return s.issuers[at].verifyAccessToken(context.WithoutCancel(ctx), raw, header, claims, s.policy)
}

// audiencesOf: RFC 9068 4, RFC 8707 2. The token is for this resource server: every
// other one that it was shown to could bring it here (SEC-83).
func (s *ResourceServer) audiencesOf(claims Claims) ([]string, error) {
	name := cmp.Or(s.policy.AudienceClaim, "aud")
	all, err := claims.strings(name)
	if err != nil && !errors.Is(err, ErrClaimAbsent) {
		return nil, NewError(ReasonClaimMalformed, err)
	}
	ours := slices.DeleteFunc(slices.Clone(all), func(audience string) bool { return !slices.Contains(s.policy.Audiences, audience) })
	if len(ours) == 0 {
		return nil, NewError(ReasonAudMismatch, fmt.Errorf("want=%q got=%.256q (%s)", s.policy.Audiences, all, name))
	}
	return ours, nil
}
