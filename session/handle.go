package session

import (
	"crypto/rand"
	"fmt"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// handleSecret is the length in bytes of the secret in a handle of [NewHandle].
const handleSecret = 32

// NewHandle makes the handle of a new record in a [ServerStore]: the session's ID, and a
// random secret that only the browser's cookie holds. The record is sealed with it (see
// [SealRecord]), so that whoever reads the store opens no session.
func NewHandle(id ID) []byte {
	handle := make([]byte, len(id)+handleSecret)
	rand.Read(handle[copy(handle, id[:]):])
	return handle
}

// ParseHandle takes a handle of [NewHandle] apart. Anything else leads to no record:
// [ErrNotFound].
func ParseHandle(handle []byte) (id ID, secret []byte, err error) {
	if len(handle) != len(id)+handleSecret {
		return id, nil, fmt.Errorf("%w: not a handle of a store on a server", ErrNotFound)
	}
	return ID(handle[:len(id)]), handle[len(id):], nil
}

// SealRecord seals the data of a record with the secret of its handle, for its place:
// two records cannot be swapped.
func SealRecord(id ID, secret, data []byte) ([]byte, error) {
	blob, err := seal.SealBlob(secret, recordPurpose(id), data)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return blob, nil
}

// OpenRecord opens what [SealRecord] has sealed. With another secret it is not this
// handle's record: [ErrNotFound].
func OpenRecord(id ID, secret, blob []byte) ([]byte, error) {
	data, err := seal.OpenBlob(secret, recordPurpose(id), blob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return data, nil
}

func recordPurpose(id ID) seal.Purpose { return seal.Purpose{Kind: recordKind, Scope: id.String()} }
