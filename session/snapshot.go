package session

import (
	"encoding/binary"
	"fmt"
)

// snapshotVersion is the first byte of a snapshot:
//
//	version (1 byte) count (uvarint) record*
//	record = ID (16 bytes) generation (uvarint)
//	         expires, used (uvarint seconds; used is 0 if not told)
//	         blob (length, bytes)
const snapshotVersion = 1

// Snapshot returns all sessions, each sealed with a key that only its browser
// holds, for a process that takes over. Whoever restores a snapshot deletes
// it first: an old generation must not come back after a crash.
func (m *MemoryStore) Snapshot() ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	snapshot := binary.AppendUvarint([]byte{snapshotVersion}, uint64(len(m.records)))
	for id, r := range m.records {
		snapshot = append(snapshot, id[:]...)
		snapshot = binary.AppendUvarint(snapshot, r.generation)
		var err error
		if snapshot, err = appendTime(snapshot, r.expires); err != nil {
			return nil, err
		}
		if r.used.IsZero() {
			snapshot = append(snapshot, 0)
		} else if snapshot, err = appendTime(snapshot, r.used); err != nil {
			return nil, err
		}
		snapshot = appendBytes(snapshot, r.blob)
	}
	return snapshot, nil
}

// Restore adds the sessions of a snapshot that are neither over nor there in as
// new a generation. A snapshot that cannot be read whole adds none.
func (m *MemoryStore) Restore(snapshot []byte) error {
	in := reader{rest: snapshot}
	if v := in.byte(); in.err == nil && v != snapshotVersion {
		return fmt.Errorf("%w: snapshot of version %d", ErrEncoding, v)
	}
	restored := map[ID]*record{}
	for range in.count() {
		if in.err != nil {
			break
		}
		id, r := in.record()
		restored[id] = r
	}
	if err := in.end(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range restored {
		old := m.records[id]
		if !m.now().Before(r.expires) || (old != nil && old.generation >= r.generation) {
			continue
		}
		if err := m.put(id, r); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) record() (ID, *record) {
	var id ID
	r.fill(id[:])
	rec := &record{generation: r.uvarint(), expires: r.time()}
	if used := r.time(); used.Unix() > 0 {
		rec.used = used
	}
	rec.blob = append([]byte(nil), r.bytes()...)
	return id, rec
}
