package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// P25, SEC-20: a server that lets names with underscores and dots in passes on what the application takes for the header
// by which another method is named.
func TestPreflightInAnotherSpelling(t *testing.T) {
	preflight := httptest.NewRequest(http.MethodOptions, "/x", nil)
	preflight.Header = http.Header{"Origin": {"https://app.other.test"}, "Access-Control-Request-Method": {"DELETE"}, "X-Method": {"x"}}
	if !isPreflight(preflight) {
		t.Fatal("no preflight")
	}
	for _, name := range []string{"X_HTTP_METHOD_OVERRIDE", "X-Http_method-Override", "X.Method.Override", "x_http_method", "AUTHORIZATION_"} {
		preflight.Header[name] = []string{"GET"}
		if isPreflight(preflight) {
			t.Errorf("with %s", name)
		}
		delete(preflight.Header, name)
	}
	// Before and after a rewrite.
	named := httptest.NewRequest(http.MethodOptions, "/x?_method=GET", nil)
	for original, now := range map[*http.Request]*http.Request{named: preflight, preflight: named} {
		r := preflight.WithContext(context.WithValue(t.Context(), caddyhttp.OriginalRequestCtxKey, *original))
		r.URL = now.URL
		if isPreflight(r) {
			t.Errorf("%s, which was %s", now.URL, original.URL)
		}
	}
}
