package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// Load returns the session that a browser's cookies open, if it is good now.
// The cookies were cut by the manager's own [CookieConfig].
//
// There is no session with [ErrNone], [ErrUnreadable], [ErrExpired], [ErrIdle],
// [ErrRevoked] and [ErrSuperseded]. With [ErrUnavailable] it cannot be told.
// With a *seal.UnknownKeyError that is Newer, and that is no ErrUnreadable, the
// cookie is of another key ring.
//
// Only the opening of a cookie is cached; every check is made every time.
func (m *Manager) Load(ctx context.Context, cookies Cookies, scope Scope) (*Live, error) {
	live, err := m.read(ctx, cookies, scope)
	if err != nil {
		return nil, err
	}
	now := m.now()
	if err := m.judge(ctx, live.session, now); err != nil {
		return nil, err
	}
	if live.version, err = m.newest(ctx, live, now); err != nil {
		return nil, err
	}
	if err := m.checkUse(ctx, live, now); err != nil {
		return nil, err
	}
	return live, nil
}

// judge checks what can end a session between two requests.
func (m *Manager) judge(ctx context.Context, s *Session, now time.Time) error {
	if end := m.end(s); !now.Before(end) {
		return fmt.Errorf("%w: at %v", ErrExpired, end)
	}
	return m.state.revoked.check(ctx, s, now)
}

// read opens what the cookies hold, without judging it.
func (m *Manager) read(ctx context.Context, cookies Cookies, scope Scope) (*Live, error) {
	value, err := cookies.session(scope)
	if err != nil {
		return nil, err
	}
	q := question{m.purpose(sessionKind, scope), value}
	ring, err := m.ringFor(ctx, value)
	if err != nil {
		return nil, err
	}
	cookie, err := m.open(ring, q)
	if err != nil {
		return nil, err
	}
	cookie, used, err := m.lookup(ctx, q, cookie)
	if err != nil {
		return nil, err
	}
	if host := cookie.session.Host; host != q.purpose.Scope {
		return nil, fmt.Errorf("%w: of the host %q", ErrUnreadable, host)
	}
	return &Live{version: &cookie.version, opened: cookie, cookies: cookies, scope: scope, ring: ring, used: used}, nil
}

// ringFor returns a ring that knows the value's key. A key that is unknown but
// not old, or of which nobody knows how old it is, may be one that another replica
// has just begun to use: then the keys are read again.
func (m *Manager) ringFor(ctx context.Context, value string) (*seal.Ring, error) {
	ring, err := m.ring(ctx)
	if err != nil {
		return nil, err
	}
	err = ring.Holds(value)
	if err == nil || !maybeNewKey(err) {
		return ring, nil // and what is wrong, opening it tells
	}
	m.keys.Refresh(ctx)
	return m.ring(ctx)
}

func (m *Manager) ring(ctx context.Context) (*seal.Ring, error) {
	ring, err := m.keys.Ring(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: no keys: %w", ErrUnavailable, err)
	}
	return ring, nil
}

// maybeNewKey tells whether a key that is unknown may have been made since the keys
// were read.
func maybeNewKey(err error) bool {
	unknown, ok := errors.AsType[*seal.UnknownKeyError](err)
	return ok && unknown.MayBeNewer()
}

func fromNewerKey(err error) bool {
	unknown, ok := errors.AsType[*seal.UnknownKeyError](err)
	return ok && unknown.Newer
}

// open returns what a sealed value holds, from the cache if it was opened
// before and its key is still in the ring.
func (m *Manager) open(ring *seal.Ring, q question) (*opened, error) {
	if err := ring.Holds(q.value); err != nil {
		return nil, unopened(err)
	}
	if found := m.state.opened.get(q); found != nil {
		return found, nil
	}
	payload, err := ring.Open(q.purpose, q.value)
	if err != nil {
		return nil, unopened(err)
	}
	cookie := &opened{version: version{handle: payload}}
	m.state.opened.put(q, cookie)
	return cookie, nil
}

// unopened says of every value that does not open the same, forged or not
// (SEC-64), but for one of another key ring.
func unopened(err error) error {
	if fromNewerKey(err) {
		return fmt.Errorf("session: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnreadable, err)
}

// lookup asks the store for the session of an opened cookie, and for its last
// use if the store keeps that. The cookie remembers the answer decoded, for as
// long as the store has the same: for ever, if the handle is all that there is.
func (m *Manager) lookup(ctx context.Context, q question, cookie *opened) (*opened, time.Time, error) {
	_, inCookie := m.store.(*cookieStore)
	if inCookie && cookie.whole {
		return cookie, time.Time{}, nil
	}
	var last seen // what a store on a server answers
	if m.server != nil {
		if known := m.recent(cookie); known != nil {
			return cookie, known.used, nil
		}
		asked := m.now()
		generation, used, err := m.server.Peek(ctx, cookie.handle)
		if known := m.outlasting(cookie, err); known != nil {
			return cookie, known.used, nil
		}
		if err != nil {
			return nil, time.Time{}, storeError(err)
		}
		if known := cookie.seen.Load(); known != nil {
			used = latest(used, known.used) // which the store was not there to be told
		}
		last = seen{asked, used}
		if cookie.session != nil && cookie.session.Generation == generation {
			m.saw(cookie, last)
			return cookie, used, nil
		}
	}
	data, err := m.store.Load(ctx, cookie.handle)
	if err != nil {
		return nil, time.Time{}, storeError(err)
	}
	if cookie.session != nil && bytes.Equal(cookie.data, data) {
		return cookie, last.used, nil
	}
	s, err := Decode(data)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	cookie = &opened{version: version{session: s, handle: cookie.handle}, data: data, whole: inCookie}
	m.saw(cookie, last)
	m.state.opened.put(q, cookie)
	return cookie, last.used, nil
}

// storeError tells a record that is gone from a store that failed (P30).
func storeError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return fmt.Errorf("%w: store: %w", ErrUnavailable, err)
}
