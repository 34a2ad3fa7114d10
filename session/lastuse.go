package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// grain is how old a noted use may be before a new one is noted.
func (m *Manager) grain() time.Duration { return max(m.idle/16, time.Second) }

// checkUse returns [ErrIdle] if the session's last use is too long ago. Where
// the store keeps that, this use is noted at once; where it stands in a cookie,
// [Manager.Deliver] does it.
func (m *Manager) checkUse(ctx context.Context, live *Live, now time.Time) error {
	if m.idle == 0 {
		return nil
	}
	if m.server == nil {
		live.used = m.usedByCookie(live)
	}
	// A session that was just made or refreshed was used then.
	live.used = latest(live.used, live.session.Sealed)
	if idle := now.Sub(live.used); idle >= m.idle {
		return fmt.Errorf("%w: %v", ErrIdle, idle)
	}
	if m.server == nil || now.Sub(live.used) < m.grain() {
		return nil
	}
	return m.noteUse(ctx, live, now)
}

// noteUse tells the store of a use. While a shared one is away, this process alone
// remembers it: the session goes on here.
func (m *Manager) noteUse(ctx context.Context, live *Live, now time.Time) error {
	feed := m.state.feed()
	if feed == nil {
		if err := m.server.Use(ctx, live.handle, now); err != nil {
			return storeError(err)
		}
		return nil
	}
	noted := seen{now, now}
	if known := live.opened.seen.Load(); known != nil {
		noted.at = known.at
	}
	live.opened.seen.Store(&noted)
	if !feed.live(now) {
		return nil
	}
	if err := m.server.Use(ctx, live.handle, now); errors.Is(err, ErrNotFound) {
		return storeError(err)
	}
	return nil
}

// usedByCookie returns the last use as its cookie tells it. One that is absent,
// unreadable or another session's tells nothing: the zero time.
func (m *Manager) usedByCookie(live *Live) time.Time {
	value, err := live.cookies.get(live.scope, useSuffix)
	if err != nil {
		return time.Time{}
	}
	cookie, err := m.open(live.ring, question{m.purpose(useKind, live.scope), value})
	if err != nil {
		return time.Time{}
	}
	id, used, err := decodeUse(cookie.handle)
	if err != nil || id != live.session.ID {
		return time.Time{}
	}
	return used
}

// deliverUse sets the cookie of the last use if it is due.
func (m *Manager) deliverUse(w http.ResponseWriter, live *Live, scope Scope) error {
	if m.idle == 0 || m.server != nil {
		return nil
	}
	now := m.now()
	if now.Sub(live.used) < m.grain() {
		return nil
	}
	payload, err := encodeUse(live.session.ID, now)
	if err != nil {
		return err
	}
	sealed, err := live.ring.Seal(m.purpose(useKind, scope), payload)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	cookie := m.cookie.cookie(scope, useSuffix)
	cookie.Value = sealed
	if m.cookie.Persist {
		cookie.MaxAge = seconds(m.end(live.session).Sub(now))
	}
	return emit(w, cookie)
}

// A last use is encoded as the session's ID and the time (uvarint seconds).
func encodeUse(id ID, used time.Time) ([]byte, error) { return appendTime(id[:], used) }

func decodeUse(data []byte) (ID, time.Time, error) {
	r := reader{rest: data}
	var id ID
	r.fill(id[:])
	used := r.time()
	return id, used, r.end()
}
