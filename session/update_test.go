package session

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

func TestUpdate(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g, b := newGate(t, store), newBrowser(t, app)
		g.signIn(b, alice())
		before := g.mustLoad(b)
		old := before.Session().Clone()
		g.clock.advance(time.Minute)
		live, err := g.Update(t.Context(), before, func(_ context.Context, s *Session) error {
			s.AccessToken = secret.New("access 2")
			s.Claims["groups"] = []any{"ops"}
			s.ID, s.Generation, s.Host = NewID(), 99, "evil.example.com"
			s.Created, s.Sealed, s.Expires = epoch.Add(time.Hour), epoch.Add(time.Hour), epoch.Add(99*time.Hour)
			s.IDTokenIssued, s.Nonce = epoch.Add(time.Hour), "another"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s := live.Session()
		if s.AccessToken.Reveal() != "access 2" || len(s.Claims["groups"].([]any)) != 1 {
			t.Errorf("not changed: %+v", s)
		}
		if s.ID != old.ID || s.Generation != 2 || s.Host != old.Host || !s.Created.Equal(old.Created) || !s.Expires.Equal(old.Expires) ||
			!s.IDTokenIssued.Equal(old.IDTokenIssued) || s.Nonce != old.Nonce || !s.Sealed.Equal(g.clock.now()) {
			t.Errorf("what no change may touch: %+v", s)
		}
		if got := before.Session(); got.AccessToken.Reveal() != "access 1" || len(got.Claims["groups"].([]any)) != 2 {
			t.Error("the session that other requests share was changed")
		}
		g.deliver(b, live)
		if _, isCookie := g.store.(*cookieStore); isCookie != (len(b.last) == 1) {
			t.Errorf("delivered %v", b.last)
		}
		if age := b.ages["__Host-gatehouse"]; len(b.last) == 1 && age != int((12*time.Hour-time.Minute).Seconds()) {
			t.Errorf("Max-Age %d, want what is left of the lifetime", age)
		}
		if got := g.mustLoad(b).Session(); got.Generation != 2 {
			t.Errorf("generation %d after the update", got.Generation)
		}
	})
}

func TestUpdateRefusesAnotherPrincipal(t *testing.T) {
	for name, change := range map[string]func(*Session){
		"provider": func(s *Session) { s.Provider = "x" }, "issuer": func(s *Session) { s.Issuer = "x" },
		"client": func(s *Session) { s.ClientID = "x" }, "subject": func(s *Session) { s.Subject = "x" },
	} {
		g, b := newGate(t), newBrowser(t, app)
		live := g.signIn(b, alice())
		if _, err := g.Update(t.Context(), live, func(_ context.Context, s *Session) error { change(s); return nil }); !errors.Is(err, ErrPrincipal) {
			t.Errorf("another %s: %v, want ErrPrincipal", name, err)
		}
		g.mustLoad(b)
	}
}

// P04: of many requests one refreshes, and all get what it got.
func TestOneUpdateAtATime(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			g, b := newGate(t, store), newBrowser(t, app)
			g.signIn(b, alice())
			var calls atomic.Int32
			var group sync.WaitGroup
			for i := range 100 {
				group.Go(func() {
					live := g.mustLoad(b)
					time.Sleep(time.Duration(i) * 10 * time.Millisecond) // some come while it runs, some after
					live, err := g.Update(t.Context(), live, func(context.Context, *Session) error {
						calls.Add(1)
						time.Sleep(500 * time.Millisecond)
						return nil
					})
					if err != nil || live.Session().Generation != 2 {
						t.Errorf("%v", err)
					}
				})
			}
			group.Wait()
			if calls.Load() != 1 {
				t.Errorf("change was called %d times", calls.Load())
			}
		})
	})
}

// P04, with a browser that still sends the old cookie.
func TestSuperseded(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	g.signIn(b, alice())
	late := b.clone()
	live, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2"))
	if err != nil {
		t.Fatal(err)
	}
	g.deliver(b, live)
	g.clock.advance(59 * time.Second)
	got := g.mustLoad(late)
	if got.Session().Generation != 2 || got.Session().AccessToken.Reveal() != "access 2" {
		t.Errorf("within a minute the old cookie gets generation %d", got.Session().Generation)
	}
	called := false
	again, err := g.Update(t.Context(), got, func(context.Context, *Session) error { called = true; return nil })
	if err != nil || !called || again.Session().Generation != 3 {
		t.Errorf("who holds the newest may update it: %v", err)
	}
	g.deliver(late, got)
	if len(late.last) != 1 {
		t.Error("the browser with the old cookie is not given the new one")
	}

	stale := b.clone()
	g.clock.advance(61 * time.Second)
	g.wantErr(stale, ErrSuperseded)
	g.deliver(b, again)
	g.mustLoad(b)
	g.clock.advance(11 * time.Hour)
	g.mustLoad(b)
	g.wantErr(stale, ErrSuperseded) // remembered until the session ends
	if _, err := g.Update(t.Context(), got, refresh("x")); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a superseded generation is refreshed: %v", err)
	}
}

