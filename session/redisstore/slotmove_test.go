package redisstore_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

// The slot of the revocations moves to another node of a cluster, as when it is resharded: while its keys are on their way
// (ASK) and afterwards (MOVED) every call works, with no more rights than are documented, and who listens hears it all.
func TestClusterMovesTheSlot(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	for _, node := range nodes {
		node.CLI(append(append([]string{"acl", "setuser", "gate", "on", ">x"}, rights...), clusterRights...)...)
	}
	store := open(t, redisstore.Config{
		Addresses: []string{nodes[0].Addr}, Cluster: true, Username: "gate", Prefix: redisstore.DefaultPrefix,
		Password: func() (secret.String, error) { return secret.New("x"), nil },
	})
	sub, err := store.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var revoked []session.Revocation
	works := func(when string) {
		t.Helper()
		r := revocation(t, time.Now().Add(time.Hour))
		if err := store.Revoke(t.Context(), r); err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		revoked = append(revoked, r)
		revision, all, err := store.Revocations(t.Context())
		if err != nil || len(all) != len(revoked) {
			t.Errorf("%s: %d revocations of %d, %v", when, len(all), len(revoked), err)
		}
		if alone, err := store.Revision(t.Context()); err != nil || alone != revision {
			t.Errorf("%s: revision %d, and %d alone, %v", when, revision, alone, err)
		}
		if told, heard, err := sub.Next(t.Context()); err != nil || told != revision || heard != r {
			t.Errorf("%s: heard of revision %d, %v; it is %d", when, told, err, revision)
		}
	}
	works("before")

	const key = "gatehouse:revocations:{revoked}"
	slot := strings.TrimSpace(nodes[0].CLI("cluster", "keyslot", key))
	holds := func(n *redistest.Server) bool {
		return strings.TrimSpace(n.CLI("cluster", "countkeysinslot", slot)) != "0"
	}
	from := nodes[slices.IndexFunc(nodes, holds)]
	to := nodes[slices.IndexFunc(nodes, func(n *redistest.Server) bool { return n != from })]
	id := func(n *redistest.Server) string { return strings.TrimSpace(n.CLI("cluster", "myid")) }
	to.CLI("cluster", "setslot", slot, "importing", id(from))
	from.CLI("cluster", "setslot", slot, "migrating", id(to))
	works("begun")
	host, port, err := net.SplitHostPort(to.Addr)
	if err != nil {
		t.Fatal(err)
	}
	from.CLI("migrate", host, port, key, "0", "5000")
	if !holds(to) {
		t.Fatal("the key did not move")
	}
	works("on its way")
	for _, node := range []*redistest.Server{to, from} {
		node.CLI("cluster", "setslot", slot, "node", id(to))
	}
	works("moved")
}
