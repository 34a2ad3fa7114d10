package session_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/storetest"
)

func TestCookieStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) session.Store { return session.CookieStore() }, storetest.Properties{})
}

func TestMemoryStore(t *testing.T) {
	var now time.Time
	storetest.Run(t, func(*testing.T) session.Store {
		now = storetest.Epoch()
		return session.NewMemoryStore(func() time.Time { return now })
	}, storetest.Properties{
		ServerSide: true,
		Advance:    func(d time.Duration) { now = now.Add(d) },
	})
}

func TestMemorySnapshot(t *testing.T) {
	now := storetest.Epoch()
	clock := func() time.Time { return now }
	expires := now.Add(time.Hour)
	old, next := session.NewMemoryStore(clock), session.NewMemoryStore(clock)

	kept := session.Record{ID: session.NewID(), Generation: 3, Data: []byte("kept data"), Expires: expires}
	over := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("over"), Expires: now.Add(time.Minute)}
	newer := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("gen 1"), Expires: expires}
	keptHandle, overHandle, newerHandle := mustSave(t, old, kept, nil), mustSave(t, old, over, nil), mustSave(t, old, newer, nil)
	if err := old.Use(t.Context(), keptHandle, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	early, err := old.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	newer.Generation, newer.Data = 2, []byte("gen 2")
	mustSave(t, old, newer, newerHandle)
	late, err := old.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(late, []byte("kept data")) {
		t.Error("a snapshot shows what only the browser's handle may open")
	}

	now = now.Add(2 * time.Minute)
	for _, snapshot := range [][]byte{late, early} { // the early one must not bring generation 1 back
		mine := bytes.Clone(snapshot)
		if err := next.Restore(mine); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		clear(mine) // the store keeps no reference
	}
	if _, used, err := next.Peek(t.Context(), newerHandle); err != nil || !used.IsZero() {
		t.Errorf("a record that was never used: %v, %v", used, err)
	}
	for handle, want := range map[string]string{string(keptHandle): "kept data", string(newerHandle): "gen 2"} {
		if got, err := next.Load(t.Context(), []byte(handle)); err != nil || string(got) != want {
			t.Errorf("Load after Restore: %q, %v; want %q", got, err, want)
		}
	}
	if _, err := next.Load(t.Context(), overHandle); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("an expired record was restored: %v", err)
	}
	if _, used, err := next.Peek(t.Context(), keptHandle); err != nil || !used.Equal(storetest.Epoch().Add(time.Minute)) {
		t.Errorf("last use after Restore: %v, %v", used, err)
	}

	for size := range len(late) {
		fresh := session.NewMemoryStore(clock)
		if err := fresh.Restore(late[:size]); !errors.Is(err, session.ErrEncoding) {
			t.Fatalf("Restore of %d of %d bytes: %v, want ErrEncoding", size, len(late), err)
		}
		if _, err := fresh.Load(t.Context(), keptHandle); !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("a torn snapshot of %d bytes was restored in part", size)
		}
	}
	if err := session.NewMemoryStore(clock).Restore(append(late, 0)); !errors.Is(err, session.ErrEncoding) {
		t.Errorf("Restore with trailing bytes: %v, want ErrEncoding", err)
	}
	if err := session.NewMemoryStore(clock).Restore(append([]byte{2}, late[1:]...)); !errors.Is(err, session.ErrEncoding) {
		t.Errorf("Restore of another version: %v, want ErrEncoding", err)
	}
}

func mustSave(t *testing.T, store session.Store, r session.Record, handle []byte) []byte {
	t.Helper()
	handle, err := store.Save(t.Context(), r, handle)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return handle
}
