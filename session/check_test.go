package session

import (
	"errors"
	"testing"
	"time"
)

// A token of our own is ended as a session is: by its id, by its subject up to a time, and not at all as long as nobody
// knows what was ended.
func TestCheck(t *testing.T) {
	g := newGate(t)
	token := func(id ID, created time.Time) *Session {
		return &Session{ID: id, Issuer: "https://app.example.test", Subject: "ada", Created: created, Expires: created.Add(30 * time.Minute)}
	}
	one, two := token(NewID(), g.clock.now()), token(NewID(), g.clock.now())
	check := func(s *Session, want error) {
		t.Helper()
		if err := g.Check(t.Context(), s); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	check(one, nil)
	if err := g.End(t.Context(), ByID(one.ID, one.Expires)); err != nil {
		t.Fatal(err)
	}
	check(one, ErrRevoked)
	check(two, nil)
	if err := g.End(t.Context(), BySubject(two.Issuer, two.Subject, g.clock.now(), two.Expires)); err != nil {
		t.Fatal(err)
	}
	check(two, ErrRevoked)
	g.clock.advance(time.Second)
	check(token(NewID(), g.clock.now()), nil)
}
