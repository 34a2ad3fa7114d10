package caddymodule

import (
	"net/http"
	"strings"
)

// notOfPreflights are headers that no browser adds to a preflight, by their folded
// names: those that could say who is calling.
var notOfPreflights = map[string]bool{
	"authorization": true, "cookie": true, "proxyauthorization": true, "upgrade": true,
}

// methodOverrides are those by which an application takes another method for the
// request's, folded.
var methodOverrides = map[string]bool{"xhttpmethodoverride": true, "xhttpmethod": true, "xmethodoverride": true}

// namesMethodHeader reports one of them.
func namesMethodHeader(name string) bool {
	var buffer [64]byte
	return len(name) >= len("xhttpmethod") && methodOverrides[string(fold(buffer[:0], name))]
}

// isPreflight reports what a browser asks before a request of another origin (Fetch
// 3.3.6): it brings no credentials and no body, and is what the application answers
// by its own rules. Anything else that calls itself so is judged as it is (P25).
func isPreflight(r *http.Request) bool {
	if r.Method != http.MethodOptions || originalMethod(r) != http.MethodOptions || r.ContentLength != 0 ||
		len(r.Header["Origin"]) != 1 || len(r.Header["Access-Control-Request-Method"]) != 1 {
		return false
	}
	for name := range r.Header {
		if notOfPreflights[string(fold(nil, name))] {
			return false
		}
	}
	return len(otherMethods(r)) == 0
}

// isMethodParameter reports the parameter _method, which some applications read as
// X-HTTP-Method-Override; PHP takes a dot in a name for an underscore.
func isMethodParameter(name string) bool {
	return strings.EqualFold(strings.ReplaceAll(name, ".", "_"), "_method")
}
