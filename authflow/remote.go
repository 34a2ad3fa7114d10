package authflow

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// firstBackoff and maxBackoff bound the pause after a failed attempt. The
	// longest pause and one attempt together take less than the five seconds
	// within which a login works once the provider is there (P01).
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 4 * time.Second
	// fetchTimeout bounds one attempt, more tightly than other calls: a provider
	// that hangs and then comes back would else not be asked again for too long.
	fetchTimeout = 4 * time.Second
	// maxWait is how long somebody who has nothing else to use waits.
	maxWait = 3 * time.Second
)

var (
	// errWaiting means that an attempt takes longer than maxWait.
	errWaiting = errors.New("no answer yet")
	// errThrottled means that a renewal was asked for too often.
	errThrottled = errors.New("fetched too often")
)

// remote is a document of the provider: fetched when it is first needed, then
// kept. All attempts run in the background, one at a time, so a provider that
// hangs holds one goroutine and not one per request; those who need the document
// wait for the attempt under way. An old document serves while a newer one is
// fetched, and for as long as that fails.
type remote[T any] struct {
	fetch  func(context.Context) (*T, error)
	now    func() time.Time
	maxAge time.Duration
	bucket bucket // for renew and doubt

	mu       sync.Mutex
	document *T // nil until an attempt has worked
	fetched  time.Time
	err      error         // of the last attempt
	failures int           // attempts that failed since the last that worked
	notUntil time.Time     // when the next attempt may start
	attempt  chan struct{} // closed when the attempt under way is over; nil if none is
}

// get returns the document. If there is none yet, it waits for at most maxWait
// and for as long as ctx lets it.
func (r *remote[T]) get(ctx context.Context) (*T, error) {
	r.mu.Lock()
	document := r.document
	var done <-chan struct{}
	if document == nil || r.now().Sub(r.fetched) >= r.maxAge {
		done = r.start()
	}
	r.mu.Unlock()
	if document != nil {
		return document, nil
	}
	return r.wait(ctx, done)
}

// renew returns a document other than old, which the caller found wanting. It
// fetches at most as often as the bucket lets it: errThrottled.
func (r *remote[T]) renew(ctx context.Context, old *T) (*T, error) {
	r.mu.Lock()
	if r.document != old {
		defer r.mu.Unlock()
		return r.document, nil
	}
	if r.attempt == nil && !r.bucket.take(r.now()) {
		defer r.mu.Unlock()
		return nil, errThrottled
	}
	done := r.start()
	r.mu.Unlock()
	return r.wait(ctx, done)
}

// doubt has another document than old fetched in the background, as often as the bucket
// lets it: what old says has not worked.
func (r *remote[T]) doubt(old *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.document == old && r.attempt == nil && r.bucket.take(r.now()) {
		r.start()
	}
}

// pause returns how long it is until the next attempt may start.
func (r *remote[T]) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notUntil.Sub(r.now())
}

// start starts an attempt unless one is under way, and returns what is closed
// when it is over. r.mu is held.
func (r *remote[T]) start() <-chan struct{} {
	if r.attempt == nil {
		r.attempt = make(chan struct{})
		go r.run(r.notUntil.Sub(r.now()))
	}
	return r.attempt
}

// run makes one attempt after a pause. It ends by itself, whoever waits or has
// ceased to.
func (r *remote[T]) run(pause time.Duration) {
	time.Sleep(pause)
	started := r.now()
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	document, err := r.fetch(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.attempt)
	r.attempt = nil
	if r.err = err; err != nil {
		r.notUntil = started.Add(min(firstBackoff<<min(r.failures, 10), maxBackoff))
		r.failures++
		return
	}
	r.document, r.fetched, r.failures = document, r.now(), 0
}

// wait returns what the attempt that done belongs to has brought.
func (r *remote[T]) wait(ctx context.Context, done <-chan struct{}) (*T, error) {
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	over := true
	select {
	case <-done:
	case <-limit.C:
		over = false
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !over || r.err != nil {
		return nil, r.lastError()
	}
	return r.document, nil
}

// lastError returns why the last attempt failed, or that there is no answer yet.
// r.mu is held.
func (r *remote[T]) lastError() error { return cmp.Or(r.err, errWaiting) }

// bucket is a token bucket: at once it allows size takes, and then one per
// interval, which is not zero.
type bucket struct {
	size     int
	interval time.Duration

	taken int
	since time.Time // from when on a token comes back
}

// take uses a token if there is one.
func (b *bucket) take(now time.Time) bool {
	back := min(int(max(now.Sub(b.since), 0)/b.interval), b.taken)
	b.taken -= back
	b.since = b.since.Add(time.Duration(back) * b.interval)
	if b.taken == 0 {
		b.since = now
	}
	if b.taken >= b.size {
		return false
	}
	b.taken++
	return true
}
