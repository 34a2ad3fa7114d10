package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Two gate processes with folders of their own, one Redis, one provider, and faults in between.

// sharing is how replicas may share, by what stands in their session block.
var sharing = map[string]string{
	"cookie": "shared redis {$REDIS}",
	"redis":  "store redis {$REDIS}",
}

// configuredKey seals in tests that need keys which two processes have.
const configuredKey = "c2hhcmVkIGtleSBvZiB0ZXN0cywgb2YgMzIgYnl0ZXM="

func withSession(words string) string {
	return strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tkeys "+configuredKey+"\n\t\t\t"+words+"\n\t\t}\n", 1)
}

// startReplicas runs two processes that share a Redis. Cookies know no ports, so one browser has one session at both.
func startReplicas(t *testing.T, words string, options ...func(*testop.Provider)) (first, second *Site, server *redistest.Server) {
	t.Helper()
	server = redistest.Start(t)
	op, application := testop.Start(t, options...), StartApplication(t)
	start := func() *Site {
		s := &Site{OP: op, App: application, t: t}
		s.Caddy = StartCaddy(t, s.fill(withSession(words)), "REDIS="+server.Addr)
		return s
	}
	return start(), start(), server
}

// status is what a script's request gets.
func (s *Site) status(b *Browser) int {
	return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status
}

// A hundred parallel requests at two processes when the access token is due are one refresh, and nobody is signed out,
// although the provider rotates refresh tokens and revokes the family at reuse; and nobody waits longer than it takes.
func TestRefreshOnceAmongReplicas(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, _ := startReplicas(t, words)
			refreshOnce(t, first, second)
		})
	}
}

// The process that refreshes is killed: its session goes on at the other, which follows when the lease is over.
func TestKilledWhileItRefreshes(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, _ := startReplicas(t, words, shortTokens)
			b := NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			if status := second.status(b.Twin()); status != http.StatusOK {
				t.Fatal(status)
			}
			first.OP.Set(func(b *testop.Behaviour) {
				b.Faults = map[string]testop.Fault{testop.Token: {Delay: time.Hour, Times: 1}}
			})
			before := first.OP.Calls(testop.Token)
			time.Sleep(1100 * time.Millisecond)
			twin := b.Twin()
			asked := eventually(20*time.Second, func() bool {
				return first.status(twin) == http.StatusOK && first.OP.Calls(testop.Token)-before == 1
			})
			if !asked {
				t.Fatalf("%d calls at the token endpoint", first.OP.Calls(testop.Token)-before)
			}
			first.Kill()
			followed := eventually(40*time.Second, func() bool {
				if status := second.status(b); status != http.StatusOK {
					t.Fatalf("the session is gone: %d", status)
				}
				return first.OP.Calls(testop.Token)-before == 2
			})
			if !followed || first.OP.Reuses() != 0 {
				t.Errorf("followed: %v; a spent token was used %d times", followed, first.OP.Reuses())
			}
		})
	}
}

// A sign-out at one process, and one by the provider, ends the session and its copies at the other, soon.
func TestSignOutAmongReplicas(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, _ := startReplicas(t, words)
			if said := first.Logs(); strings.Contains(said, "this server shares no sessions with others") {
				t.Error("a process that shares says that it is alone")
			}
			ended := func(b *Browser) {
				t.Helper()
				start := time.Now()
				if !eventually(10*time.Second, func() bool { return second.status(b) == http.StatusUnauthorized }) {
					t.Fatal("it goes on at the other process")
				}
				took := time.Since(start)
				t.Logf("seen at the other process after %s", took)
				if took > 5*time.Second {
					t.Errorf("seen at the other process after %s, want one second", took)
				}
				wantReason(t, b.Fetch(second.HTTP(), "GET", second.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "session_ended")
			}
			b := NewBrowser(t)
			page := b.Navigate(first.HTTP() + "/")
			copied := b.Twin()
			seen(t, copied.Fetch(second.HTTP(), "GET", second.HTTP()+"/x", nil, ""))
			b.Follow(page, "/oauth2/logout")
			ended(copied)

			laptop, phone := first.inSession("alice", "laptop"), first.inSession("alice", "phone")
			seen(t, laptop.Fetch(second.HTTP(), "GET", second.HTTP()+"/x", nil, ""))
			body := signedLogout(t, first.OP, "sub-alice", "laptop", nil)
			if page := tellLogout(t, first.HTTP(), body); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			ended(laptop)
			seen(t, phone.Fetch(second.HTTP(), "GET", second.HTTP()+"/x", nil, ""))
			// A logout token is used once, among all (OIDC Back-Channel Logout 2.6).
			wantReason(t, tellLogout(t, second.HTTP(), body), http.StatusBadRequest, "logout_token_used")
		})
	}
}

