package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

func init() { caddy.RegisterModule(memory{}) }

// memory is a transport of reverse_proxy behind which an application stands that
// takes no time: it answers two bytes, and whom it saw.
type memory struct{}

// CaddyModule says what it is.
func (memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.bench_memory", New: func() caddy.Module { return new(memory) }}
}

// UnmarshalCaddyfile takes no words.
func (*memory) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// RoundTrip answers.
func (memory) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: 2,
		Header: http.Header{seenUser: r.Header["X-Forwarded-User"], "Content-Length": {"2"}},
		Body:   io.NopCloser(strings.NewReader("ok")),
	}, nil
}

const seenUser = seenHeader + "X-Forwarded-User"

// inProcess is Caddy in this process, whose handlers are called without a
// connection: whatever takes time or waits is Caddy's or the gate's.
type inProcess struct {
	dir      string
	provider *testop.Provider
	targets  []*target
}

// target is a site with a request that passes there.
type target struct {
	name    string
	handler *caddyhttp.Server
	request *http.Request
	user    string // that the application must see
}

func startInProcess(ctx context.Context) (b *inProcess, err error) {
	b = &inProcess{provider: testop.New()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if err := b.provider.Listen(); err != nil {
		return b, err
	}
	if b.dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
		return b, err
	}
	config := fmt.Sprintf(globals, fmt.Sprintf(provided, b.provider.Issuer(), b.provider.ClientID, b.provider.ClientSecret))
	sites := append([]site{{name: "plain Caddy"}}, options{}.gated()...)
	ports := make([]string, len(sites))
	for i, s := range sites {
		if ports[i], err = freePort(); err != nil {
			return b, err
		}
		const upstream = "127.0.0.1:1 {\n\t\ttransport bench_memory\n\t}"
		if s.session == "" {
			config += fmt.Sprintf(openSite, ports[i], upstream)
			continue
		}
		config += fmt.Sprintf(gatedSite, ports[i], s.name, s.session, s.words, upstream)
	}
	encoded, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.ReplaceAll(config, "{$DIR}", b.dir)), nil)
	if err == nil {
		err = caddy.Load(encoded, true)
	}
	if err != nil {
		return b, err
	}
	for i, s := range sites {
		if err := b.target(ctx, s, ports[i]); err != nil {
			return b, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return b, nil
}

// target signs in at a site, if it has a gate, and makes the request that is then sent to its handler.
func (b *inProcess) target(ctx context.Context, s site, port string) error {
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		return err
	}
	t := &target{name: s.name}
	for _, server := range app.(*caddyhttp.App).Servers {
		if slices.ContainsFunc(server.Listen, func(address string) bool { return strings.HasSuffix(address, ":"+port) }) {
			t.handler = server
		}
	}
	host := "localhost:" + port
	shown := credential{}
	switch {
	case s.session == "":
	case s.name == "bearer":
		shown = credential{"Authorization", "Bearer " + b.provider.Issue(testop.AccessToken{Audience: audience, Claims: testop.Edit{"groups": groups(1), "filler": "-"}})}
	default:
		b.provider.Set(func(behaviour *testop.Behaviour) { behaviour.IDToken = testop.Edit{"groups": groups(1)} })
		cookie, err := signIn(ctx, "http://"+host, "/seen", "X-Forwarded-User", b.provider.User.Subject)
		if err != nil {
			return err
		}
		shown = credential{"Cookie", cookie}
	}
	if s.session != "" {
		t.name, t.user = "gate, "+s.name, b.provider.User.Subject
	}
	address, err := url.Parse("http://" + host + "/some/path")
	if err != nil {
		return err
	}
	local, err := net.ResolveTCPAddr("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	t.request = (&http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: address.Path}, Host: host, RequestURI: address.Path, RemoteAddr: "127.0.0.1:1234",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header(shown), Body: http.NoBody,
	}).WithContext(context.WithValue(ctx, http.LocalAddrContextKey, local))
	b.targets = append(b.targets, t)
	return t.send()
}

// send sends the request once.
func (t *target) send() error {
	r := *t.request
	r.URL = new(*t.request.URL)
	r.Header = t.request.Header.Clone()
	w := answer{header: http.Header{}}
	t.handler.ServeHTTP(&w, &r)
	if w.status != http.StatusOK || w.header.Get(seenUser) != t.user {
		return fmt.Errorf("%s: %d, and the upstream sees %q", t.name, w.status, w.header.Get(seenUser))
	}
	return nil
}

// answer is a ResponseWriter that keeps nothing but status and header.
type answer struct {
	header http.Header
	status int
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(status int) { w.status = status }

func (w *answer) Write(p []byte) (int, error) { return len(p), nil }

func (w *answer) SetReadDeadline(time.Time) error { return nil }

func (w *answer) SetWriteDeadline(time.Time) error { return nil }

func (w *answer) Flush() {}

// load has so many goroutines send for a time, each when its last request was
// answered, and returns how many were.
func (t *target) load(goroutines int, duration time.Duration) (int, error) {
	var (
		sent atomic.Int64
		over atomic.Bool
		errs = make([]error, goroutines)
		wg   sync.WaitGroup
	)
	defer time.AfterFunc(duration, func() { over.Store(true) }).Stop()
	for i := range goroutines {
		wg.Go(func() {
			own := 0
			for !over.Load() && errs[i] == nil {
				errs[i] = t.send()
				own++
			}
			sent.Add(int64(own))
		})
	}
	wg.Wait()
	return int(sent.Load()), errors.Join(errs...)
}

func (b *inProcess) stop() error {
	b.provider.Down()
	return errors.Join(caddy.Stop(), os.RemoveAll(b.dir))
}
