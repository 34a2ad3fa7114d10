package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The times of a feed.
const (
	feedBeat    = 300 * time.Millisecond // between two questions whether a revocation was missed
	feedLive    = time.Second            // a feed that was heard of within it is followed now
	feedLimit   = time.Minute            // with one that was heard of before it nobody is judged
	feedTimeout = 5 * time.Second        // for subscribing, reading, one beat
	feedPause   = 100 * time.Millisecond // before it is followed again; it doubles with each failure
	feedRetry   = time.Second            // the longest of these
)

// What ends the following of a feed.
var (
	errGap  = errors.New("session: revocations were missed")
	errLost = errors.New("session: the subscription is lost")
)

// feed keeps this process's copy of the revocations what the shared memory has.
// They are pushed; and since a push may be lost, the revision is asked for with
// every beat, and if one is missing all are read again. What the shared memory
// lost, or was not there to be told, it is told again then.
type feed struct {
	shared  Shared
	revoked *revocations
	now     func() time.Time
	settle  settle

	heard    atomic.Pointer[time.Time] // when the copy was last known to be whole; nil: never
	resumed  atomic.Pointer[time.Time] // when it was followed again after a failure; nil: it did not fail
	revision atomic.Uint64             // of the copy

	begin  sync.Once
	stop   context.CancelFunc
	mu     sync.Mutex
	closed bool
	trying *flight[struct{}] // the attempt to read all, running or over
}

func newFeed(shared Shared, revoked *revocations, now func() time.Time) *feed {
	return &feed{shared: shared, revoked: revoked, now: now}
}

// start follows the shared memory until close. It returns at once.
func (f *feed) start() {
	f.begin.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stop = cancel
		if f.closed {
			cancel()
		}
		f.trying = &flight[struct{}]{done: make(chan struct{})}
		go f.run(ctx, f.trying)
	})
}

// close ends it. What was heard until then counts for as long as it would have.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.stop != nil {
		f.stop()
	}
}

// isClosed tells whether nobody follows the memory any more. Without a feed nothing is
// to be followed.
func (f *feed) isClosed() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// age is how long ago the copy was whole, and false if it never was.
func (f *feed) age(now time.Time) (time.Duration, bool) {
	heard := f.heard.Load()
	if heard == nil {
		return 0, false
	}
	return now.Sub(*heard), true
}

// live tells whether a revocation is seen here within a moment.
func (f *feed) live(now time.Time) bool {
	age, ever := f.age(now)
	return ever && age < feedLive
}

// check returns [ErrUnavailable] if the copy may lack what was revoked a minute
// ago. It waits for the first reading alone.
func (f *feed) check(ctx context.Context, now time.Time) error {
	f.start()
	age, ever := f.age(now)
	if ever && age < feedLimit {
		return nil
	}
	f.mu.Lock()
	trying := f.trying
	f.mu.Unlock()
	if !ever {
		if _, err := trying.wait(ctx); err != nil {
			return fmt.Errorf("%w: revocations not read: %w", ErrUnavailable, err)
		}
		return nil
	}
	return fmt.Errorf("%w: revocations not heard of for %v", ErrUnavailable, age)
}

// run follows, and begins again whenever that ends.
func (f *feed) run(ctx context.Context, first *flight[struct{}]) {
	wait, failed := feedPause, false
	for attempt := first; ; attempt = f.again() {
		err := ctx.Err()
		if err == nil {
			err = f.follow(ctx, attempt, failed)
		}
		if !attempt.over() { // it did not come to the reading
			attempt.err = err
			close(attempt.done)
		}
		failed = attempt.err != nil
		if !failed {
			wait = feedPause // it worked until now
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, feedRetry)
	}
}

// again makes the next attempt.
func (f *feed) again() *flight[struct{}] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trying = &flight[struct{}]{done: make(chan struct{})}
	return f.trying
}

// push is a revocation with the revision that it made.
type push struct {
	revision   uint64
	revocation Revocation
}

