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

// Store keeps sessions. The browser brings a handle, inside a sealed cookie, so
// that a Store sees only handles that it made; whoever has the handle has the
// session, and a Store that keeps data of its own keeps it sealed with a key
// that only the handle holds. [CookieStore] keeps nothing: its handle is the
// data.
//
// All methods are safe for concurrent use, hold no lock during I/O, and keep no
// reference to a slice that they were given. The slices that they return are
// never changed, by either side. Every error that is not [ErrNotFound] or
// [ErrStale] is a failure of the store, which ends no session.
type Store interface {
	// Save stores a record and returns the handle that leads to it. With a nil
	// handle it stores a new one: [ErrStale] if its ID is there. With the handle of
	// an earlier generation it replaces that: ErrStale if the generation there is
	// not older, and [ErrNotFound] if there is none any more, so that what was
	// deleted does not come back. The handle may stay the same.
	Save(ctx context.Context, r Record, handle []byte) ([]byte, error)

	// Load returns the data of the newest record that the handle leads to. It
	// returns ErrNotFound only if there is certainly none: it expired, was
	// deleted, or the handle is not one of this store's.
	Load(ctx context.Context, handle []byte) ([]byte, error)

	// Delete removes the record. It is no error if there is none.
	Delete(ctx context.Context, handle []byte) error
}

// ServerStore is a [Store] that keeps records of its own, and with each the time
// of the session's last use. (For any other Store that stands in a cookie.) Its
// errors are those of a Store.
type ServerStore interface {
	Store
	// Peek returns the generation of the newest record and its last use, zero if
	// none was told yet. It costs less than Load: a session that was loaded before
	// is loaded again only for another generation.
	Peek(ctx context.Context, handle []byte) (generation uint64, used time.Time, err error)
	// Use tells that the session was used at now. It never moves the last use
	// back, and is no error if there is no record.
	Use(ctx context.Context, handle []byte, now time.Time) error
}
