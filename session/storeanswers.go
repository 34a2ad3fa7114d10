package session

import (
	"errors"
	"time"
)

// recentFor is how long a session that a shared store had is served without
// asking it again. What ends a session is pushed, and counts at once all the same;
// what changed in it meanwhile is seen so much later.
const recentFor = 5 * time.Second

// recent returns what the shared store said of a cookie's session, if that need
// not be asked again: it was said a moment ago and revocations are followed; or
// the memory is away, and was asked within the time for which a session goes on.
func (m *Manager) recent(cookie *opened) *seen {
	feed, known := m.state.feed(), cookie.seen.Load()
	if feed == nil || known == nil {
		return nil
	}
	now := m.now()
	limit := recentFor
	if !feed.live(now) {
		limit = feedLimit
	}
	if now.Sub(known.at) >= limit {
		return nil
	}
	if m.idle > 0 && now.Sub(latest(known.used, cookie.session.Sealed)) >= m.idle {
		return nil // unless it was used elsewhere
	}
	return known
}

// saw remembers what the shared store said of a cookie's session. One that nobody else
// uses is asked each time.
func (m *Manager) saw(cookie *opened, last seen) {
	if m.server != nil && m.state.feed() != nil {
		kept := last // on the heap only here
		cookie.seen.Store(&kept)
	}
}

// outlasting returns what the shared store said of a cookie's session within the
// last minute, if it cannot be asked now.
func (m *Manager) outlasting(cookie *opened, err error) *seen {
	known := cookie.seen.Load()
	if err == nil || errors.Is(err, ErrNotFound) || m.state.feed() == nil || known == nil || m.now().Sub(known.at) >= feedLimit {
		return nil
	}
	return known
}

// keepOpened makes a cookie lead to a newer generation of its session without
// asking the store.
func (m *Manager) keepOpened(live *Live, v *version) {
	if m.server == nil || m.state.feed() == nil {
		return
	}
	data, err := v.session.MarshalBinary()
	if err != nil {
		return
	}
	cookie := &opened{version: version{session: v.session, handle: live.opened.handle}, data: data}
	now := m.now()
	cookie.seen.Store(&seen{now, now})
	m.state.opened.put(question{m.purpose(sessionKind, live.scope), live.sealed}, cookie)
}
