// Package caddymodule is Gatehouse's glue to Caddy: the app "gatehouse", which
// holds what outlives a configuration, and the handler "http.handlers.gatehouse",
// the gate that stands in front of an application.
//
// No rule of the protocol lives here (package authflow has those), and nothing
// of what a browser remembers (package session). What does live here: the
// configuration, the request as the browser sent it, the decision whether it may
// pass, the headers that tell the upstream who is calling, and the pages.
//
// One request goes through Gate.ServeHTTP in this order:
//
//	hygiene   own cookies and every identity header are taken out   visit.go, hygiene.go
//	endpoint  a path below /oauth2 is ours                          endpoints.go
//	form      one that waited for the sign-in takes its place       forms.go
//	matcher   the user's matcher or a public rule lets it pass      gate.go
//	token     where one counts, it is judged alone                  bearer.go, tokenurl.go
//	session   else: opened, alive, refreshed if due                 visit.go, bridge.go
//	origin    no other site's page has sent it                      crossorigin.go
//	rules     allow and deny over its claims                        rules.go
//	step-up   the sign-in is strong and recent enough               stepup.go
//	identity  headers and placeholders are set                      identity.go
//	forward   tokens that the upstream gets                         forward.go
//	answer    made private, and cut when the session ends           response.go, streams.go
package caddymodule
