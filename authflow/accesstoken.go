package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// accessTokenType is the typ of a JWT access token (RFC 9068 2.1).
const accessTokenType = "at+jwt"

// AccessToken is what an access token says. It never changes.
type AccessToken struct {
	// Client is the one of the resource server's issuers whose word it is.
	Client *Client
	// Audiences are those names of the resource server that it is for.
	Audiences []string
	// Subject is sub; "" if introspection did not tell.
	Subject string
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
	// Prepared is what ResourcePolicy.Prepare made of it.
	Prepared any

	notBefore time.Time
	keptFor   time.Duration // at most
	size      int           // about what it holds, in bytes
}

// verifyAccessToken verifies a JWT access token by RFC 9068 4, but for its audience
// and the time.
func (c *Client) verifyAccessToken(ctx context.Context, raw string, header, claims Claims, policy ResourcePolicy) (*AccessToken, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	algs := c.algs(meta)
	if len(policy.Algs) > 0 {
		algs = jwsAlgs(policy.Algs)
	}
	if err := cmp.Or(checkKind(header, claims, policy.AnyType), checkAlg(header, algs)); err != nil {
		return nil, err // before the costly check
	}
	if err := c.checkSignature(ctx, raw, algs); err != nil {
		return nil, err
	}
	if _, has := claims["exp"]; !has {
		return nil, NewError(ReasonExpMissing, errors.New("no exp"))
	}
	if err := checkSubject(claims); err != nil {
		return nil, err
	}
	return c.newAccessToken(claims, len(raw), verifiedFor)
}

// keep implements keepable.
func (t *AccessToken) keep(now time.Time) (time.Time, int) {
	return keptUntil(now, t.keptFor, t.Expires), t.size
}

// CheckTime tells whether a token that counted does so still, by its times. Its error is
// of Kind NoLogin.
func (t *AccessToken) CheckTime(now time.Time) error {
	if err := t.checkTime(now); err != nil {
		return asToken(err)
	}
	return nil
}

// checkTime judges what was true of a token when it was found out.
func (t *AccessToken) checkTime(now time.Time) error {
	leeway := t.Client.cfg.Leeway
	switch {
	case !t.Expires.IsZero() && t.Expires.Before(now.Add(-leeway)):
		return NewError(ReasonTokenExpired, fmt.Errorf("exp was %s ago", now.Sub(t.Expires)))
	case t.Issued.After(now.Add(leeway)):
		return NewError(ReasonClockSkew, fmt.Errorf("iat is in %s", t.Issued.Sub(now)))
	case t.notBefore.After(now.Add(leeway)):
		return NewError(ReasonClockSkew, fmt.Errorf("nbf is in %s", t.notBefore.Sub(now)))
	}
	return nil
}

// onlyOfAccessTokens are claims that say what a token may be used for, or by which
// client or workload: providers whose access tokens do not say what they are (Keycloak,
// Entra, Auth0, Okta, Cognito; Kubernetes, GitHub Actions, GitLab CI) put at least one
// of them there, and none into an ID token. The others are of ID tokens (OIDC Core 2,
// 3.3.2.11) and logout tokens.
var (
	onlyOfAccessTokens = []string{
		"scope", "scp", "client_id", "appid", "azpacr", "cid", "gty",
		"kubernetes.io", "job_workflow_ref", "pipeline_source",
	}
	neverOfThem = []string{"nonce", "at_hash", "c_hash", "s_hash", "events"}
)

// checkKind tells an access token from everything else that the provider signs, by
// its typ (RFC 9068 2.1, RFC 8725 3.11). Where the policy takes any typ, the claims
// have to tell: those of an access token, and none of an ID token or a logout token,
// whom Keycloak (typ) and Cognito (token_use) also call so.
func checkKind(header, claims Claims, anyType bool) error {
	if err := checkExtensions(header); err != nil {
		return NewError(ReasonIDTokenHeader, err)
	}
	typ, err := header.String("typ")
	if err == nil && isType(typ, accessTokenType) {
		return nil
	}
	if !anyType || err != nil && !errors.Is(err, ErrClaimAbsent) || err == nil && !strings.EqualFold(typ, "JWT") {
		return NewError(ReasonTokenKind, fmt.Errorf("typ is %.64q, expected %s", typ, accessTokenType))
	}
	has := func(name string) bool { _, is := claims[name]; return is }
	if at := slices.IndexFunc(neverOfThem, has); at >= 0 {
		return NewError(ReasonTokenKind, fmt.Errorf("it has %s, as access tokens have not", neverOfThem[at]))
	}
	if !slices.ContainsFunc(onlyOfAccessTokens, has) {
		return NewError(ReasonTokenKind, fmt.Errorf("it has none of %q, by which an access token is known", onlyOfAccessTokens))
	}
	if use, is := claims["token_use"]; is && use != "access" {
		return NewError(ReasonTokenKind, fmt.Errorf("token_use is %.64q", use))
	}
	if use, is := claims["typ"]; is && use != "Bearer" && use != "DPoP" {
		return NewError(ReasonTokenKind, fmt.Errorf("the claim typ is %.64q", use))
	}
	return nil
}

// newAccessToken reads what the rest of the program asks of a token.
func (c *Client) newAccessToken(claims Claims, length int, keptFor time.Duration) (*AccessToken, error) {
	t := &AccessToken{
		Client: c, Claims: claims, keptFor: keptFor,
		size: 4*length + 1<<10, // decoded, a text takes about four times its bytes
	}
	for name, text := range map[string]*string{"sub": &t.Subject, "acr": &t.ACR} {
		value, err := claims.String(name)
		if err != nil && !errors.Is(err, ErrClaimAbsent) {
			return nil, NewError(ReasonClaimMalformed, err)
		}
		*text = value
	}
	for name, at := range map[string]*time.Time{"iat": &t.Issued, "nbf": &t.notBefore, "exp": &t.Expires, "auth_time": &t.AuthTime} {
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

// notOfTheToken are reasons of Kind Provider that say nothing about the token.
var notOfTheToken = []Reason{ReasonIntrospection, ReasonDiscoveryIssuer}

// asToken makes an error about an access token one of the request that brought it
// (RFC 6750 3.1, invalid_token). One that says that it could not be judged stays.
func asToken(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == Internal || slices.Contains(notOfTheToken, e.Reason) {
		return err
	}
	if e.Reason == ReasonIDTokenMalformed { // by the decoder that ID tokens have, too
		renamed := *e
		renamed.Reason = ReasonTokenMalformed
		err = &renamed
	}
	return reclassify(err, NoLogin, publicToken)
}
