// Command bench measures what the gate costs: beside plain Caddy, in one run, on
// loopback, one kind of request after the other in short rounds.
//
//	go run ./bench
//	go run ./bench -cookies
//	go run ./bench -scaling
//
// It runs itself twice more as Caddy, without the gate and with it, signs in at a
// provider of its own, and checks before anything is timed that the upstream sees
// the user and that nobody passes without a cookie. What it compares is CPU time
// per request, which other work on the machine disturbs least, as the median of
// the ratios within each round. docs/performance.md says what came out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

// asCaddy makes this program Caddy instead of the benchmark; as "profiled" it also
// notes who waits for whom.
const asCaddy = "GATEHOUSE_BENCH_CADDY"

// options are what the command line says.
type options struct {
	rounds      int
	round       time.Duration // how long one kind of request is sent in one round
	connections int
	cores       int // of each server: GOMAXPROCS
	bare        bool
	jsonFile    string
	only        string
	specs       []string
	redis       string
	profile     string
	signIns     int
	starts      int
	cookies     bool
	scaling     bool
	markdown    bool
}

func main() {
	if as := os.Getenv(asCaddy); as != "" {
		runCaddy(as)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, readOptions(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// runCaddy is what this program does instead where [asCaddy] is set.
func runCaddy(as string) {
	if as == "profiled" {
		runtime.SetMutexProfileFraction(1)
		runtime.SetBlockProfileRate(1000) // nanoseconds
	}
	go func() { // who started us holds the other end
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	os.Args[0] = "caddy"
	caddycmd.Main()
}

func readOptions() options {
	var o options
	var quick bool
	flag.IntVar(&o.rounds, "rounds", 24, "how many rounds")
	flag.DurationVar(&o.round, "round", 250*time.Millisecond, "how long one kind of request is sent in one round")
	flag.IntVar(&o.connections, "connections", 8, "how many connections send requests at once")
	flag.IntVar(&o.cores, "cores", 1, "GOMAXPROCS of each Caddy")
	flag.BoolVar(&o.bare, "bare", false, "send no header but Host and Cookie, as load generators do; a browser sends fourteen more")
	flag.StringVar(&o.jsonFile, "json", "", "also write the table as JSON to this file")
	flag.BoolVar(&o.markdown, "markdown", false, "print tables as Markdown")
	flag.StringVar(&o.only, "only", "", "measure only rows whose name holds this, and what they are compared with")
	specs := flag.String("spec", "", "files that describe other servers, with commas between: specs/apache.json")
	flag.StringVar(&o.redis, "redis", "", "address of a Redis or Valkey: also measure sessions that are kept there")
	flag.StringVar(&o.profile, "profile", "", "write profiles of the gate to this folder: CPU and allocations of all rounds, mutex and block")
	flag.IntVar(&o.signIns, "sign-ins", 500, "how many people sign in at once at the end; 0 for none")
	flag.IntVar(&o.starts, "starts", 8, "how often each Caddy is started at the end, to the first answer; 0 for never")
	flag.BoolVar(&o.cookies, "cookies", false, "measure nothing but how large cookies are for the tokens of several providers: testdata/tokens")
	flag.BoolVar(&o.scaling, "scaling", false, "measure nothing but what a second core brings to the handlers, without connections")
	flag.BoolVar(&quick, "quick", false, "only see that it works: two rounds of 20 ms, few sign-ins and starts")
	flag.Parse()
	if quick {
		o.rounds, o.round, o.signIns, o.starts = 2, 20*time.Millisecond, 8, 1
	}
	if *specs != "" {
		o.specs = strings.Split(*specs, ",")
	}
	return o
}

// run does all of it and prints as it goes.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.rounds < 1 || o.round <= 0 || o.connections < 1 || o.cores < 1 {
		return errors.New("rounds, round, connections and cores are above zero")
	}
	if o.cookies {
		sizes, err := measureCookies(ctx, o)
		printCookies(sizes, out, o.markdown)
		return errors.Join(err, writeJSON(o.jsonFile, sizes))
	}
	if o.scaling {
		factors, err := measureScaling(ctx, o)
		printScaling(factors, out, o.markdown)
		return errors.Join(err, writeJSON(o.jsonFile, factors))
	}
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	rows, err := b.rows(ctx)
	if err != nil {
		return err
	}
	finish, err := b.startProfiles(len(rows))
	if err != nil {
		return err
	}
	if err := measure(ctx, rows, o); err != nil {
		return err
	}
	if err := finish(); err != nil {
		return err
	}
	report := report{Machine: machine(), Command: strings.Join(os.Args, " "), Rows: summarize(rows)}
	if o.signIns > 0 {
		if report.AtOnce, err = b.signInAtOnce(ctx, o.signIns); err != nil {
			return err
		}
	}
	if o.starts > 0 {
		if report.Start, err = b.timeStarts(ctx, o.starts); err != nil {
			return err
		}
	}
	report.print(out, o.markdown)
	return writeJSON(o.jsonFile, report)
}

// writeJSON writes what was found out to a file, if one is named.
func writeJSON(file string, found any) error {
	if file == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(found, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(encoded, '\n'), 0o600)
}
