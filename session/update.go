package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// The times of an update.
const (
	updateTimeout  = 30 * time.Second // for one, with reading and saving
	firstBackoff   = time.Second      // after the first failure; it doubles with each
	longestBackoff = time.Minute
)

var (
	// ErrEnd is wrapped by the error of a change that has found that the session is
	// over (invalid_grant, or another subject). The session is then revoked.
	ErrEnd = errors.New("session: over")
	// ErrPrincipal refuses a change that would make a session another person's, or
	// another client's.
	ErrPrincipal = errors.New("session: a change of provider, issuer, client or subject")
)

// Update is the only way to change a session. It gives change a copy, and saves
// what that makes of it as the next generation. ID, Host, the times of sign-in
// and end, and the sign-in's Nonce and IDTokenIssued stay what they are.
//
// Only one update of a session runs at a time, in this process and, if a memory is
// shared, in all processes that share it. Callers that come meanwhile wait for it and
// get its result. An update first reads the session again; if that is newer than live,
// it returns it without calling change. So the caller looks at the result to see
// whether there is still something to do.
//
// The update goes on when ctx ends, for 30 seconds at most. After a failure, calls
// return the same error at once, for a second at first and doubling up to a minute,
// until change is called again. If only the saving failed, the result of change is not
// lost: the next call saves it, without calling change again.
//
// Its errors are those of change, those of [Manager.Load], [ErrTooLarge] and
// [ErrPrincipal].
func (m *Manager) Update(ctx context.Context, live *Live, change func(context.Context, *Session) error) (*Live, error) {
	flight, err := m.state.updates.join(ctx, live.session.ID, m.now, func(ctx context.Context, p *pending) (*version, error) {
		return m.replace(ctx, live, p, change)
	})
	if err != nil {
		return nil, err
	}
	v, err := flight.wait(ctx)
	if over := m.judge(ctx, live.session, m.now()); final(over) && !errors.Is(err, ErrEnd) {
		return nil, over // it was ended meanwhile
	}
	if err != nil {
		return nil, err
	}
	m.keepOpened(live, v)
	return live.at(v), nil
}

// replace makes the next generation of a session, unless there is one.
func (m *Manager) replace(ctx context.Context, live *Live, p *pending, change func(context.Context, *Session) error) (*version, error) {
	current, err := m.reread(ctx, live)
	if err != nil {
		return nil, err
	}
	if current.session.Generation > live.session.Generation {
		p.unsaved = nil
		return current, nil
	}
	turn, newest, err := m.turn(ctx, live.at(current))
	if err != nil {
		return nil, err
	}
	if newest.session.Generation > current.session.Generation {
		p.unsaved = nil
		return newest, nil
	}
	kept := false
	defer func() {
		if !kept {
			turn.end(ctx)
		}
	}()
	saved, err := m.replaceInTurn(ctx, live.at(current), p, change)
	if err == nil && turn != nil && m.server == nil {
		saved, kept, err = m.succeed(ctx, turn, live.at(current), saved)
	}
	if err == nil && string(saved.handle) != string(current.handle) {
		m.state.succession.record(saved, m.now())
	}
	return saved, err
}

// replaceInTurn makes and saves the next generation of the current one.
func (m *Manager) replaceInTurn(ctx context.Context, current *Live, p *pending, change func(context.Context, *Session) error) (*version, error) {
	var err error
	if p.unsaved == nil {
		if p.unsaved, err = m.next(ctx, current, change); err != nil {
			return nil, err
		}
	}
	ring, err := m.ring(ctx)
	if err != nil {
		return nil, err
	}
	saved, err := m.insistOnSaving(ctx, ring, p.unsaved, current)
	if errors.Is(err, ErrStale) { // another process was faster
		p.unsaved = nil
		return m.reread(ctx, current)
	}
	if err != nil {
		return nil, err
	}
	p.unsaved = nil
	return saved, nil
}

