package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test over each store with the clock of synctest.
func inBubble(t *testing.T, test func(*testing.T, *gate), configure ...func(*Config)) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			options := append([]func(*Config){store, func(c *Config) {
				c.Now = time.Now
				if m, is := c.Store.(*MemoryStore); is {
					m.now = time.Now
				}
			}}, configure...)
			test(t, newGate(t, options...))
		})
	})
}

// wantCut waits for as long as a request may outlive its session.
func wantCut(t *testing.T, w *Watch, want error) {
	t.Helper()
	select {
	case <-w.Context().Done():
	case <-time.After(5 * time.Second):
		t.Fatal("not cut within 5 seconds")
	}
	if !errors.Is(w.Cut(), want) {
		t.Errorf("cut for %v, want %v", w.Cut(), want)
	}
}

func wantRunning(t *testing.T, w *Watch) {
	t.Helper()
	if err := w.Context().Err(); err != nil || w.Cut() != nil {
		t.Fatalf("cut while the session lives: %v, %v", err, w.Cut())
	}
}

// aliceNow has signed in at the clock of synctest.
func aliceNow() *Session {
	s := alice()
	s.IDTokenIssued = time.Now()
	return s
}

// A stream ends with its session, whatever ends that, and not before.
func TestWatchCuts(t *testing.T) {
	for name, end := range map[string]func(*gate, *Live) error{
		"signed out": func(g *gate, live *Live) error { return g.End(g.t.Context(), BySession(live)) },
		"by sid": func(g *gate, live *Live) error {
			return g.End(g.t.Context(), ByIdPSession(live.session.Issuer, live.session.IdPSession, time.Time{}))
		},
		"by subject": func(g *gate, live *Live) error {
			return g.End(g.t.Context(), BySubject(live.session.Issuer, live.session.Subject, time.Now(), time.Time{}))
		},
		"refresh refused": func(g *gate, live *Live) error {
			if _, err := g.Update(g.t.Context(), live, func(context.Context, *Session) error { return ErrEnd }); !errors.Is(err, ErrEnd) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, g *gate) {
				b, other := newBrowser(t, app), newBrowser(t, app)
				bob := aliceNow()
				bob.Subject, bob.IdPSession = "bob", "sid-2"
				bobs := g.Watch(t.Context(), g.signIn(other, bob), nil)
				defer bobs.Stop()
				live := g.signIn(b, aliceNow())
				first, second := g.Watch(t.Context(), live, nil), g.Watch(t.Context(), live, nil)
				defer first.Stop()
				defer second.Stop()
				time.Sleep(time.Hour)
				wantRunning(t, first)
				wantRunning(t, second)
				if err := end(g, live); err != nil {
					t.Fatal(err)
				}
				wantCut(t, first, ErrRevoked)
				wantCut(t, second, ErrRevoked)
				time.Sleep(time.Minute)
				wantRunning(t, bobs)
			})
		})
	}
}

// P39: the absolute end.
func TestWatchCutsAtTheLifetime(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gate) {
		w := g.Watch(t.Context(), g.signIn(newBrowser(t, app), alice()), nil)
		defer w.Stop()
		time.Sleep(12*time.Hour - time.Second)
		wantRunning(t, w)
		time.Sleep(time.Second)
		wantCut(t, w, ErrExpired)
	})
}

// A stream is one use of the session; other requests keep it.
func TestWatchCutsWhenIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gate) {
		b := newBrowser(t, app)
		w := g.Watch(t.Context(), g.signIn(b, alice()), nil)
		defer w.Stop()
		for range 3 {
			time.Sleep(10 * time.Minute)
			live := g.visit(b)
			g.Watch(t.Context(), live, nil).Stop()
		}
		time.Sleep(15*time.Minute - time.Second)
		wantRunning(t, w)
		time.Sleep(time.Second)
		wantCut(t, w, ErrIdle)
		g.wantErr(b, ErrIdle)
	}, func(c *Config) { c.IdleTimeout = 15 * time.Minute })
}

// Of a store that several processes use, another may know of a later use.
func TestWatchAsksTheStoreForTheLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		g := newGate(t, func(c *Config) { c.Store, c.Now, c.IdleTimeout = store, time.Now, 15*time.Minute })
		live := g.signIn(newBrowser(t, app), alice())
		w := g.Watch(t.Context(), live, nil)
		defer w.Stop()
		time.Sleep(10 * time.Minute)
		if err := store.Use(t.Context(), live.handle, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(14 * time.Minute)
		wantRunning(t, w)
		time.Sleep(time.Minute)
		wantCut(t, w, ErrIdle)
	})
}

// peekless is a store that is away at times.
type peekless struct {
	ServerStore
	away atomic.Bool
}

