package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// Of a session that stands in a cookie, the newest generation stands nowhere but
// in an answer to one browser. So it is left in the shared memory, under the
// session and the generation that it follows, until a browser has shown it:
// whoever brings the old one, to whichever process, gets it. It is the sealed
// cookie, sealed once more with a key that only who brings the old cookie has.

// insistFor is how long a successor that could not be left is tried again.
const insistFor = 5 * time.Minute

func successorName(id ID) string { return sharedName(sharedSuccessor, string(id[:])) }

// successorKey is the key that an old generation's cookie holds: the hash of what
// was sealed in it, tokens and all.
func successorKey(handle []byte) []byte {
	sum := sha256.Sum256(appendBytes([]byte("successor"), handle))
	return sum[:]
}

func successorPurpose(s *Session) seal.Purpose {
	return seal.Purpose{Kind: successorKind, Scope: fmt.Sprintf("%v %d", s.ID, s.Generation)}
}

// newest returns the newest version that is known of a session: by this process,
// or, where that says only that the cookie's is superseded, by all.
func (m *Manager) newest(ctx context.Context, live *Live, now time.Time) (*version, error) {
	v, err := m.state.succession.current(live.version, now)
	if m.server != nil {
		return v, err
	}
	alone := m.state.shared == nil
	if errors.Is(err, ErrSuperseded) && !alone {
		s, asked := m.successor(ctx, live)
		if asked == nil && s == live.version && m.state.succession.knows(live.session.ID, now) {
			return nil, err // the memory has forgotten, and this process has not
		}
		return s, asked // it may be of those that were folded
	}
	if errors.Is(err, ErrSuperseded) && m.state.succession.heldUp(live.version, now) {
		live.heldUp = true
		return live.version, nil
	}
	if err == nil && v == live.version && v.session.Generation > 1 && m.state.succession.show(v, now) {
		if alone {
			m.state.marks.add(v.session)
		} else {
			m.state.feed().settle.add(Settled{successorName(v.session.ID), v.session.Generation - 1})
		}
	}
	return v, err
}

// successor returns the newest generation that follows a cookie's, which is that
// of the cookie if none does, and [ErrSuperseded] if a browser has shown one and
// the time of grace is over.
func (m *Manager) successor(ctx context.Context, live *Live) (*version, error) {
	name, v := successorName(live.session.ID), live.version
	for {
		newest, blob, err := m.state.shared.Successor(ctx, name, v.session.Generation)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: successor: %w", ErrUnavailable, err)
		case newest <= v.session.Generation:
			if v != live.version {
				m.state.succession.record(v, m.now())
			}
			return v, nil
		case blob == nil:
			return nil, fmt.Errorf("%w: generation %d, the newest is %d", ErrSuperseded, v.session.Generation, newest)
		}
		if v, err = m.openSuccessor(ctx, live, v, blob); err != nil {
			return nil, err
		}
	}
}

// openSuccessor opens what was left as the successor of v.
func (m *Manager) openSuccessor(ctx context.Context, live *Live, v *version, blob []byte) (*version, error) {
	sealed, err := seal.OpenBlob(successorKey(v.handle), successorPurpose(v.session), blob)
	if err != nil {
		return nil, fmt.Errorf("%w: successor: %w", ErrUnreadable, err)
	}
	purpose := m.purpose(sessionKind, live.scope)
	ring, err := m.ringFor(ctx, string(sealed))
	if err != nil {
		return nil, err
	}
	payload, err := ring.Open(purpose, string(sealed))
	if err != nil {
		return nil, unopened(err)
	}
	data, err := m.store.Load(ctx, payload)
	if err != nil {
		return nil, storeError(err)
	}
	s, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: successor: %w", ErrUnreadable, err)
	}
	return &version{s, payload, string(sealed)}, nil
}

// succeed leaves saved as the successor of current, and returns the version that
// counts: another's, if this process lost its lease meanwhile. A memory that is
// away does not undo the update: the browser gets its cookie, and the others learn
// of it later, within the same turn, which is kept until then.
func (m *Manager) succeed(ctx context.Context, t *turn, current *Live, saved *version) (counts *version, kept bool, err error) {
	leave := func(ctx context.Context) error {
		blob, err := seal.SealBlob(successorKey(current.handle), successorPurpose(current.session), []byte(saved.sealed))
		if err != nil {
			return err
		}
		rest := saved.session.Expires.Sub(m.now())
		return m.state.shared.Succeed(ctx, successorName(saved.session.ID), current.session.Generation, blob, rest)
	}
	err = leave(ctx)
	if err == nil {
		return saved, false, nil
	}
	if errors.Is(err, ErrStale) {
		newest, err := m.successor(ctx, current)
		return newest, false, err
	}
	fly(ctx, insistFor, func(ctx context.Context) (struct{}, error) {
		defer t.end(ctx)
		for {
			<-time.After(feedBeat)
			if err := leave(ctx); err == nil || errors.Is(err, ErrStale) || ctx.Err() != nil {
				return struct{}{}, err
			}
		}
	})
	return saved, true, nil
}
