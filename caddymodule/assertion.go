package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// assertionLifetime is how long an assertion is good: for the request that brings it,
// and none that comes later.
const assertionLifetime = time.Minute

// assertionType is the typ of an assertion: it is no ID token, and no assertion of the
// client's (RFC 8725 3.11).
const assertionType = "gatehouse+jwt"

// assertionKeys are the keys that sign assertions, made of a key ring: every process
// that shares the ring has the same, a key stands in our key set before it signs, and
// one that was retired signs nothing any more.
type assertionKeys struct {
	ring *seal.Ring
	keys []authflow.ClientKey
}

// asserts reports whether some site forwards assertions.
func (a *App) asserts() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for need := range a.tokens {
		if need.token == assertion {
			return true
		}
	}
	return false
}

// assertionKeys returns the keys of now; the first signs. They are of the ring that
// seals the cookies of the site.
func (g *Gate) assertionKeys(ctx context.Context) ([]authflow.ClientKey, error) {
	ring, err := g.keys.Ring(ctx)
	if err != nil {
		return nil, sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	if known := g.assertion.Load(); known != nil && known.ring == ring {
		return known.keys, nil
	}
	seeds, err := ring.Derive(assertion, 48)
	if err != nil {
		return nil, err
	}
	made := &assertionKeys{ring: ring}
	for _, seed := range seeds {
		key, err := authflow.KeyFromSeed(seed)
		if err != nil {
			return nil, err
		}
		made.keys = append(made.keys, key)
	}
	g.assertion.Store(made)
	return made.keys, nil
}

// assert signs for the upstream who is calling (RFC 7519): the claims that the headers
// of this gate hold, from this site and for it. sub is who the session is of, with the
// provider's name where several sign people in, as nobody's choice of name at one of
// them makes them somebody at another.
func (g *Gate) assert(r *http.Request, v *visit, who *identity) (secret.String, error) {
	keys, err := g.assertionKeys(r.Context())
	if err != nil {
		return secret.String{}, err
	}
	claims := make(map[string]any)
	for _, header := range g.identityHeaders {
		if value := who.asserted(header.Claim); value != nil {
			claims[header.Claim] = value
		}
	}
	now := g.now()
	claims["iss"], claims["aud"] = v.origin.String(), v.origin.String()
	claims["sub"] = who.prefix(who.session.Subject)
	claims["iat"], claims["exp"] = now.Unix(), now.Add(assertionLifetime).Unix()
	claims["jti"] = rand.Text()
	signed, err := keys[0].Sign(assertionType, claims)
	return secret.New(signed), err
}

// asserted is a claim as it stands in an assertion; nil if there is none.
func (id *identity) asserted(claim string) any {
	switch claim {
	case "nbf":
		return nil // it would speak of another token
	case "groups":
		groups := id.values(claim, false)
		if len(groups) == 0 {
			return nil
		}
		return groups
	case "user", "email", "email_domain", "provider":
		if text := id.header(claim); text != "" {
			return text
		}
		return nil
	}
	return plainValue(id.claim(claim))
}
