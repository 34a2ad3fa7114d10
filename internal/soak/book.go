package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// book is what happened: counts, faults with their times, and what was wrong.
type book struct {
	Now   func() time.Time
	out   io.Writer
	seed  uint64
	start time.Time

	mu        sync.Mutex
	counts    map[string]int
	faults    []*fault
	refreshed map[string]time.Time // when the provider last answered a refresh, by subject
}

// fault is one disturbance.
type fault struct {
	kind     string
	gate     int       // of which gate; -1 = of the provider or Redis
	from, to time.Time // to is zero while it lasts
}

// zeros are the counts that are worth to be seen also where nothing happened.
func zeros() map[string]int {
	counts := map[string]int{violations: 0, lost: 0, refused + "503": 0, early: 0}
	for _, kind := range []string{killGate, freezeGate, restartGate, providerDown, providerSlow, providerBroken, killRedis, freezeRedis, networkSlow, networkCuts, networkSwallows, reload} {
		counts[kind] = 0
	}
	return counts
}

// What is counted in one place and read in another.
const (
	violations = "violations"
	lost       = "sessions lost by a refresh in flight at a kill"
	refused    = "refused while a fault lasted: "
	early      = "passed before a replica could know"
)

// add counts.
func (b *book) add(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what]++
}

func (b *book) set(what string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what] = n
}

func (b *book) count(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[what]
}

// violation writes down that the invariant did not hold.
func (b *book) violation(format string, args ...any) {
	b.add(violations)
	fmt.Fprintf(b.out, "VIOLATION at %s (seed %d): %s\n", b.Now().Sub(b.start).Round(time.Millisecond), b.seed, fmt.Sprintf(format, args...))
}

// begin notes a fault; what it returns ends it.
func (b *book) begin(kind string, gate int) (end func()) {
	b.add(kind)
	f := &fault{kind: kind, gate: gate, from: b.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, f)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		f.to = b.Now()
	}
}

// during finds a fault that touches a stretch of time and that is of one of kinds,
// and of the gate, if it is one of a gate's.
func (b *book) during(from, to time.Time, gate int, kinds ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.faults, func(f *fault) bool {
		return slices.Contains(kinds, f.kind) && (f.gate < 0 || gate < 0 || f.gate == gate) &&
			!f.from.After(to) && (f.to.IsZero() || !f.to.Before(from))
	})
}

// quiet tells whether there was a stretch without any fault, so long, between two
// times.
func (b *book) quiet(from, to time.Time, long time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := from // no fault is under way from here on, as far as looked at
	for _, f := range b.faults {
		if f.kind == reload || !f.from.Before(to) {
			continue
		}
		if f.from.Sub(free) >= long {
			return true
		}
		if f.to.IsZero() {
			return false
		}
		if f.to.After(free) {
			free = f.to
		}
	}
	return to.Sub(free) >= long
}

// rotated notes that the provider has spent a refresh token.
func (b *book) rotated(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts["refreshes"]++
	b.refreshed[subject] = b.Now()
}

// lostInFlight tells whether a session that began at since may be lost: its refresh
// was answered, and a process was killed before the answer could have been handed
// on, which takes no longer than handedOn with nothing in the way.
func (b *book) lostInFlight(subject string, since time.Time, handedOn time.Duration) bool {
	b.mu.Lock()
	at, ok := b.refreshed[subject]
	kills := slices.DeleteFunc(slices.Clone(b.faults), func(f *fault) bool { return f.kind != killGate && f.kind != providerDown })
	b.mu.Unlock()
	return ok && at.After(since) && slices.ContainsFunc(kills, func(f *fault) bool {
		return (f.to.IsZero() || f.to.After(at)) && !b.quiet(at, f.from, handedOn)
	})
}

// print writes the counts.
func (b *book) print() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.counts)) {
		fmt.Fprintf(b.out, "%-50s %8d\n", name, b.counts[name])
	}
}
