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
//	answer    is made private, and ends with the session            response.go, streams.go, rulestreams.go
//
// What else stands where:
//
//	the request itself     request.go (origin, target), readings.go (what its path may mean)
//	errors                 error.go (reasons, statuses, answers)
//	configuration          config.go (JSON), caddyfile*.go (the grammar), placeholder.go
//	  of a provider        provider.go, preset.go, clientcredentials.go, network.go, fapi.go, clientpool.go
//	  of a site            gateprovision.go, valuelist.go, hosts.go, gatesbehind.go
//	  of sessions          app.go, sitesessions.go, configuredkeys.go, replicas.go, redis.go
//	endpoints              endpoints.go leads to each of them
//	  signing in           login.go, attempt.go, callback.go, initiate.go, loginloop.go
//	  who am I             currentuser.go (session, userinfo)
//	  signing out          logout.go, backchannel.go, frontchannel.go
//	  for other proxies    forwardauth.go, forwardauthallowed.go, askedhost.go, answertokens.go
//	  keys and metadata    jwks.go, resource.go
//	access tokens          bearerissuer.go, challenge.go, tokenstreams.go
//	for later handlers     matcher.go
//	to the upstream        transport.go (proofs of possession)
//	what people see        pages.go, and the templates in pages/
//	what is sealed         purposes.go
//	administration         adminapi.go, keyscommand.go, endsessions.go
//	what outlives a reload durable.go
//	metrics and traces     metrics.go, tracing.go
package caddymodule
