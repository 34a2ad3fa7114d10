// Command demo shows Gatehouse at work with nothing installed: an OpenID provider,
// a legacy application and the gate in front of it, all in this process and on
// loopback.
//
//	go run ./cmd/demo           # open http://localhost:9999
//	go run ./cmd/demo -check    # the same without a browser, on free ports
//
// With -check it signs in and out over real HTTP, prints what it saw at each step,
// and fails at the first that is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is main with its arguments and output.
func run(arguments []string, out io.Writer) (err error) {
	var p ports
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.IntVar(&p.gate, "port", 9999, "`port` of the gate, at localhost; 0 is any free one")
	flags.IntVar(&p.provider, "provider-port", 9998, "`port` of the OpenID provider, at 127.0.0.1")
	flags.IntVar(&p.application, "application-port", 9997, "`port` of the legacy application, at 127.0.0.1")
	checking := flags.Bool("check", false, "sign in and out without a browser, on free ports, and exit")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *checking {
		p = ports{}
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	s, err := start(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if *checking {
		return check(ctx, s, out)
	}
	welcome(s, out)
	<-ctx.Done()
	return nil
}

// welcome says what there is to do.
func welcome(s *stack, out io.Writer) {
	fmt.Fprintf(out, "The gate runs this Caddyfile:\n\n%s\n", indent(s.Caddyfile))
	fmt.Fprintf(out, "Open     %s  (any path: you come back to it)\n", s.Site)
	fmt.Fprintf(out, "Sign in  as one of these, at the provider %s:\n", s.Issuer)
	for _, u := range users {
		fmt.Fprintf(out, "           %-6s password %-11s groups %s\n", u.Name, u.Password, strings.Join(u.Groups, ", "))
	}
	fmt.Fprintf(out, "Try      carol: she can sign in, and the rules of the site (staff, admins) keep her out\n")
	fmt.Fprintf(out, "         Deny, where the provider asks whether the site may know who you are\n")
	fmt.Fprintf(out, "         %s/oauth2/session: who you are, and how to sign out\n", s.Site)
	fmt.Fprintf(out, "         a script without a session gets 401, and no redirect:\n")
	fmt.Fprintf(out, "           curl -i %s/users/me\n", s.Site)
	fmt.Fprintf(out, "         nobody becomes admin by a header, also where no sign-in is needed:\n")
	fmt.Fprintf(out, "           curl -s %s/public/ -H 'X-Forwarded-User: admin' | grep caller\n", s.Site)
	fmt.Fprintf(out, "Next     run Caddyfile.example in another terminal: this provider also knows %s as its client\n", exampleSite)
	fmt.Fprintf(out, "Log      %s  (gone with the demo)\n", s.logFile())
	fmt.Fprintf(out, "Stop     with Ctrl-C\n")
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}
