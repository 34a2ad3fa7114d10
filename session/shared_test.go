package session

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a Shared in this process, with faults.
type memory struct {
	mu       sync.Mutex
	away     error // what every call answers
	silent   bool  // it stores revocations and tells nobody
	deaf     bool  // it takes no successor
	full     bool  // it takes no revocation
	lossy    bool  // it gives leases, and the answers are lost
	revision uint64
	revoked  []Revocation
	owners   map[string]owned
	newest   map[string]uint64
	blobs    map[string]owned
	subs     map[*subscription]bool
	calls    atomic.Int64
}

type owned struct {
	value string
	until time.Time
}

func newMemory() *memory {
	return &memory{owners: map[string]owned{}, newest: map[string]uint64{}, blobs: map[string]owned{}, subs: map[*subscription]bool{}}
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
	if m.away != nil {
		for sub := range m.subs {
			close(sub.pushes)
			delete(m.subs, sub)
		}
	}
}

// call runs work if the memory is there.
func (m *memory) call(work func()) error {
	m.calls.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	work()
	return nil
}

func (m *memory) Revoke(_ context.Context, all ...Revocation) error {
	full := false
	err := m.call(func() {
		if full = m.full; full {
			return
		}
		for _, r := range all {
			m.revoked = append(m.revoked, r)
			m.revision++
			for sub := range m.subs {
				if !m.silent {
					sub.pushes <- push{m.revision, r}
				}
			}
		}
	})
	if full {
		return errOutage
	}
	return err
}

func (m *memory) Revocations(context.Context) (revision uint64, all []Revocation, err error) {
	err = m.call(func() { revision, all = m.revision, slices.Clone(m.revoked) })
	return revision, all, err
}

func (m *memory) Revision(context.Context) (revision uint64, err error) {
	err = m.call(func() { revision = m.revision })
	return revision, err
}

type subscription struct{ pushes chan push }

func (m *memory) Subscribe(context.Context) (Subscription, error) {
	sub := &subscription{make(chan push, 1000)}
	return sub, m.call(func() { m.subs[sub] = true })
}

func (s *subscription) Next(ctx context.Context) (uint64, Revocation, error) {
	select {
	case p, ok := <-s.pushes:
		if !ok {
			return 0, Revocation{}, errOutage
		}
		return p.revision, p.revocation, nil
	case <-ctx.Done():
		return 0, Revocation{}, ctx.Err()
	}
}

func (s *subscription) Close() error { return nil }

func (m *memory) Lease(_ context.Context, name, owner string, forTime time.Duration) (mine bool, err error) {
	lost := false
	err = m.call(func() {
		old, found := m.owners[name]
		if mine = !found || old.value == owner || !time.Now().Before(old.until); mine {
			m.owners[name] = owned{owner, time.Now().Add(forTime)}
		}
		lost = m.lossy
	})
	if lost {
		return false, errOutage
	}
	return mine, err
}

func (m *memory) Release(_ context.Context, name, owner string) error {
	return m.call(func() {
		if m.owners[name].value == owner {
			delete(m.owners, name)
		}
	})
}

func (m *memory) Once(ctx context.Context, name, owner string, forTime time.Duration) (bool, error) {
	return m.Lease(ctx, "once "+name, owner, forTime)
}

func blobName(session string, generation uint64) string {
	return session + " " + string(rune('a'+generation))
}

func (m *memory) Succeed(_ context.Context, session string, generation uint64, blob []byte, forTime time.Duration) error {
	stale, deaf := false, false
	err := m.call(func() {
		if deaf = m.deaf; deaf {
			return
		}
		if stale = m.newest[session] > generation; !stale {
			m.newest[session] = generation + 1
			m.blobs[blobName(session, generation)] = owned{string(blob), time.Now().Add(forTime)}
		}
	})
	if stale {
		return ErrStale
	}
	if deaf {
		return errOutage
	}
	return err
}

