package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// SessionStore is what every module of the namespace gatehouse.session_stores
// implements: a store that several servers have in common.
type SessionStore interface {
	// Identity says which store it is. Two configurations with the same identity use
	// one connection, which thereby outlives a reload. It is never logged.
	Identity() string
	// OpenSessions returns the store. It does not touch the network.
	OpenSessions() (SharedSessions, error)
}

// SharedSessions is an open [SessionStore]: it keeps sessions for several servers, and
// what they share about them. It is closed when no configuration uses it any more.
type SharedSessions interface {
	session.ServerStore
	session.Shared
	io.Closer
}

// replicas is what this server shares with others through one store. Configurations with
// the same store share it, in replicasPool.
type replicas struct {
	place SharedSessions
	state *session.State
}

var replicasPool = caddy.NewUsagePool()

// closeAfter is how long requests of a configuration that is gone may go on using
// the connections.
const closeAfter = 2 * time.Minute

// Destruct implements caddy.Destructor. If the process ends, it first waits for the
// refreshes under way, whose tokens nobody else has; after a reload they just go on.
func (r *replicas) Destruct() error {
	if caddy.Exiting() {
		awaitUpdates(r.state)
	}
	r.state.Close()
	time.AfterFunc(closeAfter, func() { _ = r.place.Close() })
	return nil
}

// errTwoPlaces refuses a store on the server together with a shared memory.
var errTwoPlaces = errors.New("store and shared contradict each other: a store for several servers brings its own shared, and store memory is of one server")

// builtinStore is the name of a store that is no module, "" if the configuration
// names a module.
func builtinStore(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "cookie", nil
	}
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return "", nil
	}
	if name != "cookie" && name != "memory" {
		return "", fmt.Errorf("no store %q; there are cookie, memory, and modules: %s", name, `{"backend": "redis"}`)
	}
	return name, nil
}

// provisionStore decides where sessions are kept, and what is shared with other servers.
func (a *App) provisionStore(ctx caddy.Context, c *SessionConfig, config *session.Config) error {
	name, err := builtinStore(c.Store)
	if err != nil {
		return err
	}
	if len(c.Shared) > 0 && name != "cookie" {
		return errTwoPlaces
	}
	config.State = a.durable.state
	switch {
	case name == "memory":
		config.Store = a.durable.memory
	case name == "cookie":
		config.Store = a.durable.cookies
	}
	field := "Shared"
	if name == "" {
		field = "Store"
	} else if len(c.Shared) == 0 {
		a.alone.Store(true)
		return nil
	}
	loaded, err := ctx.LoadModule(c, field)
	if err != nil {
		return err
	}
	source, is := loaded.(SessionStore)
	if !is {
		return fmt.Errorf("%T is no store of sessions", loaded)
	}
	shared, err := a.acquireReplicas(source)
	if err != nil {
		return err
	}
	config.State = shared.state
	if name == "" {
		config.Store = shared.place
	}
	return nil
}

// acquireReplicas finds what is shared through a store, for this server's storage, or
// makes it.
func (a *App) acquireReplicas(source SessionStore) (*replicas, error) {
	key := fmt.Sprintf("%q %q", a.durable.pool, source.Identity())
	value, _, err := replicasPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		place, err := source.OpenSessions()
		if err != nil {
			return nil, err
		}
		return &replicas{place: place, state: session.NewSharedState(a.durable.journal, place, nil)}, nil
	})
	if err != nil {
		return nil, err
	}
	a.releases = append(a.releases, func() { _, _ = replicasPool.Delete(key) })
	a.mu.Lock()
	a.replicas[value.(*replicas)] = struct{}{}
	a.mu.Unlock()
	return value.(*replicas), nil
}

// evicting is a [SharedSessions] that can tell whether it evicts what it must not forget:
// by which policy, "" if it does not.
type evicting interface {
	Evicts(ctx context.Context) (policy string, err error)
}

// firstAnswer is how long a store may take, at the start, to answer once.
const firstAnswer = 5 * time.Second

// warnOfStores logs, at the start, which stores do not answer: otherwise a wrong address or
// a wrong password would show only when somebody has signed in at the provider. It logs
// which evict what they must not forget, too. The start does not wait for the answers.
func (a *App) warnOfStores() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for r := range a.replicas {
		go func() {
			ctx, cancel := context.WithTimeout(a.ctx, firstAnswer)
			defer cancel()
			if _, err := r.place.Revision(ctx); err != nil && a.ctx.Err() == nil {
				a.logger.Warn("the store that servers share does not answer: nobody can sign in until it does", zap.Error(err))
			}
			if store, tells := r.place.(evicting); tells {
				if policy, err := store.Evicts(ctx); err == nil && policy != "" { // one that may not be asked is not
					a.logger.Warn("the store that servers share evicts what it must not forget: set its maxmemory-policy to noeviction", zap.String("maxmemory_policy", policy))
				}
			}
		}()
	}
}

// logNotShared logs, at the start, what several servers of one site would not share, since a
// server cannot see whether there are others.
func (a *App) logNotShared() {
	if !a.alone.Load() {
		return
	}
	a.logger.Info("this server shares no sessions with others; if several servers serve one site, give all of them `session { shared redis ... }`",
		zap.Strings("not_shared", []string{"sign-outs", "refreshes", "used sign-ins and logout tokens", "sessions of store memory", "keys, but by a common Caddy storage or `keys`"}))
}
