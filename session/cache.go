package session

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// opened is a cookie that was opened, and what the store answered to it last.
// It is shared, and never changed but for what was seen.
type opened struct {
	payload []byte   // what was sealed: a session's handle, or a last use
	data    []byte   // the encoded session that the handle led to
	session *Session // decoded from data

	seen atomic.Pointer[seen] // nil: the store did not say that session is the newest
}

// seen is when a store that processes share had the session of an opened cookie
// as the newest, and its last use then.
type seen struct{ at, used time.Time }

// size estimates the memory that an entry holds on to. A decoded session takes
// a few times its encoding: maps, headers of strings.
func (o *opened) size() int {
	return 512 + len(o.payload) + 5*len(o.data)
}

// cache remembers opened cookies by their fingerprint, up to a number of bytes.
// It keeps two generations: what was used lately, and what was used before
// that. When the young half is full, the old one is dropped and the young one
// becomes it; so what is in use stays, and no list has to be kept in order.
//
// An entry says only what a cookie holds. Whether it is still good (expiry,
// revocation, the key) is judged on every request.
type cache struct {
	limit int // bytes of both generations

	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*opened
	size       int // of young, in bytes
}

func newCache(limit int) *cache {
	return &cache{limit: limit, young: map[[sha256.Size]byte]*opened{}}
}

// get returns an entry, or nil.
func (c *cache) get(key [sha256.Size]byte) *opened {
	c.mu.RLock()
	found, young := c.young[key]
	if !young {
		found = c.old[key]
	}
	c.mu.RUnlock()
	if found != nil && !young {
		c.put(key, found)
	}
	return found
}

// put stores an entry as used now.
func (c *cache) put(key [sha256.Size]byte, o *opened) {
	size := o.size()
	if size > c.limit/2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.young[key]; ok {
		c.size -= before.size()
	}
	if c.size+size > c.limit/2 {
		c.old, c.young, c.size = c.young, map[[sha256.Size]byte]*opened{}, 0
	}
	c.young[key] = o
	c.size += size
}
