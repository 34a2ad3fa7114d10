package session

import "sync"

// opened is a cookie that was opened, and what the store answered to it last.
// It is shared and never changed.
type opened struct {
	payload []byte   // what was sealed: a session's handle, or a last use
	data    []byte   // the encoded session that the handle led to
	session *Session // decoded from data
}

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
	young, old map[fingerprint]*opened
	size       int // of young, in bytes
}

func newCache(limit int) *cache {
	return &cache{limit: limit, young: map[fingerprint]*opened{}}
}

// get returns an entry, or nil.
func (c *cache) get(key fingerprint) *opened {
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
func (c *cache) put(key fingerprint, o *opened) {
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
		c.old, c.young, c.size = c.young, map[fingerprint]*opened{}, 0
	}
	c.young[key] = o
	c.size += size
}
