// Package storage keeps, in the storage that Caddy is configured with, what must
// outlive the process: the keys that seal cookies ([KeyRing]), the sessions that were
// ended before their time and the cookies that are void ([Journal]), and, from a graceful stop to the next start, the
// sessions of the memory store ([MemoryStore]).
//
// A storage has no compare-and-swap, and its locks are hints. So whatever several
// processes may write is an immutable object under a name of its own, and readers take
// all of them.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/certmagic"
)

// Where our objects stand.
const (
	keysPrefix        = "gatehouse/keys"
	revocationsPrefix = "gatehouse/revocations"
	supersededPrefix  = "gatehouse/superseded"
	snapshotKey       = "gatehouse/sessions/memory"
)

const (
	// timeout bounds how long a request waits for the storage.
	timeout = 10 * time.Second
	// retryAfter is how long after an attempt to read the storage the next is made.
	retryAfter = 5 * time.Second
	// maxListings bounds how often a folder that changes is listed again.
	maxListings = 100
)

// list returns the names of the objects in a folder, none if there is no such folder. A
// storage of files says that something does not exist, too, when an object goes while it
// lists them, as a temporary file does that gets its name: then it is listed again.
func list(ctx context.Context, storage certmagic.Storage, folder string) ([]string, error) {
	for attempt := 1; ; attempt++ {
		names, err := storage.List(ctx, folder, false)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			return names, err
		case !storage.Exists(ctx, folder):
			return nil, nil
		case attempt == maxListings || ctx.Err() != nil:
			return nil, fmt.Errorf("it changes all the time: %w", err)
		}
	}
}
