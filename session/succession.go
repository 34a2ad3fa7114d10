package session

import (
	"fmt"
	"sync"
	"time"
)

// grace is how long a superseded generation still gets the newest one: requests
// that a browser sent before it learned of the new cookie.
const grace = time.Minute

// maxUnshown is how many versions wait for a browser to show them.
const maxUnshown = 4096

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
// of grace. Where nobody else keeps it, that begins when a browser has shown the
// version: the answer with its cookie may have been lost, or was given before the
// version was made.
type succession struct {
	newest *ledger[ID, known]
	alone  bool // no memory is shared that keeps a version until it was shown

	mu      sync.RWMutex
	recent  map[ID]recent
	unshown int // of them
	swept   time.Time
}

// known is the newest generation of a session, and whether a browser has shown it.
type known struct {
	generation uint64
	shown      bool
	kept       *Superseded // what the journal has; nil: nothing
}

// recent is a version that an older cookie gets.
type recent struct {
	version *version
	since   time.Time // when its time of grace began; zero: no browser has shown it
}

// over tells whether an older cookie does not get the version any more.
func (r recent) over(now time.Time) bool {
	return !r.since.IsZero() && now.Sub(r.since) >= grace || !now.Before(r.version.session.Expires)
}

func newSuccession() *succession {
	return &succession{newest: newLedger[ID, known](maxSuperseded, endSlack), alone: true, recent: map[ID]recent{}}
}

// record makes v the newest version of its session. The version is there before
// its number says that the older ones are superseded.
func (s *succession) record(v *version, now time.Time) {
	since := now
	if s.alone {
		since = time.Time{}
	}
	s.remember(recent{v, since}, now)
	_ = s.newest.put(v.session.ID, now, func(old entry[known], found bool, _ time.Time) (entry[known], error) {
		if found && old.value.generation >= v.session.Generation {
			return old, nil
		}
		return entry[known]{value: known{v.session.Generation, false, old.value.kept}, at: now, until: v.session.Expires}, nil
	})
}

// show notes that a browser has v, and tells whether that is news. So this process
// learns, too, that the older ones are superseded. It is none if v was itself superseded
// while its request was under way.
func (s *succession) show(v *version, now time.Time) bool {
	newest, found, _ := s.newest.get(v.session.ID, now)
	if found && newest.value.shown && newest.value.generation == v.session.Generation {
		return false
	}
	s.remember(recent{v, now}, now)
	news := true
	_ = s.newest.put(v.session.ID, now, func(old entry[known], found bool, _ time.Time) (entry[known], error) {
		if found && old.value.generation > v.session.Generation {
			news = false
			return old, nil
		}
		at := now
		if found && old.value.generation == v.session.Generation {
			at = old.at
		}
		return entry[known]{value: known{v.session.Generation, true, old.value.kept}, at: at, until: v.session.Expires}, nil
	})
	return news
}

// remember keeps a version, unless a newer one is kept, or the same since earlier.
func (s *succession) remember(r recent, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) >= grace {
		s.swept = now
		for id, old := range s.recent {
			if old.over(now) {
				s.set(id, recent{})
			}
		}
	}
	id := r.version.session.ID
	old, found := s.recent[id]
	if found {
		before, after := old.version.session.Generation, r.version.session.Generation
		if before > after || before == after && (!old.since.IsZero() || r.since.IsZero()) {
			return
		}
	}
	s.set(id, r)
	if s.unshown > maxUnshown { // those that wait have their time from now on
		for id, r := range s.recent {
			if r.since.IsZero() {
				s.set(id, recent{r.version, now})
			}
		}
	}
}

// set keeps r, or with a zero one nothing, and counts. The caller holds mu.
func (s *succession) set(id ID, r recent) {
	if old, found := s.recent[id]; found && old.since.IsZero() {
		s.unshown--
	}
	if r.version == nil {
		delete(s.recent, id)
		return
	}
	s.recent[id] = r
	if r.since.IsZero() {
		s.unshown++
	}
}

// knows tells whether this process knows the newest generation of a session.
func (s *succession) knows(id ID, now time.Time) bool {
	_, known, _ := s.newest.get(id, now)
	return known
}

// current returns v if no newer generation is known, the newer one until its time of
// grace is over, and [ErrSuperseded] afterwards.
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
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r, found := s.recent[v.session.ID]; found && !r.over(now) {
		return r.version, nil
	}
	return nil, fmt.Errorf("%w: generation %d, the newest is %d", ErrSuperseded, v.session.Generation, newest.value.generation)
}
