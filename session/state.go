package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The bounds of a State.
const (
	maxOpened     = 32 << 20 // bytes of opened cookies
	maxSuperseded = 1 << 19  // refreshed sessions that are remembered, of about 100 bytes
	maxUsed       = 100_000  // entries of each kind that are used once
)

// clockSlack is how far the clocks of processes that share may be apart.
const clockSlack = 5 * time.Minute

// ErrUsed says that something that works once was used before.
var ErrUsed = errors.New("session: used before")

// State is what must outlive a [Manager], since a reload of the configuration
// makes a new one while requests of the old one go on: revocations, superseded
// generations, updates in flight, requests that are watched, what was used once,
// and opened cookies. It holds no file, and no goroutine but the one that follows
// a shared memory; one that its owner gave up still works.
type State struct {
	now        func() time.Time
	since      time.Time
	shared     Shared // nil: this process is alone
	revoked    *revocations
	succession *succession
	marks      *marks
	updates    *updates
	opened     *cache
	watches    *watches

	mu   sync.Mutex
	used map[string]*ledger[[sha256.Size]byte, struct{}] // by kind
}

// NewState makes an empty state. Revocations and superseded generations go to the
// journal, and are read from it when they are first needed; with a nil journal they
// end with the process. The clock is time.Now by default.
func NewState(journal Journal, now func() time.Time) *State {
	if now == nil {
		now = time.Now
	}
	succession := newSuccession()
	return &State{
		now:        now,
		since:      now(),
		revoked:    newRevocations(journal, succession),
		succession: succession,
		marks:      newMarks(journal, succession),
		updates:    newUpdates(),
		opened:     newCache(maxOpened),
		watches:    newWatches(),
		used:       map[string]*ledger[[sha256.Size]byte, struct{}]{},
	}
}

// NewSharedState is [NewState] for one of several processes: what one of them
// revokes, supersedes or uses counts for all that have the same shared memory.
// It is followed from the first request on until [State.Close].
//
// While the shared memory is away, sessions that are known here go on for a
// minute; then everything is [ErrUnavailable], until it is back. What was revoked
// here meanwhile it is told then.
func NewSharedState(journal Journal, shared Shared, now func() time.Time) *State {
	st := NewState(journal, now)
	st.shared = shared
	st.succession.alone = false
	st.revoked.feed = newFeed(shared, st.revoked, st.now)
	return st
}

// Shared returns the memory that is shared with other processes, nil if none is.
func (st *State) Shared() Shared { return st.shared }

// Since returns since when [State.UseOnce] remembers: the process's start, mostly. It
// is zero where the memory is shared, which outlives the process.
func (st *State) Since() time.Time {
	if st.shared != nil {
		return time.Time{}
	}
	now := st.now()
	return now.Add(-now.Sub(st.since)).Round(0) // by the clock as it is set now
}

// Close ends the following of the shared memory. Requests that are still under
// way go on for a minute.
func (st *State) Close() {
	if st.revoked.feed != nil {
		st.revoked.feed.close()
	}
}

// feed returns what follows the shared memory, nil if there is none.
func (st *State) feed() *feed { return st.revoked.feed }

// UseOnce succeeds once for each key of a kind, which is a constant of the
// program: afterwards, until the given time, it returns [ErrUsed]. The caller
// gives one key the same time always, the one after which it refuses the key
// itself. A time that is over is ErrUsed, too.
//
// Where there is a shared memory, it succeeds once in all processes, and is
// [ErrUnavailable] while that cannot be asked.
//
// It is bounded: beyond 100,000 keys of a kind those that end first are taken
// for used, seen or not.
func (st *State) UseOnce(ctx context.Context, kind, key string, until time.Time) error {
	now := st.now()
	if !now.Before(until) {
		return fmt.Errorf("%w: %s is over", ErrUsed, kind)
	}
	if st.shared != nil {
		first, err := st.shared.Once(ctx, sharedName(sharedUsed+kind, key), rand.Text(), until.Sub(now)+clockSlack)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
		}
		if !first {
			return fmt.Errorf("%w: %s", ErrUsed, kind)
		}
	}
	return st.usedOf(kind).put(sha256.Sum256([]byte(key)), now, func(_ entry[struct{}], found bool, floor time.Time) (entry[struct{}], error) {
		if found || !until.After(floor) {
			return entry[struct{}]{}, fmt.Errorf("%w: %s", ErrUsed, kind)
		}
		return entry[struct{}]{at: until, until: until}, nil
	})
}

func (st *State) usedOf(kind string) *ledger[[sha256.Size]byte, struct{}] {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.used[kind] == nil {
		st.used[kind] = newLedger[[sha256.Size]byte, struct{}](maxUsed, 0)
	}
	return st.used[kind]
}
