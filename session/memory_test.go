package session

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// What opens a record is random: whoever knows the ID of a session, which logs have, cannot make its handle.
func TestMemoryHandlesAreRandom(t *testing.T) {
	id := NewID()
	seen := [][]byte{append(id[:len(id):len(id)], make([]byte, handleSecret)...)}
	for range 3 {
		handle, err := NewMemoryStore(newClock().now).Save(t.Context(), Record{ID: id, Generation: 1, Expires: epoch.Add(time.Hour), Data: []byte("data")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range seen {
			if bytes.Equal(handle, other) {
				t.Errorf("%x for the second time", handle)
			}
		}
		seen = append(seen, handle)
	}
}

// SEC-92: a blob opens in its own place alone, and as a record alone, even under the right key.
func TestMemoryBlobsAreOfTheirPlace(t *testing.T) {
	m := NewMemoryStore(newClock().now)
	id, other := NewID(), NewID()
	handle, err := m.Save(t.Context(), Record{ID: id, Generation: 1, Expires: epoch.Add(time.Hour), Data: []byte("data")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, purpose := range map[string]seal.Purpose{
		"of another record": recordPurpose(other),
		"of another kind":   {Kind: "", Scope: id.String()},
		"a successor":       successorPurpose(&Session{ID: id, Generation: 1}),
	} {
		blob, err := seal.SealBlob(handle[len(id):], purpose, []byte("planted"))
		if err != nil {
			t.Fatal(err)
		}
		m.records[id].blob = blob
		if data, err := m.Load(t.Context(), handle); err == nil {
			t.Errorf("%s opens as %q", name, data)
		}
	}
	for _, size := range []int{0, 1, len(handle) - 1, len(handle) + 1} {
		if _, err := m.Load(t.Context(), append(bytes.Clone(handle), 0)[:size]); !errors.Is(err, ErrNotFound) {
			t.Errorf("a handle of %d bytes: %v", size, err)
		}
	}
}

// What follows a cookie is sealed for that session and that generation of it.
func TestSuccessorPurpose(t *testing.T) {
	s := &Session{ID: NewID(), Generation: 1}
	seen := map[seal.Purpose]bool{recordPurpose(s.ID): true}
	for _, s := range []*Session{s, {ID: s.ID, Generation: 2}, {ID: NewID(), Generation: 1}} {
		purpose := successorPurpose(s)
		if seen[purpose] || purpose.Kind != successorKind {
			t.Errorf("%+v is not its own", purpose)
		}
		seen[purpose] = true
	}
}
