package e2e_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Where Caddy traces a site, the calls to the provider are spans of the request that they were made for, and tell the
// provider its trace; elsewhere they tell it nothing.
func TestCallsToTheProviderAreTraced(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	s.Caddy = StartCaddy(t, s.fill(strings.Replace(oneSite, "localhost:{$PORT} {", "localhost:{$PORT} {\n\ttracing {\n\t\tspan gate\n\t}", 1)), "OTEL_TRACES_EXPORTER=console")
	b := NewBrowser(t)
	answer := b.Step(b.Step(s.HTTP() + "/").Header.Get("Location")).Header.Get("Location")
	r := b.request("GET", b.parse(answer), "")
	fetchMetadata(r, "cross-site", "navigate", "document", true)
	r.Header.Set("Baggage", "secret=of-the-visitor")
	traced := seen(t, b.Follow(b.send(r, false, true), "/")).Header.Get("Traceparent")
	calls := s.OP.Requests("token")
	if len(calls) != 1 || len(strings.Split(calls[0].Header.Get("Traceparent"), "-")) != 4 || traced == "" {
		t.Fatalf("the application is told %q, the provider %v", traced, calls)
	}
	if baggage := calls[0].Header.Get("Baggage"); baggage != "" {
		t.Errorf("the provider is told %q", baggage)
	}
	s.Caddy.Stop()
	trace := strings.Split(calls[0].Header.Get("Traceparent"), "-")
	if logs := s.Caddy.Logs(); strings.Count(logs, trace[1]) < 3 || !strings.Contains(logs, trace[2]) || !strings.Contains(logs, s.OP.Issuer()+"/token") {
		t.Errorf("no span of the call to the token endpoint in the trace %v", trace)
	}
	for _, secret := range []string{"code_verifier", calls[0].PostForm.Get("code_verifier"), s.OP.ClientSecret} {
		if strings.Contains(s.Caddy.Logs(), secret) {
			t.Errorf("%s stands in a span", secret)
		}
	}

	plain := StartSite(t, oneSite)
	seen(t, NewBrowser(t).Navigate(plain.HTTP()+"/"))
	if call := plain.OP.Requests("token")[0]; call.Header.Get("Traceparent") != "" {
		t.Errorf("without tracing the provider is told %v", call.Header)
	}
}
