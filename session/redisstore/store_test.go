package redisstore_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
	"github.com/gatehouse-auth/gatehouse/session/storetest"
)

// open makes a store that the test closes. Each has keys of its own.
func open(t *testing.T, c redisstore.Config) *redisstore.Store {
	t.Helper()
	if c.Prefix == "" {
		c.Prefix = rand.Text() + ":"
	}
	store, err := redisstore.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func suite(t *testing.T, c redisstore.Config) {
	t.Helper()
	var mu sync.Mutex
	var now time.Time
	c.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	storetest.Run(t, func(t *testing.T) session.Store {
		now = storetest.Epoch()
		return open(t, c)
	}, storetest.Properties{ServerSide: true, Advance: func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}})
}

func TestStore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	t.Run("tcp", func(t *testing.T) { suite(t, redisstore.Config{Addresses: []string{server.Addr}}) })
	t.Run("unix socket", func(t *testing.T) {
		suite(t, redisstore.Config{Addresses: []string{"unix/" + filepath.Join(server.Dir, "redis.sock")}})
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	for _, node := range nodes {
		node.CLI(append(append([]string{"acl", "setuser", "gate", "on", ">pass word"}, rights...), clusterRights...)...)
	}
	c := redisstore.Config{
		Addresses: []string{nodes[0].Addr, nodes[2].Addr}, Cluster: true, Username: "gate", Prefix: redisstore.DefaultPrefix,
		Password: func() (secret.String, error) { return secret.New("pass word"), nil },
	}
	suite(t, c)
	sharedSuite(t, func(t *testing.T) *redisstore.Store { return open(t, c) })
}

// sentinelRights are what docs/replicas.md says that a user of the sentinels needs.
var sentinelRights = []string{
	"resetchannels", "&+switch-master", "&+replica-reconf-done", "-@all", "+ping", "+subscribe",
	"+sentinel|get-master-addr-by-name", "+sentinel|sentinels",
}

// A master that dies is followed by its replica: what was stored is there still, and a subscription that was lost is
// noticed. Sentinels that ask for a user have one with no more rights than are documented.
func TestSentinelFailover(t *testing.T) {
	for name, tt := range map[string]struct {
		lines  []string
		config redisstore.Config
	}{
		"anybody may ask": {},
		"requirepass":     {[]string{"requirepass watch"}, redisstore.Config{SentinelPassword: secret.New("watch")}},
		"an ACL user": {
			[]string{"requirepass watch", "user watcher on \">watch 2\" " + strings.Join(sentinelRights, " ")},
			redisstore.Config{SentinelUsername: "watcher", SentinelPassword: secret.New("watch 2")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinelFailover(t, tt.lines, tt.config)
		})
	}
}

func sentinelFailover(t *testing.T, lines []string, c redisstore.Config) {
	t.Helper()
	master := redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	sentinel := redistest.StartSentinel(t, master, lines...)
	c.Addresses, c.Sentinel = []string{sentinel.Addr}, "main"
	var login []string
	if lines != nil {
		login = []string{"--no-auth-warning", "--pass", "watch"}
		for name, password := range map[string]string{"none": "", "wrong": "wrong password"} {
			stranger := c
			stranger.SentinelUsername, stranger.SentinelPassword = "", secret.New(password)
			if _, err := open(t, stranger).Revision(t.Context()); err == nil || strings.Contains(err.Error(), "wrong password") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(replica.CLI("info", "replication"), "master_link_status:up") &&
			strings.Contains(sentinel.CLI(append(login, "sentinel", "replicas", "main")...), "127.0.0.1:"+replica.Addr[strings.Index(replica.Addr, ":")+1:])
	})
	store := open(t, c)
	r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	handle, err := store.Save(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := store.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if got := master.CLI("wait", "1", "5000"); strings.TrimSpace(got) != "1" {
		t.Fatalf("the replica has not what was stored: %s", got)
	}
	master.Kill()
	if _, _, err := sub.Next(t.Context()); err == nil {
		t.Error("the subscription is not lost")
	}
	eventually(t, "the replica is the master", func() bool {
		r.Generation++
		_, err := store.Save(t.Context(), r, handle)
		return err == nil
	})
	if data, err := store.Load(t.Context(), handle); err != nil || string(data) != "x" {
		t.Errorf("after the failover: %q, %v", data, err)
	}
}

// Whoever knows a session's ID, which is no secret, replaces and deletes nothing.
func TestIDIsNoHandle(t *testing.T) {
	t.Parallel()
	store := open(t, redisstore.Config{Addresses: []string{redistest.Start(t).Addr}})
	r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	handle, err := store.Save(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	forged := append(r.ID[:], make([]byte, 32)...)
	r.Generation = 2
	if _, err := store.Save(t.Context(), r, forged); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Save: %v", err)
	}
	if _, _, err := store.Peek(t.Context(), forged); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Peek: %v", err)
	}
	if err := errors.Join(store.Use(t.Context(), forged, time.Now()), store.Delete(t.Context(), forged)); err != nil {
		t.Error(err)
	}
	if generation, used, err := store.Peek(t.Context(), handle); err != nil || generation != 1 || !used.IsZero() {
		t.Errorf("%d, %v, %v", generation, used, err)
	}
}

// What Redis holds opens no session, and names nobody.
func TestRedisLearnsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("alice@example.com"), Expires: time.Now().Add(time.Hour)}
	handle, err := store.Save(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	secretPart := string(handle[len(r.ID):])
	files, err := filepath.Glob(filepath.Join(server.Dir, "appendonlydir", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "alice") || strings.Contains(string(content), secretPart) {
			t.Errorf("%s tells who it is", file)
		}
	}
	if out := server.CLI("--scan"); strings.Contains(out, "alice") {
		t.Errorf("keys: %s", out)
	}
}

