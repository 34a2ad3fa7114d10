package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// bearingSite is a gate that forwards tokens bound to a key to {$RESOURCE}, and to nobody under /plain/.
const bearingSite = `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		public /public/*
		forward access_token Authorization
	}
	reverse_proxy /plain/* {$RESOURCE}
	reverse_proxy {$RESOURCE} {
		{$PROXY}
		transport gatehouse {
			{$TRANSPORT}
		}
	}
}
`

// startBound runs a Caddyfile like bearingSite, with a provider that binds tokens, and signs alice in.
func startBound(t *testing.T, caddyfile string, options ...func(*testop.Provider)) (*Site, *resource, *Browser) {
	t.Helper()
	s := &Site{OP: testop.Start(t, append(options, func(p *testop.Provider) { p.Set(func(b *testop.Behaviour) { b.DPoP = true }) })...), t: t}
	api := startResource(t)
	s.App = api.Server
	caddyfile = strings.Replace(caddyfile, "{$PROVIDER}", strings.Replace(providerBlock(s.OP), "provider {", "provider {\n\t\t\tdpop", 1), 1)
	caddyfile = strings.NewReplacer("{$PROXY}", "", "{$TRANSPORT}", "", "{$RESOURCE}", strings.TrimPrefix(api.URL, "http://")).Replace(caddyfile)
	s.Caddy = StartCaddy(t, s.fill(caddyfile))
	b := NewBrowser(t)
	if page := b.Navigate(s.HTTP() + "/"); b.Jar.Cookie("gatehouse") == nil {
		t.Fatalf("%d %s", page.Status, brief(page))
	}
	api.take()
	return s, api, b
}

// wantGood holds that every request so far was good, and that there were so many.
func wantGood(t *testing.T, api *resource, count int) []proof {
	t.Helper()
	got := api.take()
	if len(got) != count {
		t.Fatalf("%d requests, want %d: %+v", len(got), count, got)
	}
	for _, p := range got {
		if p.Err != nil {
			t.Errorf("%s %s: %v", p.Method, p.URI, p.Err)
		}
	}
	return got
}

// RFC 9449 7: a bound token goes to the upstream with a proof for that request; what the client brings itself does not.
func TestBoundTokenIsForwarded(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x/%2Fy?a=1&b=%20#c", forged, ""))
	seen(t, b.Fetch(s.HTTP(), "POST", s.HTTP()+"/x", forged, "a body"))
	got := wantGood(t, api, 2)
	if got[0].Thumbprint != s.OP.Key(got[0].Token) || got[0].Thumbprint != got[1].Thumbprint || got[0].Token != got[1].Token || got[0].ID == got[1].ID {
		t.Errorf("one session, two proofs: %+v", got)
	}
	if got[1].Body != "a body" {
		t.Errorf("the body is %q", got[1].Body)
	}
	other := NewBrowser(t)
	seen(t, other.Navigate(s.HTTP()+"/"))
	if p := wantGood(t, api, 1)[0]; p.Thumbprint == got[0].Thumbprint {
		t.Error("two sessions have one key")
	}
	// RFC 9449 4.2: no token, no proof, where nobody has to be signed in; nor by a client's own means.
	for name, client := range map[string]*Browser{"nobody": NewBrowser(t), "alice": b} {
		client.Fetch(s.HTTP(), "GET", s.HTTP()+"/public/x", forged, "")
		if p := api.take()[0]; p.Token != "" || p.ID != "" || p.Err.Error() != "(1) 0 proofs" {
			t.Errorf("%s at a public path: %+v", name, p)
		}
	}
}

// RFC 9449 9: an upstream that wants a nonce of its own gets it, with the body again, and the browser hears nothing of it.
func TestUpstreamsNonce(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	api.set(func(r *resource) { r.nonce = "n-1" })
	page := b.Fetch(s.HTTP(), "POST", s.HTTP()+"/x", nil, "a body")
	if seen(t, page).Body != "a body" || page.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("%v %s", page.Header, page.Body)
	}
	got := api.take()
	if len(got) != 2 || got[0].Nonce != "" || got[1].Err != nil || got[1].Nonce != "n-1" || got[0].ID == got[1].ID || got[0].Body != "a body" {
		t.Fatalf("the first: %+v", got)
	}
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
	wantGood(t, api, 1) // it is remembered
	// A nonce of a good answer is the next one (RFC 9449 8.2).
	api.set(func(r *resource) { r.fresh = true })
	for range 3 {
		seen(t, b.Fetch(s.HTTP(), "PUT", s.HTTP()+"/x", nil, "another"))
		wantGood(t, api, 1)
	}
	// Without a body, too; and a WebSocket is a request like any other.
	api.set(func(r *resource) { r.nonce, r.fresh = "n-2", false })
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
	if got := api.take(); len(got) != 2 || got[1].Err != nil {
		t.Errorf("without a body: %+v", got)
	}
}

