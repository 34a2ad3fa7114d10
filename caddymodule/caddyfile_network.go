package caddymodule

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// networkWords say how a provider, or a further issuer of access tokens, is reached.
func networkWords(n *NetworkConfig) vocabulary {
	return vocabulary{
		"discovery":         oneOf(&n.Discovery, "off"),
		"endpoint":          {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseEndpoint(d, n) }},
		"tls_trust_pool":    {parse: func(d *caddyfile.Dispenser) error { return parseTrustPool(d, &n.TLSTrustPool) }},
		"forward_proxy_url": one(&n.ForwardProxyURL),
		"reach":             one(&n.Reach),

		"insecure_skip_tls_verify": flag(&n.InsecureSkipTLSVerify),
	}
}

// parseBearerIssuer reads `issuer <URL>...`, or one with a block that says how it is
// reached.
func parseBearerIssuer(d *caddyfile.Dispenser, b *BearerConfig) error {
	var issuers []string
	if err := many(&issuers).parse(d); err != nil {
		return err
	}
	var network NetworkConfig
	if err := parseBlock(d, networkWords(&network)); err != nil {
		return err
	}
	if len(issuers) > 1 && !reflect.ValueOf(network).IsZero() {
		return d.Errf("issuer: a block says how one issuer is reached, not %d", len(issuers))
	}
	for _, issuer := range issuers {
		c := &BearerIssuerConfig{Issuer: issuer, NetworkConfig: network}
		if slices.ContainsFunc(b.Issuer, func(other *BearerIssuerConfig) bool { return other.Issuer == issuer }) {
			return d.Errf("issuer %s is already given", issuer)
		}
		if err := c.check(); err != nil {
			return d.WrapErr(err)
		}
		b.Issuer = append(b.Issuer, c)
	}
	return nil
}

// parseEndpoint reads one address of the provider that is set by hand, or off.
func parseEndpoint(d *caddyfile.Dispenser, p *NetworkConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 2 {
		return d.Err("endpoint takes a name and its URL, or off")
	}
	name := args[0]
	if !slices.Contains(authflow.EndpointNames(), name) {
		return d.Errf("endpoint: %q is none of %s", name, strings.Join(authflow.EndpointNames(), ", "))
	}
	if p.Endpoint[name] != "" {
		return d.Errf("endpoint %s is already given", name)
	}
	if p.Endpoint == nil {
		p.Endpoint = make(map[string]string)
	}
	p.Endpoint[name] = args[1]
	return nil
}

// parseTrustPool reads a source of authorities, as the http transport of
// reverse_proxy does: a module of Caddy's, with its own arguments and block.
func parseTrustPool(d *caddyfile.Dispenser, target *json.RawMessage) error {
	if !d.NextArg() {
		return d.Err("tls_trust_pool takes the name of a module: file, system, inline, ...")
	}
	name := d.Val()
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "{") {
		return d.Errf("tls_trust_pool takes the name of a module first: did you mean tls_trust_pool file %s?", name)
	}
	module, err := caddyfile.UnmarshalModule(d, "tls.ca_pool.source."+name)
	if err != nil {
		return err
	}
	source, is := module.(caddytls.CA)
	if !is {
		return d.Errf("tls_trust_pool: %s is no source of authorities", name)
	}
	*target = caddyconfig.JSONModuleObject(source, "provider", name, nil)
	return nil
}
