package session

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

func put(l *ledger[int, string], key int, at, until, now time.Time) {
	_ = l.put(key, now, func(entry[string], bool, time.Time) (entry[string], error) {
		return entry[string]{value: fmt.Sprint(key), at: at, until: until}, nil
	})
}

// A live entry is never just dropped: it is there, or under the floor.
func TestLedgerForgetsNothingBeforeItsTime(t *testing.T) {
	l := newLedger[int, string](100, 0)
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	until := epoch.Add(time.Hour)
	for i := range 1000 {
		put(l, i, at(i), until, at(i))
		if len(l.entries) > 100 {
			t.Fatalf("%d entries", len(l.entries))
		}
	}
	now := at(1000)
	kept := 0
	for i := range 1000 {
		e, found, floor := l.get(i, now)
		if !found && at(i).After(floor) {
			t.Errorf("entry %d is neither there nor under the floor %v", i, floor)
		}
		if found {
			kept++
			if e.value != fmt.Sprint(i) || !at(i).After(floor) {
				t.Errorf("entry %d: %+v, floor %v", i, e, floor)
			}
		}
	}
	if kept < 75 || l.empty() {
		t.Errorf("%d entries kept", kept)
	}
	if _, found, floor := l.get(999, until); found || !floor.IsZero() {
		t.Errorf("after everything is over: found %v, floor %v", found, floor)
	}
}

func TestLedgerSweeps(t *testing.T) {
	l := newLedger[int, string](100, 0)
	put(l, 1, epoch, epoch.Add(time.Minute), epoch)
	put(l, 2, epoch, epoch.Add(time.Hour), epoch)
	if _, found, _ := l.get(1, epoch.Add(time.Minute)); found {
		t.Error("an entry that is over is found")
	}
	put(l, 3, epoch, epoch.Add(time.Hour), epoch.Add(time.Minute))
	if len(l.entries) != 2 {
		t.Errorf("%d entries, want 2", len(l.entries))
	}
	for i := range 100 { // those that are over make room before anything is folded
		put(l, 100+i, epoch, epoch.Add(90*time.Second), epoch.Add(61*time.Second))
	}
	_, _, floor := l.get(2, epoch.Add(62*time.Second))
	if floor.IsZero() {
		t.Fatal("102 live entries of 100 were not folded")
	}
	l = newLedger[int, string](2, 0)
	put(l, 1, epoch.Add(time.Second), epoch.Add(time.Second), epoch)
	put(l, 2, epoch, epoch.Add(time.Hour), epoch)
	put(l, 3, epoch, epoch.Add(time.Hour), epoch.Add(2*time.Second))
	if _, found, floor := l.get(2, epoch.Add(2*time.Second)); !found || !floor.IsZero() {
		t.Error("a live entry was folded while one was over")
	}
	put(l, 3, epoch, epoch.Add(3*time.Second), epoch)
	_ = l.put(3, epoch.Add(3*time.Second), func(_ entry[string], found bool, _ time.Time) (entry[string], error) {
		if found {
			t.Error("an entry that is over is updated")
		}
		return entry[string]{}, nil
	})
}

// With the entries gone the floor still counts.
func TestLedgerOfAFloorAlone(t *testing.T) {
	l := newLedger[int, string](1, 0)
	put(l, 1, epoch, epoch.Add(time.Hour), epoch)
	put(l, 2, epoch.Add(time.Second), epoch.Add(time.Minute), epoch)
	l.sweep(epoch.Add(2 * time.Minute))
	if len(l.entries) != 0 || l.empty() {
		t.Errorf("%d entries, empty: %v", len(l.entries), l.empty())
	}
}

