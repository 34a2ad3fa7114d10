package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// crossOrigin refuses what another site has a browser send with our cookie: an
// unsafe method by the rules of net/http's CrossOriginProtection, and a WebSocket
// handshake, which is a GET, unless its Origin is ours (P13, SEC-108). Ours is
// the origin as the browser sees it, scheme included, not the Host header.
func (g *Gate) crossOrigin(r *http.Request, ours origin) error {
	sender := r.Header.Get("Origin")
	if len(r.Header["Origin"]) > 1 {
		return crossOriginProblem("several Origin headers")
	}
	if sender != "" {
		if sender == ours.String() {
			return nil
		}
		if _, trusted := g.trusted[sender]; trusted {
			return nil
		}
	}
	if isWebSocket(r) {
		return crossOriginProblem(fmt.Sprintf("WebSocket handshake from %q", sender))
	}
	if isSafe(r.Method) {
		return nil
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin", "none":
		return nil
	case "":
		if sender == "" {
			return nil // neither header: not a browser that others can direct
		}
	}
	return crossOriginProblem(fmt.Sprintf("%s from %q", r.Method, sender))
}

func crossOriginProblem(what string) error {
	return problem(authflow.Denied, ReasonCrossOrigin, "Another site asked for this in your name.", fmt.Errorf("%s", what))
}

// isEarly reports TLS early data, which anybody on the path can send again
// (RFC 8470, SEC-12). Only HTTP/3 has it here.
func isEarly(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }

// tooEarly has the client repeat the request after the handshake (RFC 8470 5.2).
func tooEarly() error {
	return caddyhttp.Error(http.StatusTooEarly, errors.New("this is not served in TLS early data"))
}

// isSafe reports a method that changes nothing (RFC 9110 9.2.1).
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// isWebSocket reports a handshake of RFC 6455, or of RFC 8441 and RFC 9220.
func isWebSocket(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return true
	}
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}
