package session

import (
	"slices"
	"sync"
	"time"
)

// ledger remembers facts that must not be forgotten before their time: what
// was revoked, superseded or used. It is bounded without losing one: beyond
// its limit the oldest quarter is folded into one time, the floor, and whoever
// asks treats everything up to the floor as if it stood there.
type ledger[K comparable, V any] struct {
	limit int // entries

	mu         sync.RWMutex
	entries    map[K]entry[V]
	floor      time.Time // the latest at of a folded entry
	floorUntil time.Time // when the last folded entry would have been over
	swept      time.Time
}

// entry is a fact that counts until a time; at orders entries by age.
type entry[V any] struct {
	value     V
	at, until time.Time
}

// sweepEvery is how often entries that are over are looked for.
const sweepEvery = time.Minute

func newLedger[K comparable, V any](limit int) *ledger[K, V] {
	return &ledger[K, V]{limit: limit, entries: map[K]entry[V]{}}
}

// put stores what decide makes of the entry that is there, if any, and of the
// floor. An error of decide is returned, and nothing is stored.
func (l *ledger[K, V]) put(key K, now time.Time, decide func(old entry[V], found bool, floor time.Time) (entry[V], error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) >= sweepEvery {
		l.sweep(now)
	}
	old, found := l.entries[key]
	found = found && now.Before(old.until)
	updated, err := decide(old, found, l.floorAt(now))
	if err != nil {
		return err
	}
	l.entries[key] = updated
	if len(l.entries) > l.limit {
		l.sweep(now)
	}
	if len(l.entries) > l.limit {
		l.fold()
	}
	return nil
}

// get returns the entry of key, if it is not over, and the floor, which is zero
// if nothing was folded.
func (l *ledger[K, V]) get(key K, now time.Time) (found entry[V], ok bool, floor time.Time) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	found, ok = l.entries[key]
	return found, ok && now.Before(found.until), l.floorAt(now)
}

// change changes the value of an entry that is there.
func (l *ledger[K, V]) change(key K, change func(*V)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, found := l.entries[key]; found {
		change(&e.value)
		l.entries[key] = e
	}
}

// all returns what is not over.
func (l *ledger[K, V]) all(now time.Time) []V {
	l.mu.RLock()
	defer l.mu.RUnlock()
	values := make([]V, 0, len(l.entries))
	for _, e := range l.entries {
		if now.Before(e.until) {
			values = append(values, e.value)
		}
	}
	return values
}

// empty tells whether there is nothing to ask for.
func (l *ledger[K, V]) empty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.entries) == 0 && l.floor.IsZero()
}

func (l *ledger[K, V]) floorAt(now time.Time) time.Time {
	if now.Before(l.floorUntil) {
		return l.floor
	}
	return time.Time{}
}

func (l *ledger[K, V]) sweep(now time.Time) {
	l.swept = now
	for key, e := range l.entries {
		if !now.Before(e.until) {
			delete(l.entries, key)
		}
	}
}

// fold replaces the oldest quarter of the entries by the floor.
func (l *ledger[K, V]) fold() {
	type aged struct {
		key K
		entry[V]
	}
	all := make([]aged, 0, len(l.entries))
	for key, e := range l.entries {
		all = append(all, aged{key, e})
	}
	slices.SortFunc(all, func(a, b aged) int { return a.at.Compare(b.at) })
	for _, old := range all[:max(1, len(all)/4)] {
		delete(l.entries, old.key)
		l.floor = latest(l.floor, old.at)
		l.floorUntil = latest(l.floorUntil, old.until)
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
