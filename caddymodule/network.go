package caddymodule

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// provisionNetwork sets how the provider is reached, and where.
func (c *ProviderConfig) provisionNetwork(ctx caddy.Context, config *authflow.Config) error {
	transport, err := c.NetworkConfig.provision(ctx, config)
	if err != nil {
		return err
	}
	if c.Profile != "" {
		transport.TLSClientConfig.CipherSuites = fapi2Ciphers
	}
	return c.provisionCertificate(transport)
}

// check holds the words to each other.
func (c *NetworkConfig) check() error {
	if c.InsecureSkipTLSVerify && len(c.TLSTrustPool) > 0 {
		return errors.New("tls_trust_pool and insecure_skip_tls_verify contradict each other")
	}
	if c.Discovery != "" && c.Discovery != "off" {
		return fmt.Errorf("discovery: %q is not off", c.Discovery)
	}
	return nil
}

// provision sets how an issuer is reached, and where. It makes the one transport that
// every call to it goes through.
func (c *NetworkConfig) provision(ctx caddy.Context, config *authflow.Config) (*http.Transport, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var err error
	if config.Reach, err = resolveOptional("reach", c.Reach); err != nil {
		return nil, err
	}
	config.NoDiscovery = c.Discovery == "off"
	config.Endpoints = make(map[string]string, len(c.Endpoint))
	for name, raw := range c.Endpoint {
		if config.Endpoints[name], err = resolve("endpoint "+name, raw); err != nil {
			return nil, err
		}
	}
	transport := authflow.NewTransport()
	transport.TLSClientConfig = new(tls.Config)
	if len(c.TLSTrustPool) > 0 {
		loaded, err := ctx.LoadModule(c, "TLSTrustPool")
		if err != nil {
			return nil, fmt.Errorf("tls_trust_pool: %w", err)
		}
		source, is := loaded.(caddytls.CA)
		if !is {
			return nil, fmt.Errorf("tls_trust_pool: %T is no source of authorities", loaded)
		}
		transport.TLSClientConfig.RootCAs = source.CertPool()
	}
	transport.TLSClientConfig.InsecureSkipVerify = c.InsecureSkipTLSVerify //nolint:gosec // the user's explicit choice, warned about
	config.Transport = transport
	return transport, c.provisionForwardProxy(transport)
}

// provisionForwardProxy sends all calls through the proxy that is named, and the
// environment is not looked at then, nor its exceptions.
func (c *NetworkConfig) provisionForwardProxy(transport *http.Transport) error {
	text, err := resolveOptional("forward_proxy_url", c.ForwardProxyURL)
	if err != nil || text == "" {
		return err
	}
	u, err := url.Parse(text)
	if err != nil { // its text would show a password
		return errors.New("forward_proxy_url is no URL")
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || u.Host == "" {
		return fmt.Errorf("forward_proxy_url: %s is no URL of an http, https or socks5 proxy", u.Redacted())
	}
	transport.Proxy = http.ProxyURL(u)
	return nil
}
