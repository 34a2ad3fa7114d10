// Package redisstore keeps sessions, and what processes share of them, in Redis
// or what speaks its protocol (Valkey): one server, Sentinel or Cluster.
//
// Every key begins with the prefix. What one script touches has one hash tag, so
// that it stands on one node of a cluster:
//
//	s:{id}          a session: hash of generation, blob, secret's hash, expiry, last use
//	revocations     {revoked}: sorted set of encoded revocations by their end, with the
//	                revision, a number that each of them raises
//	l:{name}        a lease: its owner
//	u:{name}        what was used once: by whom
//	n:{session}     the newest generation that is known
//	r:{session}:<g> the sealed successor of generation g
//	b:{name}        a blob
//
// Everything has a time to live but the set of revocations, of which what is over is
// pruned: a policy that evicts what has a time to live (volatile-*) leaves them.
package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// DefaultPrefix begins every key, if nothing is configured.
const DefaultPrefix = "gatehouse:"

// The times of a call. A request waits for two of them at most.
const (
	dialTimeout = time.Second
	callTimeout = time.Second
	idleTimeout = 5 * time.Minute // of a connection that nobody uses
)

// Config says where Redis is.
type Config struct {
	// Addresses are host:port, or unix/ and the path of a socket: one server,
	// several sentinels, or some nodes of a cluster.
	Addresses []string
	// Sentinel is the name that the sentinels know the master by. It is empty
	// without sentinels.
	Sentinel string
	// SentinelUsername and SentinelPassword are what the sentinels themselves ask
	// for, if they do; the user may be empty, for their requirepass.
	SentinelUsername string
	SentinelPassword secret.String
	// Cluster says that the addresses are nodes of a cluster.
	Cluster bool
	// Username is the ACL user, by default that of the server's own default.
	Username string
	// Password is asked for each new connection; nil: there is none.
	Password func() (secret.String, error)
	// TLS is used for every connection; nil: plain TCP. Each server is verified by
	// the name it is dialled by.
	TLS *tls.Config
	// Prefix begins every key, by default [DefaultPrefix].
	Prefix string
	// Now is the clock that tells what is over, by default time.Now.
	Now func() time.Time
}

// Store keeps sessions in Redis, and is what processes share of them.
type Store struct {
	client redis.UniversalClient
	prefix string
	now    func() time.Time
}

// New makes a store. It does not connect: that happens at the first call.
func New(c Config) (*Store, error) {
	if len(c.Addresses) == 0 {
		return nil, errors.New("redisstore: no address")
	}
	if c.Cluster && c.Sentinel != "" {
		return nil, errors.New("redisstore: sentinel and cluster contradict each other")
	}
	if c.Sentinel == "" && (c.SentinelUsername != "" || !c.SentinelPassword.Empty()) {
		return nil, errors.New("redisstore: a user or password of sentinels, and no sentinel")
	}
	if len(c.Addresses) > 1 && !c.Cluster && c.Sentinel == "" {
		return nil, errors.New("redisstore: several addresses need sentinel or cluster")
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		return nil, errors.New("redisstore: a prefix with braces would put every key on one node")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	redis.SetLogger(quiet{})
	options := &redis.UniversalOptions{
		Addrs:         c.Addresses,
		MasterName:    c.Sentinel,
		IsClusterMode: c.Cluster,
		Dialer:        dialer(c.TLS),

		SentinelUsername: c.SentinelUsername,
		SentinelPassword: c.SentinelPassword.Reveal(),

		DialTimeout:     dialTimeout,
		DialerRetries:   1,
		ReadTimeout:     callTimeout,
		WriteTimeout:    callTimeout,
		PoolTimeout:     callTimeout,
		ConnMaxIdleTime: idleTimeout,
		MaxRetries:      2, // a failover, a connection that went stale; every call may be made twice
		MinRetryBackoff: 10 * time.Millisecond,
		MaxRetryBackoff: 100 * time.Millisecond,

		ContextTimeoutEnabled: true,
		// Nothing is asked of the server but what is used: an ACL may allow no more.
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.Password != nil || c.Username != "" {
		options.CredentialsProviderContext = credentials(c)
	}
	return &Store{client: redis.NewUniversalClient(options), prefix: c.Prefix, now: c.Now}, nil
}

// quiet takes what go-redis would write to the standard error, unasked and in a
// form of its own: every failure comes back as an error, too.
type quiet struct{}

// Printf implements the logger of go-redis.
func (quiet) Printf(context.Context, string, ...any) {}

func credentials(c Config) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) {
		if c.Password == nil {
			return c.Username, "", nil
		}
		password, err := c.Password()
		return c.Username, password.Reveal(), err
	}
}

// dialer connects to a TCP address, or to a unix socket, with TLS if there is a
// configuration for it.
func dialer(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
		defer cancel()
		if path, is := strings.CutPrefix(address, "unix/"); is {
			return plain.DialContext(ctx, "unix", path)
		}
		if config != nil {
			return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext(ctx, network, address)
		}
		return plain.DialContext(ctx, network, address)
	}
}

// Close closes the connections. Calls fail from then on.
func (s *Store) Close() error { return s.client.Close() }

// key is the name of a key whose hash tag is name.
func (s *Store) key(kind, name string) string { return s.prefix + kind + ":{" + name + "}" }

// run calls a script by its hash, and sends it where the server does not have it.
func (s *Store) run(ctx context.Context, source string, keys []string, args ...any) *redis.Cmd {
	return redis.NewScript(source).Run(ctx, s.client, keys, args...)
}

// Interface guards.
var (
	_ session.ServerStore = (*Store)(nil)
	_ session.Shared      = (*Store)(nil)
)
