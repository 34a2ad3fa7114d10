// Package session is what a browser remembers: who signed in, until when, and
// the cookies that say so. It knows neither OAuth nor Caddy.
//
// A [Manager] owns the live sessions. What can be done depends on what the browser
// has sent:
//
//	cookies of a request -- CookieConfig.Cut --> Cookies
//	Cookies --- Manager.Load ----> Live        neither expired, nor revoked, nor superseded
//	Cookies --- Manager.Create --> Live        a new session; the one before it ends
//	Live ------ Manager.Update --> Live        the only way to change a session
//	Live ------ Manager.Deliver -> Set-Cookie  if the browser does not have the newest
//	Live ------ Manager.End -----> revoked     with every copy of its cookie
//
// A session has an ID, which is random and never reused, and a generation,
// which each update raises by one. Its absolute end is fixed when it is made.
//
// The browser holds a handle, sealed for its host by internal/seal; a [Store]
// says what a handle is. For [CookieStore] it is the session itself, for
// [MemoryStore] it is an identifier and a key. A [State] holds what must
// survive a reload of the configuration: revocations, superseded generations,
// updates in flight and the cache of opened cookies.
//
// What stands where:
//
//	the session            session.go, encoding.go, claims.go, wire.go (how it is written)
//	the cookies            cookie.go (names, attributes), cut.go, sessioncookie.go, attemptcookie.go, lastuse.go
//	the manager            manager.go, create.go, load.go, end.go, past.go; cache.go (of opened cookies)
//	  changing a session   update.go, flight.go (work that runs once)
//	  among processes      turn.go (whose turn it is), successor.go (the new cookie, for who brings the old one)
//	the newest generation  succession.go, superseded.go (what a restart remembers of it)
//	what ended             revocation.go, lifetimes.go (for how long it is known), issuers.go, ledger.go (how facts are kept within bounds), unkept.go (what is to be written again)
//	requests under way     watch.go
//	stores                 store.go, handle.go, cookiestore.go, memory.go, snapshot.go, memoryblobs.go, storeanswers.go
//	shared by processes    shared.go, feed.go (revocations of the others), settle.go, place.go
//	what outlives a reload state.go
//	what is sealed         purposes.go
//
// Errors are of three kinds, which a caller must tell apart. There is no session:
// [ErrNone], [ErrUnreadable], [ErrExpired], [ErrIdle], [ErrRevoked], [ErrSuperseded].
// Nobody can tell now whether there is one: [ErrUnavailable], on which the caller
// neither lets anybody in nor drops the cookie. And the cookie is sealed with a key of
// another ring: *seal.UnknownKeyError with Newer set.
package session