// The upstream that asks again and again gets one more request, and the browser its answer.
func TestUpstreamThatAlwaysWantsANonce(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	n := 0
	api.set(func(r *resource) {
		r.before = func() { n++; r.nonce = fmt.Sprint("n-", n) }
	})
	for range 2 {
		page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
		if page.Status != http.StatusUnauthorized || len(api.take()) != 2 {
			t.Errorf("%d %s", page.Status, page.Body)
		}
	}
}

// A body that streams, or is large, is never held: its 401 passes, and the next request has the nonce.
func TestUpstreamsNonceAndABodyThatCannotBeSentAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		length int64
		size   int
		holds  bool
	}{
		"64 KiB":              {64 << 10, 64 << 10, true},
		"64 KiB and a byte":   {64<<10 + 1, 64<<10 + 1, false},
		"of unknown length":   {-1, 10, false},
		"of unknown and huge": {-1, 1 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, api, b := startBound(t, bearingSite)
			api.set(func(r *resource) { r.nonce = "n-1" })
			send := func() *Page {
				r, err := http.NewRequest(http.MethodPost, s.HTTP()+"/x", io.MultiReader(strings.NewReader(strings.Repeat("b", tt.size))))
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = tt.length
				r.AddCookie(b.Jar.Cookie("gatehouse"))
				return NewBrowser(t).Do(r)
			}
			page := send()
			if tt.holds {
				if got := seen(t, page); len(got.Body) != tt.size {
					t.Errorf("%d bytes arrived", len(got.Body))
				}
				return
			}
			if page.Status != http.StatusUnauthorized || len(api.take()) != 1 {
				t.Fatalf("%d", page.Status)
			}
			if got := seen(t, send()); len(got.Body) != tt.size {
				t.Errorf("%d bytes arrived", len(got.Body))
			}
			wantGood(t, api, 1)
		})
	}
}

