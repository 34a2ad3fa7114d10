package session

import "context"

// Check tells whether a session that no cookie holds, such as a token of our own, was
// ended by a revocation: [ErrRevoked]. With [ErrUnavailable] it cannot be told. Its
// lifetime is the caller's concern.
func (m *Manager) Check(ctx context.Context, s *Session) error {
	return m.state.revoked.check(ctx, s, m.now())
}
