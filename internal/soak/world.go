package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// world is what people move in.
type world struct {
	t        testing.TB
	book     *book
	provider *testop.Provider
	redis    *redistest.Server
	networks []*redistest.Proxy // between each gate and Redis
	gates    []*gate
}

// newWorld starts the provider, Redis, the application and two gates.
func newWorld(t testing.TB, b *book) *world {
	w := &world{t: t, book: b, provider: testop.Start(t), redis: redistest.Start(t)}
	w.behave(nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	application := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, r.Header.Get("X-Forwarded-User"))
	})}
	go func() { _ = application.Serve(listener) }()
	t.Cleanup(func() { application.Close() })
	for range 2 {
		port, network := testop.FreePort(t), redistest.StartProxy(t, w.redis)
		w.networks = append(w.networks, network)
		w.gates = append(w.gates, newGate(t, b, port, strings.NewReplacer(
			"{$PORT}", port, "{$APP}", listener.Addr().String(), "{$REDIS}", network.Addr, "{$ISSUER}", w.provider.Issuer(),
			"{$CLIENT_ID}", w.provider.ClientID, "{$CLIENT_SECRET}", `"`+w.provider.ClientSecret+`"`,
		).Replace(caddyfile)))
	}
	return w
}

// caddyfile is the configuration of both gates; the key is of nothing else.
const caddyfile = `{
	auto_https off
	default_bind 127.0.0.1
	skip_install_trust
	gatehouse {
		provider {
			issuer {$ISSUER}
			client_id {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			user_claim preferred_username
		}
		session {
			keys c2hhcmVkIGtleSBvZiB0ZXN0cywgb2YgMzIgYnl0ZXM=
			shared redis {$REDIS}
		}
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`

// behave sets what the provider does: tokens of two seconds, and faults. It notes
// whose refresh token it has spent.
func (w *world) behave(faults map[string]testop.Fault) {
	noted := testop.Change(func(right any) any {
		if subject, ok := right.(string); ok {
			w.book.rotated(subject)
		}
		return right
	})
	w.provider.Set(func(b *testop.Behaviour) {
		*b = testop.Behaviour{AccessTokenLifetime: 2 * time.Second, RefreshedIDToken: testop.Edit{"sub": noted}, Faults: faults}
	})
}

// The faults, as the counts call them.
const (
	killGate        = "fault: gate killed"
	freezeGate      = "fault: gate frozen"
	restartGate     = "fault: gate restarted"
	providerDown    = "fault: provider down"
	providerSlow    = "fault: provider slow"
	providerBroken  = "fault: provider answers 503"
	killRedis       = "fault: Redis killed"
	freezeRedis     = "fault: Redis frozen"
	networkSlow     = "fault: network from a gate to Redis slow"
	networkCuts     = "fault: network from a gate to Redis cuts connections"
	networkSwallows = "fault: network from a gate to Redis swallows answers"
	reload          = "reloads"
)

// trouble makes faults until the time is over, and has none under way when it
// returns.
func (w *world) trouble(ctx context.Context, random *rand.Rand) {
	between := func(least, most int) time.Duration {
		return time.Duration(least+random.IntN(most-least)) * time.Millisecond
	}
	for ctx.Err() == nil {
		pause(ctx, between(500, 3000))
		first := random.IntN(len(w.faults()))
		ends := []func(){w.faults()[first](random)}
		if second := random.IntN(3 * len(w.faults())); second < len(w.faults()) && target(second) != target(first) {
			pause(ctx, between(0, 500))
			ends = append(ends, w.faults()[second](random))
		}
		pause(ctx, between(100, 3000))
		for _, end := range ends {
			end()
		}
	}
}

// pause waits, but not past the end.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// target tells faults of one process from those of another.
func target(i int) int { return max(i/3, 1) }

// faults begin one each and return its end: six of a gate, three each of the
// provider, of Redis, and of one gate's way to it.
func (w *world) faults() []func(*rand.Rand) (end func()) {
	return []func(*rand.Rand) func(){
		w.killGate, w.freezeGate, w.restartGate, w.reload, w.reload, w.reload,
		w.atProvider(providerSlow, testop.Fault{Delay: 1500 * time.Millisecond}),
		w.atProvider(providerBroken, testop.Fault{Status: http.StatusServiceUnavailable}),
		w.providerDown,
		w.atRedis(killRedis, w.redis.Kill, w.redis.Restart),
		w.atRedis(freezeRedis, w.redis.Stop, w.redis.Continue),
		w.atRedis(freezeRedis, w.redis.Stop, w.redis.Continue),
		w.atNetwork(networkSlow, redistest.Network{Delay: 300 * time.Millisecond}),
		w.atNetwork(networkCuts, redistest.Network{CutAfter: 50}),
		w.atNetwork(networkSwallows, redistest.Network{SwallowAnswers: true}),
	}
}

func (w *world) killGate(random *rand.Rand) func() {
	i := random.IntN(len(w.gates))
	end := w.book.begin(killGate, i)
	w.gates[i].kill()
	return w.startGate(i, end)
}

func (w *world) restartGate(random *rand.Rand) func() {
	i := random.IntN(len(w.gates))
	end := w.book.begin(restartGate, i)
	w.gates[i].stop()
	return w.startGate(i, end)
}

// startGate starts a gate that has ended.
func (w *world) startGate(i int, end func()) func() {
	return func() {
		defer end()
		if err := w.gates[i].run(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) freezeGate(random *rand.Rand) func() {
	i := random.IntN(len(w.gates))
	end := w.book.begin(freezeGate, i)
	w.gates[i].signal(syscall.SIGSTOP)
	return func() {
		w.gates[i].signal(syscall.SIGCONT)
		end()
	}
}

// atProvider is a fault of its token endpoint and of its metadata and keys.
func (w *world) atProvider(kind string, f testop.Fault) func(*rand.Rand) func() {
	return func(*rand.Rand) func() {
		end := w.book.begin(kind, -1)
		w.behave(map[string]testop.Fault{testop.Token: f, testop.Discovery: f, testop.JWKS: f})
		return func() {
			w.behave(nil)
			end()
		}
	}
}

func (w *world) providerDown(*rand.Rand) func() {
	end := w.book.begin(providerDown, -1)
	w.provider.Down()
	return func() {
		w.provider.Up(w.t)
		end()
	}
}

func (w *world) atRedis(kind string, away, back func()) func(*rand.Rand) func() {
	return func(*rand.Rand) func() {
		end := w.book.begin(kind, -1)
		away()
		return func() {
			back()
			end()
		}
	}
}

// atNetwork is a fault between one gate and Redis: the other may have it still.
func (w *world) atNetwork(kind string, n redistest.Network) func(*rand.Rand) func() {
	return func(random *rand.Rand) func() {
		i := random.IntN(len(w.gates))
		end := w.book.begin(kind, i)
		w.networks[i].Set(n)
		return func() {
			w.networks[i].Set(redistest.Network{})
			end()
		}
	}
}

func (w *world) reload(random *rand.Rand) func() {
	i := random.IntN(len(w.gates))
	end := w.book.begin(reload, i)
	defer end()
	if err := w.gates[i].reload(); err != nil {
		w.book.violation("%v", err)
	}
	return func() {}
}
