package storage

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// someRevocation is one of a session, that ends at a time.
func someRevocation(t *testing.T, number byte, until time.Time) session.Revocation {
	t.Helper()
	data := append([]byte{1, 1, number}, make([]byte, 31)...)
	for _, seconds := range []int64{someTime.Unix(), until.Unix()} {
		for ; seconds >= 0x80; seconds >>= 7 {
			data = append(data, byte(seconds)|0x80)
		}
		data = append(data, byte(seconds))
	}
	r, err := session.DecodeRevocation(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A storage that has never been written to holds no revocations, and that is no error.
func TestJournalOfAnEmptyStorage(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	if entries, err := j.List(t.Context()); err != nil || len(entries) != 0 {
		t.Fatalf("an empty storage: %v, %v", entries, err)
	}
}

// A process that was killed in the middle of a sign-out leaves the storage's own temporary file behind, whose name is a
// number: it is no revocation, and no reason to answer 503 from then on.
func TestKilledWhileItSignedOut(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	kept := someRevocation(t, 1, someTime.Add(time.Hour))
	if err := j.Append(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"4123456789", "17"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(revocationsPrefix), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := j.List(t.Context()); err != nil || len(entries) != 1 || entries[0] != kept {
		t.Errorf("%d revocations are read, %v", len(entries), err)
	}
}

// What is over goes while the process runs: somebody who signs in and out for months fills no disk, and no start has to
// clean up after that.
func TestJournalDoesNotGrow(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	files := func() int {
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(revocationsPrefix), "*-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	for i := range byte(200) {
		if err := j.Append(t.Context(), someRevocation(t, i, c.Now().Add(12*time.Hour))); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Hour)
	}
	few := func() error {
		if n := files(); n > 24 {
			return fmt.Errorf("%d files", n)
		}
		return nil
	}
	for range 500 {
		if few() == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error(few())
}

// Which generations are superseded is one object a session, however often that is refreshed, and it goes with the
// session. What the storage leaves behind when it is killed is none.
func TestJournalOfSuperseded(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	j := NewJournal(&certmagic.FileStorage{Path: dir}, zap.NewNop(), c.Now)
	if all, err := j.Superseded(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("before anything was stored: %v, %v", all, err)
	}
	id := session.NewID()
	var earlier *session.Superseded
	for generation := range uint64(5) {
		s := session.Superseded{ID: id, Generation: generation + 2, Sealed: c.Now(), Until: someTime.Add(12 * time.Hour)}
		if err := j.Supersede(t.Context(), s, earlier); err != nil {
			t.Fatal(err)
		}
		earlier = &s
		c.advance(time.Hour)
	}
	folder := filepath.Join(dir, filepath.FromSlash(supersededPrefix))
	for _, name := range []string{"4123456789", "17", "000000000001-no"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := j.Superseded(t.Context()); err != nil || len(all) != 1 || all[0] != *earlier {
		t.Errorf("read: %v, %v; want %v", all, err, *earlier)
	}
	c.advance(13 * time.Hour)
	j.sweep(c.Now())
	if all, err := j.Superseded(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("the clock may be ahead: %v, %v", all, err)
	}
	j.sweep(c.Now())
	if left, _ := filepath.Glob(filepath.Join(folder, "*-*-*-*")); len(left) != 0 {
		t.Errorf("after the session's end: %v", left)
	}
	if err := os.WriteFile(filepath.Join(folder, "999999999999-"+strings.Repeat("0", 32)+"-9999999999999999999-000000000001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := j.Superseded(t.Context()); err != nil || len(all) != 1 || all[0].Generation != 9999999999999999999 {
		t.Errorf("the largest generation: %v, %v", all, err)
	}
	if err := NewJournal(&certmagic.FileStorage{Path: filepath.Join(folder, "17")}, zap.NewNop(), c.Now).
		Supersede(t.Context(), *earlier, nil); err == nil {
		t.Error("a storage that takes nothing is no error")
	}
}

// A clock that is ahead for a moment, at a start or later, takes no revocation away.
func TestJournalWhileTheClockIsAhead(t *testing.T) {
	c := &clock{now: someTime}
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	kept := someRevocation(t, 1, someTime.Add(12*time.Hour))
	if err := NewJournal(storage, zap.NewNop(), c.Now).Append(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{20 * time.Hour, 0} {
		c.advance(ahead)
		j := NewJournal(storage, zap.NewNop(), c.Now)
		j.swept = c.Now() // List begins no sweep beside the one below
		if all, err := j.List(t.Context()); err != nil || len(all) != 1 || all[0] != kept {
			t.Fatalf("with a clock that is %s ahead: %v, %v", ahead, all, err)
		}
		j.sweep(c.Now())
		c.advance(-ahead)
	}
}

// A storage that takes a second for each object is asked for none at a start: four hundred people who signed out today would
// keep everybody else out for ever, as reading them takes longer than anyone waits for.
func TestJournalOfASlowStorage(t *testing.T) {
	storage, c := &unreadStorage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}, &clock{now: someTime}
	j := NewJournal(storage, zap.NewNop(), c.Now)
	for i := range byte(200) {
		if err := j.Append(t.Context(), someRevocation(t, i, someTime.Add(12*time.Hour))); err != nil {
			t.Fatal(err)
		}
		if err := j.Supersede(t.Context(), session.Superseded{ID: session.NewID(), Generation: 2, Sealed: someTime, Until: someTime.Add(12 * time.Hour)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	revoked, err := j.List(t.Context())
	superseded, errSuperseded := j.Superseded(t.Context())
	if err != nil || errSuperseded != nil || len(revoked) != 200 || len(superseded) != 200 {
		t.Errorf("%d, %v; %d, %v", len(revoked), err, len(superseded), errSuperseded)
	}
	if storage.loads != 0 {
		t.Errorf("%d objects were read", storage.loads)
	}
}

// unreadStorage counts the objects that are read from it.
type unreadStorage struct {
	certmagic.Storage
	loads int
}

func (s *unreadStorage) Load(ctx context.Context, key string) ([]byte, error) {
	s.loads++
	return s.Storage.Load(ctx, key)
}

// What stands under the name of a revocation and is none is an error: it may be one of a newer program.
func TestJournalOfAnotherProgram(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	storage := &certmagic.FileStorage{Path: dir}
	whole := "000000000001-0101" + strings.Repeat("00", 32) + "0101"
	for _, name := range []string{
		"000000000001-ff" + strings.Repeat("00", 45), // of a newer program
		whole[:len(whole)-2], whole[:len(whole)-1],   // of a storage that cuts names off
		whole[:len("000000000001-")+24], // of one that cuts off more
		whole + strings.Repeat("00", 80),
	} {
		name = path.Join(revocationsPrefix, name)
		if err := storage.Store(t.Context(), name, []byte("revoked")); err != nil {
			t.Fatal(err)
		}
		if all, err := NewJournal(storage, zap.NewNop(), c.Now).List(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, all, err)
		}
		if err := storage.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}
