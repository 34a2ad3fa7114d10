// Package storetest holds every [session.Store] to the contract in the comment
// of that type.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
)

// Properties says what kind of store is tested.
type Properties struct {
	// ServerSide is true for a store that keeps records of its own; false for one
	// that gives them all to the browser.
	ServerSide bool
	// Advance moves the store's clock. Without it expiry is not tested.
	Advance func(time.Duration)
}

// Epoch returns the time that the store's clock is to be set to before a test:
// the suite's records expire an hour later.
func Epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Run runs the suite. newStore makes an empty store for one test.
func Run(t *testing.T, newStore func(t *testing.T) session.Store, p Properties) {
	type test struct {
		name string
		run  func(*testing.T, session.Store)
	}
	tests := []test{
		{"a record comes back byte for byte", roundTrip},
		{"two records do not meet", twoRecords},
		{"slices of the caller are not kept", slicesNotKept},
		{"deleting what is not there is no error", deleteTwice},
		{"many goroutines at once", concurrent},
	}
	if p.ServerSide {
		tests = append(tests, []test{
			{"a handle that is not the store's leads to nothing", foreignHandle},
			{"an older generation never overwrites a newer", olderGeneration},
			{"what was deleted is gone and does not come back", deleted},
			{"a save that races with a delete brings nothing back", deleteRace},
			{"of many saves of one generation one succeeds", oneWins},
			{"the last use is kept and never moves back", peek},
		}...)
	}
	if p.ServerSide && p.Advance != nil {
		tests = append(tests, test{"an expired record is gone", func(t *testing.T, store session.Store) {
			expired(t, store, p.Advance)
		}})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

func record(generation uint64, data string) session.Record {
	return session.Record{
		ID: session.NewID(), Generation: generation, Data: []byte(data), Expires: Epoch().Add(time.Hour),
	}
}

func save(t *testing.T, store session.Store, r session.Record, handle []byte) []byte {
	t.Helper()
	handle, err := store.Save(t.Context(), r, handle)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return handle
}

func wantData(t *testing.T, store session.Store, handle []byte, want string) {
	t.Helper()
	if got, err := store.Load(t.Context(), handle); err != nil || string(got) != want {
		t.Fatalf("Load: %q, %v; want %q", got, err, want)
	}
}

func wantGone(t *testing.T, store session.Store, handle []byte) {
	t.Helper()
	if got, err := store.Load(t.Context(), handle); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Load: %q, %v; want ErrNotFound", got, err)
	}
}

func roundTrip(t *testing.T, store session.Store) {
	for _, data := range []string{"x", "\x00\xff", string(make([]byte, 100_000))} {
		wantData(t, store, save(t, store, record(1, data), nil), data)
	}
}

func twoRecords(t *testing.T, store session.Store) {
	first := save(t, store, record(1, "first"), nil)
	second := save(t, store, record(1, "second"), nil)
	wantData(t, store, first, "first")
	wantData(t, store, second, "second")
}

func slicesNotKept(t *testing.T, store session.Store) {
	r := record(1, "first")
	handle := save(t, store, r, nil)
	copy(r.Data, "XXXXX")
	wantData(t, store, handle, "first")

	mine := bytes.Clone(handle)
	r.Generation, r.Data = 2, []byte("again")
	newHandle := save(t, store, r, mine)
	clear(mine)
	wantData(t, store, newHandle, "again")
}

func deleteTwice(t *testing.T, store session.Store) {
	handle := save(t, store, record(1, "x"), nil)
	for range 2 {
		if err := store.Delete(t.Context(), handle); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
}

func foreignHandle(t *testing.T, store session.Store) {
	handle := save(t, store, record(1, "x"), nil)
	for i := range handle {
		forged := bytes.Clone(handle)
		forged[i] ^= 1
		wantGone(t, store, forged)
		if _, err := store.Save(t.Context(), record(2, "y"), forged); !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("Save with a forged handle: %v, want ErrNotFound", err)
		}
		if err := store.Delete(t.Context(), forged); err != nil {
			t.Fatalf("Delete with a forged handle: %v", err)
		}
	}
	wantGone(t, store, nil)
	wantGone(t, store, handle[1:])
	wantData(t, store, handle, "x")
}

func olderGeneration(t *testing.T, store session.Store) {
	r := record(5, "five")
	handle := save(t, store, r, nil)
	for _, generation := range []uint64{4, 5} {
		r.Generation, r.Data = generation, []byte("old")
		if _, err := store.Save(t.Context(), r, handle); !errors.Is(err, session.ErrStale) {
			t.Fatalf("Save of generation %d over 5: %v, want ErrStale", generation, err)
		}
	}
	wantData(t, store, handle, "five")
	r.Generation, r.Data = 6, []byte("six")
	if _, err := store.Save(t.Context(), r, nil); !errors.Is(err, session.ErrStale) {
		t.Fatalf("Save of a new record over one of its ID: %v, want ErrStale", err)
	}
	wantData(t, store, handle, "five")
	newHandle := save(t, store, r, handle)
	wantData(t, store, newHandle, "six")
	wantData(t, store, handle, "six") // a browser that does not have the new one yet
}

func deleted(t *testing.T, store session.Store) {
	r := record(1, "x")
	handle := save(t, store, r, nil)
	if err := store.Delete(t.Context(), handle); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	wantGone(t, store, handle)
	r.Generation = 2
	if _, err := store.Save(t.Context(), r, handle); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Save after Delete: %v, want ErrNotFound", err)
	}
	wantGone(t, store, handle)
}

