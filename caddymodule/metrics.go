package caddymodule

import (
	"cmp"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// counters count what happened at the gates of a configuration, in Caddy's metrics. Their
// labels are the names of configured providers and the reasons of docs/reasons.md: no
// visitor can make a new one.
type counters struct {
	signIns   *prometheus.CounterVec // by provider
	refused   *prometheus.CounterVec // by reason
	refreshes *prometheus.CounterVec // by provider, and reason or "ok"
}

// refreshed is the label of a refresh that worked.
const refreshed = "ok"

// newCounters makes them, and has Caddy tell them. A nil registry is none.
func newCounters(registry *prometheus.Registry) (*counters, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gatehouse", Name: name, Help: help}, labels)
	}
	c := &counters{
		signIns:   counter("sign_ins_total", "Sign-ins that ended in a session.", "provider"),
		refused:   counter("refused_total", "Requests that were answered with an error, by its reason.", "reason"),
		refreshes: counter("refreshes_total", "Refreshes of sessions at the provider, by what came of them: ok, or the reason.", "provider", "outcome"),
	}
	if registry == nil {
		return c, nil
	}
	return c, errors.Join(registry.Register(c.signIns), registry.Register(c.refused), registry.Register(c.refreshes))
}

func (c *counters) signedIn(provider string) {
	if c != nil { // of a gate that is provisioned
		c.signIns.WithLabelValues(provider).Inc()
	}
}

func (c *counters) refuse(reason authflow.Reason) {
	if c != nil {
		c.refused.WithLabelValues(string(reason)).Inc()
	}
}

func (c *counters) refresh(provider string, err error) {
	if c == nil {
		return
	}
	outcome := refreshed
	if err != nil {
		outcome = string(cmp.Or(authflow.ReasonOf(err), ReasonInternal))
	}
	c.refreshes.WithLabelValues(provider, outcome).Inc()
}
