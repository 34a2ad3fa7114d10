package session

import (
	"fmt"
	"sync"
	"time"
)

// grace is how long a superseded generation still gets the newest one: requests
// that a browser sent before it learned of the new cookie.
const grace = time.Minute

// version is one generation of a session with what a browser gets for it. It is
// shared and never changed.
type version struct {
	session *Session
	handle  []byte
	sealed  string // the cookie's value: the sealed handle
}

// succession remembers the newest generation of sessions whose handle changed
// with it, that is of the cookie store, whose browsers may still bring an older
// one. A number is kept until the session ends, the version itself for the time
// of grace.
type succession struct {
	newest *ledger[ID, known]

	mu     sync.RWMutex
	recent map[ID]recent
	swept  time.Time
}

// known is the newest generation of a session, and whether a browser has shown it.
type known struct {
	generation uint64
	shown      bool
}

type recent struct {
	version *version
	since   time.Time
}

func newSuccession() *succession {
	return &succession{newest: newLedger[ID, known](maxSuperseded), recent: map[ID]recent{}}
}

// record makes v the newest version of its session. The version is there before
// its number says that the older ones are superseded.
func (s *succession) record(v *version, now time.Time) {
	s.remember(v, now)
	_ = s.newest.put(v.session.ID, now, func(old entry[known], found bool, _ time.Time) (entry[known], error) {
		if found && old.value.generation >= v.session.Generation {
			return old, nil
		}
		return entry[known]{known{v.session.Generation, false}, now, v.session.Expires}, nil
	})
}

// show notes that a browser has v, and tells whether that is news. So this process
// learns, too, that the older ones are superseded.
func (s *succession) show(v *version, now time.Time) bool {
	newest, found, _ := s.newest.get(v.session.ID, now)
	if found && newest.value == (known{v.session.Generation, true}) {
		return false
	}
	s.remember(v, now)
	_ = s.newest.put(v.session.ID, now, func(old entry[known], found bool, _ time.Time) (entry[known], error) {
		at := now
		if found && old.value.generation == v.session.Generation {
			at = old.at
		}
		return entry[known]{known{v.session.Generation, true}, at, v.session.Expires}, nil
	})
	return true
}

func (s *succession) remember(v *version, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) >= grace {
		s.swept = now
		for id, r := range s.recent {
			if now.Sub(r.since) >= grace {
				delete(s.recent, id)
			}
		}
	}
	old, found := s.recent[v.session.ID]
	if !found || old.version.session.Generation < v.session.Generation {
		s.recent[v.session.ID] = recent{v, now}
	}
}

// current returns v if no newer generation is known, the newer one while it is
// new itself, and [ErrSuperseded] afterwards.
func (s *succession) current(v *version, now time.Time) (*version, error) {
	newest, known, floor := s.newest.get(v.session.ID, now)
	if !known {
		if !v.session.Sealed.After(floor) {
			// Beyond the bound the oldest entries became one time: nobody can tell
			// any more whether this generation was superseded.
			return nil, fmt.Errorf("%w: everybody up to %v", ErrSuperseded, floor)
		}
		return v, nil
	}
	if v.session.Generation >= newest.value.generation {
		return v, nil
	}
	if now.Sub(newest.at) < grace {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if r, found := s.recent[v.session.ID]; found {
			return r.version, nil
		}
	}
	return nil, fmt.Errorf("%w: generation %d, the newest is %d", ErrSuperseded, v.session.Generation, newest.value.generation)
}
