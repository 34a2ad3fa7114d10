// Package authflow is the client's side of OpenID Connect and OAuth 2.0: values
// in, values out. It knows no session, no cookie and no web server's framework,
// and keeps nothing about anyone who signs in. A [Client] is one client at one
// provider.
//
// What a browser holds says which verb may run:
//
//	holds              verb              gives
//
//	nothing            Begin             an attempt, and the URL of the provider
//	   |
//	an attempt         Finish            a grant; the attempt is spent, whatever
//	   |                                 comes of it
//	a session          Refresh           a newer grant; an error of Kind NoLogin
//	   |   ^_____________|               ends the session, any other leaves it
//	   |
//	   |               EndSessionURL     the URL of the provider's sign-out
//	   |               Revoke            nothing: its tokens are over
//	nothing
//
// From the provider itself, with no browser, comes what LogoutToken reads: which
// sessions are to end.
//
// The caller turns a [Grant] into a session, seals an [Attempt] into the cookie
// of the browser that began it, and sees to it that an attempt is finished once
// and that a session is refreshed by one at a time. All the rest of the protocol
// is here, one verb to a file (begin.go, callback.go, refresh.go, logout.go,
// revoke.go, logouttoken.go), in the order in which the specifications have it.
//
// Three things are relied upon throughout:
//
//   - Whatever the provider answers was found to be one JSON object that every
//     decoder reads the same way, before anything decodes it (transport.go).
//   - All requests to the token endpoint are made by one function (token.go).
//   - A [Client] talks to the provider when somebody needs it, never at start;
//     what the provider publishes is fetched in the background, once for all who
//     wait, and goes on being used while the provider is away (remote.go).
//
// Every check has a [Reason] of its own, a comment that names the section it
// comes from and what it stops, and fails closed.
package authflow
