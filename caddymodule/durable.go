package caddymodule

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/storage"
	"github.com/gatehouse-auth/gatehouse/internal/users"
	"github.com/gatehouse-auth/gatehouse/session"
)

// durable is what outlives a configuration: the key ring, what is known of sessions,
// and the sessions that live in memory. Configurations share it if they have the same
// storage, whatever else a reload changes.
type durable struct {
	pool    string // its key in durablePool
	logger  *zap.Logger
	keys    *storage.KeyRing
	journal *storage.Journal
	state   *session.State // of this process alone
	cookies session.Store  // one for all sites, which are compared by their store
	memory  *storage.MemoryStore
	forms   session.Blobs
	// passwords limits the attempts of all configurations together.
	passwords *users.Limiter
}

// lastUpdates bounds the wait for refreshes under way when the process ends.
const lastUpdates = 5 * time.Second

var durablePool = caddy.NewUsagePool()

// acquireDurable finds the state that belongs to a storage, or makes it.
func acquireDurable(of certmagic.Storage, logger *zap.Logger) (*durable, error) {
	key := fmt.Sprintf("%T", of)
	if named, ok := of.(fmt.Stringer); ok {
		key = named.String()
	}
	value, _, err := durablePool.LoadOrNew(key, func() (caddy.Destructor, error) {
		journal := storage.NewJournal(of, logger, nil)
		return &durable{
			pool:      key,
			logger:    logger,
			keys:      storage.NewKeyRing(of, logger, nil),
			journal:   journal,
			state:     session.NewState(journal, nil),
			cookies:   session.CookieStore(),
			memory:    storage.NewMemoryStore(of, logger, nil),
			forms:     session.NewMemoryBlobs(nil),
			passwords: users.NewLimiter(),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*durable), nil
}

func (d *durable) release() { _, _ = durablePool.Delete(d.pool) }

// Destruct implements caddy.Destructor: the last configuration that uses this
// storage is gone, at a graceful stop or by a reload. The sessions in memory go to the
// storage, for the next process. Requests may still be under way, so nothing is closed.
func (d *durable) Destruct() error {
	awaitUpdates(d.state)
	if err := d.memory.Keep(context.Background()); err != nil {
		d.logger.Error("the sessions in memory could not be kept: everybody signs in again", zap.Error(err))
	}
	return nil
}

// awaitUpdates waits for the refreshes under way, whose tokens are already spent: their
// results must be kept.
func awaitUpdates(state *session.State) {
	ctx, cancel := context.WithTimeout(context.Background(), lastUpdates)
	defer cancel()
	state.AwaitUpdates(ctx)
}
