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
//	hygiene   own cookies and every identity header are taken out   hygiene.go
//	endpoint  a path below /oauth2 is ours                          endpoints.go
//	matcher   the user's matcher or a public rule lets it pass      gate.go
//	session   opened, alive, refreshed if due                       bridge.go
//	rules     allow and deny over its claims                        rules.go
//	identity  headers and placeholders are set                      identity.go
package caddymodule
