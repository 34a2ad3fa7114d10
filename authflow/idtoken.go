package authflow

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// maxTokenAge is how long before now an ID token may have been issued that
	// answers a request of ours, the leeway aside.
	maxTokenAge = AttemptLifetime
	// maxSubject is the longest sub (OIDC Core 2).
	maxSubject = 255
)

// verifyIDToken returns the claims of an ID token that came together with an
// access token, after the checks of OIDC Core 3.1.3.7, whose numbers stand
// beside them. (1), encryption, is not supported: a JWE is malformed here. (11),
// the nonce, is the caller's, since a refreshed ID token need not have one.
func (c *Client) verifyIDToken(ctx context.Context, t *tokens) (Claims, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	algs := c.algs(meta)
	claims, err := decodeToken(t.id, algs)
	if err != nil {
		return nil, err
	}
	token, err := c.verifySignature(ctx, t.id, algs) // (6), (7), (8)
	if err != nil {
		return nil, err
	}
	now, leeway := c.cfg.Now(), c.cfg.Leeway
	if err := cmp.Or(
		checkIssuer(claims, c.cfg.Issuer),                                    // (2)
		checkSubject(claims),                                                 // 2
		checkAudience(claims, c.cfg.ClientID, c.cfg.TrustedAudiences),        // (3)
		checkAuthorizedParty(claims, c.cfg.ClientID),                         // (4), (5)
		checkExpiry(claims, now.Add(-leeway)),                                // (9)
		checkIssuedAt(claims, now.Add(-leeway-maxTokenAge), now.Add(leeway)), // (10)
		checkNotBefore(claims, now.Add(leeway)),                              // RFC 7519 4.1.5
		checkAccessTokenHash(claims, token, t.access),                        // 3.1.3.8
	); err != nil {
		return nil, err
	}
	return claims, nil
}

// verifySignature verifies the signature over the provider's keys. go-oidc does
// nothing but that here: the claims have checks of their own, each with its own
// reason.
func (c *Client) verifySignature(
	ctx context.Context, raw string, algs []jose.SignatureAlgorithm,
) (*oidc.IDToken, error) {
	signature := &signatureCheck{client: c, algs: algs}
	config := &oidc.Config{SkipIssuerCheck: true, SkipClientIDCheck: true, SkipExpiryCheck: true}
	for _, alg := range algs {
		config.SupportedSigningAlgs = append(config.SupportedSigningAlgs, string(alg))
	}
	token, err := oidc.NewVerifier(c.cfg.Issuer, signature, config).Verify(ctx, raw)
	switch {
	case signature.err != nil:
		return nil, signature.err
	case err != nil && !signature.done:
		return nil, NewError(ReasonIDTokenMalformed, err)
	case err != nil: // signed, but a claim has another type than go-oidc expects
		return nil, NewError(ReasonClaimMalformed, err)
	}
	return token, nil
}

// checkIssuer: OIDC Core 3.1.3.7 (2). Byte for byte, since a provider that could
// speak for another would sign in its users (RFC 9700 4.4).
func checkIssuer(claims Claims, issuer string) error {
	if iss, _ := claims.String("iss"); iss != issuer {
		return NewError(ReasonIDTokenIssuer, fmt.Errorf("iss is %.256q, expected %q", iss, issuer))
	}
	return nil
}

// checkSubject: OIDC Core 2. sub is who somebody is; without one, or with one
// that a header or a log cannot show, two people could become one.
func checkSubject(claims Claims) error {
	sub, err := claims.String("sub")
	switch {
	case errors.Is(err, ErrClaimAbsent) || err == nil && sub == "":
		return NewError(ReasonSubMissing, errors.New("no sub"))
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	case len(sub) > maxSubject || strings.ContainsFunc(sub, func(r rune) bool { return r < ' ' || r > '~' }):
		return NewError(ReasonSubMalformed, fmt.Errorf("sub is %.300q", sub))
	}
	return nil
}

