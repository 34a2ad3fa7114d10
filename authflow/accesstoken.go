package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// accessTokenType is the typ of a JWT access token (RFC 9068 2.1).
const accessTokenType = "at+jwt"

// ResourcePolicy says which access tokens a resource server takes.
type ResourcePolicy struct {
	// Audiences are the names of this resource server, of which a token must be for
	// one (RFC 9068 4). At least one is needed.
	Audiences []string
	// AudienceClaim is the claim that says whom the token is for. Default: aud.
	// Providers that send none have something else there (client_id).
	AudienceClaim string
	// Algs are the algorithms that a JWT may be signed with, of those of
	// Config.SigningAlgs. Default: those of ID tokens.
	Algs []string
	// AnyType takes a JWT whose typ is JWT or absent. What tells an access token from
	// an ID token is then only what ID tokens have and it has not (see checkKind).
	AnyType bool
	// Introspect has a token that is no JWT looked up at the provider (RFC 7662).
	Introspect bool
}

// AccessToken is what an access token says. It never changes.
type AccessToken struct {
	// Issuer is whose word it is.
	Issuer string
	// Subject is sub; "" if introspection did not tell.
	Subject string
	// ClientID is who asked for it, "" if not told.
	ClientID string
	// Scopes are what it may be used for (RFC 9068 2.2.3), also of scp, as some
	// providers call it.
	Scopes []string
	// Claims are all members.
	Claims Claims
	// Issued, Expires and AuthTime are zero if not told. Only introspection may leave
	// out Expires.
	Issued, Expires, AuthTime time.Time
	// ACR is how strongly the person signed in (RFC 9068 2.2.1), "" if not told.
	ACR string
	// KeyThumbprint is the key that it is bound to (RFC 9449 6.1), and
	// CertificateThumbprint the certificate (RFC 8705 3.1), "" if to none.
	KeyThumbprint, CertificateThumbprint string

	header Claims // of a JWT; nil after introspection
	size   int    // about what it holds, in bytes
}

// TokenIssuer returns who issued a JWT by its own word, and whether it is one at
// all. Nobody has verified that: it says which [Client] to ask.
func TokenIssuer(raw secret.String) (issuer string, isJWT bool) {
	_, claims, err := decodeJWS(raw.Reveal())
	if err != nil {
		return "", false
	}
	issuer, _ = claims.String("iss")
	return issuer, true
}

// AccessToken returns what an access token says, if this resource server takes it.
// A JWT is verified by the provider's keys (RFC 9068 4), anything else looked up
// (RFC 7662), if the policy has it so. What was found is kept for a while and
// judged anew at each use.
//
// An error of Kind NoLogin says that the token does not count, one of Kind
// Unavailable or Provider that this cannot be told.
func (c *Client) AccessToken(ctx context.Context, raw secret.String, policy ResourcePolicy) (*AccessToken, error) {
	if len(raw.Reveal()) > maxIDToken {
		return nil, asToken(NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxIDToken)))
	}
	find := c.verifyAccessToken
	if _, _, err := decodeJWS(raw.Reveal()); err != nil {
		if !policy.Introspect {
			return nil, asToken(err)
		}
		find = c.introspect
	}
	token, err := c.accessTokens.get(ctx, tokenKeyOf(raw, policy), c.cfg.Now(), func(ctx context.Context) (*AccessToken, error) {
		return find(ctx, raw, policy)
	})
	if err != nil {
		return nil, asToken(err)
	}
	if err := c.checkAccessToken(ctx, token, policy); err != nil {
		return nil, asToken(err)
	}
	return token, nil
}

// verifyAccessToken verifies a JWT access token's signature. What does not depend on
// the time or on the policy is checked once, here.
func (c *Client) verifyAccessToken(ctx context.Context, raw secret.String, policy ResourcePolicy) (*AccessToken, error) {
	header, claims, err := decodeJWS(raw.Reveal())
	if err != nil {
		return nil, err
	}
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	algs := c.accessTokenAlgs(meta, policy)
	if err := cmp.Or(checkKind(header, claims, policy.AnyType), checkAlg(header, algs)); err != nil {
		return nil, err // before the costly check
	}
	signature := &signatureCheck{client: c, algs: algs}
	if _, err := signature.VerifySignature(ctx, raw.Reveal()); err != nil {
		return nil, err
	}
	return parseAccessToken(header, claims, len(raw.Reveal()))
}

// checkAccessToken judges what was found out about a token (RFC 9068 4, RFC 7662
// 4), by today's policy and time.
func (c *Client) checkAccessToken(ctx context.Context, t *AccessToken, policy ResourcePolicy) error {
	now, leeway := c.cfg.Now(), c.cfg.Leeway
	if t.header != nil {
		meta, err := c.metadata(ctx)
		if err != nil {
			return err
		}
		if err := cmp.Or(
			checkKind(t.header, t.Claims, policy.AnyType),
			checkAlg(t.header, c.accessTokenAlgs(meta, policy)),
			checkIssuer(t.Claims, c.cfg.Issuer),
			checkSubject(t.Claims),
			checkExpiry(t.Claims, now.Add(-leeway)),
		); err != nil {
			return err
		}
	} else if !t.Expires.IsZero() && t.Expires.Before(now.Add(-leeway)) {
		return NewError(ReasonTokenExpired, fmt.Errorf("exp is %s", t.Expires))
	}
	if !t.Issued.IsZero() && t.Issued.After(now.Add(leeway)) {
		return NewError(ReasonClockSkew, fmt.Errorf("iat is %s", t.Issued))
	}
	return cmp.Or(
		checkResource(t.Claims, policy),
		checkNotBefore(t.Claims, now.Add(leeway)),
	)
}

