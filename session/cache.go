package session

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// opened is a cookie that was opened, and what the store answered to it last: the
// version that the browser has. It is shared, and never changed but for what was
// seen. Of a last use it has no more than the handle, which is what was sealed.
type opened struct {
	version
	data  []byte // the encoded session that the handle led to
	whole bool   // the handle alone leads to data: no store is asked

	seen atomic.Pointer[seen] // nil: the store did not say that session is the newest
}

// seen is when a store that processes share had the session of an opened cookie
// as the newest, and its last use then.
type seen struct{ at, used time.Time }

// question is "what does this value hold, for this purpose?".
type question struct {
	purpose seal.Purpose
	value   string
}

// answer is a question with its answer.
type answer struct {
	question
	*opened
}

// size estimates the memory that an entry holds on to. A decoded session takes
// a few times its encoding: maps, headers of strings.
func (a answer) size() int {
	return 512 + len(a.purpose.Scope) + len(a.value) + len(a.handle) + 5*len(a.data)
}

// cache remembers opened cookies, up to a number of bytes. It keeps two
// generations: what was used lately, and what was used before that. When the
// young half is full, the old one is dropped and the young one becomes it; so what
// is in use stays, and no list has to be kept in order.
//
// An entry counts for its question alone, byte for byte. It is found by a hash
// under a random seed, which nobody else knows: so neither can anybody make two
// values meet, nor does the time of a comparison tell about the value of another.
//
// An entry says only what a cookie holds. Whether it is still good (expiry,
// revocation, the key) is judged on every request.
type cache struct {
	limit int // bytes of both generations
	seed  maphash.Seed

	mu         sync.RWMutex
	young, old map[uint64]answer
	size       int // of young, in bytes
}

func newCache(limit int) *cache {
	return &cache{limit: limit, seed: maphash.MakeSeed(), young: map[uint64]answer{}}
}

// get returns what was put for a question, or nil.
func (c *cache) get(q question) *opened {
	key := maphash.String(c.seed, q.value)
	c.mu.RLock()
	found, young := c.young[key]
	if !young {
		found = c.old[key]
	}
	c.mu.RUnlock()
	if found.opened == nil || found.question != q {
		return nil
	}
	if !young {
		c.keep(key, found)
	}
	return found.opened
}

// put stores the answer to a question as used now.
func (c *cache) put(q question, o *opened) {
	// What the question is made of are parts of a whole header.
	q.purpose.Scope, q.value = strings.Clone(q.purpose.Scope), strings.Clone(q.value)
	o.sealed = q.value
	c.keep(maphash.String(c.seed, q.value), answer{q, o})
}

func (c *cache) keep(key uint64, a answer) {
	size := a.size()
	if size > c.limit/2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.young[key]; ok {
		c.size -= before.size()
	}
	if c.size+size > c.limit/2 {
		c.old, c.young, c.size = c.young, map[uint64]answer{}, 0
	}
	c.young[key] = a
	c.size += size
}
