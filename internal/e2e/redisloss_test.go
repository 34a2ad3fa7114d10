package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Redis forgets everything, as after FLUSHALL, an eviction of all keys, or a crash without a file: what was signed out
// stays signed out at every process, and with sessions in cookies nobody is signed out.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, server := startReplicas(t, words)
			first.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 2 * time.Second })
			b, leaving := NewBrowser(t), NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			page := leaving.Navigate(first.HTTP() + "/")
			copied := leaving.Twin()
			leaving.Follow(page, "/oauth2/logout")
			if !eventually(20*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
				t.Fatal("the sign-out is not known elsewhere")
			}
			server.CLI("flushall")
			for _, s := range []*Site{first, second, first, second} {
				if status := s.status(copied); status != http.StatusUnauthorized {
					t.Errorf("signed out, and: %d", status)
				}
			}
			if name == "cookie" {
				for _, s := range []*Site{first, second} {
					seen(t, b.Navigate(s.HTTP()+"/"))
				}
				calls := first.OP.Calls(testop.Token)
				if !eventually(20*time.Second, func() bool {
					seen(t, b.Navigate(second.HTTP()+"/"))
					return first.OP.Calls(testop.Token) > calls
				}) {
					t.Error("no refresh any more")
				}
			}
			// A process that starts afterwards learns it from those that know.
			time.Sleep(time.Second) // some beats of the feed
			second.Kill()
			second.Restart(second.fill(withSession(words)))
			if !eventually(20*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
				t.Error("signed out, and alive at a process that has started afterwards")
			}
			if page := NewBrowser(t).Navigate(second.HTTP() + "/"); page.Status != http.StatusOK {
				t.Errorf("a sign-in afterwards: %d %s", page.Status, reason(page))
			}
		})
	}
}

// Redis has no memory left and refuses to write (noeviction): as one that is read-only. When it has, all is as before.
func TestRedisIsFull(t *testing.T) {
	t.Parallel()
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, server := startReplicas(t, words)
			first.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 2 * time.Second })
			b := NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			page := b.Navigate(first.HTTP() + "/oauth2/session")
			copied := b.Twin()
			server.CLI("config", "set", "maxmemory", "1")
			time.Sleep(2 * time.Second) // the token's life
			for range 3 {
				for _, s := range []*Site{first, second} {
					if status := s.status(copied); status != http.StatusOK {
						t.Errorf("a request: %d", status)
					}
				}
			}
			if late := NewBrowser(t).Navigate(first.HTTP() + "/"); late.Status != http.StatusServiceUnavailable || reason(late) != "store_unavailable" {
				t.Errorf("a sign-in: %d %s", late.Status, reason(late))
			}
			// One whose script begins with what frees memory is let through; what is said to count has to count.
			if out := b.Submit(page, "logout", nil); out.Status == http.StatusOK {
				if !eventually(10*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
					t.Error("the sign-out is said to count, and does not elsewhere")
				}
			} else if out.Status != http.StatusServiceUnavailable {
				t.Errorf("the sign-out: %d %s", out.Status, reason(out))
			}
			if status := first.status(copied); status != http.StatusUnauthorized {
				t.Errorf("where it was made: %d", status)
			}
			server.CLI("config", "set", "maxmemory", "0")
			if !eventually(20*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
				t.Error("the other process never learns of it")
			}
			if !eventually(20*time.Second, func() bool { return NewBrowser(t).Navigate(second.HTTP()+"/").Status == http.StatusOK }) {
				t.Error("there is room, and nobody can sign in")
			}
		})
	}
}

// Redis evicts what was used least (allkeys-lru), revocations first, since nothing reads them: that is said at the start, and
// what was signed out stays so at a process that starts afterwards, whose own storage knows nothing.
func TestRedisEvicts(t *testing.T) {
	t.Parallel()
	first, second, server := startReplicas(t, sharing["cookie"])
	server.CLI("config", "set", "maxmemory", "20mb", "maxmemory-policy", "allkeys-lru", "maxmemory-samples", "64")
	page := NewBrowser(t)
	leaving := page.Navigate(first.HTTP() + "/")
	copied := page.Twin()
	page.Follow(leaving, "/oauth2/logout")
	if !eventually(20*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
		t.Fatal("the sign-out is not known elsewhere")
	}
	second.Kill()
	const fill = "for i = 1, 200 do redis.call('SET', 'other:' .. ARGV[1] .. ':' .. i, string.rep('x', 100000)) end"
	for _, round := range []string{"1", "2", "3"} {
		time.Sleep(time.Second) // by which Redis tells what was used lately
		server.CLI("eval", fill, "0", round)
	}
	third := &Site{OP: first.OP, App: first.App, t: t}
	third.Caddy = StartCaddy(t, third.fill(withSession(sharing["cookie"])), "REDIS="+server.Addr)
	third.WaitLog("set its maxmemory-policy to noeviction")
	if !eventually(5*time.Second, func() bool { return third.status(copied) == http.StatusUnauthorized }) {
		t.Error("signed out, and alive at a process that has started afterwards")
	}
}
