package session

import (
	"errors"
	"testing"
	"time"
)

// A session that the browser does not bring now is ended by its ID, with all copies, and no other.
func TestEndByID(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, store)
		b, bystander := newBrowser(t, app), newBrowser(t, app)
		live := g.signIn(b, alice())
		g.signIn(bystander, alice())
		if err := g.End(t.Context(), ByID(live.Session().ID, time.Time{})); err != nil {
			t.Fatal(err)
		}
		if _, err := g.load(b); !errors.Is(err, ErrRevoked) {
			t.Errorf("after its end: %v", err)
		}
		g.mustLoad(bystander)
		g.clock.advance(11*time.Hour + 59*time.Minute)
		if _, err := g.load(b); !errors.Is(err, ErrRevoked) {
			t.Errorf("hours after its end: %v", err)
		}
	})
}
