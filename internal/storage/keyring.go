package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

const (
	// sealingPeriod is how long a key seals after it was made.
	sealingPeriod = 30 * 24 * time.Hour
	// keyOverlap is how long before the end of its sealing period a key gets a
	// successor, so that every process has read the successor before it seals.
	keyOverlap = 24 * time.Hour
	// ringAge is how long a ring is used before the storage is read again.
	ringAge = 10 * time.Minute
	// lockTimeout bounds the wait for the storage's lock, whose holder may be dead.
	lockTimeout = 2 * time.Second
)

// KeyRing is the keys that seal cookies. They stand in a folder of immutable files,
// one key each: every process reads all of them, and the oldest key that may still
// seal does. A new key is made when the newest nears the end of its sealing period,
// 30 days; two processes that make one at the same time converge, since both read
// both. It is safe for concurrent use.
type KeyRing struct {
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	longest   atomic.Int64 // the longest session lifetime that was asked for
	current   atomic.Pointer[readRing]
	mu        sync.Mutex // one reader of the storage at a time
	failed    error      // why the last attempt to read it failed; nil if it did not
	tried     time.Time  // when that attempt was over
	refreshed time.Time  // when [KeyRing.Refresh] last read it
}

// readRing is a ring, the keys that it consists of, and the time at which they were read.
type readRing struct {
	ring    *seal.Ring
	keys    []seal.Key
	rotated string // the ID of the newest that was made by a rotation on demand
	read    time.Time
}

// fresh tells whether the ring was read less than age ago, and the clock was not set back
// since: while it was ahead, keys were taken for retired that are not.
func (r *readRing) fresh(now time.Time, age time.Duration) bool {
	return r != nil && now.Sub(r.read) < age && !now.Round(0).Before(r.read.Round(0))
}

// NewKeyRing returns the ring of a storage. It reads nothing yet: the first call of
// [KeyRing.Ring] does, and makes the first key if there is none. The clock is
// time.Now by default.
func NewKeyRing(storage certmagic.Storage, logger *zap.Logger, now func() time.Time) *KeyRing {
	if now == nil {
		now = time.Now
	}
	return &KeyRing{storage: storage, logger: logger, now: now}
}

// Retain keeps retired keys for as long as a session of this lifetime may need them.
// The longest lifetime ever given counts.
func (k *KeyRing) Retain(lifetime time.Duration) {
	for {
		longest := k.longest.Load()
		if int64(lifetime) <= longest || k.longest.CompareAndSwap(longest, int64(lifetime)) {
			return
		}
	}
}

// LongestLifetime returns the longest lifetime that [KeyRing.Retain] was given.
func (k *KeyRing) LongestLifetime() time.Duration { return time.Duration(k.longest.Load()) }

// Ring implements [session.Keys]. A ring that cannot be read again goes on being
// used; an error means that none could be read so far.
func (k *KeyRing) Ring(ctx context.Context) (*seal.Ring, error) {
	current := k.current.Load()
	if current.fresh(k.now(), ringAge) {
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

// Refresh implements [session.Keys]: it reads the storage again, at most every five
// seconds, since a cookie names a key that another process may have just made.
func (k *KeyRing) Refresh(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Sub(k.refreshed) >= retryAfter {
		_, _ = k.reread(ctx, 0) // logged there; Ring goes on with what it has
		k.refreshed = k.now()
	}
}

// reread reads the storage unless the ring is younger than age. The caller holds mu.
func (k *KeyRing) reread(ctx context.Context, age time.Duration) (*seal.Ring, error) {
	current, now := k.current.Load(), k.now()
	if current.fresh(now, age) {
		return current.ring, nil
	}
	if k.failed != nil && now.Sub(k.tried) < retryAfter {
		if current != nil {
			return current.ring, nil
		}
		return nil, k.failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	next, err := k.read(ctx, now)
	k.failed, k.tried = err, k.now() // who has waited for this attempt makes no other
	if err != nil {
		k.logger.Error("the keys that seal cookies cannot be read", zap.Error(err), storageField(k.storage))
		if current != nil {
			return current.ring, nil
		}
		return nil, err
	}
	k.current.Store(next)
	return next.ring, nil
}

// read loads all keys, makes one where the newest needs a successor, and orders them. Where
// none can be made, those that are there go on until their time is over.
func (k *KeyRing) read(ctx context.Context, now time.Time) (*readRing, error) {
	keys, rotated, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	var unmade error
	if needsKey(keys, now) {
		made, rotation, err := k.makeKey(ctx, now)
		if unmade = err; err == nil {
			keys, rotated = made, rotation
		}
	}
	keys, err = orderKeys(keys, rotated, now, k.LongestLifetime())
	if err != nil {
		return nil, cmp.Or(unmade, err)
	}
	if unmade != nil {
		k.logger.Error("the key that seals cookies needs a successor, which cannot be stored; it goes on until its 30 days are over, and then nobody can sign in: make the storage writable", zap.String("key", keys[0].ID), zap.Error(unmade))
	}
	ring, err := seal.NewRing(keys...)
	return &readRing{ring: ring, keys: keys, rotated: rotated, read: now}, err
}

func needsKey(keys []seal.Key, now time.Time) bool {
	return !slices.ContainsFunc(keys, func(key seal.Key) bool { return now.Before(key.Created.Add(sealingPeriod - keyOverlap)) })
}

// makeKey makes one key, unless another process has just done so. The storage's
// lock only saves needless keys; nothing depends on it.
func (k *KeyRing) makeKey(ctx context.Context, now time.Time) ([]seal.Key, string, error) {
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
func orderKeys(keys []seal.Key, rotated string, now time.Time, longest time.Duration) ([]seal.Key, error) {
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
	return append([]seal.Key{open[first]}, slices.Delete(slices.Clone(open), first, first+1)...), nil
}

// retired is when a key stops sealing: at the end of its sealing period, or soon after
// a rotation on demand, when every process has read the storage again.
func retired(key seal.Key, rotated string) time.Time {
	end := key.Created.Add(sealingPeriod)
	if at, ok := seal.KeyTime(rotated); ok && key.ID < rotated && at.Add(ringAge).Before(end) {
		return at.Add(ringAge)
	}
	return end
}

// Rotate makes a new key that seals from now on, and returns its ID. The keys before it
// open what they have sealed until the longest session is over.
func (k *KeyRing) Rotate(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, _, err := k.load(ctx); err != nil {
		return "", err // a torn key is mended first
	}
	key, err := seal.NewKey(k.now())
	if err != nil {
		return "", err
	}
	if err := k.store(ctx, key, true); err != nil {
		return "", err
	}
	next, err := k.read(ctx, k.now())
	if err != nil {
		return "", err
	}
	k.current.Store(next)
	k.logger.Info("a new key seals from now on", zap.String("key", key.ID))
	return key.ID, nil
}

// Interface guard.
var _ session.Keys = (*KeyRing)(nil)

// storageField says in a log line where a storage is, if it has a text for that: the others could show a password.
func storageField(storage certmagic.Storage) zap.Field {
	if text, is := storage.(fmt.Stringer); is {
		return zap.Stringer("storage", text)
	}
	return zap.Skip()
}
