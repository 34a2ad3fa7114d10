package session

import (
	"context"
	"sync"
)

// maxSettling bounds what waits to be settled. What is beyond it is settled by
// the time to live of its session.
const maxSettling = 10_000

// settle collects generations whose successor a browser has shown, for the next
// beat of the feed: no request waits for it.
type settle struct {
	mu      sync.Mutex
	waiting []Settled
}

func (s *settle) add(settled ...Settled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, settled[:min(len(settled), maxSettling-len(s.waiting))]...)
}

func (s *settle) drain() []Settled {
	s.mu.Lock()
	defer s.mu.Unlock()
	drained := s.waiting
	s.waiting = nil
	return drained
}

// flushSettled lets go what was settled since the last beat.
func (f *feed) flushSettled(ctx context.Context) {
	settled := f.settle.drain()
	if len(settled) == 0 {
		return
	}
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.shared.Settle(ctx, settled, grace)
	})
	if err != nil {
		f.settle.add(settled...) // the next beat tries again
	}
}