func (m *memory) Successor(_ context.Context, session string, generation uint64) (newest uint64, blob []byte, err error) {
	err = m.call(func() {
		newest = m.newest[session]
		if b, found := m.blobs[blobName(session, generation)]; found && time.Now().Before(b.until) {
			blob = []byte(b.value)
		}
	})
	return newest, blob, err
}

func (m *memory) Settle(_ context.Context, settled []Settled, after time.Duration) error {
	return m.call(func() {
		for _, one := range settled {
			name := blobName(one.Session, one.Generation)
			if b, found := m.blobs[name]; found {
				m.blobs[name] = owned{b.value, time.Now().Add(after)}
			}
		}
	})
}

func (m *memory) Put(_ context.Context, name string, blob []byte, forTime time.Duration) error {
	return m.call(func() { m.blobs[name] = owned{string(blob), time.Now().Add(forTime)} })
}

func (m *memory) Take(_ context.Context, name string) ([]byte, error) {
	var blob []byte
	err := m.call(func() {
		if b, found := m.blobs[name]; found {
			blob = []byte(b.value)
			delete(m.blobs, name)
		}
	})
	if err == nil && blob == nil {
		return nil, ErrNotFound
	}
	return blob, err
}

// peeked counts how often a store on a server is asked, and fails when told to.
type peeked struct {
	ServerStore
	mu    sync.Mutex
	away  error
	asked int
}

func (p *peeked) set(away error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

func (p *peeked) call() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.away
}

func (p *peeked) Peek(ctx context.Context, handle []byte) (uint64, time.Time, error) {
	if err := p.call(); err != nil {
		return 0, time.Time{}, err
	}
	return p.ServerStore.Peek(ctx, handle)
}

func (p *peeked) Load(ctx context.Context, handle []byte) ([]byte, error) {
	if err := p.call(); err != nil {
		return nil, err
	}
	return p.ServerStore.Load(ctx, handle)
}

func (p *peeked) Save(ctx context.Context, r Record, handle []byte) ([]byte, error) {
	if err := p.call(); err != nil {
		return nil, err
	}
	return p.ServerStore.Save(ctx, r, handle)
}

func (p *peeked) Use(ctx context.Context, handle []byte, now time.Time) error {
	if err := p.call(); err != nil {
		return err
	}
	return p.ServerStore.Use(ctx, handle, now)
}

// replicas are gates that share a memory, keys and, if there is one, a store. Time is a synctest bubble's.
type replicas struct {
	shared *memory
	store  *peeked
	gates  []*gate
	keys   *testKeys
}

func newReplicas(t *testing.T, count int, serverSide bool, configure ...func(*Config)) *replicas {
	t.Helper()
	r := &replicas{shared: newMemory(), keys: &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}}
	if serverSide {
		r.store = &peeked{ServerStore: NewMemoryStore(time.Now)}
	}
	for range count {
		r.add(t, nil, configure...)
	}
	return r
}

func (r *replicas) add(t *testing.T, journal Journal, configure ...func(*Config)) *gate {
	state := NewSharedState(journal, r.shared, time.Now)
	t.Cleanup(state.Close)
	config := Config{Keys: r.keys, Now: time.Now, State: state, Cookie: CookieConfig{Persist: true}}
	if r.store != nil {
		config.Store = r.store
	}
	for _, f := range configure {
		f(&config)
	}
	m, err := NewManager(config)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{m, t, nil, r.keys}
	r.gates = append(r.gates, g)
	return g
}

// inReplicaBubble runs a test with the cookie store and with one on a server.
func inReplicaBubble(t *testing.T, test func(t *testing.T, serverSide bool)) {
	for name, serverSide := range map[string]bool{"cookie": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, serverSide) })
		})
	}
}

func fresh() *Session {
	s := alice()
	s.IDTokenIssued = time.Now()
	return s
}