// A stream reaches the upstream as it comes: nothing waits for its end.
func TestBoundTokenAndAStream(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	arrived := make(chan string, 1)
	api.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffer := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, buffer)
		arrived <- string(buffer) + r.Header.Get("Authorization")[:5]
		_, _ = io.Copy(io.Discard, r.Body)
	})
	reader, writer := io.Pipe()
	r, err := http.NewRequest(http.MethodPost, s.HTTP()+"/x", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(b.Jar.Cookie("gatehouse"))
	done := make(chan *Page, 1)
	go func() { done <- NewBrowser(t).Do(r) }()
	_, _ = io.WriteString(writer, "first")
	select {
	case got := <-arrived:
		if got != "firstDPoP " {
			t.Errorf("got %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("the beginning of the stream does not arrive before its end")
	}
	writer.Close()
	<-done
}

// A WebSocket's handshake has its proof, also after the upstream wanted a nonce.
func TestBoundTokenOfAWebSocket(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	api.set(func(r *resource) { r.nonce = "n-1" })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.HTTP(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nCookie: gatehouse=%s\r\n\r\n",
		strings.TrimPrefix(s.HTTP(), "http://"), s.HTTP(), b.Jar.Cookie("gatehouse").Value)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := api.take()
	if res.StatusCode != http.StatusSwitchingProtocols || len(got) != 2 || got[1].Err != nil {
		t.Errorf("%s: %+v", res.Status, got)
	}
}

// Requests side by side have a proof each.
func TestBoundTokenInParallel(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	api.set(func(r *resource) { r.nonce = "n-1" })
	var wg sync.WaitGroup
	for i := range 20 {
		twin := b.Twin()
		wg.Go(func() {
			body := fmt.Sprint("body ", i)
			if got := seen(t, twin.Fetch(s.HTTP(), "POST", s.HTTP()+"/x", nil, body)); got.Body != body {
				t.Errorf("%q arrived as %q", body, got.Body)
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, p := range api.take() {
		ids[p.ID] = true
		if p.Err != nil && p.Nonce == "n-1" {
			t.Error(p.Err)
		}
	}
	if len(ids) < 20 {
		t.Errorf("%d proofs", len(ids))
	}
}

// The proxy's own retries are requests of their own: a new proof each, and the body.
func TestBoundTokenIsRetriedByTheProxy(t *testing.T) {
	t.Parallel()
	dead := freePort(t)
	caddyfile := strings.NewReplacer("reverse_proxy {$RESOURCE} {", "reverse_proxy 127.0.0.1:"+dead+" {$RESOURCE} {",
		"{$PROXY}", "lb_policy first\n\t\tlb_try_duration 20s\n\t\tlb_try_interval 10ms\n\t\tlb_retry_match {\n\t\t\tmethod GET POST\n\t\t}\n\t\tfail_duration 30s").Replace(bearingSite)
	s, api, b := startBound(t, caddyfile)
	s.Reload(s.fill(strings.NewReplacer( // forgets that the first is dead
		"{$PROVIDER}", strings.Replace(providerBlock(s.OP), "provider {", "provider {\n\t\t\tdpop", 1),
		"{$TRANSPORT}", "", "{$RESOURCE}", strings.TrimPrefix(api.URL, "http://")).Replace(caddyfile)))
	if got := seen(t, b.Fetch(s.HTTP(), "POST", s.HTTP()+"/x", nil, "a body")); got.Body != "a body" {
		t.Errorf("the body: %q", got.Body)
	}
	wantGood(t, api, 1)
}

// htu is what the upstream calls itself: the Host that it gets, or what the transport is told.
func TestProofNamesTheUpstream(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ proxy, transport, origin string }{
		"Host of the browser":   {"", "", ""},
		"Host by header_up":     {"header_up Host api.example.com", "", "http://api.example.com"},
		"htu_origin":            {"", "htu_origin https://api.example.com", "https://api.example.com"},
		"htu_origin and a path": {"rewrite /v1{uri}", "htu_origin https://api.example.com:8443", "https://api.example.com:8443"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, api, b := startBound(t, strings.NewReplacer("{$PROXY}", tt.proxy, "{$TRANSPORT}", tt.transport).Replace(bearingSite))
			api.set(func(r *resource) { r.origin = tt.origin })
			b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x?q", nil, "")
			wantGood(t, api, 1)
		})
	}
}

// A bound token has no use without its proof: where no transport makes one, it is not sent, and the log says why; where
// no site has that transport at all, the configuration is not loaded.
func TestBoundTokenWithoutTransport(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite)
	b.Fetch(s.HTTP(), "GET", s.HTTP()+"/plain/x", forged, "")
	if got := api.take(); len(got) != 1 || got[0].Token != "" || got[0].ID != "" {
		t.Errorf("the upstream got %+v", got)
	}
	s.WaitLog("dpop_transport_missing")
	if before, _, found := strings.Cut(s.Logs(), "/plain/"); found && strings.Contains(before, "dpop_transport_missing") {
		t.Error("it is said of requests that have a transport")
	}
	without := strings.Replace(s.fill(strings.Replace(oneSite, "{$PROVIDER}", strings.Replace(providerBlock(s.OP), "provider {", "provider {\n\t\t\tdpop", 1), 1)),
		"public /public/*", "forward access_token Authorization", 1)
	if err := s.TryReload(without); err == nil || !strings.Contains(err.Error(), "transport gatehouse") {
		t.Errorf("without any transport: %v", err)
	}
}

// A second gate that puts something else where the first has put the bound token takes its place, and the proof's; in any
// other header the token stands alone, and has its proof as well.
func TestBoundTokenOfTwoGates(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, strings.Replace(bearingSite, "	reverse_proxy /plain/*", `	gatehouse /id/* {
		forward id_token Authorization
	}
	gatehouse /more/* {
		forward access_token X-Token
	}
	reverse_proxy /plain/*`, 1))
	id := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/id/x", forged, "")
	if got := api.take()[0]; got.ID != "" || !strings.Contains(id.Body, `"Authorization":["Bearer ey`) || strings.Contains(id.Body, `"Dpop"`) {
		t.Errorf("%+v %s", got, id.Body)
	}
	more := tokensOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/more/x", forged, "")))
	if got := wantGood(t, api, 1)[0]; more["xtoken"] != got.Token {
		t.Errorf("%v, want %s", more, got.Token)
	}
}

// A refreshed token is bound to the session's key as the first one was; none that has expired is sent.
func TestBoundTokenIsRefreshed(t *testing.T) {
	t.Parallel()
	s, api, b := startBound(t, bearingSite, func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 3 * time.Second })
	})
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
	first := wantGood(t, api, 1)[0]
	time.Sleep(3100 * time.Millisecond) // the token's life, which only passes
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
	second := wantGood(t, api, 1)[0]
	if second.Token == first.Token || s.OP.Key(second.Token) != first.Thumbprint || second.Thumbprint != first.Thumbprint {
		t.Errorf("before %+v, after %+v", first, second)
	}
}
