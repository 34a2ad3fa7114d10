package authflow

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

// How long what was found out about a token is kept at most. A JWT is as good as the
// keys that it was verified with; a lookup as good as the provider's memory.
const (
	verifiedFor     = 5 * time.Minute
	introspectedFor = 30 * time.Second
	inactiveFor     = 5 * time.Second
)

// maxKeptBytes bounds each generation of a tokenCache by what the kept tokens'
// texts and claims may hold, in bytes.
const maxKeptBytes = 16 << 20

// tokenCache remembers what was found out about access tokens: those that count until
// they expire or get too old, those that the provider calls inactive for a moment. It
// is bounded: what was not used while a generation filled up is forgotten. Tokens that
// do not count cannot push out those that do.
type tokenCache[T keepable] struct {
	mu        sync.Mutex
	good, bad generations[T]
	flights   map[tokenKey]*tokenFlight[T]
}

// keepable is what a token says, in a form that can be kept.
type keepable interface {
	// keep tells how long that is as good as found out anew, and about how many bytes
	// it takes.
	keep(now time.Time) (until time.Time, size int)
}

// keptUntil is never after exp (RFC 7662 4).
func keptUntil(now time.Time, keptFor time.Duration, expires time.Time) time.Time {
	until := now.Add(keptFor)
	if !expires.IsZero() && expires.Before(until) {
		return expires
	}
	return until
}

// tokenKey names a token: its SHA-256. How it is looked at is its cache's owner's, who
// shares it with nobody (SEC-85).
type tokenKey [sha256.Size]byte

// tokenKeyOf hashes a token block by block: as one slice of bytes it would be copied to
// the heap.
func tokenKeyOf(raw string) (key tokenKey) {
	hash := sha256.New()
	var block [512]byte
	for len(raw) > 0 {
		n := copy(block[:], raw)
		_, _ = hash.Write(block[:n]) // never fails
		raw = raw[n:]
	}
	hash.Sum(key[:0])
	return key
}

// found is what was found out, and until when that counts.
type found[T any] struct {
	token T
	err   error
	until time.Time
	size  int
}

// generations are two maps: what is asked for moves to the young one, and when that
// is full, the old one is forgotten.
type generations[T any] struct {
	young, old map[tokenKey]*found[T]
	size       int
}

// tokenFlight is a lookup under way; who wants the same token waits for it.
type tokenFlight[T any] struct {
	done    chan struct{}
	token   T
	err     error
	waiting int    // the cache's lock guards it
	abandon func() // ends the lookup's context: nobody waits for it any more
}

// finder finds out about a token. Its context ends when nobody waits for the answer any
// more. counted says that the token did when it was last looked at: nobody has invented
// it.
type finder[T any] func(ctx context.Context, counted bool) (T, error)

// get returns what is known of a token, else what find finds. A caller who goes does
// not end a lookup that others wait for.
func (c *tokenCache[T]) get(ctx context.Context, key tokenKey, now time.Time, find finder[T]) (T, error) {
	c.mu.Lock()
	if known := c.known(key, now); known != nil {
		c.mu.Unlock()
		return known.token, known.err
	}
	flight := c.flights[key]
	if flight == nil {
		flight = c.begin(ctx, key, now, find)
	}
	flight.waiting++
	c.mu.Unlock()
	select {
	case <-flight.done:
		return flight.token, flight.err
	case <-ctx.Done():
		c.leave(key, flight)
		var none T
		return none, ctx.Err()
	}
}

// begin begins a lookup. c.mu is held.
func (c *tokenCache[T]) begin(ctx context.Context, key tokenKey, now time.Time, find finder[T]) *tokenFlight[T] {
	flight := &tokenFlight[T]{done: make(chan struct{})}
	ctx, flight.abandon = context.WithCancel(context.WithoutCancel(ctx))
	if c.flights == nil {
		c.flights = map[tokenKey]*tokenFlight[T]{}
	}
	c.flights[key] = flight
	go c.fly(ctx, flight, key, now, find, c.good.get(key) != nil)
	return flight
}

// leave is called by who does not wait any longer. The last one ends the lookup, and
// who comes then begins another.
func (c *tokenCache[T]) leave(key tokenKey, flight *tokenFlight[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if flight.waiting--; flight.waiting > 0 {
		return
	}
	flight.abandon()
	if c.flights[key] == flight {
		delete(c.flights, key)
	}
}

// has tells whether a token is known as one that counts.
func (c *tokenCache[T]) has(key tokenKey, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known(key, now)
	return known != nil && known.err == nil
}

// known returns what counts now of what is kept. c.mu is held.
func (c *tokenCache[T]) known(key tokenKey, now time.Time) *found[T] {
	for _, kept := range []*generations[T]{&c.good, &c.bad} {
		if known := kept.get(key); known != nil && now.Before(known.until) {
			return known
		}
	}
	return nil
}

func (c *tokenCache[T]) fly(ctx context.Context, flight *tokenFlight[T], key tokenKey, now time.Time, find finder[T], counted bool) {
	defer close(flight.done)
	defer flight.abandon()
	flight.token, flight.err = guard.Call(func() (T, error) { return find(ctx, counted) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] == flight {
		delete(c.flights, key)
	}
	switch refused, _ := errors.AsType[*Error](asToken(flight.err)); {
	case flight.err == nil:
		if until, size := flight.token.keep(now); now.Before(until) {
			c.good.put(key, &found[T]{token: flight.token, until: until, size: size})
		}
	case refused != nil && refused.Kind == NoLogin:
		c.good.drop(key)
		if refused.Reason == ReasonTokenInactive {
			c.bad.put(key, &found[T]{err: flight.err, until: now.Add(inactiveFor), size: 256})
		}
	}
}

func (g *generations[T]) get(key tokenKey) *found[T] {
	if known := g.young[key]; known != nil {
		return known
	}
	known := g.old[key]
	if known != nil {
		delete(g.old, key)
		g.put(key, known)
	}
	return known
}

func (g *generations[T]) put(key tokenKey, f *found[T]) {
	if g.size+f.size > maxKeptBytes || g.young == nil {
		g.old, g.young, g.size = g.young, map[tokenKey]*found[T]{}, 0
	}
	g.young[key] = f
	g.size += f.size
}

func (g *generations[T]) drop(key tokenKey) {
	if known := g.young[key]; known != nil {
		g.size -= known.size
		delete(g.young, key)
	}
	delete(g.old, key)
}