func (p *peekless) Peek(ctx context.Context, handle []byte) (uint64, time.Time, error) {
	if p.away.Load() {
		return 0, time.Time{}, errOutage
	}
	return p.ServerStore.Peek(ctx, handle)
}

// P30: what cannot be judged now goes on.
func TestWatchGoesOnInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &peekless{ServerStore: NewMemoryStore(nil)}
		g := newGate(t, func(c *Config) { c.Store, c.Now, c.IdleTimeout = store, time.Now, 15*time.Minute })
		w := g.Watch(t.Context(), g.signIn(newBrowser(t, app), alice()), nil)
		defer w.Stop()
		store.away.Store(true)
		time.Sleep(time.Hour)
		wantRunning(t, w)
		store.away.Store(false)
		wantCut(t, w, ErrIdle)
	})
}

// After a reload a shorter lifetime counts for streams, too, from the first request on.
func TestWatchKnowsTheLatestConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(c *Config) { c.Now = time.Now })
		live := g.signIn(newBrowser(t, app), alice())
		w := g.Watch(t.Context(), live, nil)
		defer w.Stop()
		reloaded, err := NewManager(Config{Keys: g.keys, State: g.state, Now: time.Now, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		reloaded.Watch(t.Context(), live, nil).Stop()
		time.Sleep(time.Hour)
		wantCut(t, w, ErrExpired)
	})
}

// However they come and go, nothing is left of them; and there is one timer for all.
func TestWatchLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(c *Config) { c.Now = time.Now })
		var all []*Watch
		before := runtime.NumGoroutine()
		for range 50 {
			live := g.signIn(newBrowser(t, app), alice())
			for range 80 {
				all = append(all, g.Watch(t.Context(), live, nil))
			}
		}
		if more := runtime.NumGoroutine() - before; more > 0 {
			t.Errorf("%d goroutines for %d watches", more, len(all))
		}
		time.Sleep(10 * time.Second)
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, w := range all {
			wantRunning(t, w)
			w.Stop()
			if err := w.Context().Err(); err == nil {
				t.Fatal("the context goes on after its request")
			}
			if i == len(all)/2 {
				time.Sleep(10 * time.Second)
			}
		}
		for i := range g.state.watches.shards {
			if left := len(g.state.watches.shards[i].latest); left > 0 {
				t.Errorf("%d sessions are still watched", left)
			}
		}
		time.Sleep(watchEvery)
		synctest.Wait()
		if g.state.watches.armed.Load() {
			t.Error("the timer runs for nothing")
		}
		w := g.Watch(t.Context(), g.signIn(newBrowser(t, app), alice()), nil) // and it starts again
		defer w.Stop()
		time.Sleep(12 * time.Hour)
		wantCut(t, w, ErrExpired)
	})
}

// BenchmarkWatch is what it costs a request that is over at once.
func BenchmarkWatch(b *testing.B) {
	g := newGate(b)
	live := g.signIn(newBrowser(b, app), alice())
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		g.Watch(ctx, live, nil).Stop()
	}
}

// deadlines are those that are set for the writes of an answer.
type deadlines struct {
	http.ResponseWriter
	set atomic.Int64
}

func (d *deadlines) SetWriteDeadline(time.Time) error { d.set.Add(1); return nil }

// What does not look at its context is told, before the request is over and not after.
func TestWatchTellsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, g *gate) {
		live := g.signIn(newBrowser(t, app), aliceNow())
		var told, late deadlines
		w := g.Watch(t.Context(), live, &told)
		defer w.Stop()
		g.Watch(t.Context(), live, &late).Stop()
		time.Sleep(time.Minute)
		if err := g.End(t.Context(), BySession(live)); err != nil {
			t.Fatal(err)
		}
		wantCut(t, w, ErrRevoked)
		synctest.Wait()
		if told.set.Load() != 1 || late.set.Load() != 0 {
			t.Errorf("told %d times, and %d times one that was over", told.set.Load(), late.set.Load())
		}
	})
}

// A reload that shares sessions elsewhere closes the state of before it. Nobody tells that of a sign-out any more, so its
// streams do not outlive the time for which a session goes on unheard of.
func TestWatchOfAStateThatWasLeft(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 1, serverSide)
		g, b := r.gates[0], newBrowser(t, app)
		w := g.Watch(t.Context(), g.signIn(b, fresh()), nil)
		defer w.Stop()
		g.mustLoad(b)
		g.state.Close()
		time.Sleep(feedLimit - 5*time.Second)
		wantRunning(t, w)
		time.Sleep(5 * time.Second)
		wantCut(t, w, ErrUnavailable)
	})
}