// Of all requests at all processes one refreshes; the others get its result, soon after.
func TestOneUpdateAmongProcesses(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 3, serverSide)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		for round := uint64(2); round <= 4; round++ {
			var changes atomic.Int64
			var group sync.WaitGroup
			start := time.Now()
			for i := range 99 {
				g := r.gates[i%3]
				group.Go(func() {
					live := g.mustLoad(b.clone())
					updated, err := g.Update(t.Context(), live, func(ctx context.Context, s *Session) error {
						changes.Add(1)
						time.Sleep(3 * time.Second) // the provider is slow
						return refresh("new")(ctx, s)
					})
					if err != nil || updated.Session().Generation != round {
						t.Errorf("%v, want generation %d", err, round)
					}
				})
			}
			group.Wait()
			if took := time.Since(start); took > 3100*time.Millisecond {
				t.Errorf("it took %v, want that of the slowest call and 100 ms at most", took)
			}
			if changes.Load() != 1 {
				t.Errorf("%d refreshes", changes.Load())
			}
			r.gates[2].deliver(b, must(r.gates[2].load(b)))
			time.Sleep(recentFor)
			if live := r.gates[1].visit(b); live.Session().Generation != round {
				t.Errorf("the browser has generation %d", live.Session().Generation)
			}
		}
	})
}

func must(live *Live, err error) *Live {
	if err != nil {
		panic(err)
	}
	return live
}

// One that died with the lease is followed by the next.
func TestLeaseOfTheDead(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 1, serverSide)
		g, b := r.gates[0], newBrowser(t, app)
		live := g.signIn(b, fresh())
		if _, err := r.shared.Lease(t.Context(), sharedName(sharedTurn, string(live.Session().ID[:])), "the dead", leaseTime); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if updated, err := g.Update(t.Context(), g.mustLoad(b), refresh("new")); err != nil || updated.Session().Generation != 2 {
			t.Fatal(err)
		}
		if took := time.Since(start); took < leaseTime || took > leaseTime+longPoll {
			t.Errorf("it took %v", took)
		}
		if len(r.shared.owners) != 0 {
			t.Error("the lease was not given back")
		}
	})
}

// A lease whose answer was lost is nobody's: it keeps nobody from the next turn.
func TestLeaseWhoseAnswerIsLost(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 2, serverSide)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		lossy := func(is bool) { r.shared.set(func(m *memory) { m.lossy = is }) }
		lossy(true)
		if _, err := r.gates[0].Update(t.Context(), r.gates[0].mustLoad(b), refresh("new")); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("without an answer: %v", err)
		}
		lossy(false)
		start := time.Now()
		if updated, err := r.gates[1].Update(t.Context(), r.gates[1].mustLoad(b), refresh("new")); err != nil || updated.Session().Generation != 2 {
			t.Fatal(err)
		}
		if took := time.Since(start); took > longPoll {
			t.Errorf("it took %v", took)
		}
	})
}

// A lease is renewed while a change runs, and given back when it panics.
func TestLeaseLastsAsLongAsTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		var group sync.WaitGroup
		var changes atomic.Int64
		for _, g := range r.gates {
			group.Go(func() {
				_, _ = g.Update(t.Context(), g.mustLoad(b.clone()), func(ctx context.Context, s *Session) error {
					changes.Add(1)
					time.Sleep(25 * time.Second)
					return refresh("new")(ctx, s)
				})
			})
		}
		group.Wait()
		if changes.Load() != 1 {
			t.Errorf("%d refreshes", changes.Load())
		}
		live := r.gates[0].mustLoad(b)
		if _, err := r.gates[0].Update(t.Context(), live, func(context.Context, *Session) error { panic("boom") }); err == nil {
			t.Error("a panic is no error")
		}
		synctest.Wait()
		if len(r.shared.owners) != 0 {
			t.Error("the lease was not given back")
		}
	})
}

// invalid_grant at one process ends the session at the one that waited, too: it does not ask the provider again.
func TestEndInAnUpdateReachesWhoWaits(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 2, serverSide)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.shared.set(func(m *memory) { m.silent = true }) // the push does not come in time
		var changes atomic.Int64
		var group sync.WaitGroup
		for _, g := range r.gates {
			live := g.mustLoad(b.clone())
			group.Go(func() {
				_, err := g.Update(t.Context(), live, func(context.Context, *Session) error {
					changes.Add(1)
					time.Sleep(time.Second)
					return ErrEnd
				})
				if !errors.Is(err, ErrEnd) && !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrUnreadable) {
					t.Errorf("%v", err)
				}
			})
		}
		group.Wait()
		if changes.Load() != 1 {
			t.Errorf("%d calls at the provider", changes.Load())
		}
	})
}