func deleteRace(t *testing.T, store session.Store) {
	for range 300 {
		r := record(1, "x")
		handle := save(t, store, r, nil)
		var group sync.WaitGroup
		group.Go(func() {
			if err := store.Delete(t.Context(), handle); err != nil {
				t.Errorf("Delete: %v", err)
			}
		})
		group.Go(func() {
			r.Generation = 2
			if _, err := store.Save(t.Context(), r, handle); err != nil && !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Save: %v, want none or ErrNotFound", err)
			}
		})
		group.Wait()
		wantGone(t, store, handle)
	}
}

func expired(t *testing.T, store session.Store, advance func(time.Duration)) {
	r := record(1, "x")
	handle := save(t, store, r, nil)
	advance(time.Hour - time.Second)
	wantData(t, store, handle, "x")
	advance(time.Second)
	wantGone(t, store, handle)
	if server, ok := store.(session.ServerStore); ok {
		if _, _, err := server.Peek(t.Context(), handle); !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("Peek after expiry: %v, want ErrNotFound", err)
		}
	}
	r.Generation = 2
	if _, err := store.Save(t.Context(), r, handle); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Save after expiry: %v, want ErrNotFound", err)
	}
}

func oneWins(t *testing.T, store session.Store) {
	r := record(1, "first")
	handle := save(t, store, r, nil)
	var group sync.WaitGroup
	results := make(chan error, 16)
	for i := range cap(results) {
		group.Go(func() {
			r := r
			r.Generation, r.Data = 2, fmt.Appendf(nil, "writer %d", i)
			_, err := store.Save(context.Background(), r, handle)
			results <- err
		})
	}
	group.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, session.ErrStale):
			t.Errorf("Save: %v, want ErrStale", err)
		}
	}
	if won != 1 {
		t.Errorf("%d saves of generation 2 succeeded, want 1", won)
	}
}

func concurrent(t *testing.T, store session.Store) {
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			r := record(1, "one")
			handle, err := store.Save(t.Context(), r, nil)
			if err == nil {
				r.Generation, r.Data = 2, []byte("two")
				handle, err = store.Save(t.Context(), r, handle)
			}
			if err != nil {
				t.Errorf("Save: %v", err)
				return
			}
			if got, err := store.Load(t.Context(), handle); err != nil || string(got) != "two" {
				t.Errorf("Load: %q, %v", got, err)
			}
			if err := store.Delete(t.Context(), handle); err != nil {
				t.Errorf("Delete: %v", err)
			}
		})
	}
	group.Wait()
}

func peek(t *testing.T, store session.Store) {
	server, ok := store.(session.ServerStore)
	if !ok {
		t.Fatal("not a session.ServerStore")
	}
	r := record(1, "x")
	handle := save(t, store, r, nil)
	want := func(generation uint64, used time.Time) {
		t.Helper()
		if g, u, err := server.Peek(t.Context(), handle); err != nil || g != generation || !u.Equal(used) {
			t.Fatalf("Peek: %d, %v, %v; want %d, %v", g, u, err, generation, used)
		}
	}
	use := func(minutes time.Duration) {
		t.Helper()
		if err := server.Use(t.Context(), handle, Epoch().Add(minutes*time.Minute)); err != nil {
			t.Fatalf("Use: %v", err)
		}
	}
	want(1, time.Time{})
	use(2)
	use(5)
	use(3)
	want(1, Epoch().Add(5*time.Minute))
	r.Generation = 2
	handle = save(t, store, r, handle)
	want(2, Epoch().Add(5*time.Minute))
	if _, _, err := server.Peek(t.Context(), append(bytes.Clone(handle), 0)); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Peek with a longer handle: %v, want ErrNotFound", err)
	}
	if err := store.Delete(t.Context(), handle); err != nil {
		t.Fatal(err)
	}
	use(6)
	if g, u, err := server.Peek(t.Context(), handle); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Peek without a record: %d, %v, %v; want ErrNotFound", g, u, err)
	}
	if _, _, err := server.Peek(t.Context(), []byte("no handle")); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Peek without a handle: %v, want ErrNotFound", err)
	}
	if err := server.Use(t.Context(), []byte("no handle"), Epoch()); err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Use without a handle: %v, want none or ErrNotFound", err)
	}
}
