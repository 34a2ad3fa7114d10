package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The network between gates and Redis is slow, closes connections in the middle of an answer, or swallows what goes one way
// and tells nobody, at both gates, or at the second alone, while the first revokes; or Redis answers and takes no writes. A live session goes on, or gets 503 and
// is told to come again, soon; it is never signed out. Who was revoked before never passes, who is revoked meanwhile passes
// nowhere when the fault is over.
func TestRedisBehindABadNetwork(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			op, application := testop.Start(t, shortTokens), StartApplication(t)
			var sites [2]*Site
			var networks [2]*redistest.Proxy
			for i := range sites {
				networks[i] = redistest.StartProxy(t, server)
				sites[i] = &Site{OP: op, App: application, t: t}
				sites[i].Caddy = StartCaddy(t, sites[i].fill(withSession(words)), "REDIS="+networks[i].Addr)
			}
			first, second := sites[0], sites[1]
			signIn := func() (*Browser, *Page) {
				b := NewBrowser(t)
				page := b.Navigate(first.HTTP() + "/")
				seen(t, page)
				seen(t, second.fetch(b))
				return b, page
			}
			live, _ := signIn()
			leaver, page := signIn()
			dead := leaver.Twin()
			leaver.Follow(page, "/oauth2/logout")
			for _, s := range sites {
				if !eventually(10*time.Second, func() bool { return s.status(dead) == http.StatusUnauthorized }) {
					t.Fatal("a sign-out is not seen")
				}
			}
			for _, fault := range []struct {
				name    string
				network redistest.Network
				both    bool
				writes  string // how many replicas Redis needs for a write, of which it has none
			}{
				{"slow", redistest.Network{Delay: 200 * time.Millisecond}, true, "0"},
				{"too slow", redistest.Network{Delay: 1500 * time.Millisecond}, true, "0"},
				{"cut in the middle of an answer", redistest.Network{CutAfter: 50}, true, "0"},
				{"answers are swallowed", redistest.Network{SwallowAnswers: true}, false, "0"},
				{"commands are swallowed", redistest.Network{SwallowCommands: true}, false, "0"},
				{"Redis takes no writes", redistest.Network{}, true, "1"},
			} {
				leaver, page := signIn()
				copied := leaver.Twin()
				server.CLI("config", "set", "min-replicas-to-write", fault.writes)
				networks[1].Set(fault.network)
				if fault.both {
					networks[0].Set(fault.network)
				}
				judge := func() {
					t.Helper()
					for i, s := range sites {
						start := time.Now()
						got := s.fetch(live)
						ok := got.Status == http.StatusOK || got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != ""
						if took := time.Since(start); !ok || took > 15*time.Second {
							t.Errorf("%s: gate %d answers a live session %d %s after %s", fault.name, i+1, got.Status, reason(got), took)
						}
						if status := s.status(dead); status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
							t.Errorf("%s: gate %d answers an ended session %d", fault.name, i+1, status)
						}
					}
				}
				start := time.Now()
				judge()
				leaver.Follow(page, "/oauth2/logout") // 503 where the other gate cannot be told
				if status := second.status(copied); fault.network.SwallowAnswers && status == http.StatusUnauthorized {
					t.Errorf("%s: the second gate was told all the same", fault.name)
				}
				for time.Since(start) < 1500*time.Millisecond {
					judge()
					if status := first.status(copied); status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
						t.Errorf("%s: signed out at this gate: %d", fault.name, status)
					}
				}
				server.CLI("config", "set", "min-replicas-to-write", "0")
				for i, network := range networks {
					network.Set(redistest.Network{})
					if !eventually(20*time.Second, func() bool { return sites[i].status(copied) == http.StatusUnauthorized }) {
						t.Errorf("%s is over: what was revoked meanwhile lives at gate %d", fault.name, i+1)
					}
					if !eventually(20*time.Second, func() bool { return sites[i].status(live) == http.StatusOK }) {
						t.Errorf("%s is over: gate %d answers a live session %s", fault.name, i+1, reason(sites[i].fetch(live)))
					}
				}
			}
			refreshes := op.Calls(testop.Token)
			if !eventually(30*time.Second, func() bool { seen(t, second.fetch(live)); return op.Calls(testop.Token) > refreshes }) {
				t.Error("when all is over, no token is refreshed")
			}
			if op.Reuses() != 0 {
				t.Errorf("a spent refresh token was used %d times", op.Reuses())
			}
		})
	}
}
