package caddymodule

import "net/http"

// notOfPreflights are headers that no browser adds to a preflight: those that could
// say who is calling, and those by which an obliging application would take another
// method for the request's.
var notOfPreflights = []string{"Authorization", "Upgrade", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// isPreflight reports what a browser asks before a request of another origin (Fetch
// 3.3.6): it brings no credentials and no body, and is what the application answers
// by its own rules. Anything else that calls itself so is judged as it is (P25).
func isPreflight(r *http.Request) bool {
	for _, name := range notOfPreflights {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	return r.Method == http.MethodOptions && originalMethod(r) == http.MethodOptions && r.ContentLength == 0 &&
		len(r.Header["Origin"]) == 1 && len(r.Header["Access-Control-Request-Method"]) == 1
}
