// Package seal encrypts and authenticates what leaves the process: cookies,
// under a [Ring] of named keys, and records of a store, under a key that only
// the browser's cookie holds ([SealBlob]).
//
// Everything sealed has a [Purpose] and opens for that purpose alone. Kinds
// have keys of their own, derived by HKDF (RFC 5869), and the scope stands in
// the message authentication code.
//
// A sealed cookie value is
//
//	"v1." key-id "." value
//
// where value is what gorilla/securecookie makes of the plaintext: AES-256-CTR
// with a random IV, then HMAC-SHA-256 over the SHA-256 of the purpose, a time
// that nobody reads, and the ciphertext; in base64url with padding. Of
// securecookie only that is used: its clock, its limits and its encoders are
// off, and what it is lax about (base64 with stray bits or line breaks, the
// caller's slice, empty payloads) is refused here.
package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
)

// MaxSealed is the length in bytes of the longest sealed value that is made or
// accepted: what two cookies hold at most.
const MaxSealed = 8192

const version = "v1."

// What is wrong with a value.
var (
	// ErrMalformed says that a value is not of the form that Seal makes.
	ErrMalformed = errors.New("seal: malformed value")
	// ErrForged says that a value was not sealed for this purpose with the key
	// that it names.
	ErrForged = errors.New("seal: forged value")
	// ErrEmpty refuses to seal nothing: securecookie could not open it again.
	ErrEmpty = errors.New("seal: nothing to seal")
	// ErrTooLarge refuses to seal what would be longer than [MaxSealed].
	ErrTooLarge = errors.New("seal: too large")
)

// UnknownKeyError says that a value names a key that the ring does not hold.
type UnknownKeyError struct {
	ID string // as the value names it; not authenticated
	// Newer says that the ID names a time of creation that is not before the
	// ring's oldest key: such a key was not retired here, it belongs to another
	// ring. Always false if either side has no time.
	Newer bool
}

// MayBeNewer reports that the key may be one that another ring has just begun to use: the
// ID tells no time, or one that is [UnknownKeyError.Newer].
func (e *UnknownKeyError) MayBeNewer() bool {
	_, timed := KeyTime(e.ID)
	return e.Newer || !timed
}

// Error names the unknown key.
func (e *UnknownKeyError) Error() string { return "seal: unknown key " + e.ID }

// Purpose is what a sealed value is for. It opens only for the same Purpose.
type Purpose struct {
	Kind  string // "session", "attempt", …: a constant of the program; each has keys of its own
	Scope string // the host or cookie domain that the value belongs to
}

// name is the purpose as securecookie's name, which its MAC begins with.
func (p Purpose) name() string {
	sum := sha256.Sum256(lengthPrefixed(p.Kind, p.Scope))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Ring is a list of keys: the first seals, all open. It is immutable and safe
// for concurrent use.
type Ring struct {
	keys   []*ringKey
	oldest time.Time // zero if no key has a time
}

type ringKey struct {
	id     string
	secret []byte
	codecs sync.Map // Kind -> *securecookie.SecureCookie, made at first use
}

// NewRing makes a ring of at least one key, of which no two have one ID.
func NewRing(keys ...Key) (*Ring, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: a ring needs at least one", ErrKey)
	}
	ring := &Ring{}
	for _, key := range keys {
		if err := key.check(); err != nil {
			return nil, err
		}
		if ring.find(key.ID) != nil {
			return nil, fmt.Errorf("%w: two with the ID %q", ErrKey, key.ID)
		}
		ring.keys = append(ring.keys, &ringKey{id: key.ID, secret: bytes.Clone(key.Secret)})
		if created, ok := KeyTime(key.ID); ok && (ring.oldest.IsZero() || created.Before(ring.oldest)) {
			ring.oldest = created
		}
	}
	return ring, nil
}

