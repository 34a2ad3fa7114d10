package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

// A Redis that evicts what it was not told to forget (allkeys-lru) takes one key and leaves the others. Whichever it takes:
// if revocations are gone with it, the revision says so, and whoever knows them tells them again.
func TestRevisionShowsWhatWasEvicted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	revoke := func() {
		if err := store.Revoke(t.Context(), revocation(t, time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	known := func() (revision uint64, revocations int) {
		revision, all, err := store.Revocations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return revision, len(all)
	}
	revoke()
	for key := range strings.FieldsSeq(server.CLI("--scan")) {
		revoke()
		revision, revocations := known()
		server.CLI("del", key)
		if after, left := known(); left != revocations && after >= revision {
			t.Errorf("without %s there are %d revocations instead of %d, at revision %d as before", key, left, revocations, after)
		}
	}
}

// A server tells whether it evicts what it must not forget.
func TestEvicts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, redisstore.Config{Addresses: []string{server.Addr}})
	for _, tt := range []struct{ memory, policy, want string }{
		{"0", "allkeys-lru", ""},
		{"100mb", "noeviction", ""},
		{"100mb", "volatile-lru", ""},
		{"100mb", "allkeys-lru", "allkeys-lru"},
		{"100mb", "allkeys-random", "allkeys-random"},
	} {
		server.CLI("config", "set", "maxmemory", tt.memory, "maxmemory-policy", tt.policy)
		if policy, err := store.Evicts(t.Context()); err != nil || policy != tt.want {
			t.Errorf("%s %s: %q, %v", tt.memory, tt.policy, policy, err)
		}
	}
	if policy, err := open(t, redisstore.Config{Addresses: []string{"127.0.0.1:1"}}).Evicts(t.Context()); err == nil {
		t.Errorf("a server that is away: %q", policy)
	}
}
