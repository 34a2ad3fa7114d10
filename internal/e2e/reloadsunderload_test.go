package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Reloads, one after the other, while people use the site and their tokens are due all the time: no request is refused, and
// nothing is left over. GATEHOUSE_RELOADS is how many there are, for a figure on more.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	reloads := 12
	if more, err := strconv.Atoi(os.Getenv("GATEHOUSE_RELOADS")); err == nil {
		reloads = more
	}
	caddyfile := func(i int) string {
		changed := strings.Replace(oneSite, "/public/*", fmt.Sprintf("/public/* /public%d", i), 1)
		return strings.Replace(changed, "reverse_proxy {$APP}", `reverse_proxy {$APP} {
		transport http {
			keepalive off # Caddy itself leaves an idle connection to the upstream at each reload
		}
	}`, 1)
	}
	s := StartSite(t, caddyfile(0), shortTokens)
	var requests, refused atomic.Int64
	var people sync.WaitGroup
	over := make(chan struct{})
	for range 3 {
		b := NewBrowser(t)
		seen(t, b.Navigate(s.HTTP()+"/"))
		people.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				requests.Add(1)
				if page := s.fetch(b); page.Status != http.StatusOK {
					refused.Add(1)
					t.Errorf("%d %s", page.Status, reason(page))
				}
			}
		})
	}
	var goroutines, heap int
	done := 0
	for ; done < reloads || done < 20*reloads && s.OP.Calls(testop.Token) < 6; done++ { // each was refreshed once, too
		if done == 6 {
			goroutines, heap = s.goroutines(), s.heap()
		}
		if err := s.TryReload(s.fill(caddyfile(done + 1))); err != nil {
			t.Error(err)
		}
	}
	close(over)
	people.Wait()
	if !eventually(20*time.Second, func() bool { return s.goroutines() <= goroutines+3 }) {
		t.Errorf("%d goroutines after six reloads, %d after %d:\n%s", goroutines, s.goroutines(), done, s.goroutineProfile())
	}
	t.Logf("%d reloads, %d requests, %d refused, %d refreshes, %d spent tokens came back; after the sixth and the last reload %d and %d goroutines, %d and %d bytes of heap",
		done, requests.Load(), refused.Load(), s.OP.Calls(testop.Token)-3, s.OP.Reuses(), goroutines, s.goroutines(), heap, s.heap())
	if s.OP.Reuses() > 0 {
		t.Error("a spent refresh token came back")
	}
}