// insistOnSaving saves a generation. Where the store is shared it is tried for as
// long as the update may take: until it is there, the others must not refresh.
func (m *Manager) insistOnSaving(ctx context.Context, ring *seal.Ring, s *Session, current *Live) (*version, error) {
	for {
		saved, err := m.save(ctx, ring, s, current.handle, current.scope)
		if m.server == nil || m.state.shared == nil || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrStale) {
			return saved, err
		}
		select {
		case <-time.After(feedBeat):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// reread returns the newest version that is known, if it is still good.
func (m *Manager) reread(ctx context.Context, live *Live) (*version, error) {
	data, err := m.store.Load(ctx, live.handle)
	if err != nil {
		return nil, storeError(err)
	}
	s, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	now := m.now()
	if err := m.judge(ctx, s, now); err != nil {
		return nil, err
	}
	return m.state.succession.current(&version{s, live.handle, live.sealed}, now)
}

// next lets change work on a copy of the session, and holds it to what no change
// may touch.
func (m *Manager) next(ctx context.Context, current *Live, change func(context.Context, *Session) error) (*Session, error) {
	before, next := current.session, current.session.Clone()
	if err := change(ctx, next); err != nil {
		if errors.Is(err, ErrEnd) {
			return nil, errors.Join(err, m.End(ctx, BySession(current)))
		}
		return nil, err
	}
	if !next.samePrincipal(before) {
		return nil, ErrPrincipal
	}
	next.ID, next.Generation, next.Host = before.ID, before.Generation+1, before.Host
	next.Created, next.Sealed, next.Expires = before.Created, m.now(), before.Expires
	// Of the sign-in: with a later ID token's a session would escape from the
	// not-before that was set while it was refreshed (OIDC Core 12.2 for nonce).
	next.IDTokenIssued, next.Nonce = before.IDTokenIssued, before.Nonce
	return next, nil
}

// updates are those of this process that run or failed lately.
type updates struct {
	mu      sync.Mutex
	pending map[ID]*pending
	swept   time.Time
}

// pending is the update of one session. The flight alone touches unsaved while
// it runs, the lock guards the rest.
type pending struct {
	flight  *flight[*version] // nil: none runs
	unsaved *Session          // made by change, but not saved

	failures int
	err      error
	retryAt  time.Time
}

func newUpdates() *updates { return &updates{pending: map[ID]*pending{}} }

// join returns the session's running update, or starts work as one; after a
// failure it returns that until its time.
func (u *updates) join(ctx context.Context, id ID, now func() time.Time, work func(context.Context, *pending) (*version, error)) (*flight[*version], error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sweep(now())
	p := u.pending[id]
	if p == nil {
		p = &pending{}
		u.pending[id] = p
	}
	if p.flight != nil {
		return p.flight, nil
	}
	if p.err != nil && now().Before(p.retryAt) {
		return nil, p.err
	}
	p.flight = fly(ctx, updateTimeout, func(ctx context.Context) (*version, error) {
		v, err := guard.Call(func() (*version, error) { return work(ctx, p) })
		u.finish(id, p, err, now())
		return v, err
	})
	return p.flight, nil
}

// AwaitUpdates waits until no update is under way and what is superseded is written, or
// ctx ends: at the end of a process, before what stands in memory is kept.
func (st *State) AwaitUpdates(ctx context.Context) {
	defer st.marks.await(ctx)
	for {
		flight := st.updates.running()
		if flight == nil {
			return
		}
		_, _ = flight.wait(ctx) // its requests learn how it went
		if ctx.Err() != nil {
			return
		}
	}
}

// running returns some update that is under way, or nil.
func (u *updates) running() *flight[*version] {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.pending {
		if p.flight != nil {
			return p.flight
		}
	}
	return nil
}

// finish notes how an update ended, before anyone learns of it.
func (u *updates) finish(id ID, p *pending, err error, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.flight, p.err = nil, err
	if err == nil || final(err) {
		delete(u.pending, id)
		return
	}
	p.failures++
	p.retryAt = now.Add(backoff(p.failures))
}

// final tells whether an error says that the session is no more.
func final(err error) bool {
	for _, end := range []error{ErrEnd, ErrRevoked, ErrExpired, ErrIdle, ErrSuperseded, ErrUnreadable} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// backoff is the time after so many failures, less a random part of up to half,
// so that sessions that failed together do not come back together.
func backoff(failures int) time.Duration {
	longest := longestBackoff
	if failures <= 6 { // 1s << 6 is above it
		longest = min(longest, firstBackoff<<(failures-1))
	}
	var random [8]byte
	rand.Read(random[:])
	return longest - time.Duration(binary.BigEndian.Uint64(random[:])%uint64(longest/2))
}

// sweep forgets failures that nobody came back for; not what still has to be
// saved, until its session ends.
func (u *updates) sweep(now time.Time) {
	if now.Sub(u.swept) < sweepEvery {
		return
	}
	u.swept = now
	for id, p := range u.pending {
		if p.flight != nil {
			continue
		}
		if over := now.Sub(p.retryAt) > longestBackoff; over && (p.unsaved == nil || now.After(p.unsaved.Expires)) {
			delete(u.pending, id)
		}
	}
}
