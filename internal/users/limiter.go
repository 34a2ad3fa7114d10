package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
)

// ErrBusy says that too many passwords are being compared: the same attempt may work
// later.
var ErrBusy = errors.New("users: too many passwords are being compared")

// TooManyError says that an address, or everybody for a name, has used up its attempts.
type TooManyError struct {
	// RetryAfter is how long it takes until there is another attempt.
	RetryAfter time.Duration

	what string
}

// Error says what was used up.
func (e *TooManyError) Error() string { return "too many attempts " + e.what }

// Limiter limits how often passwords may be tried. It counts in this process, stores no
// name, and never grows. Where processes share a memory, the limits hold for all of them
// together; while that memory is away, each process counts for itself. Nobody is locked
// out for good: attempts come back with time, and a right password costs none.
//
// An attempt is taken from the address, whatever the name (10, one back every six
// seconds). It is also taken from the name, whatever the address, since passwords are
// guessed from many addresses (20, one back every minute). Where others have used up a
// name, each address still has a few attempts for it (3, one back every hour), so that
// who attacks a name does not keep its owner out.
type Limiter struct {
	secret  []byte // so that nobody can choose whom to share a bucket with
	address *buckets
	name    *buckets
	reserve *buckets
	// hashing bounds how many passwords are compared at once: each takes a core, and
	// some memory, for up to a second.
	hashing chan struct{}
}

// hashingPatience is how long an attempt waits until its password can be compared.
const hashingPatience = 10 * time.Second

// NewLimiter returns a limiter that has seen no attempt.
func NewLimiter() *Limiter {
	return &Limiter{
		secret:  []byte(rand.Text()),
		address: newBuckets(10, 6*time.Second),
		name:    newBuckets(20, time.Minute),
		reserve: newBuckets(3, time.Hour),
		hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// Places counts attempts among all processes that share a memory. A [session.State] does.
type Places interface {
	// Place is [session.State.Place].
	Place(ctx context.Context, n int, forTime time.Duration, kind string, parts ...string) (giveBack func(), err error)
}

// Take takes one attempt for a name in a users file from an address, and returns what
// gives it back. If there is none left, the error is a *[TooManyError]. The shared memory
// is asked no more often than this process alone would allow: an attempt that others have
// used up stays taken here.
func (l *Limiter) Take(ctx context.Context, shared Places, file, name, address string, now time.Time) (giveBack func(), err error) {
	address = networkOf(address)
	ofAddress, wait := l.address.take(l.slot("address", address), now)
	if ofAddress == nil {
		return nil, &TooManyError{wait, "from this address"}
	}
	ofName, _ := l.takeOf(ctx, shared, l.name, now, "name", file, name)
	if ofName == nil {
		if ofName, wait = l.takeOf(ctx, shared, l.reserve, now, "reserve", file, name, address); ofName == nil {
			ofAddress()
			return nil, &TooManyError{min(wait, l.name.interval), "for this name"}
		}
	}
	everywhere := l.address.everywhere(ctx, shared, "address", address)
	if everywhere == nil {
		ofName()
		return nil, &TooManyError{l.address.interval, "from this address, at other servers too"}
	}
	return func() { ofAddress(); ofName(); everywhere() }, nil
}

// takeOf takes one attempt out of the bucket that parts name, here and among all processes.
func (l *Limiter) takeOf(ctx context.Context, shared Places, b *buckets, now time.Time, parts ...string) (giveBack func(), wait time.Duration) {
	here, wait := b.take(l.slot(parts...), now)
	if here == nil {
		return nil, wait
	}
	everywhere := b.everywhere(ctx, shared, parts...)
	if everywhere == nil {
		return nil, b.interval
	}
	return func() { here(); everywhere() }, 0
}

// everywhere takes one attempt among all processes, and returns what gives it back; nil
// if there is none left. While the shared memory is away, this process counts alone.
func (b *buckets) everywhere(ctx context.Context, shared Places, parts ...string) (giveBack func()) {
	giveBack, err := shared.Place(ctx, int(b.burst/b.interval), b.burst, "attempt", parts...)
	if err != nil && !errors.Is(err, session.ErrUsed) {
		return func() {}
	}
	return giveBack
}

// Compare calls verify, which compares one password, as soon as there is room for it. It
// is [ErrBusy] if there is none within ten seconds, or before ctx ends.
func (l *Limiter) Compare(ctx context.Context, verify func() *User) (*User, error) {
	ctx, cancel := context.WithTimeout(ctx, hashingPatience)
	defer cancel()
	select {
	case l.hashing <- struct{}{}:
		defer func() { <-l.hashing }()
		return verify(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// networkOf is what an address counts as: itself, or in IPv6 its /64 network, all of whose
// addresses one client may have.
func networkOf(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// slot chooses the bucket of what parts name. Two that share a bucket are limited
// together, which nobody can bring about on purpose: the secret is in the hash.
func (l *Limiter) slot(parts ...string) uint64 {
	sum := sha256.New()
	sum.Write(l.secret)
	for _, part := range parts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	return binary.BigEndian.Uint64(sum.Sum(nil))
}

// buckets is a table of token buckets. A bucket is the time at which it will be full
// again, in Unix nanoseconds.
type buckets struct {
	burst    time.Duration // the time that a whole bucket takes to fill
	interval time.Duration // the time that one token takes
	fullAt   [1 << 14]atomic.Int64
}

func newBuckets(size int, interval time.Duration) *buckets {
	return &buckets{burst: time.Duration(size) * interval, interval: interval}
}

// take takes one token out of a bucket, and returns what gives it back. If the bucket is
// empty that is nil, and wait is how long it stays empty.
func (b *buckets) take(slot uint64, now time.Time) (giveBack func(), wait time.Duration) {
	bucket := &b.fullAt[slot%uint64(len(b.fullAt))]
	for {
		old := bucket.Load()
		next := max(old, now.UnixNano()) + int64(b.interval)
		if wait := next - now.Add(b.burst).UnixNano(); wait > 0 {
			return nil, time.Duration(wait)
		}
		if bucket.CompareAndSwap(old, next) {
			return func() { bucket.Add(-int64(b.interval)) }, 0
		}
	}
}