// A sign-in is used once among all processes, although each could open its cookie.
func TestCallbackOnceAmongReplicas(t *testing.T) {
	t.Parallel()
	first, second, _ := startReplicas(t, sharing["cookie"])
	b := NewBrowser(t)
	callback := b.Step(b.Step(first.HTTP() + "/").Header.Get("Location")).Header.Get("Location")
	copied := b.Twin()
	if page := b.Step(callback); page.Status != http.StatusSeeOther {
		t.Fatalf("%d %s", page.Status, reason(page))
	}
	calls := first.OP.Calls(testop.Token)
	wantReason(t, copied.Step(strings.Replace(callback, first.HTTP(), second.HTTP(), 1)), http.StatusBadRequest, "state_used")
	if first.OP.Calls(testop.Token) != calls {
		t.Error("the code was spent again")
	}
}

// Redis is away, for less and for more than a minute: who is signed in goes on for a minute, then nobody is judged, and
// nobody is signed out by it. What was revoked meanwhile counts everywhere when it is back.
func TestRedisIsAway(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, server := startReplicas(t, words, shortTokens)
			b, leaving := NewBrowser(t), NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			page := leaving.Navigate(first.HTTP() + "/")
			copied := leaving.Twin()
			for _, s := range []*Site{first, second} {
				seen(t, s.fetch(b))
				seen(t, s.fetch(copied))
			}
			away, back := server.Kill, server.Restart
			if name == "redis" {
				away, back = server.Stop, server.Continue
			}
			away()
			start := time.Now()
			for time.Since(start) < 10*time.Second {
				for _, s := range []*Site{first, second} {
					seen(t, s.fetch(b))
				}
				time.Sleep(500 * time.Millisecond)
			}
			if page := NewBrowser(t).Step(first.HTTP() + "/public/x"); page.Status != http.StatusOK {
				t.Errorf("a public path: %d", page.Status)
			}
			if page = leaving.Follow(page, "/oauth2/logout"); page.Status != http.StatusServiceUnavailable {
				t.Errorf("a sign-out that the other process does not learn of: %d", page.Status)
			}
			if status := first.status(copied); status != http.StatusUnauthorized {
				t.Errorf("signed out here: %d", status)
			}
			if name == "cookie" { // the minute is the same for both
				if !eventually(90*time.Second, func() bool { return second.status(b) == http.StatusServiceUnavailable }) {
					t.Error("after more than a minute somebody is judged still")
				}
				wantReason(t, second.fetch(b), http.StatusServiceUnavailable, "store_unavailable")
			}
			back()
			for what, s := range map[string]*Site{"first": first, "second": second} {
				if !eventually(20*time.Second, func() bool { return s.status(b) == http.StatusOK }) {
					t.Errorf("%s: Redis is back, and the session is not: %s", what, reason(s.fetch(b)))
				}
				if !eventually(10*time.Second, func() bool { return s.status(copied) == http.StatusUnauthorized }) {
					t.Errorf("%s: what was revoked while Redis was away lives", what)
				}
			}
			if first.OP.Reuses() != 0 {
				t.Errorf("a spent token was used %d times", first.OP.Reuses())
			}
			seen(t, NewBrowser(t).Navigate(second.HTTP()+"/"))
		})
	}
}

func (s *Site) fetch(b *Browser) *Page {
	return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
}

// P01: a Redis that is not there delays no start; sign-ins answer 503 and work when it comes. Reloads keep the sessions and
// leave nothing behind, the password is nowhere in the log.
func TestRedisIsNotThereAtStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "s3cr3t-of-redis")
	server.Kill()
	caddyfile := withSession("store redis {$REDIS} {\n\t\t\t\tpassword {env.REDIS_PASSWORD}\n\t\t\t}")
	// Caddy itself leaves an idle connection to the upstream at each reload.
	caddyfile = strings.Replace(caddyfile, "reverse_proxy {$APP}", "reverse_proxy {$APP} {\n\t\ttransport http {\n\t\t\tkeepalive off\n\t\t}\n\t}", 1)
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	s.Caddy = StartCaddy(t, s.fill(caddyfile), "REDIS="+server.Addr, "REDIS_PASSWORD=s3cr3t-of-redis")
	s.WaitLog("nobody can sign in until it does")
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/public/x"))
	if page := b.Navigate(s.HTTP() + "/"); page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" {
		t.Errorf("a sign-in without Redis: %d %s", page.Status, reason(page))
	}
	server.Restart()
	if !eventually(20*time.Second, func() bool { return b.Navigate(s.HTTP()+"/").Status == http.StatusOK }) {
		t.Fatal("Redis is there, and sign-ins do not work")
	}
	calls := s.OP.Calls(testop.Authorization)
	var before int
	for i := range 6 {
		if i == 1 {
			before = s.goroutines()
		}
		s.Reload(s.fill(strings.Replace(caddyfile, "/public/*", "/public/"+strings.Repeat("x", i)+"*", 1)))
		seen(t, b.Navigate(s.HTTP()+"/"))
	}
	if !eventually(20*time.Second, func() bool { return s.goroutines() <= before+3 }) {
		t.Errorf("%d goroutines before five reloads, %d after:\n%s", before, s.goroutines(), s.goroutineProfile())
	}
	s.Restart(s.fill(caddyfile))
	seen(t, b.Navigate(s.HTTP()+"/"))
	if again := s.OP.Calls(testop.Authorization) - calls; again != 0 {
		t.Errorf("reloads and a restart signed out %d times", again)
	}
	if strings.Contains(s.Logs(), "s3cr3t") {
		t.Error("the log holds the password")
	}
}