// follow subscribes, reads all, and listens until something is wrong. The attempt
// is over when all was read; again says that the one before failed.
func (f *feed) follow(ctx context.Context, attempt *flight[struct{}], again bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := within(ctx, f.shared.Subscribe)
	if err != nil {
		return err
	}
	pushes := listen(ctx, sub)
	defer func() { _ = sub.Close() }()
	if _, err := within(ctx, f.read); err != nil {
		return err
	}
	if again {
		now := f.now()
		f.resumed.Store(&now)
	}
	close(attempt.done)
	beat := time.NewTicker(feedBeat)
	defer beat.Stop()
	var awaited uint64 // a revision whose pushes are on their way
	var asked time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, ok := <-pushes:
			if !ok {
				return errLost
			}
			if err := f.take(p); err != nil {
				return err
			}
		case <-beat.C:
			if f.revision.Load() < awaited {
				return errGap
			}
			asked = f.now()
			if awaited, err = within(ctx, f.shared.Revision); err != nil {
				return err
			}
			if awaited < f.revision.Load() {
				return errGap // it forgot
			}
			f.flushSettled(ctx)
			f.tell(ctx)
		}
		if f.revision.Load() >= awaited && !asked.IsZero() {
			f.hear(asked)
		}
	}
}

// take notes one push. One that stood in what was read is not new.
func (f *feed) take(p push) error {
	switch at := f.revision.Load(); {
	case p.revision > at+1:
		return errGap
	case p.revision == at+1:
		f.revoked.remember(noted{Revocation: p.revocation, shared: true}, f.now())
		f.revision.Store(p.revision)
	}
	return nil
}

// read takes over all that the shared memory has, and tells it what it lacks.
func (f *feed) read(ctx context.Context) (struct{}, error) {
	now := f.now()
	// What this process revoked before it was started belongs to all. If it cannot
	// be read, check says so itself.
	_ = f.revoked.list(ctx, now)
	revision, all, err := f.shared.Revocations(ctx)
	if err != nil {
		return struct{}{}, err
	}
	if lacking := f.revoked.lacking(all, now); len(lacking) > 0 {
		if err := f.shared.Revoke(ctx, lacking...); err != nil {
			return struct{}{}, err
		}
		f.revoked.told(lacking, now)
	}
	f.revision.Store(revision)
	f.hear(now)
	return struct{}{}, nil
}

// tell gives the shared memory what it did not take when that was revoked: it may
// answer all the time, and take nothing for a while.
func (f *feed) tell(ctx context.Context) {
	if !f.revoked.untold.Swap(false) {
		return
	}
	now := f.now()
	unshared := f.revoked.unshared(now)
	if len(unshared) == 0 {
		return
	}
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.shared.Revoke(ctx, unshared...)
	})
	if err != nil {
		f.revoked.untold.Store(true) // the next beat tries again
		return
	}
	f.revoked.told(unshared, now)
}

// catchUp makes sure that what was revoked before the call counts here.
func (f *feed) catchUp(ctx context.Context) error {
	revision, err := f.shared.Revision(ctx)
	if err == nil && revision != f.revision.Load() {
		var all []Revocation
		if _, all, err = f.shared.Revocations(ctx); err == nil {
			f.revoked.told(all, f.now())
		}
	}
	if err != nil {
		return fmt.Errorf("%w: revocations not read: %w", ErrUnavailable, err)
	}
	return nil
}

func (f *feed) hear(at time.Time) { f.heard.Store(&at) }

// listen reads a subscription until it is lost or ctx is over.
func listen(ctx context.Context, sub Subscription) <-chan push {
	pushes := make(chan push)
	go func() {
		defer close(pushes)
		for {
			revision, r, err := sub.Next(ctx)
			if err != nil {
				return
			}
			select {
			case pushes <- push{revision, r}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return pushes
}

// within calls the shared memory with the time that a feed has for that.
func within[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	return call(ctx)
}
