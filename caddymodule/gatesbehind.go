package caddymodule

import (
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// gatesBehind finds the gates that a request would pass after this one, for a proxy that
// asks about the request: their rules count as well. They can be asked if nothing stands
// between them and this one. Whatever else there may be (a route for some requests, a
// rewrite) happens only to a request that is served, so a gate behind it is an error.
func (g *Gate) gatesBehind() ([]*Gate, error) {
	app, err := g.app.ctx.AppIfConfigured("http")
	if err != nil {
		return nil, err
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		s := search{of: g, named: server.NamedRoutes}
		lists := []caddyhttp.RouteList{server.Routes}
		if server.Errors != nil {
			lists = append(lists, server.Errors.Routes)
		}
		for _, routes := range lists {
			if behind, found, _ := s.inRoutes(routes); found {
				return nextGates(behind)
			}
		}
	}
	return nil, errors.New("this gate is in none of the known routes, so the gates behind it cannot be found")
}

// nextGates returns the gates at the beginning of a list; a gate that stands further
// behind is an error.
func nextGates(behind []*Gate) ([]*Gate, error) {
	next := behind
	if end := slices.Index(behind, nil); end >= 0 {
		next = behind[:end]
	}
	if slices.ContainsFunc(behind[len(next):], func(other *Gate) bool { return other != nil }) {
		return nil, errors.New("a gatehouse directive stands behind this one, but not next to it: somebody who only asks cannot be told whether it would let the request pass")
	}
	return next, nil
}

// search walks the routes of a server. It lists what runs as gates, in their order; a nil
// in such a list stands for any other handler, or for a matcher.
type search struct {
	of    *Gate
	named map[string]*caddyhttp.Route
}

// inRoutes finds the gate in routes, and what runs behind it there. ended says that
// nothing runs after these routes.
func (s search) inRoutes(routes caddyhttp.RouteList) (behind []*Gate, found, ended bool) {
	var group string
	for _, route := range routes {
		switch {
		case !found:
			group = route.Group
			behind, found, ended = s.inHandlers(route.Handlers)
			ended = ended || found && route.Terminal
		case !ended && (group == "" || route.Group != group): // one route of a group runs
			behind = append(behind, s.runs(route)...)
		}
	}
	return behind, found, ended
}

func (s search) inHandlers(handlers []caddyhttp.MiddlewareHandler) (behind []*Gate, found, ended bool) {
	for _, handler := range handlers {
		switch h := handler.(type) {
		case *Gate:
			if !found && h == s.of {
				found = true
				continue
			}
		case *caddyhttp.Subroute:
			if !found {
				if behind, found, ended = s.inRoutes(h.Routes); ended {
					return behind, found, ended
				}
				continue
			}
		}
		if found {
			behind = append(behind, s.runsHandler(handler)...)
		}
	}
	return behind, found, ended
}

// runs lists what a route runs. The matcher of a route counts as something else, which
// stands in front of the route's gates.
func (s search) runs(route caddyhttp.Route) []*Gate {
	var all []*Gate
	if len(route.MatcherSets) > 0 {
		all = append(all, nil)
	}
	for _, handler := range route.Handlers {
		all = append(all, s.runsHandler(handler)...)
	}
	return all
}

func (s search) runsHandler(handler caddyhttp.MiddlewareHandler) []*Gate {
	var all []*Gate
	switch h := handler.(type) {
	case *Gate:
		return []*Gate{h}
	case *caddyhttp.Subroute:
		for _, route := range h.Routes {
			all = append(all, s.runs(route)...)
		}
		return all
	case *caddyhttp.Invoke:
		if route := s.named[h.Name]; route != nil {
			return append([]*Gate{nil}, search{of: s.of}.runs(*route)...)
		}
	}
	return []*Gate{nil}
}