// Processes with folders of their own and the same keys file open each other's cookies, also while the file changes, which
// needs no reload.
func TestKeysFromAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	write := func(keys ...string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	const next = "bmV4dCBrZXkgb2YgdGVzdHMsIGFsc28gMzIgYnl0ZXM="
	write(configuredKey)
	caddyfile := strings.Replace(withSession("lifetime 1h"), "keys "+configuredKey, "keys {file."+file+"}", 1)
	first := StartSite(t, caddyfile)
	second := &Site{OP: first.OP, App: first.App, t: t}
	second.Caddy = StartCaddy(t, second.fill(caddyfile))
	first.WaitLog("this server shares no sessions with others")

	b := NewBrowser(t)
	seen(t, b.Navigate(first.HTTP()+"/"))
	seen(t, second.fetch(b))
	write(next, configuredKey)
	old := b.Jar.Cookie("gatehouse").Value
	// The first begins to seal with the new key within seconds; the second opens that at once.
	sealed := eventually(20*time.Second, func() bool {
		fresh := NewBrowser(t)
		seen(t, fresh.Navigate(first.HTTP()+"/"))
		if page := second.fetch(fresh); page.Status != http.StatusOK {
			t.Fatalf("the other process answers %d %s", page.Status, reason(page))
		}
		id := func(value string) string { return strings.SplitN(value, ".", 3)[1] }
		return id(fresh.Jar.Cookie("gatehouse").Value) != id(old)
	})
	if !sealed {
		t.Error("the changed file is not followed")
	}
	seen(t, first.fetch(b))
	seen(t, second.fetch(b))
	if files, err := filepath.Glob(filepath.Join(first.Storage(), "gatehouse", "keys", "*")); err != nil || len(files) != 0 {
		t.Errorf("keys were made beside those that are configured: %v, %v", files, err)
	}
	if strings.Contains(first.Logs(), configuredKey[:20]) {
		t.Error("the log holds a key")
	}
}

// Two processes that have the same keys and share nothing else: each says so when it starts, and it is so. A copy of a
// cookie that was signed out at one passes at the other; and the other, with a cookie of before a refresh, spends the
// refresh token once more, at which this provider ends the session at both.
func TestReplicasThatShareNothing(t *testing.T) {
	t.Parallel()
	op, application := testop.Start(t), StartApplication(t)
	var sites [2]*Site
	for i := range sites {
		sites[i] = &Site{OP: op, App: application, t: t}
		sites[i].Caddy = StartCaddy(t, sites[i].fill(withSession("")))
		sites[i].WaitLog("not_shared")
	}
	first, second := sites[0], sites[1]

	b := NewBrowser(t)
	page := b.Navigate(first.HTTP() + "/")
	seen(t, page)
	copied := b.Twin()
	b.Submit(b.Follow(page, "/oauth2/session"), "logout", nil)
	if status := first.status(copied.Twin()); status != http.StatusUnauthorized {
		t.Errorf("the copy, where the sign-out was: %d", status)
	}
	if status := second.status(copied.Twin()); status != http.StatusOK {
		t.Errorf("the copy, at the other process: %d; the page of replicas says that it passes", status)
	}

	shortTokens(op)
	b = NewBrowser(t)
	seen(t, b.Navigate(first.HTTP()+"/"))
	before := b.Twin()
	refreshed := eventually(20*time.Second, func() bool {
		calls := op.Calls(testop.Token)
		return first.status(b) == http.StatusOK && op.Calls(testop.Token) > calls
	})
	if !refreshed {
		t.Fatal("no refresh")
	}
	ended := eventually(20*time.Second, func() bool { return second.status(before) == http.StatusUnauthorized })
	if !ended || op.Reuses() == 0 {
		t.Errorf("the older cookie at the other process: ended %t, reuses %d", ended, op.Reuses())
	}
	if !eventually(20*time.Second, func() bool { return first.status(b) == http.StatusUnauthorized }) {
		t.Error("the session goes on, although its provider has ended it")
	}
}