func TestSupersededIsBounded(t *testing.T) {
	s := newSuccession()
	s.newest.limit = 100
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	session := func(id byte, second int, generation uint64, sealed time.Time) *version {
		return &version{session: &Session{ID: ID{id, byte(second >> 8), byte(second)}, Generation: generation, Sealed: sealed, Expires: at(100_000)}}
	}
	for i := range 1000 {
		s.record(session(1, i, 2, at(i)), at(i))
	}
	if len(s.newest.entries) > 100 || len(s.recent) > 130 {
		t.Errorf("%d entries, %d versions", len(s.newest.entries), len(s.recent))
	}
	for i := range 1000 {
		if _, err := s.current(session(1, i, 1, at(0)), at(2000)); !errors.Is(err, ErrSuperseded) {
			t.Errorf("generation 1 of session %d counts again: %v", i, err)
		}
	}
	if _, err := s.current(session(2, 1, 1, at(10)), at(2000)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("nobody can tell, but: %v", err)
	}
	if _, err := s.current(session(2, 1, 1, at(1500)), at(2000)); err != nil {
		t.Errorf("sealed after the floor: %v", err)
	}
	if v, err := s.current(session(1, 999, 2, at(999)), at(2000)); err != nil || v.session.Generation != 2 {
		t.Errorf("the newest itself: %v", err)
	}
	_, _, floor := s.newest.get(ID{}, at(2000))
	if _, err := s.current(session(2, 1, 1, floor), at(2000)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("sealed in the second of the floor: %v", err)
	}
	s.record(session(3, 1, 3, at(2000)), at(2000))
	s.record(session(3, 1, 2, at(2000)), at(2000))
	if v, err := s.current(session(3, 1, 1, at(1500)), at(2000)); err != nil || v.session.Generation != 3 {
		t.Errorf("of two that were recorded in the wrong order not the newer is given: %v", err)
	}
	s.record(session(1, 999, 1, at(0)), at(2001)) // a late one changes nothing
	if _, err := s.current(session(1, 999, 1, at(0)), at(2090)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("an older generation was recorded over a newer: %v", err)
	}
}

// P05: a failure is not repeated at once, and ends nothing.
func TestFailedUpdateBacksOff(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g, b := newGate(t, store), newBrowser(t, app)
		g.signIn(b, alice())
		calls := 0
		try := func() error {
			_, err := g.Update(t.Context(), g.mustLoad(b), func(_ context.Context, s *Session) error {
				s.AccessToken = secret.New("half done")
				calls++
				return errOutage
			})
			return err
		}
		for range 10 {
			if err := try(); !errors.Is(err, errOutage) {
				t.Fatalf("%v, want the error of change", err)
			}
		}
		if calls != 1 {
			t.Errorf("change was called %d times at once", calls)
		}
		for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			g.clock.advance(wait*time.Second/2 - time.Millisecond) // with all of the jitter
			if err := try(); !errors.Is(err, errOutage) || calls != i+1 {
				t.Fatalf("after half of %d s: %v, %d calls", wait, err, calls)
			}
			g.clock.advance(wait*time.Second/2 + time.Millisecond) // with none
			if err := try(); !errors.Is(err, errOutage) || calls != i+2 {
				t.Fatalf("after %d s: %v, %d calls", wait, err, calls)
			}
		}
		if got := g.mustLoad(b).Session(); got.Generation != 1 || got.AccessToken.Reveal() != "access 1" {
			t.Errorf("a failed change left something behind: %+v", got)
		}
		g.clock.advance(time.Minute)
		if _, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2")); err != nil {
			t.Errorf("when it works again: %v", err)
		}
	})
}

// P05: what is over ends at once.
func TestChangeEndsSession(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g, b := newGate(t, store), newBrowser(t, app)
		live := g.signIn(b, alice())
		invalidGrant := errors.New("invalid_grant")
		_, err := g.Update(t.Context(), live, func(context.Context, *Session) error { return errors.Join(ErrEnd, invalidGrant) })
		if !errors.Is(err, ErrEnd) || !errors.Is(err, invalidGrant) {
			t.Errorf("%v, want the error of change", err)
		}
		if _, err := g.load(b); !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%v, want ErrRevoked", err)
		}
		if len(g.state.updates.pending) != 0 {
			t.Error("a session that is over is kept for another try")
		}
	})
}

