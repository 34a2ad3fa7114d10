package session

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// The bounds of a [MemoryBlobs].
const (
	maxBlobs     = 1000
	maxBlobBytes = 16 << 20
)

// MemoryBlobs keep something sealed in this process for a while. Beyond 1000
// blobs, or 16 MiB of them, a new one is [ErrFull].
type MemoryBlobs struct {
	now func() time.Time

	mu    sync.Mutex
	blobs map[string]keptBlob
	size  int // bytes of all blobs
}

type keptBlob struct {
	data  []byte
	until time.Time
}

// NewMemoryBlobs makes an empty one with the given clock, by default time.Now.
func NewMemoryBlobs(now func() time.Time) *MemoryBlobs {
	if now == nil {
		now = time.Now
	}
	return &MemoryBlobs{now: now, blobs: map[string]keptBlob{}}
}

// Put keeps a blob under a name, which its caller made at random.
func (m *MemoryBlobs) Put(_ context.Context, name string, blob []byte, forTime time.Duration) error {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(name)
	for name, kept := range m.blobs {
		if !now.Before(kept.until) {
			m.remove(name)
		}
	}
	if len(m.blobs) >= maxBlobs || m.size+len(blob) > maxBlobBytes {
		return fmt.Errorf("%w: %d blobs of %d bytes", ErrFull, len(m.blobs), m.size)
	}
	m.blobs[name] = keptBlob{append([]byte(nil), blob...), now.Add(forTime)}
	m.size += len(blob)
	return nil
}

// Take returns a blob and forgets it: of many who ask one gets it. It is
// [ErrNotFound] if there is none, or its time is over.
func (m *MemoryBlobs) Take(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, found := m.blobs[name]
	m.remove(name)
	if !found || !m.now().Before(kept.until) {
		return nil, ErrNotFound
	}
	return kept.data, nil
}

func (m *MemoryBlobs) remove(name string) {
	m.size -= len(m.blobs[name].data)
	delete(m.blobs, name)
}
