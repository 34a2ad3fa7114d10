package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// DefaultLifetime is how long a session lasts at most, if nothing is configured.
const DefaultLifetime = 12 * time.Hour

// Why there is no session, besides [ErrNone]. Only [ErrUnavailable] leaves it
// open whether there is one.
var (
	// ErrUnreadable says that the cookie is none of ours that can be used here:
	// malformed, forged, torn, there twice, of another version or another host, or
	// its record is gone from the store.
	ErrUnreadable = errors.New("session: unreadable cookie")
	// ErrExpired says that the session's lifetime is over.
	ErrExpired = errors.New("session: expired")
	// ErrIdle says that the session was not used for the idle timeout.
	ErrIdle = errors.New("session: idle for too long")
	// ErrRevoked says that the session was ended before its time.
	ErrRevoked = errors.New("session: revoked")
	// ErrSuperseded says that the cookie is a copy of an older generation.
	ErrSuperseded = errors.New("session: superseded by a newer generation")
	// ErrUnavailable says that the store, the keys or the revocations cannot be
	// asked now. It is never a reason to drop a cookie.
	ErrUnavailable = errors.New("session: cannot be judged now")
)

// Keys gives a Manager the keys that cookies are sealed with.
type Keys interface {
	// Ring returns the keys of now. It is called on every request.
	Ring(ctx context.Context) (*seal.Ring, error)
	// Refresh reads the keys again, if that was not done just now: a cookie names
	// a key that is unknown and not old.
	Refresh(ctx context.Context)
}

// Config says how a [Manager] works.
type Config struct {
	Store  Store  // default CookieStore()
	Keys   Keys   // needed
	State  *State // default: one of its own, without a journal
	Cookie CookieConfig
	// Lifetime is the absolute end of a session after its sign-in, default 12h.
	// One that was made under a longer lifetime ends by this one.
	Lifetime time.Duration
	// IdleTimeout ends a session that was not used for so long; 0: never. A use is
	// noted with a grain of a sixteenth of it, so a session may end that much
	// early, never late.
	IdleTimeout time.Duration
	// Linger is how long after the session's end a cookie that persists is kept, for
	// [Manager.Past].
	Linger time.Duration
	Now    func() time.Time // default time.Now
}

// Manager owns live sessions. It is immutable and safe for concurrent use.
type Manager struct {
	store    Store
	server   ServerStore // the store, if it is one; nil: the last use stands in a cookie
	keys     Keys
	state    *State
	cookie   CookieConfig
	lifetime time.Duration
	idle     time.Duration
	linger   time.Duration
	now      func() time.Time
}

// NewManager checks the configuration and fills in the defaults.
func NewManager(c Config) (*Manager, error) {
	if c.Keys == nil {
		return nil, errors.New("session: no keys")
	}
	if c.Lifetime < 0 || c.IdleTimeout < 0 {
		return nil, fmt.Errorf("session: negative lifetime %v or idle timeout %v", c.Lifetime, c.IdleTimeout)
	}
	if err := c.Cookie.Check(); err != nil {
		return nil, err
	}
	m := &Manager{
		store: c.Store, keys: c.Keys, state: c.State, cookie: c.Cookie,
		lifetime: c.Lifetime, idle: c.IdleTimeout, linger: c.Linger, now: c.Now,
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.store == nil {
		m.store = CookieStore()
	}
	if m.state == nil {
		m.state = NewState(nil, m.now)
	}
	if m.lifetime == 0 {
		m.lifetime = DefaultLifetime
	}
	m.state.revoked.lasting(m.lifetime, m.now())
	m.server, _ = m.store.(ServerStore)
	return m, nil
}

// Live is a session that a browser brought, and that was neither over nor
// revoked nor superseded when it was loaded. It belongs to one request.
type Live struct {
	*version
	opened  *opened // the cookie that the browser has
	cookies Cookies
	scope   Scope
	ring    *seal.Ring
	used    time.Time // the last use that was noted
	heldUp  bool      // there is a newer generation, which nobody here knows
	watch   Watch     // of the request
}

// Session returns the session, which requests share: it must not be changed.
func (l *Live) Session() *Session { return l.session }

// at is the same browser with another version of its session.
func (l *Live) at(v *version) *Live {
	return &Live{version: v, opened: l.opened, cookies: l.cookies, scope: l.scope, ring: l.ring, used: l.used}
}

func (m *Manager) purpose(kind string, scope Scope) seal.Purpose {
	return seal.Purpose{Kind: kind, Scope: m.cookie.owner(scope)}
}

// end is when a session's lifetime is over.
func (m *Manager) end(s *Session) time.Time {
	if end := s.Created.Add(m.lifetime); end.Before(s.Expires) {
		return end
	}
	return s.Expires
}

// Deliver sets what the browser does not have yet: the cookies of a newer
// generation, and the last use, where it stands in a cookie and the one that
// was noted is older than a sixteenth of the idle timeout, at least a second.
// It is called before the answer's header is written.
func (m *Manager) Deliver(w http.ResponseWriter, live *Live, scope Scope) error {
	if string(live.handle) != string(live.opened.handle) {
		rest := m.end(live.session).Sub(m.now())
		if err := m.cookie.setSession(w, scope, live.cookies, live.sealed, rest+m.linger); err != nil {
			return err
		}
	}
	return m.deliverUse(w, live, scope)
}

// DeliverAgain replaces what [Manager.Deliver] has set in an answer by what there is to
// deliver now, as far as this process knows: the answer may be sent long after its
// request came, and the browser has a newer generation by then, or, if the session
// is over, another one. Nothing is set then; the next request learns why.
func (m *Manager) DeliverAgain(ctx context.Context, w http.ResponseWriter, live *Live, scope Scope) error {
	m.cookie.withdraw(w, scope)
	now := m.now()
	if err := m.judge(ctx, live.session, now); err != nil {
		return err
	}
	newest, err := m.state.succession.current(live.version, now)
	if err != nil {
		return err
	}
	return m.Deliver(w, live.at(newest), scope)
}

// Clear makes the browser drop the cookies of the session that it brought, with
// the last use, the marks of finished logins and the hint. It does not end the
// session: see [Manager.End].
func (m *Manager) Clear(w http.ResponseWriter, brought Cookies, scope Scope) error {
	var errs []error
	for _, suffix := range []string{sessionSuffix, secondSuffix, useSuffix, string(Finished), string(Hint)} {
		if brought.has(scope, suffix) {
			errs = append(errs, expire(w, m.cookie.cookie(scope, suffix)))
		}
	}
	return errors.Join(errs...)
}
