package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

func init() {
	caddy.RegisterModule(new(RedisStore))
}

// RedisConfig says where a Redis or Valkey is. Strings may hold placeholders of the
// process ({env.*}, {file.*}).
type RedisConfig struct {
	// The servers, host[:port] or unix/ and the path of a socket: one server,
	// the sentinels, or some nodes of the cluster. Default: 127.0.0.1:6379.
	Address []string `json:"address,omitempty"`

	// The name that the sentinels at the addresses know the master by.
	// Default: the addresses are no sentinels.
	Sentinel string `json:"sentinel,omitempty"`

	// The ACL user that the sentinels ask for. Default: their default user.
	SentinelUsername string `json:"sentinel_username,omitempty"`

	// The password that the sentinels ask for; it is not that of the master. It is
	// read when the configuration is loaded. Default: none.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// The addresses are nodes of a cluster.
	Cluster bool `json:"cluster,omitempty"`

	// The ACL user. Default: the server's default user.
	Username string `json:"username,omitempty"`

	// The password. A {file.*} placeholder is read for each new connection, so a
	// changed file is followed without a reload.
	Password string `json:"password,omitempty"`

	// Use TLS, and verify that each server's certificate is for its name.
	TLS bool `json:"tls,omitempty"`

	// Whose certificates the servers may show. Default: the system's authorities.
	TLSTrustPool json.RawMessage `json:"tls_trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// What every key begins with: two installations at one Redis need two.
	// Default: gatehouse:
	Prefix string `json:"prefix,omitempty"`
}

// RedisStore is the module gatehouse.session_stores.redis: it keeps sessions, and
// what servers share of them, in Redis or Valkey.
type RedisStore struct {
	RedisConfig

	config      redisstore.Config
	authorities string // what says whose certificates are trusted
}

// CaddyModule returns the Caddy module information.
func (*RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse.session_stores.redis", New: func() caddy.Module { return new(RedisStore) }}
}

// Provision checks the configuration. It does not connect.
func (s *RedisStore) Provision(ctx caddy.Context) error {
	for _, field := range []struct {
		word, raw string
		target    *string
	}{
		{"sentinel", s.Sentinel, &s.config.Sentinel},
		{"sentinel_username", s.SentinelUsername, &s.config.SentinelUsername},
		{"username", s.Username, &s.config.Username},
		{"prefix", s.Prefix, &s.config.Prefix},
	} {
		var err error
		if *field.target, err = resolveOptional(field.word, field.raw); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	s.config.Cluster = s.Cluster
	for _, step := range []func(caddy.Context) error{s.provisionAddresses, s.provisionPassword, s.provisionSentinel, s.provisionTLS} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	store, err := redisstore.New(s.config) // what it refuses is refused now
	if err != nil {
		return err
	}
	return store.Close()
}

func (s *RedisStore) provisionAddresses(caddy.Context) error {
	port := "6379"
	if s.Sentinel != "" {
		port = "26379"
	}
	for _, raw := range s.Address {
		address, err := resolve("address", raw)
		if err != nil {
			return err
		}
		s.config.Addresses = append(s.config.Addresses, strings.Fields(address)...)
	}
	if len(s.Address) == 0 {
		s.config.Addresses = []string{"127.0.0.1"}
	}
	for i, address := range s.config.Addresses {
		if strings.HasPrefix(address, "unix/") {
			if s.Cluster || s.Sentinel != "" || s.TLS {
				return fmt.Errorf("address %s: a unix socket is one server, without TLS", address)
			}
			continue
		}
		if strings.Contains(address, "://") {
			return errors.New("an address is host:port, without scheme, user and password")
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), port)
			s.config.Addresses[i] = address
		}
		if host, number, err := net.SplitHostPort(address); err != nil || host == "" || strings.ContainsAny(host, "/@ ") || !isPort(number) {
			return fmt.Errorf("address %q is not host:port", address)
		}
	}
	return nil
}

func isPort(number string) bool {
	port, err := net.LookupPort("tcp", number)
	return err == nil && port > 0 && strings.Trim(number, "0123456789") == ""
}

func (s *RedisStore) provisionPassword(caddy.Context) error {
	if s.Password == "" {
		if s.Username != "" {
			return errors.New("username needs a password")
		}
		return nil
	}
	raw := s.Password
	s.config.Password = func() (secret.String, error) { return readSecret("password", raw) }
	_, err := s.config.Password()
	return err
}

// checkSentinel refuses what would be asked of sentinels that there are not.
func (c *RedisConfig) checkSentinel() error {
	switch {
	case c.Sentinel == "" && c.SentinelUsername+c.SentinelPassword != "":
		return errors.New("sentinel_username and sentinel_password without sentinel do nothing")
	case c.SentinelUsername != "" && c.SentinelPassword == "":
		return errors.New("sentinel_username needs a sentinel_password")
	}
	return nil
}

func (s *RedisStore) provisionSentinel(caddy.Context) error {
	err := s.checkSentinel()
	if err != nil || s.SentinelPassword == "" {
		return err
	}
	s.config.SentinelPassword, err = readSecret("sentinel_password", s.SentinelPassword)
	return err
}

func (s *RedisStore) provisionTLS(ctx caddy.Context) error {
	if !s.TLS {
		if len(s.TLSTrustPool) > 0 {
			return errors.New("tls_trust_pool without tls does nothing")
		}
		return nil
	}
	s.config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(s.TLSTrustPool) == 0 {
		return nil
	}
	app, err := ctx.App("gatehouse")
	if err != nil {
		return err
	}
	// The text does not say what is in a file: a reload follows it.
	s.authorities = app.(*App).load + string(s.TLSTrustPool)
	loaded, err := ctx.LoadModule(s, "TLSTrustPool")
	if err != nil {
		return fmt.Errorf("tls_trust_pool: %w", err)
	}
	source, is := loaded.(caddytls.CA)
	if !is {
		return fmt.Errorf("tls_trust_pool: %T is no source of authorities", loaded)
	}
	s.config.TLS.RootCAs = source.CertPool()
	return nil
}

// Identity implements [SessionStore].
func (s *RedisStore) Identity() string {
	addresses := slices.Sorted(slices.Values(s.config.Addresses))
	// A client keeps the password for sentinels that it was made with: another is another client.
	forSentinels := sha256.Sum256([]byte(s.config.SentinelPassword.Reveal()))
	return fmt.Sprintf("redis %q %q %q %x %v %q %q %v %q %q", addresses, s.config.Sentinel, s.config.SentinelUsername, forSentinels,
		s.Cluster, s.config.Username, s.Password, s.TLS, s.authorities, cmp.Or(s.config.Prefix, redisstore.DefaultPrefix))
}

// OpenSessions implements [SessionStore].
func (s *RedisStore) OpenSessions() (SharedSessions, error) { return redisstore.New(s.config) }

// Interface guards.
var (
	_ caddy.Provisioner = (*RedisStore)(nil)
	_ SessionStore      = (*RedisStore)(nil)
)
