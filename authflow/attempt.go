package authflow

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// AttemptLifetime is how long a login attempt can be finished.
const AttemptLifetime = 10 * time.Minute

const (
	attemptVersion = 2
	secretBytes    = 32
	stateDigits    = 7  // base 36 seconds, until the year 4453
	stateBytes     = 16 // of randomness (RFC 6749 10.10)
	bindingBytes   = 16 // of SHA-256
	attemptHead    = 1 + bindingBytes + secretBytes
)

// ErrAttemptMalformed means that the bytes are not from Attempt.MarshalBinary.
var ErrAttemptMalformed = errors.New("malformed login attempt")

// Attempt is one login attempt: what was asked, so that the answer can be
// compared with it. It belongs to the browser that began it and to nobody else;
// the caller seals it into that browser's cookie, under its State, and lets it be
// finished once.
type Attempt struct {
	// State is the state parameter (RFC 6749 10.12). It begins with the time of
	// creation, so that attempts sort by their state. It consists of letters,
	// digits, "-" and "_".
	State string
	// Provider is the caller's name for the client that began the attempt.
	Provider string
	// ReturnTo is where the browser goes after the login.
	ReturnTo string
	// Created is when the attempt began, in whole seconds.
	Created time.Time

	// required is what the sign-in has to be.
	required requirement
	// binding is a digest of the issuer, the client and the redirect URI that the
	// attempt was begun with.
	binding [bindingBytes]byte
	// secret is what nonce and verifier are made from. It leaves the attempt
	// only inside its encoding.
	secret secret.String
}

// newAttempt begins an attempt with fresh random values.
func newAttempt(now time.Time) *Attempt {
	state := make([]byte, stateBytes)
	rand.Read(state)
	key := make([]byte, secretBytes)
	rand.Read(key)
	return &Attempt{
		State:   encodeState(now, state),
		Created: now.Truncate(time.Second),
		secret:  secret.New(string(key)),
	}
}

// Nonce returns the nonce that binds the ID token to this attempt (OIDC Core
// 15.5.2).
func (a *Attempt) Nonce() string { return a.derive("nonce") }

// verifier returns the PKCE code verifier (RFC 7636 4.1): 43 characters, 256
// bits.
func (a *Attempt) verifier() string { return a.derive("verifier") }

// challenge returns the PKCE code challenge by S256 (RFC 7636 4.2).
func (a *Attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.verifier()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// derive makes one value per use. All are as unguessable as the secret, none
// tells anything about another, and the sealed attempt stays small.
func (a *Attempt) derive(use string) string {
	return base64.RawURLEncoding.EncodeToString(a.deriveBytes(use))
}

// deriveBytes is derive before it is text.
func (a *Attempt) deriveBytes(use string) []byte {
	mac := hmac.New(sha256.New, []byte(a.secret.Reveal()))
	mac.Write([]byte(use + "\x00" + a.State))
	return mac.Sum(nil)
}

// dpopKey returns the key that the tokens of this attempt are bound to (RFC 9449).
// One value of 2^32 is no scalar of P-256; then the next is taken, as in FIPS
// 186-5 A.2.2.
func (a *Attempt) dpopKey() (*DPoPKey, error) {
	key, err := newDPoPKey(a.deriveBytes("dpop"))
	if err != nil {
		key, err = newDPoPKey(a.deriveBytes("dpop again"))
	}
	return key, err
}

// Expires returns when the attempt can no longer be finished.
func (a *Attempt) Expires() time.Time { return a.Created.Add(AttemptLifetime) }

// MarshalBinary encodes the attempt, secret included: seal it. State is not in
// it: it is what the caller finds the attempt by. It fails if Provider has more
// than 255 bytes.
func (a *Attempt) MarshalBinary() ([]byte, error) {
	if len(a.Provider) > math.MaxUint8 {
		return nil, fmt.Errorf("login attempt: a provider's name of %d bytes", len(a.Provider))
	}
	data := []byte{attemptVersion}
	data = append(data, a.binding[:]...)
	data = append(data, a.secret.Reveal()...)
	data = append(data, byte(len(a.Provider)))
	data = append(data, a.Provider...)
	data = a.required.append(data)
	return append(data, a.ReturnTo...), nil
}

// ParseAttempt decodes what MarshalBinary has encoded for the attempt of a state,
// and nothing else: ErrAttemptMalformed.
func ParseAttempt(state string, data []byte) (*Attempt, error) {
	created, err := parseState(state)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttemptMalformed, err)
	}
	if len(data) <= attemptHead || data[0] != attemptVersion {
		return nil, fmt.Errorf("%w: cut off, or another version", ErrAttemptMalformed)
	}
	a := &Attempt{State: state, Created: created}
	copy(a.binding[:], data[1:])
	a.secret = secret.New(string(data[1+bindingBytes : attemptHead]))
	name := int(data[attemptHead])
	rest := data[attemptHead+1:]
	if len(rest) < name {
		return nil, fmt.Errorf("%w: cut off", ErrAttemptMalformed)
	}
	a.Provider = string(rest[:name])
	if a.required, rest, err = cutRequirement(rest[name:]); err != nil {
		return nil, err
	}
	a.ReturnTo = string(rest)
	return a, nil
}

// bindingOf digests what an attempt is begun with and finished at, so that it is
// compared without making the cookie longer. Lengths stand in front: no two
// triples have one digest.
func bindingOf(issuer, clientID, redirectURI string) (binding [bindingBytes]byte) {
	digest := sha256.New()
	for _, part := range []string{issuer, clientID, redirectURI} {
		fmt.Fprintf(digest, "%d:%s", len(part), part)
	}
	copy(binding[:], digest.Sum(nil))
	return binding
}

// encodeState makes a state from a time and randomness.
func encodeState(now time.Time, random []byte) string {
	digits := strconv.FormatInt(now.Unix(), 36)
	return strings.Repeat("0", max(stateDigits-len(digits), 0)) + digits +
		base64.RawURLEncoding.EncodeToString(random)
}

// parseState returns when a state was made, and refuses every text that
// encodeState does not make.
func parseState(state string) (time.Time, error) {
	if len(state) != stateDigits+base64.RawURLEncoding.EncodedLen(stateBytes) {
		return time.Time{}, fmt.Errorf("a state of %d characters", len(state))
	}
	seconds, err := strconv.ParseUint(state[:stateDigits], 36, 63)
	if err != nil {
		return time.Time{}, errors.New("a state without a time")
	}
	random, err := base64.RawURLEncoding.DecodeString(state[stateDigits:])
	if err != nil {
		return time.Time{}, errors.New("a state without randomness")
	}
	created := time.Unix(int64(seconds), 0)
	if encodeState(created, random) != state {
		return time.Time{}, errors.New("a state in another spelling")
	}
	return created, nil
}