// A refresh whose result cannot be stored is not lost, and nobody spends its token again.
func TestMemoryGoesAwayInAnUpdate(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 2, serverSide)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		away := func(err error) {
			r.shared.set(func(m *memory) { m.away = err })
			if r.store != nil {
				r.store.set(err)
			}
		}
		first, second := r.gates[0].mustLoad(b), r.gates[1].mustLoad(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		updated, err := r.gates[0].Update(ctx, first, func(ctx context.Context, s *Session) error {
			away(errOutage)
			return refresh("new")(ctx, s)
		})
		if !serverSide && (err != nil || updated.Session().Generation != 2) {
			t.Fatalf("the browser does not get its cookie: %v", err)
		}
		if _, err := r.gates[1].Update(t.Context(), second, refresh("spent")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a refresh without the memory: %v", err)
		}
		time.Sleep(20 * time.Second) // the lease is over
		away(nil)
		var again *Live
		for { // it comes at once, before the other could save
			if again, err = r.gates[1].Update(t.Context(), second, refresh("spent")); !errors.Is(err, ErrUnavailable) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil || again.Session().Generation != 2 || again.Session().AccessToken.Reveal() != "new" {
			t.Errorf("when it is back: generation %d, %q, %v", again.Session().Generation, again.Session().AccessToken.Reveal(), err)
		}
	})
}

// An old cookie gets the newest generation at any process until a browser has shown that, and a minute more; then it is
// over, everywhere (a stolen copy).
func TestSupersededAmongProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, false)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		old := b.clone()
		if _, err := r.gates[0].Update(t.Context(), r.gates[0].mustLoad(b), refresh("two")); err != nil {
			t.Fatal(err)
		} // and the answer is lost
		time.Sleep(2 * time.Hour)
		for i, g := range r.gates { // who knows it, and who asks
			live := g.mustLoad(b.clone())
			if i > 0 {
				var err error
				if live, err = g.Update(t.Context(), live, refresh("spent")); err != nil {
					t.Fatal(err)
				}
			}
			if live.Session().Generation != 2 {
				t.Errorf("gate %d: generation %d of one whose answer was lost", i, live.Session().Generation)
			}
		}
		r.gates[1].visit(b)
		if live := r.gates[2].visit(b); live.Session().Generation != 2 || len(b.last) != 0 {
			t.Fatalf("the browser has generation %d", live.Session().Generation)
		}
		time.Sleep(30 * time.Second)
		if live := r.add(t, nil).mustLoad(old.clone()); live.Session().Generation != 1 {
			t.Error("a process that knows nothing asks nothing")
		}
		if live, err := r.gates[3].Update(t.Context(), r.gates[3].mustLoad(old), refresh("spent")); err != nil || live.Session().Generation != 2 {
			t.Errorf("within the grace: %v", err)
		}
		time.Sleep(31 * time.Second)
		late := r.add(t, nil)
		if _, err := late.Update(t.Context(), late.mustLoad(old), refresh("stolen")); !errors.Is(err, ErrSuperseded) {
			t.Errorf("after the grace, at a process that knows nothing: %v", err)
		}
		time.Sleep(time.Minute)
		for _, g := range r.gates[:3] {
			g.wantErr(old, ErrSuperseded)
		}
		r.gates[0].visit(b)
	})
}

// What lies in the shared memory opens nothing, and is of no use without the old cookie.
func TestSuccessorIsNoCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, false)
		g, b := r.gates[0], newBrowser(t, app)
		g.signIn(b, fresh())
		live, err := g.Update(t.Context(), g.mustLoad(b), refresh("two"))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.shared.blobs) != 1 {
			t.Fatalf("%d blobs", len(r.shared.blobs))
		}
		for _, blob := range r.shared.blobs {
			if bytes.Contains([]byte(blob.value), []byte("v1.")) || bytes.Contains([]byte(blob.value), []byte(live.sealed)) {
				t.Error("a cookie lies in the shared memory")
			}
		}
	})
}

