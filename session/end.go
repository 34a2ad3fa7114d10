package session

import (
	"context"
	"errors"
	"time"
)

// Target is what [Manager.End] ends.
type Target struct {
	revocation Revocation
	handle     []byte // nil: not known
}

// BySession ends one session, with all copies of its cookies.
func BySession(live *Live) Target {
	return Target{Revocation{of: ofSessionID(live.session.ID), until: live.session.Expires}, live.handle}
}

// ByID ends one session that the browser does not bring now, until the given time,
// or, if that is zero, for the lifetime of a session.
func ByID(id ID, until time.Time) Target {
	return Target{Revocation{of: ofSessionID(id), until: until}, nil}
}

// ByIdPSession ends every session that began in a session at the provider (sid
// of OIDC Back-Channel Logout 2.1), earlier or later. It is remembered until the
// given time, or, if that is zero, for the lifetime of a session.
func ByIdPSession(issuer, sid string, until time.Time) Target {
	return Target{Revocation{of: ofIdPSession(issuer, sid), until: until}, nil}
}

// BySubject ends every session of a subject whose ID token was issued up to
// notBefore, by the provider's clock; a later sign-in is not touched. It is
// remembered until the given time, or, if that is zero, for the lifetime of a
// session.
func BySubject(issuer, subject string, notBefore, until time.Time) Target {
	return Target{Revocation{of: ofSubject(issuer, subject), notBefore: notBefore, until: until}, nil}
}

// BySubjectAlone is [BySubject] for those of its sessions of which the provider did not
// tell in which session of its own they began.
func BySubjectAlone(issuer, subject string, notBefore, until time.Time) Target {
	return Target{Revocation{of: ofSubjectAlone(issuer, subject), notBefore: notBefore, until: until}, nil}
}

// End ends sessions before their time. It takes effect in this process whatever
// it returns. [ErrUnavailable] says that it might not outlive the process or
// not reach the store: the caller says so, and the user tries again.
func (m *Manager) End(ctx context.Context, target Target) error {
	now := m.now()
	revocation := target.revocation
	revocation.at = now
	if revocation.until.IsZero() {
		revocation.until = now.Add(m.lifetime + time.Second) // times are stored in whole seconds
	}
	errs := []error{m.state.revoked.add(ctx, revocation, now)}
	if target.handle != nil {
		if err := m.store.Delete(context.WithoutCancel(ctx), target.handle); err != nil {
			errs = append(errs, storeError(err))
		}
	}
	return errors.Join(errs...)
}

// EndBrought ends the session that the cookies open, also one that is idle or
// superseded. Cookies that open nothing are no error.
func (m *Manager) EndBrought(ctx context.Context, brought Cookies, scope Scope) error {
	live, err := m.read(ctx, brought, scope)
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case err != nil:
		return nil // it opens nothing here, so there is nothing to name
	default:
		return m.End(ctx, BySession(live))
	}
}

// Check tells whether a session that no cookie holds, such as a token of our own, was
// ended by a revocation: [ErrRevoked]. With [ErrUnavailable] it cannot be told. Its
// lifetime is the caller's concern.
func (m *Manager) Check(ctx context.Context, s *Session) error {
	return m.state.revoked.check(ctx, s, m.now())
}
