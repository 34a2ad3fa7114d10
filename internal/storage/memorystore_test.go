package storage

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

func testMemory(storage certmagic.Storage, c *clock) *MemoryStore {
	return NewMemoryStore(storage, zap.NewNop(), c.Now)
}

func saveSession(t *testing.T, m *MemoryStore, id byte, expires time.Time) []byte {
	t.Helper()
	handle, err := m.Save(context.Background(), session.Record{ID: session.ID{id}, Generation: 1, Data: []byte("session"), Expires: expires}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return handle
}

// A graceful stop hands the sessions over once: what is read is gone, so that a
// crash brings no old generation back.
func TestMemoryIsHandedOver(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	storage := &certmagic.FileStorage{Path: dir}
	first := testMemory(storage, c)
	handle := saveSession(t, first, 1, someTime.Add(time.Hour))
	if err := first.Keep(context.Background()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, snapshotKey)
	if stored, err := os.ReadFile(file); err != nil || bytes.Contains(stored, []byte("session")) {
		t.Fatalf("the snapshot is not sealed, or not there: %v", err)
	}

	idle := testMemory(storage, c)
	if err := idle.Keep(context.Background()); err != nil || !storage.Exists(context.Background(), snapshotKey) {
		t.Fatalf("a process that nobody asked has lost what the last one left: %v", err)
	}

	second := testMemory(storage, c)
	if data, err := second.Load(context.Background(), handle); err != nil || string(data) != "session" {
		t.Fatalf("after the restart: %q, %v", data, err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the snapshot is still there: %v", err)
	}
	crashed := testMemory(storage, c)
	if _, err := crashed.Load(context.Background(), handle); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after a crash: %v, want ErrNotFound", err)
	}
}

// What cannot be a snapshot of ours is an empty store, not one that never opens.
func TestMemoryForeignSnapshot(t *testing.T) {
	c := &clock{now: someTime}
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	first := testMemory(storage, c)
	handle := saveSession(t, first, 1, someTime.Add(time.Hour))
	whole, err := first.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name, stored := range map[string][]byte{
		"torn": whole[:len(whole)-1], "empty": {}, "of another version": append([]byte{9}, whole[1:]...), "longer": append(bytes.Clone(whole), 0),
	} {
		if err := storage.Store(context.Background(), snapshotKey, stored); err != nil {
			t.Fatal(err)
		}
		m := testMemory(storage, c)
		if _, err := m.Load(context.Background(), handle); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
		saveSession(t, m, 2, someTime.Add(time.Hour))
		if storage.Exists(context.Background(), snapshotKey) {
			t.Errorf("%s: it is still there", name)
		}
	}
}

// hugeStorage says that everything in it is larger than a snapshot can be.
type hugeStorage struct{ certmagic.Storage }

func (s hugeStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := s.Storage.Stat(ctx, key)
	info.Size = maxSnapshot + 1
	return info, err
}

func TestMemoryHugeSnapshot(t *testing.T) {
	c := &clock{now: someTime}
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	first := testMemory(storage, c)
	handle := saveSession(t, first, 1, someTime.Add(time.Hour))
	if err := first.Keep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := testMemory(hugeStorage{storage}, c).Load(context.Background(), handle); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound: it was read all the same", err)
	}
}

// awayStorage fails while it is away.
type awayStorage struct {
	certmagic.Storage
	away bool
}

var errAway = errors.New("the storage is away")

func (s *awayStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if s.away {
		return certmagic.KeyInfo{}, errAway
	}
	return s.Storage.Stat(ctx, key)
}

// P30: a storage that is away is no reason to say that nobody is signed in.
func TestMemoryStorageAway(t *testing.T) {
	c := &clock{now: someTime}
	storage := &awayStorage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	first := testMemory(storage, c)
	handle := saveSession(t, first, 1, someTime.Add(time.Hour))
	if err := first.Keep(context.Background()); err != nil {
		t.Fatal(err)
	}
	second := testMemory(storage, c)
	storage.away = true
	for name, use := range map[string]func() error{
		"Load":   func() error { _, err := second.Load(context.Background(), handle); return err },
		"Peek":   func() error { _, _, err := second.Peek(context.Background(), handle); return err },
		"Use":    func() error { return second.Use(context.Background(), handle, c.Now()) },
		"Delete": func() error { return second.Delete(context.Background(), handle) },
		"Save": func() error {
			_, err := second.Save(context.Background(), session.Record{ID: session.ID{3}, Expires: someTime.Add(time.Hour)}, nil)
			return err
		},
	} {
		if err := use(); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	storage.away = false
	c.advance(retryAfter)
	if _, err := second.Load(context.Background(), handle); err != nil {
		t.Errorf("when the storage is back: %v", err)
	}
}