// A revocation counts at once here and soon everywhere, also if its push was lost.
func TestRevocationsAmongProcesses(t *testing.T) {
	for name, silent := range map[string]bool{"pushed": false, "the push is lost": true} {
		t.Run(name, func(t *testing.T) {
			inReplicaBubble(t, func(t *testing.T, serverSide bool) {
				r := newReplicas(t, 2, serverSide)
				b, other := newBrowser(t, app), newBrowser(t, app)
				live := r.gates[0].signIn(b, fresh())
				r.gates[0].signIn(other, fresh())
				r.gates[1].mustLoad(b)
				r.gates[1].mustLoad(other)
				r.shared.set(func(m *memory) { m.silent = silent })
				if err := r.gates[0].End(t.Context(), BySession(live)); err != nil {
					t.Fatal(err)
				}
				r.gates[0].wantErr(b, signedOutAs(serverSide))
				if time.Sleep(time.Millisecond); silent {
					time.Sleep(time.Second)
				}
				r.gates[1].wantErr(b, ErrRevoked) // a store on the server is not asked
				r.gates[1].mustLoad(other)
			})
		})
	}
}

// A memory that answers and takes nothing, since its disk is full, is told when it takes something again; the processes
// followed it all the while.
func TestRevocationThatTheMemoryDidNotTake(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 2, serverSide)
		b, other := newBrowser(t, app), newBrowser(t, app)
		live := r.gates[0].signIn(b, fresh())
		r.gates[0].signIn(other, fresh())
		for _, g := range r.gates {
			g.mustLoad(b)
			g.mustLoad(other)
		}
		r.shared.set(func(m *memory) { m.full = true })
		if err := r.gates[0].End(t.Context(), BySession(live)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a sign-out that reaches nobody: %v", err)
		}
		time.Sleep(2 * feedLimit) // nobody is refused for it
		for _, g := range r.gates {
			g.mustLoad(other)
		}
		r.shared.set(func(m *memory) { m.full = false })
		time.Sleep(time.Second)
		for _, g := range r.gates {
			g.mustLoad(other)
		}
		r.gates[0].wantErr(b, signedOutAs(serverSide))
		if serverSide {
			r.gates[1].wantErr(b, ErrUnreadable) // the five seconds are over in which it is not asked
		} else {
			r.gates[1].wantErr(b, ErrRevoked)
		}
		if revision := r.shared.revision; revision != 1 {
			t.Errorf("it was told %d times", revision)
		}
	})
}

// signedOutAs is what is said of a session that was ended where it was deleted, too.
func signedOutAs(serverSide bool) error {
	if serverSide {
		return ErrUnreadable
	}
	return ErrRevoked
}

// P30: a shared memory that is away is not "nobody was revoked": sessions that are known go on for a minute, then nobody
// is judged, and when it is back all is well. Nobody is signed out by it.
func TestSharedMemoryIsAway(t *testing.T) {
	inReplicaBubble(t, func(t *testing.T, serverSide bool) {
		r := newReplicas(t, 2, serverSide, func(c *Config) { c.IdleTimeout = 112 * time.Second })
		b, ended := newBrowser(t, app), newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		live := r.gates[0].signIn(ended, fresh())
		for _, g := range r.gates {
			g.mustLoad(b)
			g.mustLoad(ended)
		}
		away := func(err error) {
			r.shared.set(func(m *memory) { m.away = err })
			if r.store != nil {
				r.store.set(err)
			}
		}
		time.Sleep(8 * time.Second) // a use is to be noted, and the store to be asked again
		away(errOutage)
		for range 10 {
			r.gates[1].mustLoad(b)
			time.Sleep(5 * time.Second)
		}
		if err := r.gates[0].End(t.Context(), BySession(live)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a sign-out that reaches nobody: %v", err)
		}
		r.gates[0].wantErr(ended, ErrRevoked)
		time.Sleep(12 * time.Second)
		for range 3 {
			r.gates[1].wantErr(b, ErrUnavailable)
			time.Sleep(5 * time.Second)
		}
		away(nil)
		time.Sleep(2 * time.Second)
		for _, g := range r.gates {
			g.mustLoad(b)
			g.wantErr(ended, signedOutAs(serverSide))
		}
	})
}

