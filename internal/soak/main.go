// Command soak looks for requests that pass without a live session, and for live
// sessions that are refused, while processes are killed, frozen and reloaded.
//
//	go run ./internal/soak -for 10m [-seed N]
//
// It runs itself twice more as Caddy with the gate: two replicas with `store
// cookie` and `shared redis`, a real redis-server, a provider that rotates refresh
// tokens and ends the family of one that comes back, an application. Several people sign
// in, read, and are signed out, each with a source of randomness of their own, and
// one more chooses the faults: with one seed the choices are the same each time, how
// they meet is not. Every answer is judged at once. It prints counts, and ends with
// status 1 if the invariant did not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

// asCaddy makes this program Caddy.
const asCaddy = "GATEHOUSE_SOAK_CADDY"

// options are what the command line says.
type options struct {
	length   time.Duration // how long people go on
	seed     uint64
	people   int
	within   time.Duration // after it no replica lets a session pass that was ended
	recovery time.Duration // after a fault: how long its consequences may last
}

func main() {
	if os.Getenv(asCaddy) != "" {
		beCaddy()
		return
	}
	var o options
	flag.DurationVar(&o.length, "for", 10*time.Minute, "how long")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1e9), "the choices to make")
	flag.IntVar(&o.people, "people", 6, "how many browsers")
	flag.DurationVar(&o.within, "within", time.Second, "how long an ended session may pass")
	flag.DurationVar(&o.recovery, "recovery", 3*time.Second, "how long the consequences of a fault may last")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	h := &host{}
	b := soak(ctx, h, o, os.Stdout)
	h.end()
	stop()
	if b.count(violations) > 0 {
		os.Exit(1)
	}
}

// beCaddy never outlives who started it: that one holds the other end of stdin.
func beCaddy() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	os.Args[0] = "caddy"
	caddycmd.Main()
}

// soak runs everything and returns what was written down.
func soak(ctx context.Context, t testing.TB, o options, out io.Writer) *book {
	b := &book{Now: time.Now, out: out, seed: o.seed, counts: zeros(), refreshed: map[string]time.Time{}}
	b.start = b.Now()
	fmt.Fprintf(out, "seed %d, %s, %d people\n", o.seed, o.length, o.people)
	w := newWorld(t, b)
	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var people sync.WaitGroup
	for i := range o.people {
		p := &person{
			world: w, options: o, name: fmt.Sprintf("p%d", i),
			random: rand.New(rand.NewPCG(o.seed, uint64(i))),
		}
		people.Go(func() {
			for ctx.Err() == nil {
				p.step()
			}
		})
	}
	w.trouble(ctx, rand.New(rand.NewPCG(o.seed, 1<<32)))
	people.Wait()
	b.set("refresh tokens that came back", w.provider.Reuses())
	b.print()
	if b.count(violations) > 0 {
		for i, g := range w.gates {
			g.saveLog(fmt.Sprintf("soak-%d-gate%d.log", o.seed, i))
		}
	}
	return b
}
