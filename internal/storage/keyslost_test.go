package storage

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// readOnlyStorage is a storage that takes nothing: a full disk, a file system that was mounted again read-only.
type readOnlyStorage struct{ certmagic.Storage }

func (readOnlyStorage) Store(context.Context, string, []byte) error { return os.ErrPermission }
func (readOnlyStorage) Lock(context.Context, string) error          { return os.ErrPermission }

// The storage takes nothing on the day on which a key gets its successor: who starts then seals and opens with the key that
// is there, until its time is over.
func TestKeyRingStartsWithoutASuccessor(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	sealed := mustSeal(t, mustRing(t, testKeyRing(dir, c)))
	c.advance(sealingPeriod - keyOverlap + time.Minute)
	k := testKeyRing(dir, c)
	writable := k.storage
	k.storage = readOnlyStorage{writable}
	ring := mustRing(t, k)
	if _, err := ring.Open(cookiePurpose, sealed); err != nil {
		t.Error(err)
	}
	mustSeal(t, ring)
	k.storage = writable
	c.advance(ringAge)
	if mustRing(t, k); len(keyFiles(t, dir)) != 2 {
		t.Error("the storage takes something again, and the key has no successor")
	}

	c.advance(sealingPeriod + 24*time.Hour) // now no key may seal
	late := testKeyRing(dir, c)
	late.storage = readOnlyStorage{writable}
	if _, err := late.Ring(t.Context()); err == nil {
		t.Error("a key seals after its time")
	}
}

// The storage is put back to an older backup while the process runs, so that it lacks the newest key: the process writes
// that back, and nobody whom it signed in is signed out, by this process or by another. That holds for the rotation on
// demand, too: the key before it seals no more.
func TestKeyRingWritesBackWhatTheStorageLost(t *testing.T) {
	for name, next := range map[string]func(*testing.T, *KeyRing, *clock){
		"scheduled": func(t *testing.T, k *KeyRing, c *clock) {
			c.advance(sealingPeriod - time.Hour)
			mustRing(t, k)
			c.advance(time.Hour)
		},
		"on demand": func(t *testing.T, k *KeyRing, c *clock) {
			c.advance(time.Hour)
			if _, err := k.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{now: someTime}
			k := testKeyRing(dir, c)
			first := mustSeal(t, mustRing(t, k))
			next(t, k, c)
			newest := mustSeal(t, mustRing(t, k))
			if keyOf(newest) == keyOf(first) {
				t.Fatal("there is no newer key")
			}
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(keysPrefix), keyOf(newest)+".json")); err != nil {
				t.Fatal(err)
			}
			// While the storage takes nothing, the process goes on with what it has.
			writable := k.storage
			k.storage = readOnlyStorage{writable}
			c.advance(ringAge)
			if _, err := mustRing(t, k).Open(cookiePurpose, newest); err != nil {
				t.Errorf("signed out: %v", err)
			}
			k.storage = writable
			c.advance(ringAge)
			// The process reads first, and so another finds what it has written back.
			for i, ring := range []*KeyRing{k, testKeyRing(dir, c)} {
				if _, err := mustRing(t, ring).Open(cookiePurpose, newest); err != nil {
					t.Errorf("process %d: signed out: %v", i+1, err)
				}
				if sealed := mustSeal(t, mustRing(t, ring)); keyOf(sealed) != keyOf(newest) {
					t.Errorf("process %d seals with %s", i+1, keyOf(sealed))
				}
			}
		})
	}
}

// A key that was retired long ago may be removed: it does not come back.
func TestKeyRingForgetsRetiredKeys(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	k := testKeyRing(dir, c)
	mustRing(t, k)
	for range 3 {
		c.advance(sealingPeriod - time.Hour)
		mustRing(t, k)
	}
	files := keyFiles(t, dir)
	if len(files) < 3 {
		t.Fatalf("keys: %v", files)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	c.advance(ringAge)
	if mustRing(t, k); len(keyFiles(t, dir)) != len(files)-1 {
		t.Error("a retired key was written back")
	}
}

// The keys were read a moment ago when a cookie names one that another process has made since: they are read again at once.
// Whoever invents such cookies has them read once in five seconds.
func TestKeyRingFollowsARotationAtOnce(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	mine, other := testKeyRing(dir, c), testKeyRing(dir, c)
	mustRing(t, other)
	c.advance(time.Second)
	mustRing(t, mine)
	if _, err := other.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	sealed := mustSeal(t, mustRing(t, other))
	mine.Refresh(t.Context())
	if _, err := mustRing(t, mine).Open(cookiePurpose, sealed); err != nil {
		t.Error(err)
	}

	counting := &countingStorage{Storage: mine.storage}
	mine.storage = counting
	for range 100 {
		c.advance(100 * time.Millisecond)
		mine.Refresh(t.Context())
	}
	if counting.lists > 2 {
		t.Errorf("in ten seconds the keys were read %d times", counting.lists)
	}
}

// countingStorage counts how often it is listed.
type countingStorage struct {
	certmagic.Storage
	lists int
}

func (s *countingStorage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	s.lists++
	return s.Storage.List(ctx, prefix, recursive)
}