// The refresh goes on when the browser that caused it goes away.
func TestCancelledRequestDoesNotCancelUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newGate(t), newBrowser(t, app)
		live := g.signIn(b, alice())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		type key struct{}
		_, err := g.Update(context.WithValue(ctx, key{}, "value"), live, func(ctx context.Context, s *Session) error {
			time.Sleep(2 * time.Second)
			if ctx.Err() != nil || ctx.Value(key{}) != "value" {
				t.Errorf("the change's context: %v, value %v", ctx.Err(), ctx.Value(key{}))
			}
			s.AccessToken = secret.New("access 2")
			return nil
		})
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want ErrUnavailable and DeadlineExceeded", err)
		}
		time.Sleep(2 * time.Second)
		if got := g.mustLoad(b).Session(); got.AccessToken.Reveal() != "access 2" {
			t.Error("the update was lost with the request")
		}
	})
}

func TestUpdateIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newGate(t), newBrowser(t, app)
		live := g.signIn(b, alice())
		start := time.Now()
		_, err := g.Update(t.Context(), live, func(ctx context.Context, _ *Session) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != updateTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestPanickingChange(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	live := g.signIn(b, alice())
	if _, err := g.Update(t.Context(), live, func(context.Context, *Session) error { panic("boom") }); err == nil {
		t.Error("no error")
	}
	g.clock.advance(time.Second)
	if _, err := g.Update(t.Context(), live, refresh("x")); err != nil {
		t.Errorf("the session is blocked: %v", err)
	}
}

// A change that does not return at all (in a test that fails, say) has no result.
func TestChangeThatNeverReturns(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	live := g.signIn(b, alice())
	if _, err := g.Update(t.Context(), live, func(context.Context, *Session) error { runtime.Goexit(); return nil }); !errors.Is(err, errUnfinished) {
		t.Errorf("%v, want errUnfinished", err)
	}
}

// P04: the provider rotated the refresh token, then the store failed.
func TestUnsavedChangeIsNotLost(t *testing.T) {
	store := &fragile{}
	g := newGate(t, func(c *Config) { store.Store = NewMemoryStore(c.Now); c.Store = store })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	store.set(nil, errOutage, nil)
	if _, err := g.Update(t.Context(), live, refresh("rotated")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errOutage) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
	g.clock.advance(5 * time.Minute)
	other := newBrowser(t, app) // the sweep that comes with another's update
	if _, err := g.Update(t.Context(), g.signInWhile(store, other), refresh("x")); err == nil {
		t.Fatal("the store should be away")
	}
	store.set(nil, nil, nil)
	g.clock.advance(time.Minute)
	again, err := g.Update(t.Context(), g.mustLoad(b), func(context.Context, *Session) error {
		t.Error("the refresh token that was spent is sent again")
		return nil
	})
	if err != nil || again.Session().AccessToken.Reveal() != "rotated" || again.Session().Generation != 2 {
		t.Errorf("%v", err)
	}
	if g.mustLoad(b).Session().AccessToken.Reveal() != "rotated" {
		t.Error("not saved")
	}
}

// signInWhile signs a browser in while the store takes nothing else.
func (g *gate) signInWhile(store *fragile, b *browser) *Live {
	store.set(nil, nil, nil)
	defer store.set(nil, errOutage, nil)
	return g.signIn(b, alice())
}

// Two processes refresh one session: the slower one takes the faster one's result.
func TestAnotherProcessWasFaster(t *testing.T) {
	shared := NewMemoryStore(newClock().now)
	store := &fragile{Store: shared}
	g := newGate(t, func(c *Config) { c.Store = store })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	other := newGate(t, func(c *Config) { c.Store = shared; c.Keys = g.keys })
	store.beforeSave = func() {
		if _, err := other.Update(t.Context(), live, refresh("theirs")); err != nil {
			t.Error(err)
		}
	}
	got, err := g.Update(t.Context(), live, refresh("ours"))
	if err != nil || got.Session().AccessToken.Reveal() != "theirs" || got.Session().Generation != 2 {
		t.Errorf("%v", err)
	}
	// And without calling change, if it is seen in time.
	if _, err := other.Update(t.Context(), got, refresh("theirs again")); err != nil {
		t.Fatal(err)
	}
	got, err = g.Update(t.Context(), got, func(context.Context, *Session) error { t.Error("change was called"); return nil })
	if err != nil || got.Session().AccessToken.Reveal() != "theirs again" {
		t.Errorf("%v", err)
	}
}

// What does not fit is told by the update, not found when it is delivered.
func TestUpdateTooLarge(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	fitted, refused := 0, 0
	for size := 4000; size < 4400; size += 20 {
		live, err := g.Update(t.Context(), g.signIn(b, alice()), func(_ context.Context, s *Session) error {
			s.Claims["large"] = noise(size)
			return nil
		})
		if errors.Is(err, ErrTooLarge) {
			refused++
			if got := g.mustLoad(b).Session(); got.Generation != 1 {
				t.Errorf("generation %d", got.Generation)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fitted++
		g.deliver(b, live)
		g.mustLoad(b)
	}
	if fitted == 0 || refused == 0 {
		t.Errorf("%d fitted, %d were refused", fitted, refused)
	}
}

// An update that runs is not forgotten when failures are swept.
func TestRunningUpdateIsNotSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		b, other := newBrowser(t, app), newBrowser(t, app)
		live, otherLive := g.signIn(b, alice()), g.signIn(other, alice())
		var calls atomic.Int32
		slow := func(context.Context, *Session) error { calls.Add(1); time.Sleep(20 * time.Second); return nil }
		var group sync.WaitGroup
		update := func() {
			if _, err := g.Update(t.Context(), live, slow); err != nil {
				t.Error(err)
			}
		}
		group.Go(update)
		time.Sleep(time.Second)
		g.clock.advance(time.Hour)
		if _, err := g.Update(t.Context(), otherLive, refresh("x")); err != nil {
			t.Error(err)
		}
		group.Go(update)
		group.Wait()
		if calls.Load() != 1 {
			t.Errorf("change was called %d times", calls.Load())
		}
	})
}

