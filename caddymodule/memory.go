package caddymodule

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

// snapshotKey is where the sessions of a process that ended stand in the storage.
const snapshotKey = "gatehouse/sessions/memory"

const (
	// maxSnapshot is the size in bytes up to which a snapshot is read: twice what
	// the store holds.
	maxSnapshot = 512 << 20
	// lastUpdates bounds the wait for refreshes under way when the process ends.
	lastUpdates = 5 * time.Second
)

// memorySessions is the memory store of a process that takes over from another:
// what that one left in the storage at its graceful end is read when it is first
// asked for, so that no start waits for the storage. Until that could be read
// nobody knows who is signed in: [session.ErrUnavailable], never "nobody".
type memorySessions struct {
	*session.MemoryStore
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	ready  atomic.Bool // the snapshot was read, or there was none
	mu     sync.Mutex  // one reader of the storage at a time
	failed error       // how the last attempt went wrong
	tried  time.Time   // when that was
}

// restore reads the snapshot, once. Each one is deleted before it is used: after a
// crash no old generation comes back, whose refresh token was spent long ago.
func (m *memorySessions) restore(ctx context.Context) error {
	if m.ready.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready.Load() {
		return nil
	}
	now := m.now()
	if m.failed != nil && now.Sub(m.tried) < refreshInterval {
		return m.failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	snapshot, err := m.take(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		m.ready.Store(true)
		return nil
	}
	if m.failed, m.tried = err, now; err != nil {
		m.logger.Error("the sessions of the last process cannot be read; it is tried again", zap.Error(err))
		return err
	}
	if err := m.Restore(snapshot); err != nil {
		m.logger.Error("the sessions of the last process are torn or not of this program: everybody signs in again", zap.Error(err))
	}
	m.ready.Store(true)
	return nil
}

// take removes the snapshot from the storage and returns it, or nothing of one that
// is larger than any of ours. [fs.ErrNotExist]: there is none.
func (m *memorySessions) take(ctx context.Context) ([]byte, error) {
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

// keep writes the sessions to the storage, for the next process. One that never
// read what the last process left keeps that as it is.
func (m *memorySessions) keep(ctx context.Context) error {
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

// Save implements session.Store.
func (m *memorySessions) Save(ctx context.Context, r session.Record, handle []byte) ([]byte, error) {
	if err := m.restore(ctx); err != nil {
		return nil, err
	}
	return m.MemoryStore.Save(ctx, r, handle)
}

// Load implements session.Store.
func (m *memorySessions) Load(ctx context.Context, handle []byte) ([]byte, error) {
	if err := m.restore(ctx); err != nil {
		return nil, err
	}
	return m.MemoryStore.Load(ctx, handle)
}

// Delete implements session.Store.
func (m *memorySessions) Delete(ctx context.Context, handle []byte) error {
	if err := m.restore(ctx); err != nil {
		return err
	}
	return m.MemoryStore.Delete(ctx, handle)
}

// Peek implements session.ServerStore.
func (m *memorySessions) Peek(ctx context.Context, handle []byte) (uint64, time.Time, error) {
	if err := m.restore(ctx); err != nil {
		return 0, time.Time{}, err
	}
	return m.MemoryStore.Peek(ctx, handle)
}

// Use implements session.ServerStore.
func (m *memorySessions) Use(ctx context.Context, handle []byte, now time.Time) error {
	if err := m.restore(ctx); err != nil {
		return err
	}
	return m.MemoryStore.Use(ctx, handle, now)
}

// Interface guards.
var _ session.ServerStore = (*memorySessions)(nil)
