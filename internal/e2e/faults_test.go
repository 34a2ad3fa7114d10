package e2e_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// supersededFiles are what the storage has of sessions whose browser has shown a newer cookie.
func (c *Caddy) supersededFiles() []string {
	c.t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Storage(), "gatehouse", "superseded", "*-*-*-*"))
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// SEC-101: a copy of a cookie from before a refresh is dead, also after a crash, and where the provider would take its
// refresh token again.
func TestOldCookieAfterACrash(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	s.OP.Set(func(b *testop.Behaviour) { b.NoRefreshRotation, b.AccessTokenLifetime = true, 2*time.Second })
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	old := b.Twin()
	shown := func() bool {
		seen(t, b.Navigate(s.HTTP()+"/"))
		return len(s.supersededFiles()) == 1
	}
	if !eventually(20*time.Second, shown) {
		t.Fatalf("the storage has %v", s.supersededFiles())
	}
	s.Kill()
	s.Restart(s.fill(oneSite))
	if page := old.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); page.Status != http.StatusUnauthorized {
		t.Errorf("the old cookie counts again: %d %s", page.Status, reason(page))
	}
	if page := b.Navigate(s.HTTP() + "/"); len(page.Hops) != 1 || seen(t, page).Header.Get("X-Forwarded-User") != "alice" {
		t.Error("the crash signed out")
	}
}