// checkAudience: OIDC Core 3.1.3.7 (3). The token is for us, and for nobody whom
// we do not trust: who else it is for could bring it here.
func checkAudience(claims Claims, clientID string, trusted []string) error {
	audiences, err := claims.strings("aud")
	if err != nil && !errors.Is(err, ErrClaimAbsent) {
		return NewError(ReasonClaimMalformed, err)
	}
	if !slices.Contains(audiences, clientID) {
		return NewError(ReasonAudMismatch, fmt.Errorf("want=%q got=%.256q", clientID, audiences))
	}
	for _, audience := range audiences {
		if audience != clientID && !slices.Contains(trusted, audience) {
			return NewError(ReasonAudUntrusted, fmt.Errorf("aud has %.256q besides", audience))
		}
	}
	return nil
}

// checkAuthorizedParty: OIDC Core 3.1.3.7 (4), (5). The token was issued to us
// and not to another client that may ask for tokens with our audience.
func checkAuthorizedParty(claims Claims, clientID string) error {
	azp, err := claims.String("azp")
	switch {
	case errors.Is(err, ErrClaimAbsent):
		return nil
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	case azp != clientID:
		return NewError(ReasonAzpMismatch, fmt.Errorf("azp is %.256q, expected %q", azp, clientID))
	}
	return nil
}

// checkExpiry: OIDC Core 3.1.3.7 (9).
func checkExpiry(claims Claims, earliest time.Time) error {
	exp, err := claims.Time("exp")
	switch {
	case errors.Is(err, ErrClaimAbsent):
		return NewError(ReasonExpMissing, err)
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	case exp.Before(earliest):
		return NewError(ReasonTokenExpired, fmt.Errorf("exp is %s before the earliest that is accepted", earliest.Sub(exp)))
	}
	return nil
}

// checkIssuedAt: OIDC Core 3.1.3.7 (10). iat is what a sign-out of a subject is
// compared with, so it must be there and mean something.
func checkIssuedAt(claims Claims, earliest, latest time.Time) error {
	iat, err := claims.Time("iat")
	switch {
	case errors.Is(err, ErrClaimAbsent):
		return NewError(ReasonIatMissing, err)
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	case iat.After(latest):
		return NewError(ReasonClockSkew, fmt.Errorf("iat is %s after the latest that is accepted", iat.Sub(latest)))
	case iat.Before(earliest):
		return NewError(ReasonTokenStale, fmt.Errorf("iat is %s before the earliest that is accepted", earliest.Sub(iat)))
	}
	return nil
}

// checkNotBefore: RFC 7519 4.1.5.
func checkNotBefore(claims Claims, latest time.Time) error {
	nbf, err := claims.Time("nbf")
	switch {
	case errors.Is(err, ErrClaimAbsent):
		return nil
	case err != nil:
		return NewError(ReasonClaimMalformed, err)
	case nbf.After(latest):
		return NewError(ReasonClockSkew, fmt.Errorf("nbf is %s after the latest that is accepted", nbf.Sub(latest)))
	}
	return nil
}

// checkNonce: OIDC Core 3.1.3.7 (11). The token answers this attempt and no
// other; an absent nonce is as wrong as another (SEC-62).
func checkNonce(claims Claims, nonce string) error {
	got, err := claims.String("nonce")
	if err != nil {
		return NewError(ReasonNonce, err)
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return NewError(ReasonNonce, errors.New("the nonce is another one"))
	}
	return nil
}

// checkAccessTokenHash: OIDC Core 3.1.3.8. If the ID token says which access
// token it belongs to, it is the one beside it.
func checkAccessTokenHash(claims Claims, token *oidc.IDToken, accessToken string) error {
	if _, ok := claims["at_hash"]; !ok {
		return nil
	}
	if err := token.VerifyAccessToken(accessToken); err != nil {
		return NewError(ReasonAtHash, err)
	}
	return nil
}
