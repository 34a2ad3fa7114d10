package e2e_test

import (
	"net/http"
	"testing"
	"time"
)

// A Redis that a failover has made read-only for a while answers and takes nothing: who is signed in goes on, a sign-out
// counts where it was made and is not said to count everywhere, and the other process learns of it when Redis takes it.
func TestRedisIsReadOnly(t *testing.T) {
	t.Parallel()
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, server := startReplicas(t, words)
			b := NewBrowser(t)
			seen(t, b.Navigate(first.HTTP()+"/"))
			copied := b.Twin()
			seen(t, copied.Navigate(second.HTTP()+"/"))
			page := b.Navigate(first.HTTP() + "/oauth2/session")
			server.CLI("replicaof", "127.0.0.1", "1") // where nobody is
			for _, s := range []*Site{first, second} {
				if status := s.status(copied); status != http.StatusOK {
					t.Errorf("a request: %d", status)
				}
			}
			if page := b.Submit(page, "logout", nil); page.Status != http.StatusServiceUnavailable {
				t.Errorf("the sign-out: %d %s", page.Status, reason(page))
			}
			if status := first.status(copied); status != http.StatusUnauthorized {
				t.Errorf("where it was made: %d", status)
			}
			time.Sleep(time.Second) // some beats of the feed
			server.CLI("replicaof", "no", "one")
			if !eventually(20*time.Second, func() bool { return second.status(copied) == http.StatusUnauthorized }) {
				t.Error("the other process never learns of it")
			}
		})
	}
}
