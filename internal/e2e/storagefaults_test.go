package e2e_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// smallStorage gives a process that is not started yet a storage that can be filled: a small file system, or, for who
// may not mount one, folders that can be closed.
func smallStorage(t *testing.T, c *Caddy) (fill, free func()) {
	t.Helper()
	if err := os.MkdirAll(c.Storage(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", c.Storage(), "tmpfs", 0, "size=256k"); err != nil {
		chmod := func(mode os.FileMode) func() {
			return func() {
				_ = filepath.WalkDir(c.Storage(), func(path string, entry fs.DirEntry, err error) error {
					if err == nil && entry.IsDir() {
						err = os.Chmod(path, mode)
					}
					return err
				})
			}
		}
		t.Cleanup(chmod(0o700))
		return chmod(0o500), chmod(0o700)
	}
	t.Cleanup(func() {
		c.Stop()
		if err := syscall.Unmount(c.Storage(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	name := filepath.Join(c.Storage(), "full")
	fill = func() {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 1 << 16; size > 0; {
			if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
				size /= 2
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	return fill, func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full: who is signed in goes on and is refreshed, people sign in, and a sign-out that the storage cannot
// remember says so. When there is room again, all is as before, without a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	s.Caddy = newCaddy(t, nil)
	fill, free := smallStorage(t, s.Caddy)
	s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 2 * time.Second })

	// From the start (of Caddy, which needs the storage for itself): there is no key, and none can be kept.
	s.start(s.fill(oneSite))
	fill()
	b := NewBrowser(t)
	wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusServiceUnavailable, "store_unavailable")
	seen(t, b.Navigate(s.HTTP()+"/public/x"))
	free()
	if !eventually(30*time.Second, func() bool { return b.Navigate(s.HTTP()+"/").Status == http.StatusOK }) {
		t.Fatal("there is room, and nobody can sign in")
	}

	fill()
	calls := s.OP.Calls(testop.Token)
	if !eventually(20*time.Second, func() bool {
		seen(t, b.Navigate(s.HTTP()+"/"))
		return s.OP.Calls(testop.Token) > calls+1
	}) {
		t.Error("no refresh while the disk is full")
	}
	other := NewBrowser(t)
	page := other.Navigate(s.HTTP() + "/")
	seen(t, page)
	copied := other.Twin()
	out := other.Follow(page, "/oauth2/logout")
	if out.Status != http.StatusServiceUnavailable || reason(out) != "store_unavailable" {
		t.Errorf("the sign-out that is kept nowhere: %d %s", out.Status, reason(out))
	}
	if again := copied.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); again.Status != http.StatusUnauthorized {
		t.Errorf("the session is alive: %d", again.Status)
	}
	free()
	seen(t, b.Navigate(s.HTTP()+"/"))
	twin := b.Twin()
	if out := b.Follow(b.Navigate(s.HTTP()+"/"), "/oauth2/logout"); out.Status >= 400 {
		t.Errorf("there is room, and a sign-out answers %d %s", out.Status, reason(out))
	}
	if !eventually(20*time.Second, func() bool { return len(s.supersededFiles()) > 0 }) {
		t.Error("what could not be written is not written later")
	}
	revocations := filepath.Join(s.Storage(), "gatehouse", "revocations", "*-*")
	if !eventually(70*time.Second, func() bool { found, err := filepath.Glob(revocations); return err == nil && len(found) > 1 }) {
		t.Error("the sign-out that could not be kept is not kept later")
	}
	s.Kill()
	s.start(s.fill(oneSite))
	if again := copied.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); again.Status != http.StatusUnauthorized {
		t.Errorf("signed out while the disk was full, and alive after a crash: %d", again.Status)
	}
	if again := twin.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); again.Status != http.StatusUnauthorized {
		t.Errorf("signed out, and alive after a crash: %d", again.Status)
	}
}
