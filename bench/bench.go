package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// bench is everything that runs during a measurement.
type bench struct {
	options     options
	provider    *testop.Provider
	upstream    string // address
	application *http.Server
	plain, gate *process
	ports       map[string]string // of each site, by its name
	others      []*process
}

// globals is what both Caddys have before their sites.
const globals = `{
	admin unix/{$DIR}/admin.sock
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	storage file_system {$DIR}/storage
	log {
		level ERROR
	}
	%s
}
`

// provided are the global options of the Caddy with the gate.
const provided = `gatehouse {
		provider {
			issuer %s
			client_id %s
			client_secret %q
			scopes openid profile email groups
		}
	}`

// site is a listener of the Caddy with the gate. The session's words stand in each,
// under a cookie name of its own, since cookies do not know ports.
type site struct {
	name    string
	session string // words of the block session
	words   string // more words of the gate's block
}

// audience is what the site with bearer is called in access tokens.
const audience = "benchmark"

// gated are the sites with a gate. One more, "unprotected", has none.
func (o options) gated() []site {
	sites := []site{
		{name: "cookie", session: "store cookie"},
		{name: "idle", session: "store cookie\n idle_timeout 1h"},
		{name: "memory", session: "store memory"},
		{name: "bearer", session: "store cookie", words: "bearer {\n audience " + audience + "\n introspect\n }"},
	}
	if o.redis != "" {
		sites = append(sites, site{name: "redis", session: "store redis " + o.redis})
	}
	return sites
}

// gatedSite asks of the user what a site usually does. The claim filler is read and
// not forwarded: it stands for whatever else makes a session large.
const gatedSite = `
http://localhost:%s {
	gatehouse {
		allow groups staff
		deny filler nobody
		public /public/*
		session {
			cookie_name %s
			%s
		}
		%s
	}
	reverse_proxy %s
}
`

const openSite = `
http://localhost:%s {
	reverse_proxy %s
}
`

// headersSite is plain Caddy that adds to each request what the gate adds.
const headersSite = `
http://localhost:%s {
	reverse_proxy %s {
		header_up X-Forwarded-User sub-alice
		header_up X-Forwarded-Email alice@example.com
		header_up X-Forwarded-Groups staff
		header_up X-Forwarded-Preferred-Username alice
		header_down Cache-Control private
	}
}
`

// start brings up provider, application and both Caddys.
func start(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{options: o, ports: map[string]string{}, provider: testop.New()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if err := b.provider.Listen(); err != nil {
		return b, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return b, err
	}
	b.upstream = listener.Addr().String()
	b.application = &http.Server{Handler: newUpstream(), ReadHeaderTimeout: time.Minute}
	go func() { _ = b.application.Serve(listener) }() // ends with ErrServerClosed
	if b.plain, err = b.startPlain(ctx); err != nil {
		return b, err
	}
	if b.gate, err = b.startGate(ctx); err != nil {
		return b, err
	}
	specs, err := readSpecs(o)
	if err != nil {
		return b, err
	}
	for _, s := range specs {
		p, err := startSpec(ctx, s, b.provider, b.upstream, o.redis)
		if p != nil {
			b.others = append(b.others, p)
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func (b *bench) startPlain(ctx context.Context) (*process, error) {
	caddyfile := fmt.Sprintf(globals, "")
	var addresses []string
	for name, site := range map[string]string{"plain": openSite, "headers": headersSite} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		b.ports[name] = port
		addresses = append(addresses, "127.0.0.1:"+port)
		caddyfile += fmt.Sprintf(site, port, b.upstream)
	}
	p, err := startCaddy("plain Caddy", caddyfile, b.options)
	if err != nil {
		return nil, err
	}
	return p, p.listening(ctx, addresses...)
}

// globals are the global options of the Caddy with the gate.
func (b *bench) globals() string {
	return fmt.Sprintf(globals, fmt.Sprintf(provided, b.provider.Issuer(), b.provider.ClientID, b.provider.ClientSecret))
}

func (b *bench) startGate(ctx context.Context) (*process, error) {
	caddyfile := b.globals()
	sites := append(b.options.gated(), site{name: "unprotected"})
	addresses := make([]string, 0, len(sites))
	for _, s := range sites {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		b.ports[s.name] = port
		addresses = append(addresses, "127.0.0.1:"+port)
		if s.session == "" {
			caddyfile += fmt.Sprintf(openSite, port, b.upstream)
			continue
		}
		caddyfile += fmt.Sprintf(gatedSite, port, s.name, s.session, s.words, b.upstream)
	}
	p, err := startCaddy("gate", caddyfile, b.options)
	if err != nil {
		return nil, err
	}
	return p, p.listening(ctx, addresses...)
}

// stop ends what start began.
func (b *bench) stop() error {
	var errs []error
	for _, p := range append([]*process{b.plain, b.gate}, b.others...) {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	if b.application != nil {
		errs = append(errs, b.application.Close())
	}
	b.provider.Down()
	return errors.Join(errs...)
}

// startProfiles profiles the gate from now until the function that it returns is
// called, if that is wanted.
func (b *bench) startProfiles(rows int) (finish func() error, err error) {
	folder := b.options.profile
	if folder == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	admin := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(b.gate.dir, "admin.sock"))
		},
	}}
	fetch := func(profile, query string) error {
		response, err := admin.Get("http://localhost/debug/pprof/" + profile + query)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		file, err := os.Create(filepath.Join(folder, profile))
		if err != nil {
			return err
		}
		_, err = file.ReadFrom(response.Body)
		return errors.Join(err, file.Close())
	}
	cpu := make(chan error, 1)
	// A row takes a little longer than its round, so that the profile ends before the last.
	seconds := max(1, int(time.Duration(rows*b.options.rounds)*b.options.round/time.Second))
	go func() { cpu <- fetch("profile", fmt.Sprintf("?seconds=%d", seconds)) }()
	return func() error {
		errs := []error{<-cpu}
		for _, profile := range strings.Fields("allocs mutex block") {
			errs = append(errs, fetch(profile, ""))
		}
		return errors.Join(errs...)
	}, nil
}
