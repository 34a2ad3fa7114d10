package authflow

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	// Keys sign, by ES256: the first does, tokens of all count.
	Keys []ClientKey
}

// IssuedToken is what a token of our own says.
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

// Issued tells whether a token says that it is of this issuer. Nobody has verified
// that: it says whom to ask.
func (s AuthorizationServer) Issued(raw secret.String) bool {
	if len(raw.Reveal()) > maxIDToken {
		return false
	}
	_, claims, err := decodeJWS(raw.Reveal())
	return err == nil && checkIssuer(claims, s.Issuer) == nil
}

// Verify returns what a token says that was issued here, is for here, and has not
// expired (RFC 9068 4). leeway bears clocks of other replicas that are ahead. Every
// error is of Kind NoLogin.
func (s AuthorizationServer) Verify(raw secret.String, now time.Time, leeway time.Duration) (*IssuedToken, error) {
	token, err := s.verify(raw.Reveal(), now, leeway)
	if err != nil {
		return nil, asToken(err)
	}
	return token, nil
}

func (s AuthorizationServer) verify(raw string, now time.Time, leeway time.Duration) (*IssuedToken, error) {
	if len(raw) > maxIDToken {
		return nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxIDToken))
	}
	header, claims, err := decodeJWS(raw)
	if err != nil {
		return nil, err
	}
	if err := s.verifySignature(raw, header); err != nil {
		return nil, err
	}
	if err := cmp.Or(
		checkIssuer(claims, s.Issuer),
		checkAudience(claims, s.Issuer, nil),
		checkSubject(claims),
		checkExpiry(claims, now),
		checkIssuedAt(claims, time.Time{}, now.Add(leeway)),
	); err != nil {
		return nil, err
	}
	return parseIssued(claims)
}

// verifySignature: RFC 8725 3.1, 3.11. The header chooses among our keys, and nothing
// else; what we sign for another purpose has another type.
func (s AuthorizationServer) verifySignature(raw string, header Claims) error {
	if typ, err := header.String("typ"); err != nil || typ != accessTokenType {
		return NewError(ReasonIDTokenHeader, fmt.Errorf("typ is %.64q", typ))
	}
	algs := []jose.SignatureAlgorithm{jose.ES256}
	if err := checkAlg(header, algs); err != nil {
		return err
	}
	kid, _ := header.String("kid")
	at := slices.IndexFunc(s.Keys, func(k ClientKey) bool { return kid != "" && k.jwk.KeyID == kid })
	if at < 0 {
		return NewError(ReasonKeyUnknown, fmt.Errorf("kid %.64q", kid))
	}
	signed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return NewError(ReasonIDTokenMalformed, err)
	}
	if _, err := signed.Verify(s.Keys[at].jwk.Public()); err != nil {
		return NewError(ReasonSignature, err)
	}
	return nil
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
	t.Issued, _ = claims.Time("iat") // both were checked
	t.Expires, _ = claims.Time("exp")
	return t, nil
}
