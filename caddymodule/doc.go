// Package caddymodule is the part of Gatehouse that knows Caddy: the app
// "gatehouse", which owns what outlives a configuration, and the handler
// "http.handlers.gatehouse", the gate that stands in front of an application.
//
// The rules of the protocol are in package authflow, what a browser remembers is in
// package session, what outlives the process is in internal/storage, and the users of a
// site's own are in internal/users. What is left for this package: the configuration,
// the request as the browser sent it, the decision whether it may pass, the headers
// that tell the upstream who is calling, and the pages.
//
// One request goes through Gate.ServeHTTP in this order:
//
//	hygiene   own cookies and every identity header are taken out   visit.go, hygiene.go
//	endpoint  a path below /oauth2 is answered here                 endpoints.go
//	form      one that waited for the sign-in takes its place       forms.go
//	matcher   the user's matcher or a public rule lets it pass      gate.go, preflight.go
//	token     an access token, if it brings one and those count     bearer.go, tokenurl.go
//	session   otherwise its session: valid, and refreshed if due    visit.go, bridge.go
//	origin    it was not sent by a page of another site             crossorigin.go
//	rules     allow and deny, over the claims                       rules.go, expression.go
//	step-up   the sign-in is strong and recent enough               stepup.go
//	identity  headers and placeholders are set                      identity.go
//	forward   the upstream gets the tokens that it is to have       forward.go, assertion.go
//	answer    is made private, and ends with the session            response.go, streams.go
//
// What else stands where:
//
//	the request itself     request.go (origin, target), readings.go (what its path may mean)
//	reasons and statuses   error.go
//	configuration          config.go (JSON), caddyfile*.go (the grammar)
//	  of a provider        provision.go, preset.go, network.go, clientkeys.go, assertionfile.go, fapi.go
//	  of a site            gateprovision.go, valuelist.go, hosts.go, behind.go
//	  of sessions          app.go, configuredkeys.go, replicas.go, redis.go
//	signing in             attempt.go, initiate.go, loop.go; endpoints login and callback
//	signing out            logout.go, backchannel.go, frontchannel.go; by an administrator, endsessions.go
//	access tokens          bearerissuer.go, challenge.go, resource.go, tokenstreams.go
//	for other proxies      forwardauth.go, forwardmore.go, askedhost.go; the matcher for later handlers, matcher.go
//	to the upstream        transport.go (proofs of possession)
//	what people see        pages.go, and the templates in pages/
//	keys and purposes      purposes.go (all that is sealed), jwks.go, keyscommand.go
//	what outlives a reload durable.go
//	metrics and traces     metrics.go, tracing.go
package caddymodule
