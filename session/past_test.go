package session

import (
	"errors"
	"testing"
	"time"
)

// A session that is over by its time is known for whose it was, and no other is.
func TestPast(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, store, func(c *Config) { c.IdleTimeout = time.Hour })
		b := newBrowser(t, app)
		past := func() (*Session, error) { return g.Past(t.Context(), b.cut(g.cookie), app) }
		if _, err := past(); !errors.Is(err, ErrNone) {
			t.Errorf("without cookie: %v", err)
		}
		live := g.signIn(b, alice())
		g.clock.advance(2 * time.Hour)
		g.wantErr(b, ErrIdle)
		if s, err := past(); err != nil || s.Subject != "alice" || s.ID != live.session.ID {
			t.Errorf("idle: %v", err)
		}
		if err := g.End(t.Context(), Target{Revocation{of: ofSessionID(live.session.ID), until: live.session.Expires}, nil}); err != nil {
			t.Fatal(err)
		}
		if _, err := past(); !errors.Is(err, ErrRevoked) {
			t.Errorf("revoked: %v", err)
		}
	})
}

func TestPastOfAnOldGeneration(t *testing.T) {
	g := newGate(t, func(c *Config) { c.IdleTimeout = 10 * time.Minute })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	updated, err := g.Update(t.Context(), live, refresh("access 2"))
	if err != nil {
		t.Fatal(err)
	}
	newer := b.clone()
	g.deliver(newer, updated)
	g.visit(newer)
	g.clock.advance(20 * time.Minute)
	if _, err := g.Past(t.Context(), b.cut(g.cookie), app); !errors.Is(err, ErrSuperseded) {
		t.Errorf("%v, want ErrSuperseded", err)
	}
}

// The cookie outlives its session by Linger, where it persists; the session does not.
func TestLinger(t *testing.T) {
	g := newGate(t, func(c *Config) { c.Linger = 3 * time.Hour })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	if age := b.ages["__Host-gatehouse"]; age != 15*3600 {
		t.Errorf("Max-Age of %d seconds", age)
	}
	g.clock.advance(2 * time.Hour)
	updated, err := g.Update(t.Context(), live, refresh("access 2"))
	if err != nil {
		t.Fatal(err)
	}
	g.deliver(b, updated)
	if age := b.ages["__Host-gatehouse"]; age != 13*3600 {
		t.Errorf("Max-Age of %d seconds after a refresh", age)
	}
	g.clock.advance(10 * time.Hour)
	g.wantErr(b, ErrExpired)
	if s, err := g.Past(t.Context(), b.cut(g.cookie), app); err != nil || s.Subject != "alice" {
		t.Errorf("%v", err)
	}
}
