package caddymodule

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the Caddy app "gatehouse": the providers and session settings that
// sites share, and the owner of what outlives a configuration. A site that names
// its own issuer needs no app in the configuration; Caddy then makes an empty one.
type App struct {
	// The providers that sites may use, in the order of the chooser page.
	Providers []*ProviderConfig `json:"providers,omitempty"`

	// What a browser remembers, for every site.
	Session *SessionConfig `json:"session,omitempty"`

	ctx       caddy.Context
	logger    *zap.Logger
	slogger   *slog.Logger
	counters  *counters
	now       func() time.Time
	durable   *durable
	providers []*provider
	load      string // a random name for this load of the configuration
	// releases give back, once, what this configuration holds in the pools.
	releases []func()

	mu sync.Mutex
	// needs are the claims that rules and headers of this configuration read, and that
	// its sessions therefore hold.
	needs map[string]struct{}
	// matched are those of needs that matchers read, which belong to no gate. It does
	// not change once requests are served.
	matched []string
	// tokens are those that some site of this configuration forwards.
	tokens map[tokenNeed]struct{}
	// sendsBound says that some site forwards tokens that are bound to a key, and
	// hasTransport that some reverse_proxy can send them.
	sendsBound, hasTransport bool
	// users are those of the users files, by path.
	users map[string]*siteUsers
	// domains are the terms of the sessions that sites share, by cookie scope.
	domains map[string]sessionTerms
	// issuers are those at which people sign in, and managers who ends their sessions,
	// one for each place that remembers what has ended.
	issuers  map[string]struct{}
	managers map[*session.State]*session.Manager
	// replicas are the stores that sites share with other servers.
	replicas map[*replicas]struct{}
	// configured are the keys that the session settings of this configuration hold.
	configured []*configuredKeys
	alone      atomic.Bool // some site shares nothing with other servers
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse", New: func() caddy.Module { return new(App) }}
}

// Provision resolves the providers. It does not touch the network: an identity provider
// that is away delays no start (P01).
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.now = ctx, time.Now
	a.logger, a.slogger, a.load = ctx.Logger(), ctx.Slogger(), rand.Text()
	a.needs = map[string]struct{}{"email_verified": {}}
	a.tokens = make(map[tokenNeed]struct{})
	a.users = make(map[string]*siteUsers)
	a.domains = make(map[string]sessionTerms)
	a.replicas = make(map[*replicas]struct{})
	a.issuers, a.managers = make(map[string]struct{}), make(map[*session.State]*session.Manager)
	var err error
	if a.counters, err = newCounters(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if a.durable, err = acquireDurable(ctx.Storage(), a.logger); err != nil {
		return err
	}
	a.releases = append(a.releases, a.durable.release)
	for _, config := range a.Providers {
		if config == nil {
			return errors.New("a provider is null")
		}
		if a.provider(config.name()) != nil {
			return fmt.Errorf("provider %s is given twice", config.name())
		}
		provider, err := a.provisionProvider(ctx, config)
		if err != nil {
			return err
		}
		a.providers = append(a.providers, provider)
	}
	return nil
}

// Start checks what only the whole configuration shows. It logs what is not shared with
// other servers, and which shared stores do not answer. Gates work as soon as they are
// provisioned, and ask providers and stores when they need them.
func (a *App) Start() error {
	a.logNotShared()
	a.warnOfStores()
	return errors.Join(a.checkTransport(), a.checkHosts())
}

// Stop does nothing; see Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup gives back what this configuration holds. Requests that are still under way go
// on using it, so nothing that they read changes.
func (a *App) Cleanup() error {
	for _, release := range a.releases {
		release()
	}
	a.releases = nil
	return nil
}

// providerConfig finds a provider's configuration by name.
func (a *App) providerConfig(name string) *ProviderConfig {
	for _, config := range a.Providers {
		if config != nil && config.name() == name {
			return config
		}
	}
	return nil
}

// provider finds a provisioned provider by name, nil if there is none.
func (a *App) provider(name string) *provider {
	at := slices.IndexFunc(a.providers, func(p *provider) bool { return p.name == name })
	if at < 0 {
		return nil
	}
	return a.providers[at]
}

// need records a claim that some site reads.
func (a *App) need(claim string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.needs[claim] = struct{}{}
}

// claimBehind is the claim of the provider that a name in a rule or header is read from;
// "" if there is none to ask for, as every session has what is behind the name.
func claimBehind(name string) string {
	switch {
	case name == "email_domain":
		return "email"
	case isComputed(name), name == "sub":
		return ""
	}
	return name
}

// needMatched records a claim that a matcher reads.
func (a *App) needMatched(name string) {
	claim := claimBehind(name)
	if claim == "" {
		return
	}
	a.need(claim)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.matched, claim) {
		a.matched = append(a.matched, claim)
	}
}

// needed lists the claims that sessions of this configuration hold. It is complete when
// the first request comes: by then every site has said what it reads.
func (a *App) needed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	claims := make([]string, 0, len(a.needs))
	for claim := range a.needs {
		claims = append(claims, claim)
	}
	slices.Sort(claims)
	return claims
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