// SEC-85: an answer is for its question alone, even where two questions meet in one place, and holds on to no more of a
// request than that.
func TestCacheKeepsQuestionsApart(t *testing.T) {
	c := newCache(100_000)
	header := strings.Repeat("x", 1000)
	asked := question{seal.Purpose{Kind: "session", Scope: header[:10]}, header[10:50]}
	c.put(asked, &opened{version: version{handle: []byte("1")}})
	if c.get(asked) == nil {
		t.Fatal("the answer is not there")
	}
	for name, q := range map[string]question{
		"another kind":     {seal.Purpose{Kind: "attempt", Scope: asked.purpose.Scope}, asked.value},
		"another host":     {seal.Purpose{Kind: "session", Scope: "wiki"}, asked.value},
		"moved characters": {seal.Purpose{Kind: "session", Scope: asked.purpose.Scope + "x"}, asked.value[1:]},
		"another spelling": {asked.purpose, asked.value + "\n"},
		"no value":         {asked.purpose, ""},
	} {
		c.young[maphash.String(c.seed, q.value)] = answer{asked, &opened{}} // as if the hashes were one
		if c.get(q) != nil {
			t.Errorf("%s gets the same answer", name)
		}
	}
	c = newCache(100_000)
	c.put(asked, &opened{})
	for _, a := range c.young {
		if unsafe.StringData(a.value) == unsafe.StringData(asked.value) || unsafe.StringData(a.purpose.Scope) == unsafe.StringData(asked.purpose.Scope) {
			t.Error("an entry holds on to a whole header")
		}
		if a.size() < 512+len(asked.value) {
			t.Errorf("%d bytes for a value of %d", a.size(), len(asked.value))
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(100_000)
	key := func(i int) question { return question{seal.Purpose{Kind: "k", Scope: "s"}, fmt.Sprint(i)} }
	memory := func() int {
		total := 0
		for _, half := range []map[uint64]answer{c.young, c.old} {
			for _, o := range half {
				total += o.size()
			}
		}
		return total
	}
	used := &opened{version: version{handle: make([]byte, 100)}}
	c.put(key(0), used)
	for i := 1; i < 5000; i++ {
		c.put(key(i), &opened{version: version{handle: make([]byte, i%300)}, data: make([]byte, i%500)})
		if got := memory(); got > 100_000 {
			t.Fatalf("%d bytes after %d entries", got, i)
		}
		if c.get(key(0)) != used {
			t.Fatalf("an entry that is in use is gone after %d others", i)
		}
	}
	if c.get(key(1)) != nil {
		t.Error("an entry that nobody used is still there")
	}
	if c.get(key(4999)) == nil {
		t.Error("the newest entry is not there")
	}
	c.put(key(6000), &opened{version: version{handle: make([]byte, 60_000)}})
	if c.get(key(6000)) != nil {
		t.Error("an entry larger than half of the cache is kept")
	}
	for range 1000 { // one entry again and again is one entry
		c.put(key(1), used)
	}
	if c.get(key(4999)) == nil {
		t.Error("the newest entry was displaced by one that was stored again")
	}
}

func TestUseOnce(t *testing.T) {
	clock := newClock()
	state := NewState(nil, clock.now)
	until := epoch.Add(10 * time.Minute)
	want := func(kind, key string, until time.Time, want error) {
		t.Helper()
		if err := state.UseOnce(t.Context(), kind, key, until); !errors.Is(err, want) {
			t.Errorf("UseOnce(%s, %s): %v, want %v", kind, key, err, want)
		}
	}
	want("attempt", "a", until, nil)
	want("attempt", "a", until, ErrUsed)
	want("jti", "a", until, nil)
	want("attempt", "b", until, nil)
	want("attempt", "over", epoch, ErrUsed)
	clock.advance(10*time.Minute - time.Second)
	want("attempt", "a", until, ErrUsed)
	clock.advance(time.Second)
	want("attempt", "a", until, ErrUsed)
}

// SEC-63: a second use is refused even in parallel.
func TestUseOnceInParallel(t *testing.T) {
	state := NewState(nil, newClock().now)
	var group sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 64 {
		group.Go(func() {
			if state.UseOnce(t.Context(), "attempt", "a", epoch.Add(time.Minute)) == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if won != 1 {
		t.Errorf("used %d times", won)
	}
}

// Beyond the bound a used key is not forgotten: those that end first are refused.
func TestUseOnceIsBounded(t *testing.T) {
	state := NewState(nil, newClock().now)
	l := state.usedOf("attempt")
	l.limit = 100
	until := func(i int) time.Time { return epoch.Add(time.Minute + time.Duration(i)*time.Second) }
	for i := range 1000 {
		if err := state.UseOnce(t.Context(), "attempt", fmt.Sprint(i), until(i)); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if len(l.entries) > 100 {
		t.Errorf("%d entries", len(l.entries))
	}
	for i := range 1000 {
		if err := state.UseOnce(t.Context(), "attempt", fmt.Sprint(i), until(i)); !errors.Is(err, ErrUsed) {
			t.Errorf("%d can be used again: %v", i, err)
		}
	}
	if err := state.UseOnce(t.Context(), "attempt", "never seen, but as old", until(1)); !errors.Is(err, ErrUsed) {
		t.Errorf("%v, want ErrUsed", err)
	}
	if err := state.UseOnce(t.Context(), "jti", "of another kind", until(1)); err != nil {
		t.Errorf("a flood of attempts used up a jti: %v", err)
	}
}

func TestMemoryStoreIsBounded(t *testing.T) {
	clock := newClock()
	store := NewMemoryStore(clock.now)
	store.limit = 10_000
	record := func(generation uint64, size int) Record {
		return Record{ID: NewID(), Generation: generation, Data: make([]byte, size), Expires: clock.now().Add(time.Hour)}
	}
	var handles [][]byte
	var records []Record
	var err error
	for range 100 {
		r := record(1, 1000)
		var handle []byte
		if handle, err = store.Save(t.Context(), r, nil); err != nil {
			break
		}
		handles, records = append(handles, handle), append(records, r)
	}
	if !errors.Is(err, ErrFull) || len(handles) != 7 {
		t.Fatalf("%d records of 1000 bytes in 10,000: %v", len(handles), err)
	}
	for i, handle := range handles {
		r := records[i]
		r.Generation, r.Data = 2, make([]byte, 1500)
		if _, err := store.Save(t.Context(), r, handle); err != nil {
			t.Errorf("a full store loses a refresh: %v", err)
		}
	}
	if err := store.Delete(t.Context(), handles[0]); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour)
	if _, err := store.Save(t.Context(), record(1, 1000), nil); err != nil {
		t.Errorf("a store whose records are over is full: %v", err)
	}
	if len(store.records) != 1 || store.size < 1000 || store.size > 2000 {
		t.Errorf("%d records, %d bytes", len(store.records), store.size)
	}
}

func TestRestoreAddsNothingThatIsOver(t *testing.T) {
	clock := newClock()
	old, next := NewMemoryStore(clock.now), NewMemoryStore(clock.now)
	if _, err := old.Save(t.Context(), Record{ID: NewID(), Generation: 1, Data: []byte("x"), Expires: epoch.Add(time.Minute)}, nil); err != nil {
		t.Fatal(err)
	}
	snapshot, err := old.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	if err := next.Restore(snapshot); err != nil || len(next.records) != 0 || next.size != 0 {
		t.Errorf("%v, %d records", err, len(next.records))
	}
}

func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 32 * time.Second, 7: time.Minute, 8: time.Minute, 1000: time.Minute} {
		differs := map[time.Duration]bool{}
		for range 100 {
			got := backoff(failures)
			if got > want || got <= want/2-time.Nanosecond {
				t.Fatalf("after %d failures %v, want %v to %v", failures, got, want/2, want)
			}
			differs[got] = true
		}
		if len(differs) < 90 {
			t.Errorf("after %d failures no jitter: %d different times", failures, len(differs))
		}
	}
}
