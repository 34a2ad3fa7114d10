package caddymodule

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// clientPool holds the clients of the protocol, and with them what they have
// discovered, across reloads. It is derived data, so the key is the configuration.
var clientPool = caddy.NewUsagePool()

// pooledClient is a client in the pool. It holds nothing that needs closing, and
// requests of an old configuration may use it after it has left the pool.
type pooledClient struct{ *authflow.Client }

// Destruct implements caddy.Destructor.
func (pooledClient) Destruct() error { return nil }

// acquireClient finds the client of a configuration as it was written, or makes it.
func (a *App) acquireClient(c *NetworkConfig, written []byte, config authflow.Config) (*authflow.Client, error) {
	if c.InsecureSkipTLSVerify {
		a.logger.Warn("insecure_skip_tls_verify: anyone on the network path can pretend to be the provider", zap.String("issuer", config.Issuer))
	}
	encoded := fmt.Appendf(written, "|%q|%q|%q|%q|%q|%q|%q", config.Issuer, config.ClientID, config.Scopes, config.Reach, config.Endpoints, config.Parameters, config.ClaimSources)
	if t, is := config.Transport.(*http.Transport); is && t.TLSClientConfig.RootCAs != nil || strings.Contains(c.ForwardProxyURL, "{") {
		// The text does not say what is in the file: a reload follows it.
		encoded = append(encoded, a.load...)
	}
	digest := sha256.Sum256(encoded)
	key := string(digest[:])
	client, _, err := clientPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		config.Transport = traced(config.Transport)
		client, err := authflow.New(config)
		return pooledClient{client}, err
	})
	if err != nil {
		return nil, err
	}
	a.releases = append(a.releases, func() { _, _ = clientPool.Delete(key) })
	return client.(pooledClient).Client, nil
}
