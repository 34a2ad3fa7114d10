package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull says that a [MemoryStore] has no room for another session.
var ErrFull = errors.New("session: the memory store is full")

const (
	memoryLimit = 256 << 20 // bytes of all records
	recordCost  = 256       // bytes that a record takes beside its blob
)

// MemoryStore keeps sessions in this process, sealed with the secrets of their handles
// (see [NewHandle]), so that a [MemoryStore.Snapshot] can be kept where others read.
// Records go when they expire. Beyond 256 MiB a new one is [ErrFull]; those
// that are there stay.
type MemoryStore struct {
	now   func() time.Time
	limit int

	mu      sync.RWMutex
	records map[ID]*record
	size    int // bytes of all records
	swept   time.Time
}

// record is replaced, not changed, but for used, which the store's lock guards.
type record struct {
	generation uint64
	expires    time.Time
	used       time.Time // zero: not told
	blob       []byte    // never changed
}

func (r *record) size() int { return recordCost + len(r.blob) }

// NewMemoryStore makes an empty store with the given clock, by default
// time.Now.
func NewMemoryStore(now func() time.Time) *MemoryStore {
	if now == nil {
		now = time.Now
	}
	return &MemoryStore{now: now, limit: memoryLimit, records: map[ID]*record{}}
}

// Len returns the number of records, of which some may be over.
func (m *MemoryStore) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.records)
}

// Save implements [Store].
func (m *MemoryStore) Save(_ context.Context, r Record, handle []byte) ([]byte, error) {
	isNew := handle == nil
	if isNew {
		handle = NewHandle(r.ID)
	}
	id, secret, err := ParseHandle(handle)
	if err != nil {
		return nil, err
	}
	blob, err := SealRecord(id, secret, r.Data)
	if err != nil {
		return nil, err
	}
	if !isNew {
		if _, err := m.open(handle); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	updated := &record{generation: r.Generation, expires: r.Expires, blob: blob}
	switch old, found := m.records[id]; {
	case isNew && found:
		return nil, fmt.Errorf("%w: %v is there", ErrStale, id)
	case !isNew && !found:
		return nil, ErrNotFound
	case found && old.generation >= r.Generation:
		return nil, fmt.Errorf("%w: %d, not older than %d", ErrStale, old.generation, r.Generation)
	case found:
		updated.used = old.used
	}
	if err := m.put(id, updated); err != nil {
		return nil, err
	}
	return bytes.Clone(handle), nil
}

// put stores a record within the limit. An update may exceed it: to lose the
// tokens of a refresh would be worse.
func (m *MemoryStore) put(id ID, r *record) error {
	now := m.now()
	if now.Sub(m.swept) >= sweepEvery {
		m.swept = now
		for id, r := range m.records {
			if !now.Before(r.expires) {
				m.remove(id)
			}
		}
	}
	_, found := m.records[id]
	if !found && m.size+r.size() > m.limit {
		return fmt.Errorf("%w: %d sessions in %d bytes", ErrFull, len(m.records), m.size)
	}
	m.remove(id)
	m.records[id] = r
	m.size += r.size()
	return nil
}

func (m *MemoryStore) remove(id ID) {
	if r, found := m.records[id]; found {
		m.size -= r.size()
		delete(m.records, id)
	}
}

// Load implements [Store].
func (m *MemoryStore) Load(_ context.Context, handle []byte) ([]byte, error) {
	return m.open(handle)
}

// open returns the data that a handle leads to.
func (m *MemoryStore) open(handle []byte) ([]byte, error) {
	id, secret, err := ParseHandle(handle)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	r := m.records[id]
	m.mu.RUnlock()
	if r == nil || !m.now().Before(r.expires) {
		return nil, ErrNotFound
	}
	return OpenRecord(id, secret, r.blob)
}

// Delete implements [Store].
func (m *MemoryStore) Delete(_ context.Context, handle []byte) error {
	_, err := m.open(handle)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(ID(handle[:len(ID{})]))
	return nil
}

// Peek implements [ServerStore].
func (m *MemoryStore) Peek(_ context.Context, handle []byte) (uint64, time.Time, error) {
	id, _, err := ParseHandle(handle)
	if err != nil {
		return 0, time.Time{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.records[id]
	if r == nil || !m.now().Before(r.expires) {
		return 0, time.Time{}, ErrNotFound
	}
	return r.generation, r.used, nil
}

// Use implements [ServerStore].
func (m *MemoryStore) Use(_ context.Context, handle []byte, now time.Time) error {
	id, _, err := ParseHandle(handle)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r != nil {
		r.used = latest(r.used, now)
	}
	return nil
}
