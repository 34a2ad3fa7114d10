package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// The times of a turn.
const (
	leaseTime  = 10 * time.Second // after which the next follows a process that died
	leaseRenew = 2 * time.Second
	firstPoll  = 10 * time.Millisecond // of who waits; it doubles up to the longest
	longPoll   = 50 * time.Millisecond

	turnFeed  = 3 * time.Second // the oldest feed with which a turn is taken
	turnPause = time.Second     // after a failure: who has something to save from before it goes first
)

// turn is the right to change a session, of this process among those that have
// the same shared memory. A nil one is that of a process alone.
type turn struct {
	shared      Shared
	name, owner string
	stop        context.CancelFunc
	done        chan struct{}
}

// turn waits until this process may change the session, or until another one has:
// then the newest version, which it returns always, is newer, and it is nobody's
// turn.
func (m *Manager) turn(ctx context.Context, live *Live) (*turn, *version, error) {
	if m.state.shared == nil {
		return nil, live.version, nil
	}
	if err := m.state.feed().steady(ctx); err != nil {
		return nil, nil, err
	}
	t := &turn{shared: m.state.shared, name: sharedName(sharedTurn, string(live.session.ID[:])), owner: rand.Text()}
	for wait := firstPoll; ; wait = min(2*wait, longPoll) {
		mine, err := t.shared.Lease(ctx, t.name, t.owner, leaseTime)
		if err != nil {
			go t.release(ctx) // it may be ours, and the answer alone was lost
			return nil, nil, fmt.Errorf("%w: lease: %w", ErrUnavailable, err)
		}
		newest, err := m.reask(ctx, live)
		overtaken := err == nil && newest.session.Generation > live.session.Generation
		if mine && err == nil && !overtaken {
			t.keep(ctx)
			return t, newest, nil
		}
		if mine {
			t.release(ctx)
		}
		if err != nil || overtaken {
			return nil, newest, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: another process updates the session: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

// steady waits, where the shared memory has just come back, until processes that
// refreshed a session before it went could say so. It is [ErrUnavailable] while the
// memory is away.
func (f *feed) steady(ctx context.Context) error {
	now := f.now()
	if age, ever := f.age(now); !ever || age >= turnFeed {
		return fmt.Errorf("%w: the shared memory is away", ErrUnavailable)
	}
	resumed := f.resumed.Load()
	if resumed == nil || now.Sub(*resumed) >= turnPause {
		return nil
	}
	select {
	case <-time.After(turnPause - now.Sub(*resumed)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// reask returns the newest version of a session, whichever process made it, or why
// the session is over.
func (m *Manager) reask(ctx context.Context, live *Live) (*version, error) {
	if err := m.state.feed().catchUp(ctx); err != nil {
		return nil, err
	}
	if err := m.judge(ctx, live.session, m.now()); err != nil {
		return nil, err
	}
	if m.server == nil {
		return m.successor(ctx, live)
	}
	generation, _, err := m.server.Peek(ctx, live.handle)
	if err != nil {
		return nil, storeError(err)
	}
	if generation <= live.session.Generation {
		return live.version, nil
	}
	return m.reread(ctx, live)
}

// keep renews the lease until the turn ends: a change may take long.
func (t *turn) keep(ctx context.Context) {
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		for {
			select {
			case <-time.After(leaseRenew):
			case <-ctx.Done():
				return
			}
			// One that fails is repeated; a lease that was lost shows when it is saved.
			_, _ = t.shared.Lease(ctx, t.name, t.owner, leaseTime)
		}
	}()
}

// end lets the next one have the session.
func (t *turn) end(ctx context.Context) {
	if t == nil {
		return
	}
	t.stop()
	<-t.done
	t.release(ctx)
}

func (t *turn) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseRenew)
	defer cancel()
	_ = t.shared.Release(ctx, t.name, t.owner) // else it expires
}
