package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// gateOf is a gate of a process that starts with what the journal has, and with the keys of another.
func gateOf(t *testing.T, j Journal, keys *testKeys) *gate {
	t.Helper()
	g := newGate(t, func(c *Config) {
		c.State, c.Now, c.Keys = NewState(j, time.Now), time.Now, keys
	})
	g.keys = keys
	return g
}

// refreshed is a browser whose session was refreshed, with the browser of before.
func refreshed(t *testing.T, g *gate) (b, old *browser) {
	t.Helper()
	b = newBrowser(t, app)
	g.signIn(b, fresh())
	old = b.clone()
	again(t, g, b)
	return b, old
}

func again(t *testing.T, g *gate, b *browser) {
	t.Helper()
	live, err := g.Update(t.Context(), g.mustLoad(b), refresh("access n"))
	if err != nil {
		t.Fatal(err)
	}
	g.deliver(b, live)
	g.visit(b)
}

// A copy of an old cookie, with a refresh token that is spent, comes after a restart: it is as dead as before.
func TestSupersededOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		b, old := refreshed(t, gateOf(t, j, keys))
		synctest.Wait()
		for restart := range 3 {
			time.Sleep(grace)
			g := gateOf(t, j, keys)
			g.wantErr(old, ErrSuperseded)
			old = b.clone()
			again(t, g, b)
			synctest.Wait()
			if len(j.superseded) != 1 || j.superseded[0].Generation != uint64(restart+3) {
				t.Fatalf("%d restarts: the journal has %v", restart, j.superseded)
			}
		}
		if _, err := gateOf(t, j, keys).load(b); err != nil {
			t.Errorf("the newest itself: %v", err)
		}
	})
}

// What a browser sent with the old cookie before it had the new one, and what a restart has held up, passes for the minute that
// it would have had: as the session of before, which nobody refreshes, and whose cookie is not set again. One that is older yet is
// dead, and so is every other in the end.
func TestSupersededHasItsMinuteAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		g := gateOf(t, j, keys)
		b, oldest := refreshed(t, g)
		time.Sleep(2 * grace)
		old := b.clone()
		again(t, g, b)
		synctest.Wait()
		time.Sleep(grace / 2)
		g = gateOf(t, j, keys)
		g.wantErr(oldest, ErrSuperseded)
		live := g.visit(old)
		if live.session.Generation != 2 || len(old.last) != 0 {
			t.Errorf("generation %d, and %d cookies are set", live.session.Generation, len(old.last))
		}
		same, err := g.Update(t.Context(), live, func(context.Context, *Session) error {
			t.Error("SEC: a refresh token is spent for the second time")
			return nil
		})
		if err != nil || same.session.Generation != 2 {
			t.Errorf("updated: %v %v", same, err)
		}
		newest := g.mustLoad(b)
		if newest.session.Generation != 3 {
			t.Errorf("the newest is of generation %d", newest.session.Generation)
		}
		if err := g.End(t.Context(), BySession(newest)); err != nil {
			t.Fatal(err)
		}
		g.wantErr(old, ErrRevoked)
		g = gateOf(t, &journal{superseded: j.superseded}, keys)
		g.mustLoad(old)
		time.Sleep(grace / 2)
		g.wantErr(old, ErrSuperseded)
	})
}

// A live session is never lost: as long as no browser has shown the new cookie, the answer with it may have been lost,
// and after a restart the old one is all that there is.
func TestUnshownSupersedesNothingAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		g, b := gateOf(t, j, keys), newBrowser(t, app)
		g.signIn(b, fresh())
		if _, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		gateOf(t, j, keys).mustLoad(b)
	})
}

// P30: what cannot be read is not "nothing is superseded", and a journal that takes nothing disturbs nobody: it is
// written when it can be.
func TestSupersededWhileTheJournalIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{appendErr: errOutage, supersededErr: errOutage}
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		g := gateOf(t, j, keys)
		early := newBrowser(t, app)
		g.signIn(early, fresh())
		g.wantErr(early, ErrUnavailable)
		j.mu.Lock()
		j.supersededErr = nil
		j.mu.Unlock()
		time.Sleep(2 * journalRetry)
		b, old := refreshed(t, g)
		again(t, g, b)
		time.Sleep(time.Hour)
		g.mustLoad(b)
		g.wantErr(old, ErrSuperseded)
		j.mu.Lock()
		j.appendErr = nil
		j.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 2*lastMarkRetry)
		defer cancel()
		g.state.AwaitUpdates(ctx)
		if len(j.superseded) != 1 || j.superseded[0].Generation != 3 {
			t.Errorf("the journal has %v", j.superseded)
		}
		gateOf(t, j, keys).wantErr(old, ErrSuperseded)
		j.supersededErr = errOutage
		if _, err := gateOf(t, j, keys).load(b); !errors.Is(err, ErrUnavailable) {
			t.Errorf("nobody knows what is superseded, and: %v", err)
		}
	})
}

// Two requests race: one has been given the generation that was the newest, and notes that it was shown only when a
// newer one is there. The older one does not become good again.
func TestShowingTakesNothingBack(t *testing.T) {
	s, now := newSuccession(), time.Now()
	of := func(generation uint64) *version {
		return &version{session: &Session{ID: ID{1}, Generation: generation, Expires: now.Add(time.Hour)}}
	}
	s.record(of(2), now)
	s.record(of(3), now)
	if s.show(of(2), now) {
		t.Error("what was superseded meanwhile is news")
	}
	if !s.show(of(3), now) {
		t.Error("the newest was shown, and that is no news")
	}
	s.show(of(2), now)
	if _, err := s.current(of(2), now.Add(grace)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("an older generation: %v", err)
	}
}

// Somebody signs out while the journal takes nothing, and is told so. What the journal did not take it is given again, until
// it takes it, and at the end of the process at the latest: a copy of the cookie stays dead after a restart.
func TestRevokedWhileTheJournalIsAway(t *testing.T) {
	for name, end := range map[string]func(*gate){
		"a crash, after the journal is back for a while": func(*gate) { time.Sleep(2 * lastMarkRetry) },
		"a graceful stop at once":                        func(g *gate) { g.state.AwaitUpdates(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
				g := gateOf(t, j, keys)
				b, staying := newBrowser(t, app), newBrowser(t, app)
				g.signIn(b, fresh())
				g.signIn(staying, fresh())
				j.mu.Lock()
				j.appendErr = errOutage
				j.mu.Unlock()
				if err := g.End(t.Context(), BySession(g.mustLoad(b))); !errors.Is(err, ErrUnavailable) {
					t.Errorf("the sign-out that is kept nowhere: %v", err)
				}
				g.wantErr(b, ErrRevoked)
				time.Sleep(time.Hour)
				j.mu.Lock()
				j.appendErr = nil
				j.mu.Unlock()
				end(g)
				restarted := gateOf(t, j, keys)
				restarted.wantErr(b, ErrRevoked)
				restarted.mustLoad(staying)
				time.Sleep(2 * lastMarkRetry) // nothing is written any more
			})
		})
	}
}
