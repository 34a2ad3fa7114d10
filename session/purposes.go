package session

// The kinds of what this package seals: each has keys of its own. A kind that changes
// makes everything unreadable that was sealed before.
const (
	sessionKind   = "session"           // a handle, in the session's cookies
	useKind       = "last use"          // the last use, in a cookie of its own
	recordKind    = "session record"    // a session, in the memory store
	successorKind = "session successor" // a newer generation, in the shared memory
)

// The kinds of what processes share by name (see sharedName). Those that end with a
// space go on with a kind of the caller's.
const (
	sharedTurn      = "turn"      // the lease that lets one process update a session
	sharedSuccessor = "successor" // the newer generations of a session
	sharedUsed      = "used "     // what counts once
	sharedPlace     = "place "    // one of several places
)
