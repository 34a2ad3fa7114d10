package session

import "context"

// Past returns the session that a browser's cookies open although its time is
// over: for a caller to whom [Manager.Load] said [ErrExpired] or [ErrIdle], and
// who has to know whose it was. It is no session any more, and lets nobody in. Of
// a store on the server there is none after its lifetime, only after the idle
// timeout. Its other errors are those of Load.
func (m *Manager) Past(ctx context.Context, cookies Cookies, scope Scope) (*Session, error) {
	live, err := m.read(ctx, cookies, scope)
	if err != nil {
		return nil, err
	}
	now := m.now()
	if err := m.state.revoked.check(ctx, live.session, now); err != nil {
		return nil, err
	}
	newest, err := m.state.succession.current(live.version, now)
	if err != nil {
		return nil, err
	}
	return newest.session, nil
}