// Seal encrypts plaintext for p under the ring's first key. The result is made
// of characters that a cookie value may have (RFC 6265 4.1.1). The caller's
// slice is left alone. An empty plaintext is [ErrEmpty], one whose sealed value
// would be longer than [MaxSealed] is [ErrTooLarge].
func (r *Ring) Seal(p Purpose, plaintext []byte) (string, error) {
	if len(plaintext) == 0 {
		return "", ErrEmpty
	}
	key := r.keys[0]
	codec, err := key.codec(p.Kind)
	if err != nil {
		return "", err
	}
	text, err := codec.Encode(p.name(), bytes.Clone(plaintext)) // encrypts its argument in place
	if err != nil {
		return "", fmt.Errorf("seal: sealing %s: %w", p.Kind, err)
	}
	value := version + key.id + "." + text
	if len(value) > MaxSealed {
		return "", fmt.Errorf("%w: %d bytes of %s become %d, at most %d", ErrTooLarge, len(plaintext), p.Kind, len(value), MaxSealed)
	}
	return value, nil
}

// Derive makes a secret for another use of each key, in the ring's order: the first
// is the one to use now, the others may still be known to somebody. kind is a constant
// of the program, size at most 8160 bytes.
func (r *Ring) Derive(kind string, size int) ([][]byte, error) {
	secrets := make([][]byte, 0, len(r.keys))
	for _, key := range r.keys {
		secret, err := subkey(key.secret, "derive", kind, size)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// Open returns what was sealed for p. Its errors are [ErrMalformed],
// [ErrForged] and [*UnknownKeyError].
func (r *Ring) Open(p Purpose, value string) ([]byte, error) {
	key, text, err := r.parse(value)
	if err != nil {
		return nil, err
	}
	// One sealed value has one spelling. Strict refuses stray bits; the decoder
	// would still skip line breaks.
	if strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%w: line break in base64", ErrMalformed)
	}
	if _, err := base64.URLEncoding.Strict().DecodeString(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	codec, err := key.codec(p.Kind)
	if err != nil {
		return nil, err
	}
	var plaintext []byte
	if err := codec.Decode(p.name(), text, &plaintext); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return plaintext, nil
}

// Holds tells whether the ring (still) holds the key that a value names, without
// opening it: nil, [ErrMalformed] or [*UnknownKeyError]. Whoever remembers what
// Open returned asks this first.
func (r *Ring) Holds(value string) error {
	_, _, err := r.parse(value)
	return err
}

// parse splits a value and finds its key, before any costly work.
func (r *Ring) parse(value string) (*ringKey, string, error) {
	if len(value) > MaxSealed {
		return nil, "", fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(value), MaxSealed)
	}
	rest, ok := strings.CutPrefix(value, version)
	if !ok {
		return nil, "", fmt.Errorf("%w: not of version 1", ErrMalformed)
	}
	id, text, ok := strings.Cut(rest, ".")
	if !ok || !properID(id) {
		return nil, "", fmt.Errorf("%w: no key ID", ErrMalformed)
	}
	key := r.find(id)
	if key == nil {
		created, timed := KeyTime(id)
		newer := timed && !r.oldest.IsZero() && !created.Before(r.oldest)
		return nil, "", &UnknownKeyError{ID: id, Newer: newer}
	}
	return key, text, nil
}

func (r *Ring) find(id string) *ringKey {
	for _, key := range r.keys {
		if key.id == id {
			return key
		}
	}
	return nil
}

// codec returns the key's securecookie for one kind.
func (k *ringKey) codec(kind string) (*securecookie.SecureCookie, error) {
	if codec, ok := k.codecs.Load(kind); ok {
		return codec.(*securecookie.SecureCookie), nil
	}
	keys, err := subkey(k.secret, "cookie", kind, 64)
	if err != nil {
		return nil, err
	}
	codec := securecookie.New(keys[:32], keys[32:]).
		SetSerializer(securecookie.NopEncoder{}).
		MaxAge(0).   // its clock cannot be set; lifetimes are judged by ours
		MaxLength(0) // MaxSealed is checked before
	k.codecs.Store(kind, codec)
	return codec, nil
}

// lengthPrefixed joins parts so that no two lists of parts give one result.
func lengthPrefixed(parts ...string) []byte {
	size := 0
	for _, part := range parts {
		size += binary.MaxVarintLen32 + len(part)
	}
	joined := make([]byte, 0, size)
	for _, part := range parts {
		joined = binary.AppendUvarint(joined, uint64(len(part)))
		joined = append(joined, part...)
	}
	return joined
}
