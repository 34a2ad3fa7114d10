package caddymodule

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const sessionStores = "gatehouse.session_stores"

// storeNames are the stores that there are: two that are built in, and modules.
func storeNames(builtin ...string) string {
	for _, module := range caddy.GetModules(sessionStores) {
		builtin = append(builtin, module.ID.Name())
	}
	return strings.Join(builtin, ", ")
}

// parseStore reads where sessions live.
func parseStore(d *caddyfile.Dispenser, s *SessionConfig) error {
	if !d.NextArg() {
		return d.Errf("store takes one of %s", storeNames("cookie", "memory"))
	}
	name := d.Val()
	if name == "cookie" || name == "memory" {
		if d.NextArg() {
			return d.Errf("store %s takes no more", name)
		}
		s.Store = caddyconfig.JSON(name, nil)
	} else if err := parseSessionStore(d, "store", &s.Store, "cookie", "memory"); err != nil {
		return err
	}
	return checkPlaces(d, s)
}

// parseShared reads what servers have in common beside sessions in cookies.
func parseShared(d *caddyfile.Dispenser, s *SessionConfig) error {
	if !d.NextArg() {
		return d.Errf("shared takes one of %s", storeNames())
	}
	if err := parseSessionStore(d, "shared", &s.Shared); err != nil {
		return err
	}
	return checkPlaces(d, s)
}

func checkPlaces(d *caddyfile.Dispenser, s *SessionConfig) error {
	if name, err := builtinStore(s.Store); err != nil || len(s.Shared) > 0 && name != "cookie" {
		return d.WrapErr(errTwoPlaces)
	}
	return nil
}

// parseSessionStore reads a module of ours or somebody else's, with its own
// arguments and block.
func parseSessionStore(d *caddyfile.Dispenser, word string, target *json.RawMessage, builtin ...string) error {
	name := d.Val()
	known := slices.ContainsFunc(caddy.GetModules(sessionStores), func(m caddy.ModuleInfo) bool { return m.ID.Name() == name })
	if !known {
		return d.Errf("%s: %q is none of %s", word, name, storeNames(builtin...))
	}
	module, err := caddyfile.UnmarshalModule(d, sessionStores+"."+name)
	if err != nil {
		return err
	}
	if _, is := module.(SessionStore); !is {
		return d.Errf("%s: %s is no store of sessions", word, name)
	}
	*target = caddyconfig.JSONModuleObject(module, "backend", name, nil)
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	redis [<address>...] {
//		sentinel          <master>
//		sentinel_username <user>
//		sentinel_password <password>
//		cluster
//		username          <user>
//		password          <password>
//		tls
//		tls_trust_pool    <module> ...
//		prefix            <prefix>
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	addresses, err := values(d)
	if err != nil {
		return err
	}
	s.Address = addresses
	if err := parseBlock(d, redisWords(&s.RedisConfig)); err != nil {
		return err
	}
	switch {
	case s.Cluster && s.Sentinel != "":
		return d.Err("sentinel and cluster contradict each other")
	case len(s.Address) > 1 && !s.Cluster && s.Sentinel == "":
		return d.Err("several addresses need sentinel or cluster")
	case len(s.TLSTrustPool) > 0 && !s.TLS:
		return d.Err("tls_trust_pool without tls does nothing")
	case s.Username != "" && s.Password == "":
		return d.Err("username needs a password")
	}
	if err := cmp.Or(s.checkSentinel(), s.checkAddresses()); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// checkAddresses judges those that are known while the Caddyfile is read.
func (s *RedisStore) checkAddresses() error {
	known := &RedisStore{RedisConfig: s.RedisConfig}
	known.Address = slices.DeleteFunc(slices.Clone(s.Address), holdsPlaceholder)
	return known.provisionAddresses(caddy.Context{})
}

func redisWords(c *RedisConfig) vocabulary {
	return vocabulary{
		"sentinel":          one(&c.Sentinel),
		"sentinel_username": one(&c.SentinelUsername),
		"sentinel_password": one(&c.SentinelPassword),
		"cluster":           flag(&c.Cluster),
		"username":          one(&c.Username),
		"password":          one(&c.Password),
		"tls":               flag(&c.TLS),
		"tls_trust_pool":    {parse: func(d *caddyfile.Dispenser) error { return parseTrustPool(d, &c.TLSTrustPool) }},
		"prefix":            one(&c.Prefix),
	}
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*RedisStore)(nil)
