// Package authflow is the client's side of OpenID Connect and OAuth 2.0: values
// in, values out. It knows no session, no cookie and no web framework, and keeps
// nothing about anybody who signs in. A [Client] is one client at one provider.
//
// What the browser holds decides which verb may run:
//
//	holds              verb              gives
//
//	nothing            Begin             an attempt, and the URL of the provider
//	   |
//	an attempt         Finish            a grant; the attempt is used up, whatever
//	   |                                 the result
//	a session          Refresh           a newer grant; an error of Kind NoLogin
//	   |   ^_____________|               ends the session, any other error does not
//	   |
//	   |               EndSessionURL     the URL of the provider's sign-out
//	   |               Revoke            nothing: the tokens are revoked
//	nothing
//
// Two more things come without a session of ours. The provider itself, with no browser,
// sends a logout token, which says which sessions are to end: LogoutToken reads it. And
// programs bring access tokens: a [ResourceServer] judges those of providers, an
// [AuthorizationServer] issues and judges tokens of our own.
//
// The caller turns a [Grant] into a session and seals an [Attempt] into a cookie of the
// browser that began it. The caller also makes sure that an attempt is finished only
// once, and that only one refresh of a session runs at a time. Everything else about
// the protocol is here, one verb to a file, in the order of the specifications:
//
//	the client             client.go (Config, New), fapi.go (its profile), clientauth.go
//	  its credentials      clientkey.go, clientassertion.go, mutualtls.go
//	  how it calls         transport.go, reach.go; clients of DPoP: dpop.go, dpopcall.go, dpopnonce.go
//	the provider           discovery.go, endpoints.go, keyset.go, remote.go (how both are kept)
//	  without ID tokens    plainoauth.go, github.go
//	Begin                  begin.go, attempt.go, parameters.go, requestobject.go, par.go
//	Finish                 callback.go, jarm.go, token.go, idtoken.go, stepup.go
//	  more claims          userinfo.go, userinfojwt.go, claimsource.go
//	Refresh                refresh.go
//	signing out            logout.go, revoke.go, logouttoken.go
//	requests of others     initiate.go, navigation.go, returnurl.go (where a browser may be sent)
//	access tokens          resourceserver.go, accesstoken.go, introspect.go, tokenbinding.go, tokencache.go
//	  of our own           authorizationserver.go, tokenrequest.go
//	what all of them use   claims.go, jws.go, form.go, syntax.go, error.go, reason.go
//
// Three things hold throughout the package:
//
//   - Before anything decodes an answer of the provider, it has been checked to be one
//     JSON object that every decoder reads the same way (transport.go).
//   - All requests to the token endpoint are made by one function (token.go).
//   - A [Client] talks to the provider when somebody needs it, and never at start.
//     What the provider publishes is fetched in the background, once for everybody who
//     waits, and stays in use while the provider is away (remote.go).
//
// Every check has its own [Reason] and a comment that names its section and what it
// prevents. Every check fails closed.
package authflow
