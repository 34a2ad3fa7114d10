package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-auth/gatehouse/session"
)

// failing is a storage of which one kind of call fails.
type failing struct {
	certmagic.Storage
	call  string
	calls int
}

func (f *failing) fails(call string) error {
	f.calls++
	if call == f.call {
		return errAway
	}
	return nil
}

func (f *failing) Store(ctx context.Context, key string, value []byte) error {
	if err := f.fails("Store"); err != nil {
		return err
	}
	return f.Storage.Store(ctx, key, value)
}

func (f *failing) Load(ctx context.Context, key string) ([]byte, error) {
	if err := f.fails("Load"); err != nil {
		return nil, err
	}
	return f.Storage.Load(ctx, key)
}

func (f *failing) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	if err := f.fails("List"); err != nil {
		return nil, err
	}
	return f.Storage.List(ctx, path, recursive)
}

// A journal that cannot be written or read is an error: nobody is to believe that a session is over for good which may come back,
// nor that nobody's is over.
func TestJournalOfAFailingStorage(t *testing.T) {
	c := &clock{now: someTime}
	storage := &failing{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	j := NewJournal(storage, zap.NewNop(), c.Now)
	j.swept = c.Now()
	s := session.Superseded{ID: session.NewID(), Generation: 2, Sealed: c.Now(), Until: someTime.Add(time.Hour)}
	revocation := someRevocation(t, 1, someTime.Add(time.Hour))
	if err := errors.Join(j.Append(t.Context(), revocation), j.Supersede(t.Context(), s, nil)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		call, name string
		use        func() error
	}{
		{"Store", "Append", func() error { return j.Append(t.Context(), revocation) }},
		{"Store", "Supersede", func() error { return j.Supersede(t.Context(), s, nil) }},
		{"List", "List", func() error { _, err := j.List(t.Context()); return err }},
		{"List", "Superseded", func() error { _, err := j.Superseded(t.Context()); return err }},
	} {
		storage.call = tt.call
		if err := tt.use(); !errors.Is(err, errAway) {
			t.Errorf("%s, while %s fails: %v", tt.name, tt.call, err)
		}
		storage.call = ""
		if err := tt.use(); err != nil {
			t.Errorf("%s, afterwards: %v", tt.name, err)
		}
	}
}

// A revocation whose name was edited is an error, and no reason to take it for none.
func TestEditedRevocation(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	if err := j.Append(t.Context(), someRevocation(t, 1, someTime.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(revocationsPrefix), "*-*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	until := names[0][:strings.LastIndex(names[0], "-")+1]
	if err := os.Rename(names[0], until+strings.Repeat("ff", 40)); err != nil {
		t.Fatal(err)
	}
	if all, err := j.List(t.Context()); !errors.Is(err, session.ErrEncoding) {
		t.Errorf("read: %v, %v", all, err)
	}
}

// What is over goes only a while after its end, and what is not stays.
func TestIsOver(t *testing.T) {
	const id = "0000000000000000000000000000000a"
	revocation := strings.Repeat("0a", 40)
	for _, tt := range []struct {
		name string
		ago  time.Duration // since 1000000000
		over bool
	}{
		{"001000000000-" + revocation, sweepSlack, true},
		{"001000000000-" + revocation, sweepSlack - time.Second, false},
		{"001000000000-" + revocation, 0, false},
		{"folder/001000000000-" + revocation, sweepSlack, true},
		{"001000000000-" + id + "-7-000000000001", sweepSlack, true},
		{"001000000000-" + id + "-7-000000000001", 0, false},
		{"1000000000-" + revocation, sweepSlack, false},
		{"001000000000", sweepSlack, false},
		{"1000000000", sweepSlack, false},
	} {
		if got := isOver(tt.name, time.Unix(1_000_000_000, 0).Add(tt.ago)); got != tt.over {
			t.Errorf("%s, %s later: %v", tt.name, tt.ago, got)
		}
	}
}

// Keys that cannot be read are an error where there are none yet, which is repeated after five seconds and not before, and logged;
// a process that has keys goes on with them.
func TestKeyRingOfAFailingStorage(t *testing.T) {
	for _, call := range []string{"List", "Load", "Store"} {
		t.Run(call, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{now: someTime}
			if call == "Load" {
				mustRing(t, testKeyRing(dir, c))
			}
			storage := &failing{Storage: &certmagic.FileStorage{Path: dir}, call: call}
			core, logs := observer.New(zap.ErrorLevel)
			k := NewKeyRing(storage, zap.New(core), c.Now)
			k.Retain(12 * time.Hour)
			if ring, err := k.Ring(t.Context()); !errors.Is(err, errAway) {
				t.Fatalf("%v, %v", ring, err)
			}
			asked := storage.calls
			c.advance(retryAfter - time.Millisecond)
			if ring, err := k.Ring(t.Context()); !errors.Is(err, errAway) || storage.calls != asked {
				t.Errorf("a moment later: %v, %v, asked %d times more", ring, err, storage.calls-asked)
			}
			if logs.Len() != 1 {
				t.Errorf("logged %v", logs.All())
			}
			storage.call = ""
			c.advance(time.Millisecond)
			sealed := mustSeal(t, mustRing(t, k))

			storage.call, storage.calls = call, 0
			c.advance(ringAge - time.Second)
			if mustRing(t, k); storage.calls != 0 {
				t.Error("a young ring is read again")
			}
			c.advance(40 * 24 * time.Hour) // another key would be due
			asked = 0
			for range 3 {
				if _, err := mustRing(t, k).Open(cookiePurpose, sealed); err != nil {
					t.Errorf("while the storage fails: %v", err)
				}
				if asked == 0 {
					asked = storage.calls
				}
			}
			if asked == 0 || storage.calls != asked {
				t.Errorf("asked %d times, and %d within a moment", asked, storage.calls)
			}
			if logs.Len() != 2 {
				t.Errorf("logged %d times, want twice", logs.Len())
			}
		})
	}
}

// Nobody gets a new ring because a file in the folder of keys is none.
func TestKeyRingPassesOverOtherFiles(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	mustRing(t, testKeyRing(dir, c))
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(keysPrefix), "4123456789"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRing(t, testKeyRing(dir, c))
	if files := keyFiles(t, dir); len(files) != 1 {
		t.Errorf("the keys are %v", files)
	}
}

// The longest lifetime that was asked for counts, whatever came after.
func TestRetain(t *testing.T) {
	k := testKeyRing(t.TempDir(), &clock{now: someTime})
	for _, tt := range []struct{ asked, want time.Duration }{
		{12 * time.Hour, 12 * time.Hour}, {time.Hour, 12 * time.Hour}, {24 * time.Hour, 24 * time.Hour}, {24*time.Hour - 1, 24 * time.Hour},
	} {
		if k.Retain(tt.asked); k.LongestLifetime() != tt.want {
			t.Errorf("after %s: %s, want %s", tt.asked, k.LongestLifetime(), tt.want)
		}
	}
}

// Sessions that cannot be kept for the next process are an error, and what was never read is not written over.
func TestKeepOfAFailingStorage(t *testing.T) {
	c := &clock{now: someTime}
	storage := &failing{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	m := testMemory(storage, c)
	saveSession(t, m, 1, someTime.Add(time.Hour))
	storage.call = "Store"
	if err := m.Keep(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("%v", err)
	}
}
