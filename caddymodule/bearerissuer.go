package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// check refuses words of a further issuer that contradict each other, or its purpose.
func (c *BearerIssuerConfig) check() error {
	for name, address := range c.Endpoint {
		if name != "jwks" {
			return fmt.Errorf("issuer %s: endpoint %s: nobody signs in there; of its endpoints jwks alone is of use", c.Issuer, name)
		}
		if address == authflow.EndpointOff {
			return fmt.Errorf("issuer %s: endpoint jwks: off, but its tokens are verified by these keys", c.Issuer)
		}
	}
	if c.Discovery != "" && c.Endpoint["jwks"] == "" {
		return fmt.Errorf("issuer %s: discovery: off, but there is no endpoint jwks", c.Issuer)
	}
	if err := c.NetworkConfig.check(); err != nil {
		return fmt.Errorf("issuer %s: %w", c.Issuer, err)
	}
	return nil
}

// provisionIssuers adds the issuers at which nobody signs in here.
func (g *Gate) provisionIssuers(ctx caddy.Context, b *bearer) error {
	for _, config := range g.Bearer.Issuer {
		if config == nil {
			return errors.New("bearer: an issuer is null")
		}
		p, err := g.provisionIssuer(ctx, config, b.issuers)
		if err != nil {
			return fmt.Errorf("bearer: %w", err)
		}
		b.issuers = append(b.issuers, p)
	}
	if len(g.Bearer.Issuer) > 0 && len(g.Allow) == 0 {
		return errors.New("bearer: issuer: say which of its tokens may pass (allow ...), or write allow any")
	}
	return nil
}

// provisionIssuer makes one of them. In rules and headers its name is its host, which must
// not be the name of one of the others.
func (g *Gate) provisionIssuer(ctx caddy.Context, c *BearerIssuerConfig, others []*provider) (*provider, error) {
	issuer, err := resolve("issuer", c.Issuer)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("issuer: %q is no URL", issuer)
	}
	name := strings.ReplaceAll(u.Host, ":", "_") // a colon ends the name, where one stands before a user
	for _, p := range others {
		switch {
		case p.client.Issuer() == issuer:
			return nil, fmt.Errorf("issuer: %s is there already", issuer)
		case p.name == name:
			return nil, fmt.Errorf("issuer: %s and %s would both be called %s, and their users taken for each other", issuer, p.client.Issuer(), name)
		}
	}
	written, err := json.Marshal(c) // loading a module takes it out of the configuration
	if err != nil {
		return nil, err
	}
	config := authflow.Config{
		Issuer: issuer, ClientID: g.Bearer.Audience[0], ClientAuth: authflow.ClientAuthNone, Now: time.Now, Logger: g.app.slogger, KeysOnly: true,
	}
	if _, err := c.NetworkConfig.provision(ctx, &config); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", issuer, err)
	}
	client, err := g.app.acquireClient(&c.NetworkConfig, append([]byte("bearer issuer "), written...), config)
	if err != nil {
		return nil, err
	}
	return &provider{name: name, client: client, userClaim: "sub"}, nil
}
