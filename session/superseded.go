package session

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

// Superseded says that a browser has shown a generation of a session that stands in
// its cookie: older ones are copies, which never count again.
type Superseded struct {
	ID         ID
	Generation uint64    // the one that was shown
	Sealed     time.Time // when that was made
	Until      time.Time // when the session ends, in whole seconds
}

// The bounds of marks.
const (
	// maxMarks bounds those that wait while the journal takes none. Beyond it they
	// are of this process alone.
	maxMarks       = 10_000
	firstMarkRetry = time.Second // doubles up to the longest
	lastMarkRetry  = time.Minute
)

// marks writes to the journal which generations are superseded, so that a restart
// does not make a copy of an old cookie good again, whose refresh token would be
// spent a second time. No request waits for it, and none fails since it fails.
type marks struct {
	journal    Journal // nil: nothing is written
	succession *succession

	mu      sync.Mutex
	waiting map[ID]Superseded
	running chan struct{} // closed when nothing waits any more; nil: nothing does
}

func newMarks(journal Journal, s *succession) *marks {
	return &marks{journal: journal, succession: s, waiting: map[ID]Superseded{}}
}

// add has it written that a browser has shown a session. Of one that waits already
// the newest generation counts.
func (m *marks) add(s *Session) {
	if m.journal == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, waits := m.waiting[s.ID]; before.Generation >= s.Generation || !waits && len(m.waiting) >= maxMarks {
		return
	}
	m.waiting[s.ID] = Superseded{s.ID, s.Generation, s.Sealed, s.Expires}
	if m.running == nil {
		m.running = make(chan struct{})
		go m.write()
	}
}

// write writes all that wait, one after the other, until there are none.
func (m *marks) write() {
	retry := firstMarkRetry
	for mark, any := m.next(); any; mark, any = m.next() {
		_, err := guard.Call(func() (struct{}, error) {
			ctx, cancel := context.WithTimeout(context.Background(), journalTimeout)
			defer cancel()
			return struct{}{}, m.journal.Supersede(ctx, mark, m.succession.kept(mark.ID))
		})
		if err != nil {
			time.Sleep(retry)
			retry = min(2*retry, lastMarkRetry)
			continue
		}
		m.succession.keep(mark)
		m.mu.Lock()
		if m.waiting[mark.ID] == mark {
			delete(m.waiting, mark.ID)
		}
		m.mu.Unlock()
		retry = firstMarkRetry
	}
}

// next returns one that waits; without any, nothing runs any more.
func (m *marks) next() (Superseded, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mark := range m.waiting {
		return mark, true
	}
	close(m.running)
	m.running = nil
	return Superseded{}, false
}

// await waits until nothing waits to be written, or ctx ends.
func (m *marks) await(ctx context.Context) {
	m.mu.Lock()
	running := m.running
	m.mu.Unlock()
	if running == nil {
		return
	}
	select {
	case <-running:
	case <-ctx.Done():
	}
}

// restore takes over what the journal has.
func (s *succession) restore(all []Superseded, now time.Time) {
	for _, mark := range all {
		_ = s.newest.put(mark.ID, now, func(old entry[known], found bool, _ time.Time) (entry[known], error) {
			if found && old.value.generation >= mark.Generation {
				return old, nil
			}
			return entry[known]{value: known{mark.Generation, true, &mark}, at: mark.Sealed, until: mark.Until}, nil
		})
	}
}

// heldUp tells whether a version is the one before that which the journal says was shown,
// and within its minute: this process knows of the newest no more than that. It began a
// moment ago, and what the browser had sent before comes late. A clock that is set back to
// that minute later brings it not again.
func (s *succession) heldUp(v *version, now time.Time) bool {
	newest, found, _ := s.newest.get(v.session.ID, now)
	mark := newest.value.kept
	if !found || mark == nil || mark.Generation != newest.value.generation || v.session.Generation != mark.Generation-1 {
		return false
	}
	age := now.Sub(mark.Sealed)
	return age >= 0 && age < grace && now.Sub(newest.put) < grace
}

// kept returns what the journal has of a session, nil if nothing.
func (s *succession) kept(id ID) *Superseded {
	found, _, _ := s.newest.get(id, time.Time{})
	return found.value.kept
}

// keep notes what the journal has.
func (s *succession) keep(mark Superseded) {
	s.newest.change(mark.ID, func(k *known) { k.kept = &mark })
}
