package storage

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// keyOf names the key that sealed a value.
func keyOf(sealed string) string { return strings.Split(sealed, ".")[1] }

// A rotation on demand seals with the new key at once, in every process that shares the storage; the key before it opens
// until the last session that it sealed is over.
func TestKeyRingRotatesOnDemand(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	mine, other := testKeyRing(dir, c), testKeyRing(dir, c)
	before := mustSeal(t, mustRing(t, mine))
	c.advance(time.Hour)
	mustRing(t, other)
	id, err := mine.Rotate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	after := mustSeal(t, mustRing(t, mine))
	if keyOf(after) != id || keyOf(before) == id {
		t.Fatalf("sealed with %s after the rotation to %s, and with %s before it", keyOf(after), id, keyOf(before))
	}
	if _, err := mustRing(t, mine).Open(cookiePurpose, before); err != nil {
		t.Errorf("the rotation has signed out: %v", err)
	}

	// The other process seals with the old key until it reads the storage again: with the first cookie that names the new.
	c.advance(ringAge - time.Second)
	last := mustSeal(t, mustRing(t, other))
	if keyOf(last) != keyOf(before) {
		t.Fatalf("sealed with %s", keyOf(last))
	}
	c.advance(time.Second)
	other.Refresh(context.Background())
	if _, err := mustRing(t, other).Open(cookiePurpose, after); err != nil {
		t.Errorf("the other process: %v", err)
	}
	if sealed := mustSeal(t, mustRing(t, other)); keyOf(sealed) != id {
		t.Errorf("the other process seals with %s", keyOf(sealed))
	}
	if restarted := mustSeal(t, mustRing(t, testKeyRing(dir, c))); keyOf(restarted) != id {
		t.Errorf("after a restart: %s", keyOf(restarted))
	}

	c.advance(12*time.Hour - 2*time.Second) // sessions live for 12 hours
	if _, err := mustRing(t, mine).Open(cookiePurpose, last); err != nil {
		t.Errorf("the last session that the old key has sealed: %v", err)
	}
	c.advance(ringAge + 2*time.Second)
	var unknown *seal.UnknownKeyError
	if _, err := mustRing(t, mine).Open(cookiePurpose, last); !errors.As(err, &unknown) || unknown.Newer {
		t.Errorf("after the longest session: %v, want an old unknown key", err)
	}
	c.advance(sealingPeriod)
	if sealed := mustSeal(t, mustRing(t, mine)); keyOf(sealed) == id {
		t.Error("the schedule does not go on after a rotation on demand")
	}
}

// What is torn is mended first: a rotation on top of it would hide it.
func TestKeyRingRotatesNothingTorn(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: someTime}
	k := testKeyRing(dir, c)
	mustRing(t, k)
	file := keyFiles(t, dir)[0]
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rotate(context.Background()); err == nil || len(keyFiles(t, dir)) != 1 {
		t.Errorf("%v, and %d files", err, len(keyFiles(t, dir)))
	}
}
