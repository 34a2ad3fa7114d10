package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The sizes of keys and of their names.
const (
	minSecret = 32 // bytes: what AES-256 and HMAC-SHA-256 are worth
	timeWidth = 7  // base36 digits of a key ID's time: enough until the year 4453
	randWidth = 10 // base32 digits of a key ID's random part: 50 bits
	maxIDSize = 32 // bytes of any key ID
)

// ErrKey is wrapped by every error about a key that cannot be used: too short,
// without a proper ID, or two with one ID.
var ErrKey = errors.New("seal: unusable key")

// lower is base32 without padding, in lower case: a key ID is also the name of
// a file, and some file systems fold case.
var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key is one secret of a [Ring] under the name that sealed values carry.
type Key struct {
	ID      string    // lower-case letters, digits and "-"; not secret
	Created time.Time // zero if unknown, as for a configured key
	Secret  []byte    // 32 bytes or more
}

// NewKey makes a random key. Its ID is its time of creation, to the second,
// and a random part: IDs sort by time, and two processes that make a key in
// one second make two keys.
func NewKey(now time.Time) (Key, error) {
	digits := strconv.FormatInt(now.Unix(), 36)
	if now.Unix() < 0 || len(digits) > timeWidth {
		return Key{}, fmt.Errorf("%w: no ID can name the time %v", ErrKey, now)
	}
	secret := make([]byte, minSecret)
	rand.Read(secret) // never fails: it would end the process
	id := strings.Repeat("0", timeWidth-len(digits)) + digits +
		"-" + strings.ToLower(rand.Text()[:randWidth])
	return Key{ID: id, Created: time.Unix(now.Unix(), 0).UTC(), Secret: secret}, nil
}

// KeyFromSecret makes a key of a secret of 32 bytes or more from the
// configuration. Its ID, "k" and 16 characters, is derived from the secret
// (RFC 5869), so that every replica gives it the same name; it has no time of
// creation.
func KeyFromSecret(secret []byte) (Key, error) {
	if len(secret) < minSecret {
		return Key{}, fmt.Errorf("%w: %d bytes, needs %d or more", ErrKey, len(secret), minSecret)
	}
	id, err := subkey(secret, "id", "", 10)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: "k" + lower.EncodeToString(id), Secret: append([]byte(nil), secret...)}, nil
}

// KeyTime returns the time of creation that an ID made by [NewKey] names, and
// false for every other ID. The ID of a cookie is not authenticated: anyone
// may send any time.
func KeyTime(id string) (time.Time, bool) {
	digits, random, _ := strings.Cut(id, "-")
	if len(digits) != timeWidth || len(random) != randWidth || !properID(id) {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(digits, 36, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// String names the key without its secret.
func (k Key) String() string { return "key " + k.ID }

// Format writes [Key.String] whatever the verb, so that no %v, %#v or %x
// reaches the secret.
func (k Key) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, k.String()) }

// check tells why the key cannot be in a ring.
func (k Key) check() error {
	if len(k.Secret) < minSecret {
		return fmt.Errorf("%w: %q has %d bytes, needs %d or more", ErrKey, k.ID, len(k.Secret), minSecret)
	}
	if !properID(k.ID) {
		return fmt.Errorf("%w: %q is not an ID", ErrKey, k.ID)
	}
	return nil
}

func properID(id string) bool {
	if id == "" || len(id) > maxIDSize {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// subkey derives the key for one use and kind from a secret (RFC 5869). The
// label is length-prefixed, so that no two uses can run together.
func subkey(secret []byte, use, kind string, size int) ([]byte, error) {
	label := lengthPrefixed("gatehouse v1", use, kind)
	key, err := hkdf.Key(sha256.New, secret, nil, string(label), size)
	if err != nil {
		return nil, fmt.Errorf("seal: deriving the key for %s %q: %w", use, kind, err)
	}
	return key, nil
}
