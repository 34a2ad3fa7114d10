// Package storage keeps, in the storage that Caddy is configured with, what must
// outlive the process: the keys that seal cookies ([KeyRing]), the sessions that were
// ended before their time and the cookies that are void ([Journal]), and, from a graceful stop to the next start, the
// sessions of the memory store ([MemoryStore]).
//
// A storage has no compare-and-swap, and its locks are hints. So whatever several
// processes may write is an immutable object under a name of its own, and readers take
// all of them.
package storage

import "time"

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
)
