package session

import (
	"context"
	"errors"
	"time"
)

// What a [Store] answers.
var (
	// ErrNotFound says that there is certainly no record for a handle.
	ErrNotFound = errors.New("session: no such record")
	// ErrStale refuses to overwrite a record with one that is not newer.
	ErrStale = errors.New("session: a newer generation is stored")
)

// Record is one generation of a session as a [Store] keeps it.
type Record struct {
	ID         ID
	Generation uint64
	Data       []byte    // the encoded session
	Expires    time.Time // nobody asks for the record afterwards
}

// Store keeps sessions. The browser has a handle, inside a sealed cookie, so a Store
// sees only handles that it has made itself. Whoever has the handle has the session; a
// Store that keeps data seals it with a key that only the handle holds. [CookieStore]
// keeps nothing: its handle is the data.
//
// All methods are safe for concurrent use, hold no lock during I/O, and keep no
// reference to a slice that they were given. Neither side changes the slices that
// they return. Every error that is not [ErrNotFound] or [ErrStale] is a failure of
// the store, and ends no session.
type Store interface {
	// Save stores a record and returns the handle that leads to it. With a nil
	// handle the record is new, and if there is one with its ID already, the error is
	// [ErrStale]. With the handle of an earlier generation it replaces that one. Then
	// the error is ErrStale if the stored generation is not older, and [ErrNotFound]
	// if there is none any more, so that a deleted session does not come back. The
	// handle may stay the same.
	Save(ctx context.Context, r Record, handle []byte) ([]byte, error)

	// Load returns the data of the newest record that the handle leads to. It returns
	// ErrNotFound only if there certainly is none: the record has expired or was
	// deleted, or this store did not make the handle.
	Load(ctx context.Context, handle []byte) ([]byte, error)

	// Delete removes the record. It is no error if there is none.
	Delete(ctx context.Context, handle []byte) error
}

// ServerStore is a [Store] that keeps the data itself, and with each session the time
// of its last use. (For any other Store the last use is in a cookie.) Its errors are
// those of a Store.
type ServerStore interface {
	Store
	// Peek returns the generation of the newest record, and its last use, zero if none
	// has been recorded yet. It costs less than Load: a session that was loaded before
	// is loaded again only if the generation has changed.
	Peek(ctx context.Context, handle []byte) (generation uint64, used time.Time, err error)
	// Use records that the session was used at now. It never moves the last use back.
	// If there is no record, that is no error.
	Use(ctx context.Context, handle []byte, now time.Time) error
}
