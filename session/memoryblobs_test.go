package session

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestMemoryBlobs(t *testing.T) {
	clock := newClock()
	m := NewMemoryBlobs(clock.now)
	put := func(name string, size int) error {
		return m.Put(t.Context(), name, make([]byte, size), time.Minute)
	}
	if err := put("one", 3); err != nil {
		t.Fatal(err)
	}
	if blob, err := m.Take(t.Context(), "one"); err != nil || len(blob) != 3 {
		t.Fatalf("%d bytes, %v", len(blob), err)
	}
	if _, err := m.Take(t.Context(), "one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("taken twice: %v", err)
	}
	if err := put("late", 3); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	if _, err := m.Take(t.Context(), "late"); !errors.Is(err, ErrNotFound) {
		t.Errorf("taken when its time was over: %v", err)
	}
	for i := range maxBlobs {
		if err := put(fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("more", 1); !errors.Is(err, ErrFull) {
		t.Errorf("one more than there is room for: %v", err)
	}
	if err := put("0", 1); err != nil {
		t.Errorf("one in the place of another: %v", err)
	}
	clock.advance(time.Minute)
	for i := range 16 {
		if err := put(fmt.Sprint(i), 1<<20); err != nil {
			t.Errorf("what is over takes room: %v", err)
		}
	}
	if err := put("more", 1); !errors.Is(err, ErrFull) {
		t.Errorf("more bytes than there is room for: %v", err)
	}
	for i := range 16 {
		if _, err := m.Take(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if m.size != 0 || len(m.blobs) != 0 {
		t.Errorf("%d bytes and %d blobs are left", m.size, len(m.blobs))
	}
}
