package authflow

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// maxKeptBytes bounds each generation of a tokenCache by what the kept tokens'
// texts and claims may hold, in bytes.
const maxKeptBytes = 16 << 20

// tokenCache remembers what one resource server found out about access tokens: those
// that count until they expire or get too old, those that the provider calls inactive
// for a moment. It is bounded: what was not used while a generation filled up is
// forgotten. Tokens that do not count cannot push out those that do.
type tokenCache struct {
	mu        sync.Mutex
	good, bad generations
	flights   map[tokenKey]*tokenFlight
}

// tokenKey names a token: its SHA-256. How it is looked at is the resource server's,
// whose cache nobody shares (SEC-85).
type tokenKey [sha256.Size]byte

// found is what was found out, and until when that counts.
type found struct {
	token *AccessToken
	err   error
	until time.Time
	size  int
}

// generations are two maps: what is asked for moves to the young one, and when that
// is full, the old one is forgotten.
type generations struct {
	young, old map[tokenKey]*found
	size       int
}

// tokenFlight is a lookup under way; who wants the same token waits for it.
type tokenFlight struct {
	done  chan struct{}
	token *AccessToken
	err   error
}

// get returns what is known of a token, else what find finds. The caller's context
// does not end a lookup that others wait for.
func (c *tokenCache) get(ctx context.Context, key tokenKey, now time.Time, find func(context.Context) (*AccessToken, error)) (*AccessToken, error) {
	c.mu.Lock()
	if known := c.known(key, now); known != nil {
		c.mu.Unlock()
		return known.token, known.err
	}
	flight := c.flights[key]
	if flight == nil {
		flight = &tokenFlight{done: make(chan struct{})}
		if c.flights == nil {
			c.flights = map[tokenKey]*tokenFlight{}
		}
		c.flights[key] = flight
		go c.fly(context.WithoutCancel(ctx), flight, key, now, find)
	}
	c.mu.Unlock()
	select {
	case <-flight.done:
		return flight.token, flight.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// known returns what counts now of what is kept. c.mu is held.
func (c *tokenCache) known(key tokenKey, now time.Time) *found {
	for _, kept := range []*generations{&c.good, &c.bad} {
		if known := kept.get(key); known != nil && now.Before(known.until) {
			return known
		}
	}
	return nil
}

func (c *tokenCache) fly(ctx context.Context, flight *tokenFlight, key tokenKey, now time.Time, find func(context.Context) (*AccessToken, error)) {
	defer close(flight.done)
	flight.token, flight.err = guarded(ctx, find)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, key)
	switch reason := ReasonOf(flight.err); {
	case flight.err == nil:
		c.good.put(key, &found{token: flight.token, until: keptUntil(flight.token, now), size: flight.token.size})
	case reason == ReasonTokenInactive:
		c.bad.put(key, &found{err: flight.err, until: now.Add(inactiveFor), size: 256})
	}
}

// guarded turns a panic into an error: nobody else is there to recover it.
func guarded(ctx context.Context, find func(context.Context) (*AccessToken, error)) (token *AccessToken, err error) {
	defer func() {
		if p := recover(); p != nil {
			token, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return find(ctx)
}

// keptUntil is never after exp (RFC 7662 4).
func keptUntil(t *AccessToken, now time.Time) time.Time {
	until := now.Add(t.keptFor)
	if !t.Expires.IsZero() && t.Expires.Before(until) {
		return t.Expires
	}
	return until
}

func (g *generations) get(key tokenKey) *found {
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

func (g *generations) put(key tokenKey, f *found) {
	if g.size+f.size > maxKeptBytes || g.young == nil {
		g.old, g.young, g.size = g.young, map[tokenKey]*found{}, 0
	}
	g.young[key] = f
	g.size += f.size
}
