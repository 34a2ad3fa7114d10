package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A process that is told to stop while it refreshes waits for the provider, whose answer holds the only token that is
// still good, and leaves it where the other process finds it.
func TestStoppedWhileItRefreshes(t *testing.T) {
	t.Parallel()
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, server := startReplicas(t, words, shortTokens)
			b := NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			first.OP.Set(func(b *testop.Behaviour) {
				b.AccessTokenLifetime = time.Hour
				b.Faults = map[string]testop.Fault{testop.Token: {Delay: 3 * time.Second, Times: 1}}
			})
			before := first.OP.Calls(testop.Token)
			twin := b.Twin()
			asked := eventually(20*time.Second, func() bool {
				return first.status(twin) == http.StatusOK && first.OP.Calls(testop.Token) > before
			})
			if !asked {
				t.Fatal("it does not refresh")
			}
			first.Stop()
			if leases := server.CLI("--scan", "--pattern", "gatehouse:l:*"); strings.Contains(leases, "gatehouse") {
				t.Errorf("it ended while it refreshed; until its lease is over nobody does: %s", leases)
			}
			if status := second.status(b); status != http.StatusOK {
				t.Errorf("%d at the other process", status)
			}
			if calls := first.OP.Calls(testop.Token) - before; calls != 1 || first.OP.Reuses() != 0 {
				t.Errorf("%d refreshes, and %d times with a spent token", calls, first.OP.Reuses())
			}
		})
	}
}
