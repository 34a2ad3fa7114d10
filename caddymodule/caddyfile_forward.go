package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseForward reads one line of `forward`: a token, and the header that it goes
// into.
func parseForward(d *caddyfile.Dispenser, g *GateConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 1 && len(args) != 2 {
		return d.Errf("forward takes a token and, if you like, the name of its header, not %d values", len(args))
	}
	if forwardHeaders[args[0]] == "" {
		return d.Errf("forward: %q is none of %s", args[0], strings.Join(forwardable(), ", "))
	}
	config := ForwardConfig{Token: args[0]}
	if len(args) == 2 {
		config.Header = args[1]
	}
	if slices.ContainsFunc(g.Forward, func(other ForwardConfig) bool { return strings.EqualFold(other.header(), config.header()) }) {
		return d.Errf("forward to the header %s is already given", config.header())
	}
	g.Forward = append(g.Forward, config)
	return nil
}
