package caddymodule

import (
	"errors"
	"net/http"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// The kinds of what the gate seals, besides the cookies of the session itself, which
// package session seals. Each kind has keys of its own, so that nothing that is sealed
// for one purpose passes for another (SEC-92). A kind that changes makes everything
// unreadable that was sealed before.
const (
	purposeAttempt    = "attempt"       // a login attempt, in its cookie
	purposeFinished   = "finished"      // the mark of finished sign-ins, in its cookie
	purposeForm       = "form"          // a form that waits, in the store
	purposeFormReturn = "form_return"   // the handle of a form, in its cookie
	purposeHint       = "id_token_hint" // the ID token for a sign-out, in its cookie
	purposeNonce      = "dpop nonce"    // a nonce for proofs, in a header
	purposePostLogout = "post_logout"   // where to go after a sign-out, in a URL
	purposeStepUp     = "step_up"       // what a sign-in has to be, in a URL
)

// The kinds of what counts once ([session.State.UseOnce]).
const (
	usedAttempt = "attempt"      // a login attempt, by its state
	usedForm    = "form"         // a place for a form that waits, by session and time
	usedLogout  = "logout token" // a logout token, by issuer and jti
	usedProof   = "dpop proof"   // a proof of possession, by key and jti
)

// purpose is a kind, for the host of this visit alone.
func (v *visit) purpose(kind string) seal.Purpose {
	return seal.Purpose{Kind: kind, Scope: v.origin.hostname()}
}

// attemptPurpose is that of the attempt of one state: under the name of another attempt
// it does not open.
func (v *visit) attemptPurpose(state string) seal.Purpose {
	return seal.Purpose{Kind: purposeAttempt, Scope: v.origin.hostname() + " " + state}
}

// seal seals a value with the site's keys, so that it opens for its purpose alone.
func (g *Gate) seal(r *http.Request, p seal.Purpose, value []byte) (string, error) {
	ring, err := g.keys.Ring(r.Context())
	if err != nil {
		return "", sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Seal(p, value)
}

// unseal opens what [Gate.seal] has sealed for the same purpose.
func (g *Gate) unseal(r *http.Request, p seal.Purpose, value string) ([]byte, error) {
	ring, err := g.keys.Ring(r.Context())
	if err != nil {
		return nil, sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Open(p, value)
}
