// Package session is what a browser remembers: who signed in, until when, and
// the cookies that say so. It knows neither OAuth nor Caddy.
//
// A [Manager] owns live sessions. What may be done with one depends on what
// the browser brought:
//
//	cookies of a request -- CookieConfig.Cut --> Cookies
//	Cookies --- Manager.Load ----> Live        neither over, nor revoked, nor superseded
//	Cookies --- Manager.Create --> Live        a new session; the brought one ends
//	Live ------ Manager.Update --> Live        the only way to change a session
//	Live ------ Manager.Deliver -> Set-Cookie  if the browser has less than we know
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
// Errors come in three kinds, and a caller must not mix them: there is no
// session ([ErrNone], [ErrUnreadable], [ErrExpired], [ErrIdle], [ErrRevoked],
// [ErrSuperseded]); it cannot be told now ([ErrUnavailable]), which neither
// opens the door nor drops the cookie; and a cookie of another key ring
// (*seal.UnknownKeyError with Newer).
package session
