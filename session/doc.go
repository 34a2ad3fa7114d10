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
// Errors are of three kinds, which a caller must tell apart. There is no session:
// [ErrNone], [ErrUnreadable], [ErrExpired], [ErrIdle], [ErrRevoked], [ErrSuperseded].
// Nobody can tell now whether there is one: [ErrUnavailable], on which the caller
// neither lets anybody in nor drops the cookie. And the cookie is sealed with a key of
// another ring: *seal.UnknownKeyError with Newer set.
package session
