package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

// unkept are revocations that count here and that the journal did not take. They are
// written again until it has them: else what was ended while the disk was full would be
// alive after a restart, even long after there was room.
type unkept struct {
	mu      sync.Mutex
	waiting map[revoked]Revocation
	running bool
}

// add has a revocation written later. Of two for one thing the later not-before and the
// later end count. Beyond their bound they are of this process alone.
func (u *unkept) add(r Revocation, journal Journal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before, waits := u.waiting[r.of]
	if !waits && len(u.waiting) >= maxRevocations {
		return
	}
	if u.waiting == nil {
		u.waiting = make(map[revoked]Revocation)
	}
	r.notBefore, r.until = latest(r.notBefore, before.notBefore), latest(r.until, before.until)
	u.waiting[r.of] = r
	if !u.running {
		u.running = true
		go u.insist(journal)
	}
}

// insist writes what waits until nothing does.
func (u *unkept) insist(journal Journal) {
	for retry := firstMarkRetry; ; retry = min(2*retry, lastMarkRetry) {
		time.Sleep(retry)
		u.write(context.Background(), journal)
		u.mu.Lock()
		if len(u.waiting) == 0 {
			u.running = false
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
	}
}

// write writes what waits, up to the first that the journal does not take, or until ctx
// ends.
func (u *unkept) write(ctx context.Context, journal Journal) {
	u.mu.Lock()
	waiting := slices.Collect(maps.Values(u.waiting))
	u.mu.Unlock()
	for _, r := range waiting {
		if ctx.Err() != nil {
			return
		}
		_, err := guard.Call(func() (struct{}, error) {
			ctx, cancel := context.WithTimeout(ctx, journalTimeout)
			defer cancel()
			return struct{}{}, journal.Append(ctx, r)
		})
		if err != nil {
			return
		}
		u.mu.Lock()
		if u.waiting[r.of] == r {
			delete(u.waiting, r.of)
		}
		u.mu.Unlock()
	}
}