// Every key goes with what it is about: the server's time to live.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("x"), Expires: time.Now().Add(300 * time.Millisecond)}
	if _, err := store.Save(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	ctx, short := t.Context(), 300*time.Millisecond
	if _, err := store.Lease(ctx, "a", "me", short); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Once(ctx, "a", "me", short); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Put(ctx, "a", []byte("x"), short), store.Succeed(ctx, "a", 1, []byte("x"), short)); err != nil {
		t.Fatal(err)
	}
	if server.CLI("dbsize") == "0\n" {
		t.Error("nothing was stored")
	}
	eventually(t, "all is gone", func() bool { return server.CLI("dbsize") == "0\n" })
}

// A server that is away, hangs or comes back: an error in time, no session is called gone, and then all works again.
func TestServerIsAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*redistest.Server) (back func()){
		"stopped":   func(s *redistest.Server) func() { s.Stop(); return s.Continue },
		"killed":    func(s *redistest.Server) func() { s.Kill(); return s.Restart },
		"restarted": func(s *redistest.Server) func() { s.Restart(); return func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
			r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
			handle, err := store.Save(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			back := away(server)
			if name != "restarted" {
				start := time.Now()
				if _, err := store.Load(t.Context(), handle); err == nil || errors.Is(err, session.ErrNotFound) {
					t.Errorf("Load: %v", err)
				}
				if _, _, err := store.Peek(t.Context(), handle); err == nil || errors.Is(err, session.ErrNotFound) {
					t.Errorf("Peek: %v", err)
				}
				r.Generation = 2
				if _, err := store.Save(t.Context(), r, handle); err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrStale) {
					t.Errorf("Save: %v", err)
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("three calls took %s", took)
				}
			}
			back()
			eventually(t, "it is back", func() bool {
				data, err := store.Load(t.Context(), handle)
				return err == nil && string(data) == "x"
			})
		})
	}
}

