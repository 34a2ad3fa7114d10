package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// Where our objects stand in Caddy's storage.
const (
	keysPrefix        = "gatehouse/keys"
	revocationsPrefix = "gatehouse/revocations"
	supersededPrefix  = "gatehouse/superseded"
)

// durable is what outlives a configuration: the key ring, what is known of
// sessions, and the sessions that live in memory. It goes by the storage that
// stands behind it, and by nothing that a reload may change.
type durable struct {
	pool    string
	keys    *keyRing
	journal *journal
	state   *session.State // of this process alone
	cookies session.Store  // one for all sites, which are compared by their store
	memory  *memorySessions
	forms   session.Blobs
	// passwords counts what is tried under every configuration alike.
	passwords *passwordLimiter
}

var durablePool = caddy.NewUsagePool()

// acquireDurable finds the state that belongs to a storage, or makes it.
func acquireDurable(storage certmagic.Storage, logger *zap.Logger) (*durable, error) {
	key := fmt.Sprintf("%T", storage)
	if named, ok := storage.(fmt.Stringer); ok {
		key = named.String()
	}
	value, _, err := durablePool.LoadOrNew(key, func() (caddy.Destructor, error) {
		keys := &keyRing{storage: storage, logger: logger, now: time.Now}
		journal := &journal{storage: storage, logger: logger, now: keys.now}
		return &durable{
			pool:      key,
			keys:      keys,
			journal:   journal,
			state:     session.NewState(journal, nil),
			cookies:   session.CookieStore(),
			memory:    &memorySessions{MemoryStore: session.NewMemoryStore(nil), storage: storage, logger: logger, now: keys.now},
			forms:     session.NewMemoryBlobs(nil),
			passwords: newPasswordLimiter(),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*durable), nil
}

func (d *durable) release() { _, _ = durablePool.Delete(d.pool) }

// Destruct implements caddy.Destructor: the last configuration that uses this
// storage is gone, at a graceful stop or by a reload. Sessions in memory go where
// the next one finds them. Requests may still be under way, so nothing is closed.
func (d *durable) Destruct() error {
	awaitUpdates(d.state)
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	if err := d.memory.keep(ctx); err != nil {
		d.memory.logger.Error("the sessions in memory could not be kept: everybody signs in again", zap.Error(err))
	}
	return nil
}

// awaitUpdates waits for refreshes under way: their tokens are spent, and what came of
// them is to be kept.
func awaitUpdates(state *session.State) {
	ctx, cancel := context.WithTimeout(context.Background(), lastUpdates)
	defer cancel()
	state.AwaitUpdates(ctx)
}

// Times of a key's life.
const (
	// sealingPeriod is how long a key seals after it was made.
	sealingPeriod = 30 * 24 * time.Hour
	// keyOverlap is how long before the end of that the next key is made, so
	// that every process has read it when it begins to seal.
	keyOverlap = 24 * time.Hour
	// ringAge is how long a ring is used before the storage is read again.
	ringAge = 10 * time.Minute
	// refreshInterval is how soon an unknown key may have it read again.
	refreshInterval = 5 * time.Second
	// storageTimeout bounds what a request waits for the storage.
	storageTimeout = 10 * time.Second
	// lockTimeout bounds the wait for a lock that somebody may have died with.
	lockTimeout = 2 * time.Second
)

// keyRing reads the keys that seal cookies from a folder of immutable files, one
// key each, and makes a new one when the newest nears the end of its sealing
// period. Readers take the union of the files; the oldest key that may still seal
// does. Two processes that make a key at once converge: both read both.
type keyRing struct {
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	longest atomic.Int64 // the longest session lifetime that was asked for
	current atomic.Pointer[readRing]
	mu      sync.Mutex // one reader of the storage at a time
	failed  error      // how the last reading went wrong
	tried   time.Time  // when that was
}

// readRing is a ring and when it was read.
type readRing struct {
	ring *seal.Ring
	read time.Time
}

// retain keeps keys open for as long as the longest session lives.
func (k *keyRing) retain(lifetime time.Duration) {
	for {
		longest := k.longest.Load()
		if int64(lifetime) <= longest || k.longest.CompareAndSwap(longest, int64(lifetime)) {
			return
		}
	}
}

// longestLifetime is the longest that a session lives, of those that share the ring.
func (k *keyRing) longestLifetime() time.Duration { return time.Duration(k.longest.Load()) }

// Ring returns the keys. A ring that cannot be read again goes on being used; if
// there is none yet, that is an error.
func (k *keyRing) Ring(ctx context.Context) (*seal.Ring, error) {
	current := k.current.Load()
	if current != nil && k.now().Sub(current.read) < ringAge {
		return current.ring, nil
	}
	if current != nil {
		if !k.mu.TryLock() {
			return current.ring, nil // somebody else is reading
		}
	} else {
		k.mu.Lock()
	}
	defer k.mu.Unlock()
	return k.reread(ctx, ringAge)
}

// Refresh reads the storage again, since a cookie names a key that may have been
// made by another process a moment ago.
func (k *keyRing) Refresh(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _ = k.reread(ctx, refreshInterval) // logged there; Ring goes on with what it has
}

// reread reads the storage unless the ring is younger than age. The caller holds mu.
func (k *keyRing) reread(ctx context.Context, age time.Duration) (*seal.Ring, error) {
	current, now := k.current.Load(), k.now()
	if current != nil && now.Sub(current.read) < age {
		return current.ring, nil
	}
	if k.failed != nil && now.Sub(k.tried) < refreshInterval {
		if current != nil {
			return current.ring, nil
		}
		return nil, k.failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	ring, err := k.read(ctx, now)
	k.failed, k.tried = err, now
	if err != nil {
		k.logger.Error("the keys that seal cookies cannot be read", zap.Error(err))
		if current != nil {
			return current.ring, nil
		}
		return nil, err
	}
	k.current.Store(&readRing{ring: ring, read: now})
	return ring, nil
}

// read loads all keys, makes one where none can seal, and orders them.
func (k *keyRing) read(ctx context.Context, now time.Time) (*seal.Ring, error) {
	keys, rotated, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if needsKey(keys, now) {
		if keys, rotated, err = k.makeKey(ctx, now); err != nil {
			return nil, err
		}
	}
	return orderKeys(keys, rotated, now, k.longestLifetime())
}

func needsKey(keys []seal.Key, now time.Time) bool {
	return !slices.ContainsFunc(keys, func(key seal.Key) bool { return now.Before(key.Created.Add(sealingPeriod - keyOverlap)) })
}

// makeKey makes one key, unless another process has just done so. The storage's
// lock only avoids waste; nothing depends on it.
func (k *keyRing) makeKey(ctx context.Context, now time.Time) ([]seal.Key, string, error) {
	const lock = "gatehouse_keys"
	locking, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	if err := k.storage.Lock(locking, lock); err == nil {
		defer func() { _ = k.storage.Unlock(context.WithoutCancel(ctx), lock) }()
	}
	keys, rotated, err := k.load(ctx)
	if err != nil || !needsKey(keys, now) {
		return keys, rotated, err
	}
	key, err := seal.NewKey(now)
	if err != nil {
		return nil, "", err
	}
	if err := k.store(ctx, key, false); err != nil {
		return nil, "", err
	}
	k.logger.Info("made a key that seals cookies", zap.String("key", key.ID))
	return k.load(ctx)
}

// orderKeys puts first the oldest key that may still seal, none from before the
// last rotation on demand, and leaves out those under which no session can be
// alive.
func orderKeys(keys []seal.Key, rotated string, now time.Time, longest time.Duration) (*seal.Ring, error) {
	slices.SortFunc(keys, func(a, b seal.Key) int { return strings.Compare(a.ID, b.ID) })
	open := slices.DeleteFunc(keys, func(key seal.Key) bool {
		return !now.Before(retired(key, rotated).Add(longest))
	})
	first := slices.IndexFunc(open, func(key seal.Key) bool {
		return key.ID >= rotated && now.Before(key.Created.Add(sealingPeriod))
	})
	if first < 0 {
		return nil, errors.New("no key may seal: is the clock right?")
	}
	ordered := append([]seal.Key{open[first]}, slices.Delete(slices.Clone(open), first, first+1)...)
	return seal.NewRing(ordered...)
}

// storedKey is a key's file. check guards against a torn or edited one: that is
// an error, never a reason to begin a new ring in silence.
type storedKey struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Secret  string    `json:"secret"`
	// Rotates: it was made on demand, and keys from before it seal no more.
	Rotates bool   `json:"rotates,omitempty"`
	Check   string `json:"check"`
}

func (s storedKey) checksum() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d|%s|%d|%s|%t", s.Version, s.ID, s.Created.Unix(), s.Secret, s.Rotates))
	return hex.EncodeToString(sum[:])
}

func encodeKey(key seal.Key, rotates bool) []byte {
	stored := storedKey{
		Version: 1, ID: key.ID, Created: key.Created.UTC(),
		Secret: base64.StdEncoding.EncodeToString(key.Secret), Rotates: rotates,
	}
	stored.Check = stored.checksum()
	encoded, _ := json.MarshalIndent(stored, "", "\t") // cannot fail: strings, a number, a valid time
	return encoded
}

// decodeKey reads a key, and tells whether it rotates those before it.
func decodeKey(data []byte) (seal.Key, bool, error) {
	var stored storedKey
	if err := json.Unmarshal(data, &stored); err != nil {
		return seal.Key{}, false, err
	}
	if stored.Version != 1 || stored.Check != stored.checksum() {
		return seal.Key{}, false, errors.New("the file is torn or was edited")
	}
	material, err := base64.StdEncoding.Strict().DecodeString(stored.Secret)
	return seal.Key{ID: stored.ID, Created: stored.Created, Secret: material}, stored.Rotates, err
}

// load reads all keys, and the ID of the one that was rotated to last, if any was.
func (k *keyRing) load(ctx context.Context) (keys []seal.Key, rotated string, err error) {
	names, err := k.storage.List(ctx, keysPrefix, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("listing the keys: %w", err)
	}
	for _, name := range names {
		if path.Ext(name) != ".json" {
			continue
		}
		data, err := k.storage.Load(ctx, name)
		if err != nil {
			return nil, "", fmt.Errorf("reading key %s: %w", name, err)
		}
		key, rotates, err := decodeKey(data)
		if err != nil {
			return nil, "", fmt.Errorf("key %s: %w; restore the file, or remove it to sign out whoever it signed in", name, err)
		}
		keys = append(keys, key)
		if rotates {
			rotated = max(rotated, key.ID)
		}
	}
	if len(keys) == 0 && k.current.Load() != nil {
		return nil, "", errKeysGone
	}
	return keys, rotated, nil
}

// errKeysGone is a storage that had keys and has none: it may not be there, or somebody
// removed them. A new ring would sign everybody out.
var errKeysGone = errors.New("the keys are gone from the storage; restore them, or start the process anew to begin with others, which signs everybody out")
