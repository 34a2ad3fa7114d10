package storage

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The folder of the keys is gone while the process runs: a volume that is not mounted at the moment, somebody who tidied
// up. The process goes on with what it has, and begins no new ring in silence, neither by itself nor on demand.
func TestKeysAreGoneWhileRunning(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	k := testKeyRing(dir, c)
	sealed := mustSeal(t, mustRing(t, k))
	folder := filepath.Join(dir, filepath.FromSlash(keysPrefix))
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.advance(ringAge + time.Second)
		if _, err := mustRing(t, k).Open(cookiePurpose, sealed); err != nil {
			t.Fatalf("who was signed in is signed out: %v", err)
		}
	}
	if id, err := k.Rotate(t.Context()); err == nil {
		t.Errorf("rotated to %s, which signs everybody out", id)
	}
	if files, _ := filepath.Glob(filepath.Join(folder, "*")); len(files) != 0 {
		t.Errorf("a new ring was begun: %v", files)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	c.advance(ringAge + time.Second)
	if _, err := k.Rotate(t.Context()); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	if _, err := mustRing(t, k).Open(cookiePurpose, sealed); err != nil {
		t.Error(err)
	}
}