// A session that is used while the store is away does not become idle by that.
func TestUseWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, true, func(c *Config) { c.IdleTimeout = 32 * time.Second })
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.gates[0].mustLoad(b)
		r.shared.set(func(m *memory) { m.away = errOutage })
		r.store.set(errOutage)
		for range 11 {
			r.gates[0].mustLoad(b)
			time.Sleep(5 * time.Second)
		}
		r.shared.set(func(m *memory) { m.away = nil })
		r.store.set(nil)
		time.Sleep(2 * time.Second)
		r.gates[0].mustLoad(b)
		time.Sleep(33 * time.Second)
		r.gates[0].wantErr(b, ErrIdle)
	})
}

// When the memory is back, who refreshed a session before it went leaves its result first, although its lease is over.
func TestWhoHasSomethingToSaveGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		first, second := r.gates[0].mustLoad(b), r.gates[1].mustLoad(b)
		if _, err := r.gates[0].Update(t.Context(), first, func(ctx context.Context, s *Session) error {
			r.shared.set(func(m *memory) { m.away, m.deaf = errOutage, true })
			return refresh("new")(ctx, s)
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		r.shared.set(func(m *memory) { m.away = nil })
		go func() {
			for r.gates[1].state.feed().resumed.Load() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(400 * time.Millisecond)
			r.shared.set(func(m *memory) { m.deaf = false })
		}()
		for {
			again, err := r.gates[1].Update(t.Context(), second, refresh("spent"))
			if errors.Is(err, ErrUnavailable) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			if err != nil || again.Session().AccessToken.Reveal() != "new" {
				t.Errorf("generation %d, %q, %v", again.Session().Generation, again.Session().AccessToken.Reveal(), err)
			}
			return
		}
	})
}

// What a shared memory forgot (a restart without a file, a failover) it is told again by who knows it still.
func TestSharedMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		b := newBrowser(t, app)
		live := r.gates[0].signIn(b, fresh())
		r.gates[1].mustLoad(b)
		if err := r.gates[0].End(t.Context(), BySession(live)); err != nil {
			t.Fatal(err)
		}
		r.shared.set(func(m *memory) { m.revoked, m.revision = nil, 0 })
		time.Sleep(2 * time.Second)
		r.add(t, nil).wantErr(b, ErrRevoked)
		// And what a process kept itself, it tells when it starts.
		j := &journal{}
		if err := j.Append(t.Context(), Revocation{of: ofSessionID(live.Session().ID), at: time.Now(), until: live.Session().Expires}); err != nil {
			t.Fatal(err)
		}
		other := newReplicas(t, 0, false)
		other.keys = r.keys
		other.add(t, j).wantErr(b, ErrRevoked)
		time.Sleep(time.Second)
		other.add(t, nil).wantErr(b, ErrRevoked)
	})
}

// Whoever holds a dead cookie can sign out with it again and again; the shared memory does not grow.
func TestRevokedAgainIsNotSharedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.gates[0].mustLoad(b)
		r.gates[1].mustLoad(b)
		for range 10 {
			for _, g := range r.gates {
				if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); err != nil {
					t.Fatal(err)
				}
				_ = g.state.revoked.check(t.Context(), alice(), time.Now())
				time.Sleep(time.Second)
			}
		}
		if len(r.shared.revoked) != 1 {
			t.Errorf("%d revocations", len(r.shared.revoked))
		}
	})
}

