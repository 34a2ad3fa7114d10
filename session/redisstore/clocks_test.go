package redisstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

// A Redis that lost everything counts again, and comes to a number that a process knows already: what it was told at that
// number is something else, which the process must not take for heard.
func TestRevisionIsNoOldOneAfterALoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	seen := map[uint64]int{}
	for round := range 20 {
		for range 10 {
			if err := store.Revoke(t.Context(), revocation(t, time.Now().Add(time.Hour))); err != nil {
				t.Fatal(err)
			}
			revision, err := store.Revision(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if before, again := seen[revision]; again {
				t.Fatalf("revision %d of round %d again in round %d", revision, before, round)
			}
			seen[revision] = round
		}
		server.CLI("flushall")
	}
}

// A process whose clock is ahead forgets nothing that counts for the others still: a session and what ended it are over
// by one clock.
func TestClockAheadForgetsNothingOfOthers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ours := redisstore.Config{Addresses: []string{server.Addr}, Prefix: "clocks:"}
	ahead := ours
	ahead.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
	store, other := open(t, ours), open(t, ahead)
	soonOver := revocation(t, time.Now().Add(2*time.Minute))
	if err := store.Revoke(t.Context(), soonOver); err != nil {
		t.Fatal(err)
	}
	if err := other.Revoke(t.Context(), revocation(t, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	_, all, err := store.Revocations(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(r session.Revocation) bool { return r == soonOver }) {
		t.Errorf("forgotten; %d are left, %v", len(all), err)
	}
}
