package caddymodule

import "net/http"

// isPreflight reports what a browser asks before a request of another origin (Fetch
// 3.3.6): it brings no credentials, and is what the application answers by its own
// rules. Anything else that calls itself so is judged as it is (P25).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && originalMethod(r) == http.MethodOptions &&
		len(r.Header["Origin"]) == 1 && len(r.Header["Access-Control-Request-Method"]) == 1
}