// A process without a place to write signs people out all the same, as long as the shared memory takes it; with neither
// the user is told.
func TestRevokedWithoutAJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, false)
		g := r.add(t, &journal{appendErr: errOutage})
		b := newBrowser(t, app)
		g.signIn(b, fresh())
		if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); err != nil {
			t.Errorf("the shared memory has it: %v", err)
		}
		if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); err != nil {
			t.Errorf("again: %v", err)
		}
		if _, err := r.gates[0].Load(t.Context(), b.cut(g.cookie), app); !errors.Is(err, ErrRevoked) {
			t.Errorf("at another process: %v, want ErrRevoked", err)
		}
		g.signIn(b, fresh())
		g.mustLoad(b)
		r.shared.set(func(m *memory) { m.away = errOutage })
		if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); !errors.Is(err, ErrUnavailable) {
			t.Errorf("nobody has it: %v, want ErrUnavailable", err)
		}
	})
}

// Nobody is let in before the revocations were read, and one request that goes away does not undo the reading.
func TestFeedBeforeItWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, false)
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.shared.set(func(m *memory) { m.away = errOutage })
		g := r.add(t, nil)
		for range 3 {
			g.wantErr(b, ErrUnavailable)
			time.Sleep(time.Second)
		}
		r.shared.set(func(m *memory) { m.away = nil })
		time.Sleep(2 * time.Second)
		g.mustLoad(b)
		closed := r.add(t, nil)
		closed.state.Close()
		closed.wantErr(b, ErrUnavailable) // and does not hang
	})
}

func TestUseOnceAmongProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		until := time.Now().Add(time.Minute)
		if err := r.gates[0].state.UseOnce(t.Context(), "jti", "a", until); err != nil {
			t.Fatal(err)
		}
		for _, g := range r.gates {
			if err := g.state.UseOnce(t.Context(), "jti", "a", until); !errors.Is(err, ErrUsed) {
				t.Errorf("%v, want ErrUsed", err)
			}
		}
		r.shared.set(func(m *memory) { m.away = errOutage })
		if err := r.gates[0].state.UseOnce(t.Context(), "jti", "b", until); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUsed) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		r.shared.set(func(m *memory) { m.away = nil })
		if err := r.gates[0].state.UseOnce(t.Context(), "jti", "b", until); err != nil {
			t.Errorf("it may be tried again: %v", err)
		}
	})
}

// A browser that was seen a moment ago costs no question to the store; what changed is seen soon.
func TestStoreIsNotAskedForEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, true, func(c *Config) { c.IdleTimeout = time.Hour })
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.gates[1].mustLoad(b)
		time.Sleep(400 * time.Millisecond)
		before := r.store.asked
		for range 40 {
			r.gates[1].mustLoad(b)
			time.Sleep(100 * time.Millisecond)
		}
		if asked := r.store.asked - before; asked != 0 {
			t.Errorf("the store was asked %d times within %v", asked, recentFor)
		}
		if _, err := r.gates[0].Update(t.Context(), r.gates[0].mustLoad(b), refresh("two")); err != nil {
			t.Fatal(err)
		}
		if live := r.gates[0].mustLoad(b); live.Session().Generation != 2 {
			t.Error("the process that updated it serves the old one")
		}
		time.Sleep(recentFor)
		if live := r.gates[1].mustLoad(b); live.Session().Generation != 2 {
			t.Error("another process goes on with the old one")
		}
	})
}

// P39: use at one process keeps the session at another, and idle is idle for all.
func TestIdleAmongProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, true, func(c *Config) { c.IdleTimeout = 16 * time.Second })
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.gates[1].mustLoad(b)
		for range 20 {
			r.gates[0].mustLoad(b)
			time.Sleep(3 * time.Second)
		}
		r.gates[1].mustLoad(b)
		time.Sleep(17 * time.Second)
		for _, g := range r.gates {
			g.wantErr(b, ErrIdle)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, true, func(c *Config) { c.IdleTimeout = 3 * time.Second })
		b := newBrowser(t, app)
		r.gates[0].signIn(b, fresh())
		r.gates[1].mustLoad(b)
		time.Sleep(2 * time.Second)
		r.gates[0].mustLoad(b)
		time.Sleep(2 * time.Second)
		r.gates[1].mustLoad(b) // not by what it heard four seconds ago
	})
}
