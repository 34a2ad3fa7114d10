package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// ErrIncomplete refuses a session that does not say whose it is.
var ErrIncomplete = errors.New("session: without issuer or subject")

// Create makes a session of s, which it leaves alone, and sets its cookies. ID,
// Generation, Host, Created, Sealed and Expires are always its own. A session
// that the browser brought ends first, whoever's it was and whatever state it
// is in: nothing that was planted before a sign-in lives on after it (SEC-100,
// SEC-101).
//
// [ErrTooLarge] says that the session does not fit into its cookies,
// [ErrCookie] that the host is not below the cookie's domain.
func (m *Manager) Create(ctx context.Context, w http.ResponseWriter, brought Cookies, scope Scope, s *Session) (*Live, error) {
	if s.Issuer == "" || s.Subject == "" {
		return nil, ErrIncomplete
	}
	if !m.cookie.Covers(scope.Host) {
		return nil, fmt.Errorf("%w: the domain %q does not cover the host %q", ErrCookie, m.cookie.Domain, scope.Host)
	}
	if err := m.EndBrought(ctx, brought, scope); err != nil {
		return nil, err
	}
	ring, err := m.ring(ctx)
	if err != nil {
		return nil, err
	}
	now := m.now()
	created := s.Clone()
	created.ID, created.Generation = NewID(), 1
	created.Host = m.cookie.owner(scope)
	created.Created, created.Sealed, created.Expires = now, now, now.Add(m.lifetime)
	v, err := m.save(ctx, ring, created, nil, scope)
	if err != nil {
		return nil, err
	}
	if err := m.cookie.setSession(w, scope, brought, v.sealed, m.lifetime+m.linger); err != nil {
		return nil, err
	}
	return &Live{version: v, opened: &opened{version: *v}, cookies: brought, scope: scope, ring: ring, used: v.session.Sealed}, nil
}

// save stores a generation and seals its handle. The session of the result is
// decoded from what was stored, so that it is what will be read again. Besides
// those of [Manager.Load] it returns [ErrStale] and [ErrTooLarge].
func (m *Manager) save(ctx context.Context, ring *seal.Ring, s *Session, handle []byte, scope Scope) (*version, error) {
	data, err := s.MarshalBinary()
	if err != nil {
		return nil, err
	}
	saved, err := Decode(data)
	if err != nil {
		return nil, err
	}
	record := Record{ID: s.ID, Generation: s.Generation, Data: data, Expires: saved.Expires}
	if handle, err = m.store.Save(ctx, record, handle); err != nil {
		return nil, storeError(err)
	}
	sealed, err := ring.Seal(m.purpose(sessionKind, scope), handle)
	if errors.Is(err, seal.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w; a store on the server holds it (store memory or redis)", ErrTooLarge, err)
	}
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if _, err := m.cookie.split(scope, sealed); err != nil {
		return nil, err
	}
	return &version{saved, handle, sealed}, nil
}
