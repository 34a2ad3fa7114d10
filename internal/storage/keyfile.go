package storage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// storedKey is the file of one key. Check guards against a torn or edited file, which
// is an error and never a reason to begin a new ring silently.
type storedKey struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Secret  string    `json:"secret"`
	// Rotates says that the key was made on demand: keys from before it seal no more.
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

// decodeKey reads a key, and tells whether it was made by a rotation on demand.
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

// load reads all keys, and returns with them the ID of the newest that was made by a
// rotation on demand, "" if none was.
func (k *KeyRing) load(ctx context.Context) (keys []seal.Key, rotated string, err error) {
	names, err := list(ctx, k.storage, keysPrefix)
	if err != nil {
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
	return k.restore(ctx, keys, rotated)
}

// restore writes back what this process has read and the storage lacks now, such as one
// that was put back to an older backup: else everybody whom such a key signed in would be
// signed out, or a key from before a rotation would seal again.
func (k *KeyRing) restore(ctx context.Context, keys []seal.Key, rotated string) ([]seal.Key, string, error) {
	current := k.current.Load()
	if current == nil {
		return keys, rotated, nil
	}
	if len(keys) == 0 {
		return nil, "", errKeysGone
	}
	for _, key := range current.keys {
		if slices.ContainsFunc(keys, func(stored seal.Key) bool { return stored.ID == key.ID }) {
			continue
		}
		if err := k.store(ctx, key, key.ID == current.rotated); err != nil {
			return nil, "", fmt.Errorf("the storage has lost key %s: %w", key.ID, err)
		}
		k.logger.Warn("the storage had lost a key that seals cookies, and has it again; to have a key forgotten, stop all processes before you remove its file", zap.String("key", key.ID))
		keys = append(keys, key)
	}
	return keys, max(rotated, current.rotated), nil
}

// errKeysGone says that a storage which had keys has none any more: it is not mounted,
// or somebody has removed them. A new ring would sign everybody out.
var errKeysGone = errors.New("the keys are gone from the storage; restore them, or start the process anew to begin with others, which signs everybody out")

// store writes a key's file.
func (k *KeyRing) store(ctx context.Context, key seal.Key, rotates bool) error {
	if err := k.storage.Store(ctx, path.Join(keysPrefix, key.ID+".json"), encodeKey(key, rotates)); err != nil {
		return fmt.Errorf("storing a new key: %w", err)
	}
	return nil
}
