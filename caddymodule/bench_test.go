package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/session"
)

// benched is a gate that works, and a browser that is signed in there.
type benched struct {
	gate   *Gate
	server *caddyhttp.Server
	scope  session.Scope
	cookie string
}

// newBenched signs somebody in at a gate, with so many groups and a claim of so many bytes that is read and not
// forwarded.
func newBenched(tb testing.TB, store string, groups, filler int) *benched {
	tb.Helper()
	tb.Setenv("XDG_DATA_HOME", tb.TempDir())
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module": "file_system", "root": %q}`, tb.TempDir())),
		AppsRaw: caddy.ModuleMap{
			"gatehouse": json.RawMessage(`{"providers": [{"issuer": "https://id.example.com", "client_id": "app", "client_secret": "x"}],
				"session": {"store": "` + store + `", "insecure_http": true}}`),
			"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "gatehouse",
				"public": ["/public/*"], "allow": [{"claims": {"groups": ["staff"]}}], "deny": [{"claims": {"filler": ["nobody"]}}]}]}]}}}`),
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	app, err := ctx.App("http")
	if err != nil {
		tb.Fatal(err)
	}
	server := app.(*caddyhttp.App).Servers["s"]
	b := &benched{gate: server.Routes[0].Handlers[0].(*Gate), server: server, scope: session.Scope{Host: "app.example.com", BasePath: "/oauth2"}}
	provider := b.gate.providers[0]
	list := []any{"staff"}
	for i := 1; i < groups; i++ {
		list = append(list, fmt.Sprintf("department-%03d", i))
	}
	s := &session.Session{
		Provider: provider.name, Issuer: provider.client.Issuer(), ClientID: "app", Subject: "alice", IdPSession: "sid-1",
		Claims: map[string]any{
			"email": "alice@example.com", "email_verified": true, "preferred_username": "alice", "groups": list, "filler": nil,
		},
	}
	if filler > 0 {
		s.Claims["filler"] = strings.Repeat("x", filler)
	}
	w := httptest.NewRecorder()
	if _, err := b.gate.sessions.Create(context.Background(), w, session.Cookies{}, b.scope, s); err != nil {
		tb.Fatal(err)
	}
	for _, cookie := range w.Result().Cookies() {
		b.cookie += "; " + cookie.Name + "=" + cookie.Value
	}
	b.cookie = strings.TrimPrefix(b.cookie, "; ")
	return b
}

// requests are so many that have come in at Caddy, with the headers of a browser.
func (b *benched) requests(count int) []*http.Request {
	all := make([]*http.Request, count)
	for i := range all {
		r := httptest.NewRequest(http.MethodGet, "http://app.example.com/some/path?query=1", nil)
		r.RemoteAddr = "192.0.2.7:1234"
		r.Header = http.Header{
			"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"}, "Accept": {"text/html"}, "Accept-Encoding": {"gzip"},
			"Accept-Language": {"en"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"},
			"Sec-Fetch-User": {"?1"}, "Upgrade-Insecure-Requests": {"1"}, "Sec-Ch-Ua": {`"Chromium";v="140"`}, "Sec-Ch-Ua-Mobile": {"?0"},
			"Sec-Ch-Ua-Platform": {`"Linux"`}, "Connection": {"keep-alive"}, "Cache-Control": {"max-age=0"}, "Cookie": {b.cookie},
		}
		all[i] = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), b.server)
	}
	return all
}

// nothing stands behind the gate, and says whether anybody came through.
type nothing struct{ passed int }

func (n *nothing) ServeHTTP(_ http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("X-Forwarded-User") == "alice" {
		n.passed++
	}
	return nil
}

// The stores and sessions that are measured.
var benchTable = []struct {
	name, store    string
	groups, filler int
}{
	{"cookie-300B", "cookie", 1, 0},
	{"cookie-1KB", "cookie", 1, 330},
	{"cookie-3KB", "cookie", 1, 1450},
	{"memory", "memory", 1, 0},
	{"memory-100groups", "memory", 100, 0},
}

// benchmarkGate serves requests, which must all come through.
func benchmarkGate(b *testing.B, gate *Gate, bring func(count int) []*http.Request) {
	w, next := httptest.NewRecorder(), new(nothing)
	var requests []*http.Request
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if len(requests) == 0 {
			b.StopTimer()
			requests = bring(min(64, b.N-i))
			b.StartTimer()
		}
		if err := gate.ServeHTTP(w, requests[0], next); err != nil {
			b.Fatal(err)
		}
		requests = requests[1:]
	}
	if next.passed != b.N {
		b.Errorf("%d of %d came through", next.passed, b.N)
	}
}

// checkAllocations serves requests, which must all come through, with at most so many allocations each.
func checkAllocations(t *testing.T, gate *Gate, bring func(count int) []*http.Request, most float64) {
	t.Helper()
	const runs = 200
	w, next := httptest.NewRecorder(), new(nothing)
	requests := bring(runs + 1) // AllocsPerRun warms up with one
	got := testing.AllocsPerRun(runs, func() {
		if err := gate.ServeHTTP(w, requests[0], next); err != nil {
			t.Error(err)
		}
		requests = requests[1:]
	})
	if next.passed != runs+1 {
		t.Fatalf("%d of %d came through", next.passed, runs+1)
	}
	if got > most {
		t.Errorf("%v allocations a request, at most %v", got, most)
	}
}

// BenchmarkServeHTTP is the whole of what the gate adds to a request of somebody signed in, before the response.
func BenchmarkServeHTTP(b *testing.B) {
	for _, tt := range benchTable {
		b.Run(tt.name, func(b *testing.B) {
			bench := newBenched(b, tt.store, tt.groups, tt.filler)
			b.ReportMetric(float64(len(bench.cookie)), "cookie-B")
			benchmarkGate(b, bench.gate, bench.requests)
		})
	}
}

// The gate makes eight heap allocations, however many groups there are: the visit with answer and identity, our cookies,
// the session with its watch, the context and what cancels it, the placeholders, the values of the headers, and the list
// of the groups among them. Times differ from run to run; this does not.
func TestAllocationBudget(t *testing.T) {
	for _, tt := range benchTable {
		t.Run(tt.name, func(t *testing.T) {
			bench := newBenched(t, tt.store, tt.groups, tt.filler)
			checkAllocations(t, bench.gate, bench.requests, 8)
		})
	}
}

// BenchmarkSteps are the parts of BenchmarkServeHTTP.
func BenchmarkSteps(b *testing.B) {
	for _, tt := range benchTable {
		bench := newBenched(b, tt.store, tt.groups, tt.filler)
		g, r := bench.gate, bench.requests(1)[0]
		v, err := g.receive(r)
		if err != nil {
			b.Fatal(err)
		}
		live, err := v.load(r)
		if err != nil {
			b.Fatal(err)
		}
		who := &identity{session: live.Session(), provider: g.providers[0]}
		cookies := []string{bench.cookie}
		steps := []struct {
			name string
			run  func() error
		}{
			{"cut", func() error { r.Header["Cookie"] = cookies; g.cookies.Cut(r.Header); return nil }},
			{"open", func() error { _, err := g.sessions.Load(r.Context(), v.cookies, bench.scope); return err }},
			{"clear", func() error { clearIdentity(r, g.names); reduceConnection(r.Header); return nil }},
			{"origin", func() error { _, _, _ = g.browserOrigin(r); return nil }},
			{"refresh", func() error { return g.renew(r, v, g.providers[0]) }},
			{"rules", func() error { return g.admit(r, *who) }},
			{"identity", func() error { g.setIdentity(r, who); return nil }},
			{"private", func() error { makePrivate(http.Header{}); return nil }},
		}
		for _, step := range steps {
			b.Run(step.name+"/"+tt.name, func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					if err := step.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
