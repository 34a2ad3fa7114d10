package caddymodule

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// provisionRedis provisions a store as Caddy does.
func provisionRedis(t *testing.T, config RedisConfig) (*RedisStore, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	s := &RedisStore{RedisConfig: config}
	return s, s.Provision(ctx)
}

// An address without a port has the one that its kind of server listens at by default.
func TestRedisAddresses(t *testing.T) {
	t.Setenv("REDIS_HOSTS", "a b:1 [2001:db8::1]")
	for _, tt := range []struct {
		name   string
		config RedisConfig
		want   string // "": refused
	}{
		{"none", RedisConfig{}, "127.0.0.1:6379"},
		{"no sentinel's", RedisConfig{Sentinel: "m"}, "127.0.0.1:26379"},
		{"no port", RedisConfig{Address: []string{"redis"}}, "redis:6379"},
		{"no port of a sentinel", RedisConfig{Sentinel: "m", Address: []string{"a", "b:1"}}, "a:26379 b:1"},
		{"no port of a node", RedisConfig{Cluster: true, Address: []string{"a", "b:1"}}, "a:6379 b:1"},
		{"a port", RedisConfig{Address: []string{"redis:7000"}}, "redis:7000"},
		{"the last port", RedisConfig{Address: []string{"redis:65535"}}, "redis:65535"},
		{"IPv6", RedisConfig{Address: []string{"2001:db8::1"}}, "[2001:db8::1]:6379"},
		{"IPv6 in brackets", RedisConfig{Address: []string{"[2001:db8::1]"}}, "[2001:db8::1]:6379"},
		{"IPv6 and a port", RedisConfig{Address: []string{"[2001:db8::1]:7000"}}, "[2001:db8::1]:7000"},
		{"a socket", RedisConfig{Address: []string{"unix//run/redis.sock"}}, "unix//run/redis.sock"},
		{"several in one variable", RedisConfig{Cluster: true, Address: []string{"{env.REDIS_HOSTS}"}}, "a:6379 b:1 [2001:db8::1]:6379"},
		{"a socket of a cluster", RedisConfig{Cluster: true, Address: []string{"unix//run/redis.sock"}}, ""},
		{"a socket of a sentinel", RedisConfig{Sentinel: "m", Address: []string{"unix//run/redis.sock"}}, ""},
		{"a path", RedisConfig{Address: []string{"redis/0"}}, ""},
		{"a user", RedisConfig{Address: []string{"me@redis:6379"}}, ""},
		{"no host", RedisConfig{Address: []string{":6379"}}, ""},
		{"port 0", RedisConfig{Address: []string{"redis:0"}}, ""},
		{"a port by name", RedisConfig{Address: []string{"redis:http"}}, ""},
	} {
		s, err := provisionRedis(t, tt.config)
		if got := strings.Join(s.config.Addresses, " "); (err == nil) != (tt.want != "") || err == nil && got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// What is written reaches the store, each word where it belongs.
func TestRedisWords(t *testing.T) {
	t.Setenv("REDIS_PASSWORD", "first")
	s, err := provisionRedis(t, RedisConfig{
		Sentinel: "main", SentinelUsername: "watcher", SentinelPassword: "hidden", Username: "gate", Password: "{env.REDIS_PASSWORD}", TLS: true, Prefix: "wiki:",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.config; c.Sentinel != "main" || c.SentinelUsername != "watcher" || c.SentinelPassword.Reveal() != "hidden" || c.Username != "gate" || c.Prefix != "wiki:" || c.TLS == nil || c.Cluster {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"first", "second"} { // read for each connection
		t.Setenv("REDIS_PASSWORD", want)
		if got, err := s.config.Password(); err != nil || got.Reveal() != want {
			t.Errorf("the password is %q, %v; want %q", got.Reveal(), err, want)
		}
	}
	t.Setenv("REDIS_PASSWORD", "")
	if _, err := s.config.Password(); err == nil {
		t.Error("a password that is empty now is used")
	}
}

// Sites share a connection where everything is the same: what tells two stores apart is in their identity, and the order of
// addresses does not.
func TestRedisIdentity(t *testing.T) {
	identity := func(config RedisConfig) string {
		t.Helper()
		s, err := provisionRedis(t, config)
		if err != nil {
			t.Fatal(err)
		}
		return s.Identity()
	}
	configs := []RedisConfig{
		{},
		{Address: []string{"b"}},
		{Cluster: true},
		{Sentinel: "m"},
		{Sentinel: "n"},
		{Password: "x"},
		{Password: "y"},
		{Username: "u", Password: "x"},
		{TLS: true},
		{Prefix: "x:"},
		{Sentinel: "m", SentinelPassword: "x"},
		{Sentinel: "m", SentinelPassword: "y"},
		{Sentinel: "m", SentinelUsername: "u", SentinelPassword: "y"},
	}
	var seen []string
	for i, config := range configs {
		one := identity(config)
		if before := slices.Index(seen, one); before >= 0 {
			t.Errorf("%+v and %+v are one", configs[before], configs[i])
		}
		if one != identity(config) {
			t.Errorf("%+v is two", config)
		}
		seen = append(seen, one)
	}
	if a, b := identity(RedisConfig{Cluster: true, Address: []string{"a", "b"}}), identity(RedisConfig{Cluster: true, Address: []string{"b", "a"}}); a != b {
		t.Error("the order of addresses counts")
	}
	if strings.Contains(identity(RedisConfig{Sentinel: "m", SentinelPassword: "hidden"}), "hidden") {
		t.Error("the identity shows the password of the sentinels")
	}
}
