package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// AuthorizationServer issues access tokens of our own (RFC 9068), which are for the
// site that issues them and for no other, and knows them again.
type AuthorizationServer struct {
	// Issuer is iss and aud: the origin of the site.
	Issuer string
	// Keys sign, by ES256: the first does, tokens of all count. They are called by
	// their thumbprints.
	Keys []ClientKey
	// Known are the tokens that were verified. nil: each is verified at each use.
	Known *IssuedTokens
}

// IssuedTokens remembers tokens of our own that were verified, of several issuers. Its
// zero value knows none; it is safe for concurrent use.
type IssuedTokens struct {
	// Prepare makes of a token what the caller needs at each use of it, which
	// [IssuedToken.Prepared] then holds. Default: nothing.
	Prepare func(AuthorizationServer, *IssuedToken) (any, error)

	tokens tokenCache[*verifiedToken]
}

// verifiedToken is a token of our own that was verified, and by which key.
type verifiedToken struct {
	token *IssuedToken
	kid   string
	size  int
}

// keep implements keepable.
func (v *verifiedToken) keep(now time.Time) (time.Time, int) {
	return keptUntil(now, verifiedFor, v.token.Expires), v.size
}

// IssuedToken is what a token of our own says. It never changes.
type IssuedToken struct {
	// ID is jti.
	ID string
	// Subject is sub.
	Subject string
	// ClientID is client_id.
	ClientID string
	// Scopes and Groups are what it may be used for, and who its subject is among.
	Scopes, Groups []string
	// Entry names what the subject's entry was when the token was issued.
	Entry string
	// Issued and Expires are in whole seconds.
	Issued, Expires time.Time
	// Prepared is what IssuedTokens.Prepare made of it.
	Prepared any
}

