package caddymodule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// checkHosts compares the session settings of gates whose sites are one host to a
// browser, since cookies know neither ports nor the paths of site addresses: if the
// settings differ, one site would take the other's session for its own. Sites that share
// a domain are compared by [App.sessions].
func (a *App) checkHosts() error {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil //nolint:nilerr // no sites at all
	}
	first, seen := make(map[string]*Gate), make(map[*Gate]bool)
	for _, server := range app.(*caddyhttp.App).Servers {
		err := eachGate(server.Routes, []string{""}, func(host string, g *Gate) error {
			a.warnOfUncoveredHost(host, g)
			if !seen[g] {
				seen[g] = true
				a.warnOfContradictingGates(g)
			}
			if g.Session == nil || g.terms.cookies.Domain != "" {
				return nil
			}
			scope := host + " " + g.terms.cookies.Name
			other, shared := first[scope]
			if shared && other.terms != g.terms {
				return fmt.Errorf("gatehouse: session: two sites at the host %q must agree on store and lifetimes, or choose another cookie_name each", host)
			}
			first[scope] = g
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// warnOfUncoveredHost warns of a host at which cookie_domain keeps everybody from signing in. It
// is no error: the site may have other names, and this one may be for a health check.
func (a *App) warnOfUncoveredHost(host string, g *Gate) {
	name := cmp.Or(g.publicOrigin.hostname(), strings.ToLower(strings.TrimPrefix(host, "*.")))
	if name == "" || strings.Contains(name, "{") || len(g.providers) == 0 || g.cookies.Covers(name) {
		return
	}
	a.logger.Warn("nobody can sign in at a host that cookie_domain does not cover",
		zap.String("host", name), zap.String("cookie_domain", g.cookies.Domain))
}

// warnOfContradictingGates warns of a gate that nobody passes, since the one before it lets in
// people of other providers alone. What has a matcher or public paths may be meant for
// other requests, so that nothing is said of it.
func (a *App) warnOfContradictingGates(outer *Gate) {
	if len(outer.matchers) > 0 || len(outer.Public) > 0 || len(outer.providers) == 0 {
		return
	}
	next, err := outer.behind()
	if err != nil {
		return // of interest only to who asks about requests
	}
	for _, inner := range next {
		if len(inner.providers) == 0 || slices.ContainsFunc(inner.providers, func(p *provider) bool { return slices.ContainsFunc(outer.providers, p.same) }) {
			continue
		}
		a.logger.Warn("nobody can pass two gatehouse directives that name different providers: what both protect answers gate_conflict",
			zap.String("outer", outer.providers[0].client.Issuer()), zap.String("inner", inner.providers[0].client.Issuer()))
	}
}

// eachGate calls do for each gate of the routes and those within, with each of the
// hosts that lead there.
func eachGate(routes caddyhttp.RouteList, hosts []string, do func(host string, g *Gate) error) error {
	for _, route := range routes {
		within := hosts
		if own := hostsOf(route.MatcherSets); len(own) > 0 {
			within = own
		}
		for _, handler := range route.Handlers {
			var err error
			switch h := handler.(type) {
			case *caddyhttp.Subroute:
				err = eachGate(h.Routes, within, do)
			case *Gate:
				for _, host := range within {
					if err == nil {
						err = do(host, h)
					}
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// hostsOf returns the hosts that matchers ask for.
func hostsOf(sets caddyhttp.MatcherSets) []string {
	var hosts []string
	for _, matcher := range slices.Concat(sets...) {
		if named, is := matcher.(*caddyhttp.MatchHost); is {
			hosts = append(hosts, *named...)
		}
	}
	return hosts
}
