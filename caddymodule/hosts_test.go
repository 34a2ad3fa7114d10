package caddymodule

import (
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// providerAt is a provider that nobody calls.
func providerAt(t *testing.T, name, issuer string) *provider {
	t.Helper()
	client, err := authflow.New(authflow.Config{Issuer: issuer, ClientID: "app", ClientAuth: authflow.ClientAuthNone})
	if err != nil {
		t.Fatal(err)
	}
	return &provider{name: name, client: client}
}

// A warning of two gates that nobody can pass comes where both judge every request, and nowhere else.
func TestWarningOfContradictingGates(t *testing.T) {
	one, other := providerAt(t, "one", "https://one.example.com"), providerAt(t, "other", "https://other.example.com")
	gate := func(providers ...*provider) *Gate { return &Gate{providers: providers} }
	matched, open := gate(one), gate(one)
	matched.matchers = caddyhttp.MatcherSets{nil}
	open.Public = []string{"/x"}
	for _, tt := range []struct {
		name   string
		outer  *Gate
		behind []*Gate
		err    error
		says   int
	}{
		{"other providers", gate(one), []*Gate{gate(other)}, nil, 1},
		{"other providers, twice", gate(one), []*Gate{gate(other), gate(other)}, nil, 2},
		{"the same provider", gate(one), []*Gate{gate(one)}, nil, 0},
		{"one provider that both name", gate(one), []*Gate{gate(other, one)}, nil, 0},
		{"one provider of the outer one's that the inner names", gate(other, one), []*Gate{gate(one)}, nil, 0},
		{"the first of two gates behind contradicts", gate(one), []*Gate{gate(one), gate(other)}, nil, 1},
		{"no gate behind", gate(one), nil, nil, 0},
		{"the outer has a matcher", matched, []*Gate{gate(other)}, nil, 0},
		{"the outer leaves paths public", open, []*Gate{gate(other)}, nil, 0},
		{"the outer signs nobody in", gate(), []*Gate{gate(other)}, nil, 0},
		{"the inner signs nobody in", gate(one), []*Gate{gate()}, nil, 0},
		{"what is behind cannot be told", gate(one), []*Gate{gate(other)}, errors.New("no"), 0},
	} {
		core, logs := observer.New(zap.WarnLevel)
		tt.outer.behind = func() ([]*Gate, error) { return tt.behind, tt.err }
		(&App{logger: zap.New(core)}).warnOfContradictingGates(tt.outer)
		if logs.Len() != tt.says {
			t.Errorf("%s: said %d times, want %d", tt.name, logs.Len(), tt.says)
		}
		for _, line := range logs.All() {
			if says := line.ContextMap(); says["outer"] != "https://one.example.com" || says["inner"] != "https://other.example.com" {
				t.Errorf("%s: %v", tt.name, says)
			}
		}
	}
}

// A host that cookie_domain does not cover is named, once for what the browser sees.
func TestWarningOfUncoveredHosts(t *testing.T) {
	one := providerAt(t, "one", "https://one.example.com")
	for _, tt := range []struct {
		name, host, domain, public string
		nobody                     bool
		says                       string
	}{
		{name: "another domain", host: "wiki.example.org", domain: "example.com", says: "wiki.example.org"},
		{name: "another domain in capitals", host: "WIKI.example.org", domain: "example.com", says: "wiki.example.org"},
		{name: "a domain that ends the same", host: "badexample.com", domain: "example.com", says: "badexample.com"},
		{name: "hosts of another domain", host: "*.example.org", domain: "example.com", says: "example.org"},
		{name: "a host of the domain", host: "wiki.example.com", domain: "example.com"},
		{name: "the domain", host: "Example.com", domain: "example.com"},
		{name: "hosts of the domain", host: "*.example.com", domain: "example.com"},
		{name: "no domain", host: "wiki.example.org"},
		{name: "no host", host: "", domain: "example.com"},
		{name: "a host that is not known", host: "{env.HOST}", domain: "example.com"},
		{name: "public_url of the domain", host: "10.0.0.1", domain: "example.com", public: "https://wiki.example.com"},
		{name: "public_url of another domain", host: "wiki.example.com", domain: "example.com", public: "https://wiki.example.org", says: "wiki.example.org"},
		{name: "nobody signs in", host: "wiki.example.org", domain: "example.com", nobody: true},
	} {
		core, logs := observer.New(zap.WarnLevel)
		g := &Gate{cookies: session.CookieConfig{Domain: tt.domain}, providers: []*provider{one}}
		if tt.nobody {
			g.providers = nil
		}
		if tt.public != "" {
			g.publicOrigin, _ = parseOrigin(tt.public)
		}
		(&App{logger: zap.New(core)}).warnOfUncoveredHost(tt.host, g)
		said := ""
		for _, line := range logs.All() {
			said += line.ContextMap()["host"].(string)
			if line.ContextMap()["cookie_domain"] != tt.domain {
				t.Errorf("%s: %v", tt.name, line.ContextMap())
			}
		}
		if said != tt.says {
			t.Errorf("%s: said of %q, want %q", tt.name, said, tt.says)
		}
	}
}
