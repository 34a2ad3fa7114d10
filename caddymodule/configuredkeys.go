package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// Times of configured keys.
const (
	// configuredAge is how long they are used before their files are read again.
	configuredAge = 5 * time.Second
	// configuredRefresh is how soon an unknown key may have them read again.
	configuredRefresh = time.Second
)

// configuredKeys are the keys of `keys`: the first seals, all open. A file that
// changes is followed.
type configuredKeys struct {
	raw    []string
	logger *zap.Logger
	now    func() time.Time

	current atomic.Pointer[readRing]
	mu      sync.Mutex        // one reader at a time
	text    [sha256.Size]byte // of what was read, hashed
}

// readRing is a ring and the time at which it was read.
type readRing struct {
	ring *seal.Ring
	read time.Time
}

// keys returns what seals the cookies of a site: its configured keys, or else the
// ring in Caddy's storage.
func (a *App) keys(c *SessionConfig) (session.Keys, error) {
	if len(c.Keys) == 0 {
		return a.durable.keys, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.configured {
		if slices.Equal(known.raw, c.Keys) {
			return known, nil
		}
	}
	keys := &configuredKeys{raw: c.Keys, logger: a.logger, now: time.Now}
	ring, err := keys.read()
	if err != nil {
		return nil, err
	}
	keys.current.Store(&readRing{ring: ring, read: keys.now()})
	a.configured = append(a.configured, keys)
	return keys, nil
}

// Ring implements [session.Keys].
func (k *configuredKeys) Ring(context.Context) (*seal.Ring, error) {
	current := k.current.Load()
	if k.now().Sub(current.read) >= configuredAge && k.mu.TryLock() {
		defer k.mu.Unlock()
		k.reread(configuredAge)
	}
	return k.current.Load().ring, nil
}

// Refresh implements [session.Keys].
func (k *configuredKeys) Refresh(context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reread(configuredRefresh)
}

// reread reads the keys again unless that was done within age. What cannot be read
// changes nothing. The caller holds mu.
func (k *configuredKeys) reread(age time.Duration) {
	current, now := k.current.Load(), k.now()
	if now.Sub(current.read) < age {
		return
	}
	ring, err := k.read()
	if err != nil {
		k.logger.Error("the keys that seal cookies cannot be read again; those that were read before go on", zap.Error(err))
		ring = current.ring
	}
	k.current.Store(&readRing{ring: ring, read: now})
}

// errKeys says what keys are, and never what stands there.
var errKeys = errors.New("keys: each is 32 bytes or more in base64")

// read resolves the keys. White space separates several in one value. The ring is the
// same for as long as they are.
func (k *configuredKeys) read() (*seal.Ring, error) {
	var keys []seal.Key
	hash := sha256.New()
	for i, raw := range k.raw {
		name := fmt.Sprintf("value %d", i+1)
		text, err := readSecret(name, raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errKeys, err)
		}
		if path, isPlaceholder := placeholderOf(raw); isPlaceholder {
			name = path
		}
		for _, encoded := range strings.Fields(text.Reveal()) {
			hash.Write([]byte(encoded + " "))
			material, err := decodeBase64(encoded)
			if err != nil {
				return nil, fmt.Errorf("%w (%s)", errKeys, name) // the other error would quote it
			}
			key, err := seal.KeyFromSecret(material)
			if err != nil {
				return nil, fmt.Errorf("%w (%s): %w", errKeys, name, err)
			}
			keys = append(keys, key)
		}
	}
	text := [sha256.Size]byte(hash.Sum(nil))
	if current := k.current.Load(); current != nil && text == k.text {
		return current.ring, nil // and what is derived from it
	}
	ring, err := seal.NewRing(keys...)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k.text = text
	return ring, nil
}

// decodeBase64 reads either alphabet, with padding or without.
func decodeBase64(text string) ([]byte, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.Strict().DecodeString(text)
}
