// Package testop is an OpenID provider for tests. It keeps every rule until a
// test tells it not to: each field of [Behaviour] is one misbehaviour.
//
// The authorization endpoint asks nobody anything. It signs in, in this order,
// the user that the request's testop_user cookie names, the one that login_hint
// names, or [Provider.User], and answers at once. A name that no user has is a
// user of its own, so a test of two hundred users need not list them.
//
// Claims go by scope: profile gives name and preferred_username, email gives
// email and email_verified, groups gives groups; [User.Extra] is always given.
// They stand in the ID token and in the userinfo answer alike.
package testop
