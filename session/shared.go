package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// Shared is a memory that several processes have in common. It decides what only
// one place can decide: who changes a session now, what was used, which
// generation of a session is the newest, and what was revoked. Names are hashes,
// and blobs are sealed before they come here: it learns nothing of anybody.
//
// All methods are safe for concurrent use and honour ctx. Where nothing else is
// said, an error says that the memory cannot be asked now; what was to be stored
// may then be there or not, and storing it again does no harm.
type Shared interface {
	// Revoke stores revocations until they are over, and tells every subscriber of
	// each.
	Revoke(ctx context.Context, revocations ...Revocation) error
	// Revocations returns all that are not over, with the revision at which they
	// were read: a number that every revocation raises by one. A memory that lost it
	// goes on with none that it had, 0 if nothing was revoked since.
	Revocations(ctx context.Context) (revision uint64, all []Revocation, err error)
	// Revision returns the revision alone.
	Revision(ctx context.Context) (uint64, error)
	// Subscribe begins to listen for revocations. What is revoked after it returned
	// comes through the subscription, unless that is lost.
	Subscribe(ctx context.Context) (Subscription, error)

	// Lease gives a name to an owner for a time, and tells whether the owner has it
	// now. It is renewed by the same call.
	Lease(ctx context.Context, name, owner string, forTime time.Duration) (bool, error)
	// Release ends the owner's lease, if it has it still.
	Release(ctx context.Context, name, owner string) error

	// Once tells whether owner is the first who takes the name, which is remembered
	// for a time. The same owner may ask again.
	Once(ctx context.Context, name, owner string, forTime time.Duration) (bool, error)

	// Succeed notes for a time that a session's generation has the next one as its
	// successor, and keeps that, sealed. [ErrStale]: it has a successor already.
	Succeed(ctx context.Context, session string, generation uint64, successor []byte, forTime time.Duration) error
	// Successor returns the newest generation of a session that is known, 0 if none
	// is, and the sealed successor of the given one, nil if it is not kept any more.
	Successor(ctx context.Context, session string, generation uint64) (newest uint64, successor []byte, err error)
	// Settle lets the successors of the given generations go after a time: browsers
	// have them.
	Settle(ctx context.Context, settled []Settled, after time.Duration) error

	Blobs
}

// Blobs keep something sealed for a while, such as the body of a form whose
// sender has to sign in first.
type Blobs interface {
	// Put keeps a blob under a name.
	Put(ctx context.Context, name string, blob []byte, forTime time.Duration) error
	// Take returns a blob and forgets it: of many who ask one gets it. It is
	// [ErrNotFound] if there is none.
	Take(ctx context.Context, name string) ([]byte, error)
}

// Subscription is who listens for revocations.
type Subscription interface {
	// Next waits for the next revocation, and returns it with the revision that it
	// made. An error says that the subscription is lost, or that ctx is over.
	Next(ctx context.Context) (revision uint64, r Revocation, err error)
	// Close ends the subscription.
	Close() error
}

// Settled names a generation whose successor a browser has shown.
type Settled struct {
	Session    string // as in [Shared.Succeed]
	Generation uint64
}

// sharedName is what a shared memory knows something by: its kind and what names
// it, hashed.
func sharedName(kind string, parts ...string) string {
	joined := appendBytes(nil, kind)
	for _, part := range parts {
		joined = appendBytes(joined, part)
	}
	sum := sha256.Sum256(joined)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
