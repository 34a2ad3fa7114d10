package caddymodule

import (
	"context"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// ringKeys are the keys of a site.
type ringKeys struct{ ring *seal.Ring }

func newRingKeys(t *testing.T) *ringKeys {
	t.Helper()
	key, err := seal.NewKey(time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return &ringKeys{ring}
}

// Ring implements session.Keys.
func (k *ringKeys) Ring(context.Context) (*seal.Ring, error) { return k.ring, nil }

// Refresh implements session.Keys.
func (k *ringKeys) Refresh(context.Context) {}

// The keys that sign are made of a ring once, also where sites have rings of their own, and anew when the ring changes.
func TestAssertionKeysAreKept(t *testing.T) {
	app := new(App)
	one, other := newRingKeys(t), newRingKeys(t)
	first, second := &Gate{app: app, keys: one}, &Gate{app: app, keys: other}
	made := map[any]bool{}
	use := func(g *Gate) {
		keys, err := g.assertionKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		made[&keys[0]] = true
	}
	for range 3 {
		use(first)
		use(second)
	}
	if len(made) != 2 {
		t.Errorf("made %d times, want 2", len(made))
	}
	one.ring = newRingKeys(t).ring
	if use(first); len(made) != 3 {
		t.Error("they are those of the ring that was")
	}
}
