package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// maxSnapshot is the size in bytes of the largest snapshot that is read: twice what
// the store holds.
const maxSnapshot = 512 << 20

// MemoryStore is a [session.MemoryStore] whose sessions survive a graceful stop. What
// the last process has left in the storage is read when a session is first asked for,
// so that no start waits for the storage. Until it has been read nobody knows who is
// signed in, so every call fails with [session.ErrUnavailable] and none says "nobody".
type MemoryStore struct {
	*session.MemoryStore
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	ready  atomic.Bool // the snapshot was read, or there was none
	mu     sync.Mutex  // one reader of the storage at a time
	failed error       // why the last attempt to read it failed; nil if it did not
	tried  time.Time   // when that attempt was over
}

// NewMemoryStore returns an empty store, to which the sessions of the last process are
// added when they are first asked for. The clock is time.Now by default.
func NewMemoryStore(storage certmagic.Storage, logger *zap.Logger, now func() time.Time) *MemoryStore {
	if now == nil {
		now = time.Now
	}
	return &MemoryStore{MemoryStore: session.NewMemoryStore(now), storage: storage, logger: logger, now: now}
}

// restore reads the snapshot, once. A snapshot is deleted before it is used, so that no
// old generation, whose refresh token was spent long ago, comes back after a crash.
func (m *MemoryStore) restore(ctx context.Context) error {
	if m.ready.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready.Load() {
		return nil
	}
	if m.failed != nil && m.now().Sub(m.tried) < retryAfter {
		return m.failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	snapshot, err := m.take(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		m.ready.Store(true)
		return nil
	}
	m.failed, m.tried = err, m.now() // who has waited for this attempt makes no other
	if err != nil {
		m.logger.Error("the sessions of the last process cannot be read; another attempt follows", zap.Error(err))
		return err
	}
	if err := m.Restore(snapshot); err != nil {
		m.logger.Error("the sessions of the last process are torn or not of this program: everybody signs in again", zap.Error(err))
	}
	m.ready.Store(true)
	return nil
}

// take removes the snapshot from the storage and returns it; one that is larger than
// any of ours is removed unread. Without a snapshot the error is [fs.ErrNotExist].
func (m *MemoryStore) take(ctx context.Context) ([]byte, error) {
	info, err := m.storage.Stat(ctx, snapshotKey)
	var snapshot []byte
	if err == nil && info.Size <= maxSnapshot {
		snapshot, err = m.storage.Load(ctx, snapshotKey)
	}
	if err == nil {
		err = m.storage.Delete(ctx, snapshotKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: taking %s: %w", session.ErrUnavailable, snapshotKey, err)
	}
	return snapshot, nil
}

// Keep writes the sessions to the storage, for the next process. If this process never
// read what the last one left, that stays as it is. It takes ten seconds at most.
func (m *MemoryStore) Keep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready.Load() || m.Len() == 0 {
		return nil
	}
	snapshot, err := m.Snapshot()
	if err != nil {
		return err
	}
	if err := m.storage.Store(ctx, snapshotKey, snapshot); err != nil {
		return fmt.Errorf("storing %s: %w", snapshotKey, err)
	}
	return nil
}

// Save implements [session.Store].
func (m *MemoryStore) Save(ctx context.Context, r session.Record, handle []byte) ([]byte, error) {
	if err := m.restore(ctx); err != nil {
		return nil, err
	}
	return m.MemoryStore.Save(ctx, r, handle)
}

// Load implements [session.Store].
func (m *MemoryStore) Load(ctx context.Context, handle []byte) ([]byte, error) {
	if err := m.restore(ctx); err != nil {
		return nil, err
	}
	return m.MemoryStore.Load(ctx, handle)
}

// Delete implements [session.Store].
func (m *MemoryStore) Delete(ctx context.Context, handle []byte) error {
	if err := m.restore(ctx); err != nil {
		return err
	}
	return m.MemoryStore.Delete(ctx, handle)
}

// Peek implements [session.ServerStore].
func (m *MemoryStore) Peek(ctx context.Context, handle []byte) (uint64, time.Time, error) {
	if err := m.restore(ctx); err != nil {
		return 0, time.Time{}, err
	}
	return m.MemoryStore.Peek(ctx, handle)
}

// Use implements [session.ServerStore].
func (m *MemoryStore) Use(ctx context.Context, handle []byte, now time.Time) error {
	if err := m.restore(ctx); err != nil {
		return err
	}
	return m.MemoryStore.Use(ctx, handle, now)
}

// Interface guard.
var _ session.ServerStore = (*MemoryStore)(nil)
