package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the Caddyfile
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

// ports are where the three parts listen, on loopback. 0 is any free port.
type ports struct{ gate, provider, application int }

// stack is the whole demo: provider, application, and the gate in front of it.
// The gate is reached as localhost and the provider as 127.0.0.1, because cookies
// do not know ports.
type stack struct {
	Site, Issuer, Upstream, Folder string // Folder holds Caddy's storage and log
	Caddyfile                      string
	servers                        []*http.Server
}

// start brings everything up.
func start(p ports) (*stack, error) {
	folder, err := os.MkdirTemp("", "gatehouse-demo-")
	if err != nil {
		return nil, err
	}
	s := &stack{Folder: folder}
	// Caddy writes an instance.uuid there, whatever its storage.
	err = os.Setenv("XDG_DATA_HOME", folder)
	if err == nil {
		err = s.start(p)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *stack) start(p ports) error {
	var err error
	if p.gate == 0 {
		if p.gate, err = freePort(); err != nil {
			return err
		}
	}
	s.Site = fmt.Sprintf("http://localhost:%d", p.gate)
	providerListener, err := listen(p.provider)
	if err != nil {
		return fmt.Errorf("provider: %w (-provider-port chooses another port)", err)
	}
	s.Issuer = "http://" + providerListener.Addr().String()
	gate := &client{id: "demo", secret: "demo-secret", site: s.Site}
	idp, err := newProvider(s.Issuer, gate)
	if err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	s.serve(providerListener, idp)

	applicationListener, err := listen(p.application)
	if err != nil {
		return fmt.Errorf("application: %w (-application-port chooses another port)", err)
	}
	s.Upstream = applicationListener.Addr().String()
	s.serve(applicationListener, newApplication())

	s.Caddyfile = fmt.Sprintf(caddyfile, s.Folder, s.logFile(), s.Issuer, gate.id, gate.secret, s.Site, s.Upstream)
	return load(s.Caddyfile)
}

func (s *stack) logFile() string { return filepath.Join(s.Folder, "caddy.log") }

// caddyfile is what a site would have, but for the first block: the demo must not
// touch anything outside its folder.
const caddyfile = `{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	storage file_system %q
	log default {
		level ERROR
	}
	log file {
		output file %q
	}
	gatehouse {
		provider {
			issuer        %s
			client_id     %s
			client_secret %s
			scopes        openid profile email groups
			user_claim    preferred_username
		}
		session {
			cookie_name demo # cookies do not know ports: another gate on localhost has its own
		}
	}
}

%s {
	bind 127.0.0.1
	gatehouse {
		allow groups staff admins
		public /public/*
	}
	reverse_proxy %s
}
`

// load runs a Caddyfile in this process.
func load(text string) error {
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return errors.New("this binary knows no Caddyfile")
	}
	config, warnings, err := adapter.Adapt([]byte(text), nil)
	if err != nil {
		return fmt.Errorf("adapt the Caddyfile: %w", err)
	}
	for _, warning := range warnings {
		slog.Warn("Caddyfile", "warning", warning.String())
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("start the gate: %w (-port chooses another port, if this one is taken)", err)
	}
	return nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// freePort is one that nobody listens on now, below those that a kernel gives to connections: there it could be taken
// before Caddy listens.
func freePort() (int, error) {
	const first, ports = 20000, 12000
	var err error
	for range 100 {
		port := first + rand.IntN(ports)
		var l net.Listener
		if l, err = listen(port); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

func (s *stack) serve(l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("serve", "address", l.Addr().String(), "error", err)
		}
	}()
}

// stop ends everything and removes the folder.
func (s *stack) stop() error {
	errs := []error{caddy.Stop()}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, server := range s.servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.Folder))...)
}
