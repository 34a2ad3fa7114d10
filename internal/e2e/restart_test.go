package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// snapshotFile is where the sessions of a process that ended stand.
func (c *Caddy) snapshotFile() string { return filepath.Join(c.Storage(), "gatehouse/sessions/memory") }

// Sessions in memory outlive a graceful restart, and nothing else: a reload leaves them where they are, and after a crash
// no old generation comes back.
func TestMemoryRestart(t *testing.T) {
	t.Parallel()
	s := StartSite(t, stores["memory"])
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))

	s.Reload(s.fill(stores["memory"]))
	if seen(t, b.Step(s.HTTP()+"/")).Header.Get("X-Forwarded-User") != "alice" {
		t.Error("the reload signed out")
	}
	if _, err := os.Stat(s.snapshotFile()); err == nil {
		t.Error("the reload wrote a snapshot")
	}

	s.Stop()
	if _, err := os.Stat(s.snapshotFile()); err != nil {
		t.Fatalf("the graceful stop kept nothing: %v", err)
	}
	s.Restart(s.fill(stores["memory"]))
	if page := b.Step(s.HTTP() + "/"); seen(t, page).Header.Get("X-Forwarded-User") != "alice" {
		t.Error("the graceful restart signed out")
	}
	if _, err := os.Stat(s.snapshotFile()); err == nil {
		t.Error("the snapshot is still there after it was read")
	}

	s.Kill()
	s.Restart(s.fill(stores["memory"]))
	if page := b.Step(s.HTTP() + "/"); page.Status != http.StatusSeeOther {
		t.Errorf("after a crash: %d, want a sign-in", page.Status)
	}
}