// issuedClaims is an IssuedToken on the wire (RFC 9068 2.2).
type issuedClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	ClientID string   `json:"client_id"`
	Issued   int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	ID       string   `json:"jti"`
	Scope    string   `json:"scope,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Entry    string   `json:"entry"`
}

// Issue makes a token. ErrClientKey if there is no key.
func (s AuthorizationServer) Issue(t IssuedToken) (secret.String, error) {
	if len(s.Keys) == 0 {
		return secret.String{}, ErrClientKey
	}
	signed, err := s.Keys[0].Sign(accessTokenType, issuedClaims{
		Issuer: s.Issuer, Audience: s.Issuer, Subject: t.Subject, ClientID: t.ClientID, ID: t.ID,
		Issued: t.Issued.Unix(), Expires: t.Expires.Unix(), Scope: strings.Join(t.Scopes, " "), Groups: t.Groups, Entry: t.Entry,
	})
	return secret.New(signed), err
}

// MayHaveIssued tells whether a token says that it is of this issuer. Nobody has verified
// that: it says which server is to judge the token.
func (s AuthorizationServer) MayHaveIssued(raw secret.String, now time.Time) bool {
	if len(raw.Reveal()) > maxJWT {
		return false
	}
	if s.Known != nil && s.Known.tokens.has(s.cacheKey(raw.Reveal()), now) {
		return true
	}
	_, claims, err := decodeJWS(raw.Reveal())
	return err == nil && checkIssuer(claims, s.Issuer) == nil
}

// cacheKey names a token of this issuer in Known.
func (s AuthorizationServer) cacheKey(raw string) tokenKey {
	return tokenKeyOf(strconv.Itoa(len(s.Issuer)) + s.Issuer + raw)
}

// Verify returns what a token says that was issued here, is for here, and has not
// expired (RFC 9068 4). leeway bears clocks of other replicas that are ahead. One that
// is Known costs no signature check; its key and its time are judged at each use. Every
// error is of Kind NoLogin.
func (s AuthorizationServer) Verify(raw secret.String, now time.Time, leeway time.Duration) (*IssuedToken, error) {
	known, err := s.known(raw.Reveal(), now)
	switch {
	case err != nil:
	case s.signingKey(known.kid) == nil:
		err = NewError(ReasonKeyUnknown, fmt.Errorf("kid %.64q", known.kid))
	default:
		err = known.token.checkTime(now, leeway)
	}
	if err != nil {
		return nil, asToken(err)
	}
	return known.token, nil
}

// known returns what a token says that was verified now, or before.
func (s AuthorizationServer) known(raw string, now time.Time) (*verifiedToken, error) {
	if len(raw) > maxJWT {
		return nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxJWT))
	}
	if s.Known == nil {
		return s.verify(raw)
	}
	return s.Known.tokens.get(context.Background(), s.cacheKey(raw), now, func(context.Context, bool) (*verifiedToken, error) {
		v, err := s.verify(raw)
		if err == nil && s.Known.Prepare != nil {
			if v.token.Prepared, err = s.Known.Prepare(s, v.token); err != nil {
				err = NewError(ReasonClaimMalformed, err)
			}
		}
		return v, err
	})
}

// checkTime judges what was true of a token when it was verified.
func (t *IssuedToken) checkTime(now time.Time, leeway time.Duration) error {
	switch {
	case t.Expires.Before(now):
		return NewError(ReasonTokenExpired, fmt.Errorf("exp was %s ago", now.Sub(t.Expires)))
	case t.Issued.After(now.Add(leeway)):
		return NewError(ReasonClockSkew, fmt.Errorf("iat is in %s", t.Issued.Sub(now)))
	}
	return nil
}

// verify verifies all of a token but its time.
func (s AuthorizationServer) verify(raw string) (*verifiedToken, error) {
	header, claims, err := decodeJWS(raw)
	if err != nil {
		return nil, err
	}
	kid, err := s.verifySignature(raw, header)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkIssuer(claims, s.Issuer), checkAudience(claims, s.Issuer, nil), checkSubject(claims)); err != nil {
		return nil, err
	}
	token, err := parseIssued(claims)
	return &verifiedToken{token, kid, 4*len(raw) + 1<<10}, err // as of an AccessToken
}

// verifySignature: RFC 8725 3.1, 3.11. The header chooses among our keys, and nothing
// else; what we sign for another purpose has another type. It returns the key's id.
func (s AuthorizationServer) verifySignature(raw string, header Claims) (string, error) {
	if typ, err := header.String("typ"); err != nil || typ != accessTokenType {
		return "", NewError(ReasonIDTokenHeader, fmt.Errorf("typ is %.64q", typ))
	}
	algs := []jose.SignatureAlgorithm{jose.ES256}
	if err := checkAlg(header, algs); err != nil {
		return "", err
	}
	kid, _ := header.String("kid")
	key := s.signingKey(kid)
	if key == nil {
		return "", NewError(ReasonKeyUnknown, fmt.Errorf("kid %.64q", kid))
	}
	signed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return "", NewError(ReasonIDTokenMalformed, err)
	}
	if _, err := signed.Verify(key.jwk.Public()); err != nil {
		return "", NewError(ReasonSignature, err)
	}
	return kid, nil
}

// signingKey finds one of our keys; nil if there is none of that id.
func (s AuthorizationServer) signingKey(kid string) *ClientKey {
	at := slices.IndexFunc(s.Keys, func(k ClientKey) bool { return kid != "" && k.jwk.KeyID == kid })
	if at < 0 {
		return nil
	}
	return &s.Keys[at]
}

// parseIssued reads what Issue has written.
func parseIssued(claims Claims) (*IssuedToken, error) {
	t := new(IssuedToken)
	var errs [5]error
	t.ID, errs[0] = claims.String("jti")
	t.Subject, errs[1] = claims.String("sub")
	t.ClientID, errs[2] = claims.String("client_id")
	t.Entry, errs[3] = claims.String("entry")
	if _, has := claims["groups"]; has {
		t.Groups, errs[4] = claims.strings("groups")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, NewError(ReasonClaimMalformed, err)
	}
	scope, err := claims.String("scope")
	if err != nil && !errors.Is(err, ErrClaimAbsent) {
		return nil, NewError(ReasonClaimMalformed, err)
	}
	t.Scopes = strings.Fields(scope)
	return t, cmp.Or(readTime(claims, "iat", ReasonIatMissing, &t.Issued), readTime(claims, "exp", ReasonExpMissing, &t.Expires))
}

// readTime reads a time that a token must have.
func readTime(claims Claims, name string, missing Reason, target *time.Time) error {
	value, err := claims.Time(name)
	switch {
	case errors.Is(err, ErrClaimAbsent):
		return NewError(missing, err)
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	}
	*target = value
	return nil
}