// accessTokenAlgs are the algorithms that a token of this provider may have.
func (c *Client) accessTokenAlgs(meta *metadata, policy ResourcePolicy) []jose.SignatureAlgorithm {
	if len(policy.Algs) == 0 {
		return c.algs(meta)
	}
	algs := make([]jose.SignatureAlgorithm, len(policy.Algs))
	for i, name := range policy.Algs {
		algs[i] = jose.SignatureAlgorithm(name)
	}
	return algs
}

// checkKind tells an access token from everything else that the provider signs: by
// its typ (RFC 9068 2.1, RFC 8725 3.11); where the policy takes any typ, by what an
// ID token (nonce, at_hash, c_hash, Keycloak's typ, Cognito's token_use) and a logout
// token (events) have.
func checkKind(header, claims Claims, anyType bool) error {
	for _, name := range []string{"crit", "b64"} { // RFC 7515 4.1.11: we understand none
		if _, ok := header[name]; ok {
			return NewError(ReasonIDTokenHeader, fmt.Errorf("the header has %s", name))
		}
	}
	typ, err := header.String("typ")
	if err == nil && strings.TrimPrefix(strings.ToLower(typ), "application/") == accessTokenType {
		return nil
	}
	if !anyType || err != nil && !errors.Is(err, ErrClaimAbsent) || err == nil && !strings.EqualFold(typ, "JWT") {
		return NewError(ReasonTokenKind, fmt.Errorf("typ is %.64q, expected %s", typ, accessTokenType))
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "events"} {
		if _, has := claims[name]; has {
			return NewError(ReasonTokenKind, fmt.Errorf("it has %s, as access tokens have not", name))
		}
	}
	for name, want := range map[string]string{"typ": "Bearer", "token_use": "access"} {
		if kind, has := claims[name]; has && kind != want && kind != "DPoP" {
			return NewError(ReasonTokenKind, fmt.Errorf("%s is %.64q", name, kind))
		}
	}
	return nil
}

// checkResource: RFC 9068 4, RFC 8707 2. The token is for this resource server:
// every other one that it was shown to could bring it here (SEC-83).
func checkResource(claims Claims, policy ResourcePolicy) error {
	name := cmp.Or(policy.AudienceClaim, "aud")
	audiences, err := claims.strings(name)
	if err != nil && !errors.Is(err, ErrClaimAbsent) {
		return NewError(ReasonClaimMalformed, err)
	}
	for _, audience := range audiences {
		if slices.Contains(policy.Audiences, audience) {
			return nil
		}
	}
	return NewError(ReasonAudMismatch, fmt.Errorf("want=%q got=%.256q (%s)", policy.Audiences, audiences, name))
}

// parseAccessToken reads what the rest of the program asks of a token.
func parseAccessToken(header, claims Claims, length int) (*AccessToken, error) {
	t := &AccessToken{Claims: claims, header: header, size: 4*length + 1<<10} // decoded, a text takes about four times its bytes
	for name, text := range map[string]*string{"iss": &t.Issuer, "sub": &t.Subject, "client_id": &t.ClientID, "acr": &t.ACR} {
		value, err := claims.String(name)
		if err != nil && !errors.Is(err, ErrClaimAbsent) {
			return nil, NewError(ReasonClaimMalformed, err)
		}
		*text = value
	}
	for name, at := range map[string]*time.Time{"iat": &t.Issued, "exp": &t.Expires, "auth_time": &t.AuthTime} {
		value, err := claims.Time(name)
		if err != nil && !errors.Is(err, ErrClaimAbsent) {
			return nil, NewError(ReasonClaimMalformed, err)
		}
		*at = value
	}
	var err error
	if t.Scopes, err = scopesOf(claims); err != nil {
		return nil, err
	}
	return t, t.readConfirmation()
}

// scopesOf returns scope (RFC 9068 2.2.3) or scp, as a list.
func scopesOf(claims Claims) ([]string, error) {
	name := "scope"
	if _, has := claims[name]; !has {
		name = "scp"
	}
	values, err := claims.strings(name)
	if err != nil && !errors.Is(err, ErrClaimAbsent) {
		return nil, NewError(ReasonClaimMalformed, err)
	}
	var scopes []string
	for _, value := range values {
		scopes = append(scopes, strings.Fields(value)...)
	}
	return scopes, nil
}

// readConfirmation reads what the token is bound to (RFC 7800 3.1). A confirmation
// that we do not understand is one that we cannot check: the token is refused.
func (t *AccessToken) readConfirmation() error {
	value, has := t.Claims["cnf"]
	if !has {
		return nil
	}
	cnf, ok := value.(map[string]any)
	if !ok || len(cnf) == 0 {
		return NewError(ReasonClaimMalformed, errors.New("cnf is no object with members"))
	}
	for method, value := range cnf {
		text, _ := value.(string)
		switch {
		case method == "jkt" && text != "":
			t.KeyThumbprint = text
		case method == "x5t#S256" && text != "":
			t.CertificateThumbprint = text
		default:
			return NewError(ReasonTokenBinding, fmt.Errorf("it is bound by %.64q, which cannot be checked here", method))
		}
	}
	return nil
}

// asToken makes an error about an access token one of the request that brought it
// (RFC 6750 3.1, invalid_token). One that says that it could not be judged stays.
func asToken(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == Unavailable || e.Kind == Internal || slices.Contains(introspectionReasons, e.Reason) {
		return err
	}
	refused := *e
	refused.Kind, refused.Public = NoLogin, publicToken
	return &refused
}
