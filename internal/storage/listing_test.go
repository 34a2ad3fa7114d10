package storage

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// Another process, or another site, writes while the journal is read: a temporary file that gets its name makes certmagic's
// storage say that something does not exist. That is not "nobody was signed out".
func TestJournalIsReadWhileOthersWrite(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	if err := j.Append(t.Context(), someRevocation(t, 1, someTime.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := j.Supersede(t.Context(), session.Superseded{ID: session.NewID(), Generation: 2, Sealed: someTime, Until: someTime.Add(time.Hour)}, nil); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, prefix := range []string{revocationsPrefix, supersededPrefix} {
				select {
				case <-stop:
					return
				default:
				}
				temporary := filepath.Join(dir, filepath.FromSlash(prefix), "0")
				_ = os.WriteFile(temporary, nil, 0o600)
				_ = os.Remove(temporary)
			}
		}
	}()
	for range 300 {
		if all, err := j.List(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%d revocations, %v", len(all), err)
			break
		}
		if all, err := j.Superseded(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%d superseded generations, %v", len(all), err)
			break
		}
	}
	close(stop)
	<-done
}

// vanishing is a storage in which, the first times, something goes while it is listed.
type vanishing struct {
	certmagic.Storage
	times atomic.Int64 // the journal sweeps beside us
}

func (v *vanishing) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	if v.times.Add(-1) >= 0 {
		return nil, &fs.PathError{Op: "lstat", Path: path.Join(prefix, "4123456789"), Err: fs.ErrNotExist}
	}
	return v.Storage.List(ctx, prefix, recursive)
}

// A folder that can never be listed whole is an error.
func TestJournalThatChangesAllTheTime(t *testing.T) {
	storage, c := &vanishing{Storage: &certmagic.FileStorage{Path: t.TempDir()}}, &clock{now: someTime}
	j := NewJournal(storage, zap.NewNop(), c.Now)
	if err := j.Append(t.Context(), someRevocation(t, 1, someTime.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	for times, want := range map[int64]int{3: 1, 1 << 20: 0} {
		storage.times.Store(times)
		if all, err := j.List(t.Context()); len(all) != want || (err == nil) != (want == 1) {
			t.Errorf("%d times: %d revocations, %v", times, len(all), err)
		}
	}
}

// hanging is a storage that answers after the time that it is given, and not what it was asked for.
type hanging struct {
	certmagic.Storage
	c     *clock
	calls int
}

func (h *hanging) List(context.Context, string, bool) ([]string, error) { return nil, h.hang() }

func (h *hanging) Stat(context.Context, string) (certmagic.KeyInfo, error) {
	return certmagic.KeyInfo{}, h.hang()
}

func (h *hanging) hang() error {
	h.calls++
	h.c.advance(timeout)
	return errAway
}

// Many requests wait for a storage that hangs: they wait for one attempt, not for one each, the one after the other.
func TestStorageThatHangs(t *testing.T) {
	c := &clock{now: someTime}
	storage := &hanging{Storage: &certmagic.FileStorage{Path: t.TempDir()}, c: c}
	running := testKeyRing(t.TempDir(), c)
	mustRing(t, running)
	running.storage = storage
	starting := NewKeyRing(storage, zap.NewNop(), c.Now)
	memory := testMemory(storage, c)
	for name, ask := range map[string]func(){
		"the keys, that a start needs":     func() { _, _ = starting.Ring(t.Context()) },
		"the keys, for one that is new":    func() { running.Refresh(t.Context()) },
		"the sessions of the last process": func() { _, _, _ = memory.Peek(t.Context(), nil) },
	} {
		storage.calls = 0
		for range 5 {
			ask()
		}
		if storage.calls != 1 {
			t.Errorf("%s: the storage was asked %d times", name, storage.calls)
		}
	}
}
