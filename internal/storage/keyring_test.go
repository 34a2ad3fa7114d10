package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

var someTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func testKeyRing(dir string, c *clock) *KeyRing {
	k := NewKeyRing(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	k.Retain(12 * time.Hour)
	return k
}

var cookiePurpose = seal.Purpose{Kind: "session", Scope: "app.example.com"}

func mustRing(t *testing.T, k *KeyRing) *seal.Ring {
	t.Helper()
	ring, err := k.Ring(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func mustSeal(t *testing.T, ring *seal.Ring) string {
	t.Helper()
	sealed, err := ring.Seal(cookiePurpose, []byte("session"))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func keyFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, keysPrefix, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// P14: a restart finds the key that the last process made.
func TestKeyRingOutlivesTheProcess(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	sealed := mustSeal(t, mustRing(t, testKeyRing(dir, c)))
	c.advance(time.Hour)
	if _, err := mustRing(t, testKeyRing(dir, c)).Open(cookiePurpose, sealed); err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	if files := keyFiles(t, dir); len(files) != 1 {
		t.Errorf("%d keys, want 1", len(files))
	}
}

// Processes that make keys at once converge on one.
func TestKeyRingCreatorsConverge(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	var rings []*KeyRing
	var wg sync.WaitGroup
	for range 8 {
		k := testKeyRing(dir, c)
		rings = append(rings, k)
		wg.Go(func() {
			if _, err := k.Ring(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.advance(retryAfter)
	for i, k := range rings {
		k.Refresh(context.Background())
		sealed := mustSeal(t, mustRing(t, k))
		for j, other := range rings {
			other.Refresh(context.Background())
			if _, err := mustRing(t, other).Open(cookiePurpose, sealed); err != nil {
				t.Fatalf("ring %d does not open what ring %d sealed: %v", j, i, err)
			}
		}
	}
}

// P29: rotation signs nobody out, and a key is retired when nothing that it
// sealed can be alive.
func TestKeyRingRotates(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	k := testKeyRing(dir, c)
	first := mustSeal(t, mustRing(t, k))
	firstKey := strings.Split(first, ".")[1]

	c.advance(sealingPeriod - keyOverlap + time.Minute)
	second := mustSeal(t, mustRing(t, k))
	if len(keyFiles(t, dir)) != 2 {
		t.Fatalf("%d keys before the first one's end, want 2", len(keyFiles(t, dir)))
	}
	if strings.Split(second, ".")[1] != firstKey {
		t.Error("the new key seals before every process can have read it")
	}

	c.advance(keyOverlap)
	third := mustSeal(t, mustRing(t, k))
	if strings.Split(third, ".")[1] == firstKey {
		t.Error("the old key seals after its period")
	}
	if _, err := mustRing(t, k).Open(cookiePurpose, second); err != nil {
		t.Errorf("what the old key sealed a day ago: %v", err)
	}

	c.advance(12 * time.Hour)
	var unknown *seal.UnknownKeyError
	if _, err := mustRing(t, k).Open(cookiePurpose, second); !errors.As(err, &unknown) || unknown.Newer {
		t.Errorf("after the longest session: %v, want an old unknown key", err)
	}
}

// Two processes with a folder each say so by the key's time.
func TestKeyRingOfAnotherReplica(t *testing.T) {
	c := &clock{now: someTime}
	mine := mustRing(t, testKeyRing(t.TempDir(), c))
	c.advance(time.Minute)
	theirs := mustSeal(t, mustRing(t, testKeyRing(t.TempDir(), c)))
	var unknown *seal.UnknownKeyError
	if _, err := mine.Open(cookiePurpose, theirs); !errors.As(err, &unknown) || !unknown.Newer {
		t.Errorf("got %v, want a newer unknown key", err)
	}
}

// A torn or edited key is an error that names it, never a reason for a new ring.
func TestKeyRingTornFile(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"torn":     func(s string) string { return s[:len(s)/2] },
		"empty":    func(string) string { return "" },
		"edited":   func(s string) string { return strings.Replace(s, `"secret": "`, `"secret": "A`, 1) },
		"backdate": func(s string) string { return strings.Replace(s, "2026-", "2020-", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{now: someTime}
			k := testKeyRing(dir, c)
			sealed := mustSeal(t, mustRing(t, k))
			file := keyFiles(t, dir)[0]
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(damage(string(content))), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := testKeyRing(dir, c).Ring(context.Background()); err == nil || !strings.Contains(err.Error(), filepath.Base(file)) {
				t.Errorf("after a restart: %v, want an error that names %s", err, filepath.Base(file))
			}
			if files := keyFiles(t, dir); len(files) != 1 {
				t.Errorf("%d key files, want 1: a new ring was begun in silence", len(files))
			}
			c.advance(ringAge + time.Second)
			if _, err := mustRing(t, k).Open(cookiePurpose, sealed); err != nil {
				t.Errorf("a running process: %v", err)
			}
		})
	}
}

// stuckStorage is a storage whose lock somebody has died with.
type stuckStorage struct{ certmagic.Storage }

func (s stuckStorage) Lock(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// Nothing depends on the storage's lock: who waits for it in vain makes a key all the same.
func TestKeyRingWithoutLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := testKeyRing(t.TempDir(), &clock{now: someTime})
		k.storage = stuckStorage{k.storage}
		mustSeal(t, mustRing(t, k))
	})
}