func TestUpdateOfWhatIsOver(t *testing.T) {
	never := func(t *testing.T) func(context.Context, *Session) error {
		return func(context.Context, *Session) error { t.Error("change was called"); return nil }
	}
	t.Run("expired", func(t *testing.T) {
		g, b := newGate(t), newBrowser(t, app)
		live := g.signIn(b, alice())
		g.clock.advance(12 * time.Hour)
		if _, err := g.Update(t.Context(), live, never(t)); !errors.Is(err, ErrExpired) {
			t.Errorf("%v, want ErrExpired", err)
		}
	})
	t.Run("revoked while it ran", func(t *testing.T) {
		overStores(t, func(t *testing.T, store func(*Config)) {
			g, b := newGate(t, store), newBrowser(t, app)
			live := g.signIn(b, alice())
			_, err := g.Update(t.Context(), live, func(context.Context, *Session) error {
				return g.End(t.Context(), BySubject("https://id.example.com", "alice", epoch, time.Time{}))
			})
			if err != nil {
				t.Fatal(err)
			}
			g.wantErr(b, ErrRevoked)
		})
	})
	t.Run("deleted while it ran", func(t *testing.T) {
		g, b := newGate(t, stores["memory"]), newBrowser(t, app)
		live := g.signIn(b, alice())
		_, err := g.Update(t.Context(), live, func(context.Context, *Session) error { return g.End(t.Context(), BySession(live)) })
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
		if _, err := g.load(b); err == nil {
			t.Error("a session that was ended came back by its refresh")
		}
	})
}

func TestUpdatesAreForgotten(t *testing.T) {
	g := newGate(t)
	for range 10 {
		b := newBrowser(t, app)
		if _, err := g.Update(t.Context(), g.signIn(b, alice()), func(context.Context, *Session) error { return errOutage }); err == nil {
			t.Fatal("no error")
		}
	}
	g.clock.advance(2*time.Minute + time.Second)
	b := newBrowser(t, app)
	if _, err := g.Update(t.Context(), g.signIn(b, alice()), refresh("x")); err != nil {
		t.Fatal(err)
	}
	if got := len(g.state.updates.pending); got != 0 {
		t.Errorf("%d failures are remembered", got)
	}
}

// The end of a process waits for refreshes under way: what they bring is kept.
func TestAwaitUpdates(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	g.signIn(b, alice())
	live := g.mustLoad(b)
	g.state.AwaitUpdates(t.Context()) // nothing runs
	started, finish := make(chan struct{}), make(chan struct{})
	go g.Update(t.Context(), live, func(context.Context, *Session) error {
		close(started)
		<-finish
		return nil
	})
	<-started
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	g.state.AwaitUpdates(impatient)
	if g.state.updates.running() == nil {
		t.Fatal("the update does not run any more")
	}
	time.AfterFunc(10*time.Millisecond, func() { close(finish) })
	g.state.AwaitUpdates(t.Context())
	if g.state.updates.running() != nil {
		t.Error("an update is under way")
	}
}
