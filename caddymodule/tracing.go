package caddymodule

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced makes each call to a provider a span of the request that it is made for, and
// tells the provider which (W3C Trace Context: two random numbers, and nothing of
// baggage), where Caddy's `tracing` has begun a trace. All other calls it leaves alone.
func traced(base http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(base, otelhttp.WithPropagators(propagation.TraceContext{}), otelhttp.WithFilter(func(r *http.Request) bool {
		return trace.SpanContextFromContext(r.Context()).IsValid()
	}))
}
