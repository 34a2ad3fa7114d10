package session

import (
	"errors"
	"testing"
	"time"
	"unsafe"
)

// jumped is a time after the clock was set: the clock that cannot be set, which time.Now reads as well, knows nothing
// of it. It stands apart from what is set in the upper bits of the first word.
func jumped(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
}

// jumpingGate is a gate whose clock can be set.
func jumpingGate(t *testing.T, j Journal) (g *gate, set func(time.Duration)) {
	t.Helper()
	var by time.Duration
	now := func() time.Time { return jumped(time.Now(), by) }
	if got := time.Until(now()).Round(time.Second); got != 0 {
		t.Fatalf("the clock that cannot be set is off by %s", got)
	}
	g = newGate(t, func(c *Config) { c.Now, c.State = now, NewState(j, now) })
	g.keys.ring = newRing(t, time.Now().Add(-time.Hour))
	return g, func(to time.Duration) { by = to }
}

// sweepSoon has what is over looked for with the next entry, as once a minute.
func sweepSoon(g *gate) {
	for _, l := range g.state.revoked.entries.of {
		l.swept = time.Time{}
	}
	for _, l := range g.state.used {
		l.swept = time.Time{}
	}
	g.state.succession.newest.swept = time.Time{}
}

// The clock jumps ahead for a moment, as a machine's does that wakes up, and is set back: what was ended stays ended,
// and what was used stays used.
func TestClockJumps(t *testing.T) {
	j := &journal{}
	g, set := jumpingGate(t, j)
	b, old := refreshed(t, g)
	ended := newBrowser(t, app)
	if err := g.End(t.Context(), BySession(g.signIn(ended, fresh()))); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(10 * time.Minute)
	if err := g.state.UseOnce(t.Context(), "test", "key", until); err != nil {
		t.Fatal(err)
	}
	set(20 * time.Hour)
	sweepSoon(g)
	other := newBrowser(t, app)
	if err := g.End(t.Context(), BySession(g.signIn(other, fresh()))); err != nil { // which sweeps
		t.Fatal(err)
	}
	refreshed(t, g)
	_ = g.state.UseOnce(t.Context(), "test", "another", time.Now().Add(30*time.Hour))
	g.wantErr(b, ErrExpired)
	set(0)
	g.mustLoad(b)
	g.wantErr(ended, ErrRevoked)
	if err := g.state.UseOnce(t.Context(), "test", "key", until); !errors.Is(err, ErrUsed) {
		t.Errorf("used again: %v", err)
	}
	if _, found, _ := g.state.succession.newest.get(g.mustLoad(b).session.ID, time.Now()); !found {
		t.Error("that the session has a newer cookie is forgotten")
	}
	_ = old
	set(-3 * time.Hour)
	g.mustLoad(b)
	g.wantErr(ended, ErrRevoked)
	set(0)

	// One that starts while the clock is ahead, which is set back afterwards.
	g.state.AwaitUpdates(t.Context())
	g2, set := jumpingGate(t, j)
	g2.keys.ring = g.keys.ring
	set(20 * time.Hour)
	g2.wantErr(b, ErrExpired)
	late := newBrowser(t, app)
	g2.signIn(late, fresh())
	g2.mustLoad(late) // which reads the journal
	sweepSoon(g2)
	if err := g2.End(t.Context(), BySession(g2.signIn(newBrowser(t, app), fresh()))); err != nil {
		t.Fatal(err)
	}
	set(0)
	g2.mustLoad(b)
	g2.wantErr(ended, ErrRevoked)
	set(2 * grace) // the old one has its minute also after a restart
	g2.wantErr(old, ErrSuperseded)
}

// What is remembered since the start is so by the clock as it is set now: proofs of DPoP are compared with it.
func TestSinceFollowsTheClock(t *testing.T) {
	var by time.Duration
	now := func() time.Time { return jumped(time.Now(), by) }
	by = 3 * time.Hour
	st := NewState(nil, now)
	by = 0
	if ahead := st.Since().Sub(time.Now().Round(0)); ahead > 0 || ahead < -time.Minute {
		t.Errorf("Since is %s from now", ahead)
	}
}
