package caddymodule

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// passwordLimiter limits how often passwords are tried. It is of this process, knows
// nobody by name, and never grows. Where processes share a memory, all of them together
// are held to the same limits; while that is away, each counts for itself. Nobody is
// locked out for good: what was used up comes back, and what a right password took
// comes back at once.
//
// An attempt costs its address one, whatever the name. It also costs the name one,
// whatever the address, as passwords are guessed from many; and where others have used
// that up, the address itself still has a few for this name, so that who attacks a
// name does not keep its owner out.
type passwordLimiter struct {
	secret  []byte // so that nobody can choose whom to share a bucket with
	address *buckets
	name    *buckets
	reserve *buckets
	// hashing bounds how many passwords are compared at once: each takes a core, and
	// some memory, for up to a second.
	hashing chan struct{}
}

// hashingPatience is how long an attempt waits for others to be compared.
const hashingPatience = 10 * time.Second

func newPasswordLimiter() *passwordLimiter {
	return &passwordLimiter{
		secret:  []byte(rand.Text()),
		address: newBuckets(10, 6*time.Second),
		name:    newBuckets(20, time.Minute),
		reserve: newBuckets(3, time.Hour),
		hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// places counts among all processes that share a memory: a [session.State].
type places interface {
	Place(ctx context.Context, n int, forTime time.Duration, kind string, parts ...string) (giveBack func(), err error)
}

// take allows one attempt, and returns what gives it back. Otherwise the error says
// when to come again. The memory that is shared is asked no more often than this
// process alone would allow: what others have used up stays taken here.
func (l *passwordLimiter) take(ctx context.Context, shared places, file, name, address string, now time.Time) (giveBack func(), err error) {
	address = networkOf(address)
	ofAddress, wait := l.address.take(l.slot("address", address), now)
	if ofAddress == nil {
		return nil, tooMany(wait, "too many attempts from this address")
	}
	ofName, _ := l.takeOf(ctx, shared, l.name, now, "name", file, name)
	if ofName == nil {
		if ofName, wait = l.takeOf(ctx, shared, l.reserve, now, "reserve", file, name, address); ofName == nil {
			ofAddress()
			return nil, tooMany(min(wait, l.name.interval), "too many attempts for this name")
		}
	}
	everywhere := l.address.everywhere(ctx, shared, "address", address)
	if everywhere == nil {
		ofName()
		return nil, tooMany(l.address.interval, "too many attempts from this address, at other servers too")
	}
	return func() { ofAddress(); ofName(); everywhere() }, nil
}

// takeOf takes one out of the bucket that parts name, here and among all.
func (l *passwordLimiter) takeOf(ctx context.Context, shared places, b *buckets, now time.Time, parts ...string) (giveBack func(), wait time.Duration) {
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

// everywhere takes one among all processes, and returns what gives it back; nil if they
// have used it up. While they cannot be asked, this process counts alone.
func (b *buckets) everywhere(ctx context.Context, shared places, parts ...string) (giveBack func()) {
	giveBack, err := shared.Place(ctx, int(b.burst/b.interval), b.burst, "attempt", parts...)
	if err != nil && !errors.Is(err, session.ErrUsed) {
		return func() {}
	}
	return giveBack
}

// compare runs one comparison of a password, when there is room for it.
func (l *passwordLimiter) compare(ctx context.Context, verify func() *account) (*account, error) {
	ctx, cancel := context.WithTimeout(ctx, hashingPatience)
	defer cancel()
	select {
	case l.hashing <- struct{}{}:
		defer func() { <-l.hashing }()
		return verify(), nil
	case <-ctx.Done():
		busy := problem(authflow.Unavailable, ReasonPasswordsBusy, "Too many passwords are being checked at the moment. Please try again shortly.", ctx.Err())
		busy.RetryAfter = 5 * time.Second
		return nil, busy
	}
}

func tooMany(wait time.Duration, what string) error {
	p := problem(authflow.BadRequest, ReasonTooManyAttempts, "Too many attempts. Please try again later.", errors.New(what))
	p.RetryAfter = wait
	return p
}

// networkOf is what one client can have many addresses of: of IPv6 a /64.
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

// slot is where a bucket is. Two that share one are limited together, which nobody can
// bring about on purpose.
func (l *passwordLimiter) slot(parts ...string) uint64 {
	sum := sha256.New()
	sum.Write(l.secret)
	for _, part := range parts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	return binary.BigEndian.Uint64(sum.Sum(nil))
}

// buckets are token buckets in a table of one size: each holds the time at which it
// will be full again.
type buckets struct {
	burst    time.Duration // how much of the future may be used up
	interval time.Duration
	fullAt   [1 << 14]atomic.Int64
}

func newBuckets(size int, interval time.Duration) *buckets {
	return &buckets{burst: time.Duration(size) * interval, interval: interval}
}

// take takes one out of a bucket, and returns what gives it back; nil if it is empty,
// and when there will be one.
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