// A call whose answer was lost is made again, and does what it did the first time.
func TestSlowServerIsAskedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	r := session.Record{ID: session.NewID(), Generation: 1, Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	if _, err := store.Save(t.Context(), session.Record{ID: session.NewID(), Generation: 1, Expires: r.Expires}, nil); err != nil {
		t.Fatal(err) // it is connected, and the server has the script
	}
	server.Stop()
	time.AfterFunc(1500*time.Millisecond, server.Continue) // longer than one call waits
	handle, err := store.Save(t.Context(), r, nil)
	if err != nil {
		t.Fatalf("a save that was repeated: %v", err)
	}
	if data, err := store.Load(t.Context(), handle); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

// rights are what docs/replicas.md says that a user needs.
var rights = []string{
	"resetkeys", "~gatehouse:*", "resetchannels", "&gatehouse:*", "-@all", "+eval", "+evalsha", "+get", "+set", "+del", "+mget", "+getdel",
	"+publish", "+subscribe", "+unsubscribe", "+ping", "+hget", "+hmget", "+hset", "+pexpire", "+zadd", "+zincrby", "+zscore", "+zrangebyscore", "+zremrangebyscore",
}

// clusterRights are what it needs besides in a cluster.
var clusterRights = []string{"+cluster|slots", "+command", "+asking"}

func TestRightsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	if unquoted := strings.ReplaceAll(string(page), "'", ""); !strings.Contains(unquoted, strings.Join(rights, " ")) {
		t.Error("docs/replicas.md gives an ACL user other rights than are tested")
	} else if !strings.Contains(unquoted, strings.Join(sentinelRights, " ")) {
		t.Error("docs/replicas.md gives a user of sentinels other rights than are tested")
	} else if !strings.Contains(unquoted, "also needs `"+strings.Join(clusterRights, " ")+"`") {
		t.Error("docs/replicas.md gives a user of a cluster other rights than are tested")
	}
}

func TestACLAndPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, append([]string{"--user", "default", "off", "--user", "gate", "on", ">pass word"}, rights...)...)
	var mu sync.Mutex
	password, asked := "wrong", 0
	c := redisstore.Config{
		Addresses: []string{server.Addr}, Username: "gate", Prefix: redisstore.DefaultPrefix,
		Password: func() (secret.String, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return secret.New(password), nil
		},
	}
	store := open(t, c)
	if _, err := store.Revision(t.Context()); err == nil || strings.Contains(err.Error(), "wrong ") {
		t.Fatalf("with a wrong password: %v", err)
	}
	mu.Lock()
	password = "pass word"
	mu.Unlock()
	suite(t, c)
	sharedSuite(t, func(*testing.T) *redisstore.Store { return store })
	if asked < 2 {
		t.Error("a changed password is not followed")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key, pool := certificate(t, "localhost")
	port := testop.FreePort(t)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no")
	for name, tt := range map[string]struct {
		address string
		pool    *x509.CertPool
		works   bool
	}{
		"its authority is trusted":     {"localhost:" + port, pool, true},
		"its authority is not trusted": {"localhost:" + port, x509.NewCertPool(), false},
		"another name":                 {"127.0.0.1:" + port, pool, false},
	} {
		store := open(t, redisstore.Config{Addresses: []string{tt.address}, TLS: &tls.Config{RootCAs: tt.pool}})
		if _, err := store.Revision(t.Context()); (err == nil) != tt.works {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]redisstore.Config{
		"no address":                   {},
		"several single servers":       {Addresses: []string{"a:1", "b:1"}},
		"sentinel password alone":      {Addresses: []string{"a:1"}, SentinelPassword: secret.New("x")},
		"sentinel and cluster":         {Addresses: []string{"a:1"}, Cluster: true, Sentinel: "main"},
		"prefix that moves every slot": {Addresses: []string{"a:1"}, Prefix: "{x}"},
	} {
		if _, err := redisstore.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	// A sentinel that has lost its stride for lack of a processor waits for half a minute (TILT).
	if !testop.Eventually(2*time.Minute, holds) {
		t.Fatalf("never: %s", what)
	}
}
