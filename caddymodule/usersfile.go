package caddymodule

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"
)

// account is one line of a users file.
type account struct {
	name   string
	groups []string
	hash   []byte
	// comparer is Caddy's module for this kind of hash, which takes the time that the
	// hash says, whatever the password.
	comparer caddyauth.Comparer
	// longest is how many bytes of a password the hash knows; 0 is all.
	longest int
	// entry names the line as it is. A token ends when its line changes.
	entry string
}

// accounts are all lines of a users file. They never change.
type accounts struct {
	byName map[string]*account
	// all are in the order of the file, and seed is made of it: an unknown name is
	// compared with the hash of one of them, always the same, so that it takes as long
	// as a known one.
	all  []*account
	seed [sha256.Size]byte
}

// Bounds of a users file.
const (
	maxUsersFile = 1 << 20 // bytes
	maxUserName  = 255     // bytes: what sub may have (OIDC Core 2)
)

// usersFile is a file of users, which is followed without a reload.
type usersFile = followed[accounts]

// openUsersFile reads a users file. What is wrong with it is an error, with the line.
func openUsersFile(path string, logger *zap.Logger) (*usersFile, error) {
	return follow("users file", path, maxUsersFile, parseUsers, logger)
}

// parseUsers reads the lines of a users file: a name, a hash and groups, with white
// space between; what stands behind a # that begins a word is a comment. An error
// begins with the number of the line, and quotes no hash.
func parseUsers(content []byte) (*accounts, error) {
	parsed := &accounts{byName: make(map[string]*account), seed: sha256.Sum256(content)}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		fields := strings.Fields(string(line))
		if comment := slices.IndexFunc(fields, func(field string) bool { return strings.HasPrefix(field, "#") }); comment >= 0 {
			fields = fields[:comment]
		}
		if len(fields) == 0 {
			continue
		}
		a, err := parseAccount(fields)
		if err == nil && parsed.byName[a.name] != nil {
			err = fmt.Errorf("user %s is there twice", a.name)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
		parsed.byName[a.name] = a
		parsed.all = append(parsed.all, a)
	}
	return parsed, nil
}

func parseAccount(fields []string) (*account, error) {
	a := &account{name: fields[0]}
	if len(a.name) > maxUserName || strings.ContainsFunc(a.name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, fmt.Errorf("%.64q: a user's name is of printable ASCII, at most %d characters", a.name, maxUserName)
	}
	if len(fields) < 2 {
		return nil, fmt.Errorf("user %s has no hash; gatehouse hash-password makes one", a.name)
	}
	a.groups = slices.Compact(slices.Sorted(slices.Values(fields[2:])))
	for _, group := range a.groups {
		if strings.Contains(group, ",") || strings.ContainsFunc(group, func(c rune) bool { return !unicode.IsGraphic(c) }) {
			return nil, fmt.Errorf("user %s: %.64q is no group; groups stand with white space between", a.name, group)
		}
	}
	a.hash = []byte(fields[1])
	if err := a.readHash(fields[1]); err != nil {
		return nil, fmt.Errorf("user %s: %w", a.name, err)
	}
	a.entry = entryOf(a)
	return a, nil
}

// The hashes that Caddy's modules make. What could not be compared, or would take
// hours, is an error when the file is read; an empty key would fit every password.
var (
	bcryptHash   = regexp.MustCompile(`^\$2[aby]?\$(\d\d)\$[./A-Za-z0-9]{53}$`)
	argon2idHash = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}$`)
)

const (
	minBcryptCost, maxBcryptCost = 4, 18 // a second at 14, twice that for each one more
	bcryptLength                 = 72    // bytes
	maxArgon2Memory              = 1 << 20
)

// readHash finds the module that compares.
func (a *account) readHash(hash string) error {
	if match := bcryptHash.FindStringSubmatch(hash); match != nil {
		if cost, _ := strconv.Atoi(match[1]); cost < minBcryptCost || cost > maxBcryptCost {
			return fmt.Errorf("a bcrypt cost of %d; %d to %d are taken", cost, minBcryptCost, maxBcryptCost)
		}
		a.comparer, a.longest = caddyauth.BcryptHash{}, bcryptLength
		return nil
	}
	match := argon2idHash.FindStringSubmatch(hash)
	if match == nil {
		return errors.New("the second word is no hash of bcrypt or argon2id; gatehouse hash-password makes one")
	}
	memory, _ := strconv.Atoi(match[1])
	rounds, _ := strconv.Atoi(match[2])
	threads, _ := strconv.Atoi(match[3])
	if memory > maxArgon2Memory || rounds < 1 || threads < 1 || threads > 255 {
		return fmt.Errorf("argon2id with m=%d, t=%d, p=%d; at most a memory of %d KiB is taken, and one round and thread at least", memory, rounds, threads, maxArgon2Memory)
	}
	if _, _, err := caddyauth.DecodeHash(a.hash); err != nil {
		return errors.New("the hash cannot be decoded")
	}
	a.comparer = caddyauth.Argon2idHash{}
	return nil
}

// entryOf names a line by all that it says. It stands in tokens, and tells nobody the
// hash: that has the salt, which nobody can guess.
func entryOf(a *account) string {
	sum := sha256.New()
	for _, word := range append([]string{a.name, string(a.hash)}, a.groups...) {
		sum.Write(binary.AppendUvarint(nil, uint64(len(word))))
		sum.Write([]byte(word))
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12])
}

// subjectOf finds whose hash a password is compared with; for a name that is unknown
// another's, and known is false. nil if there is nobody.
func (a *accounts) subjectOf(name string) (subject *account, known bool) {
	if subject = a.byName[name]; subject != nil {
		return subject, true
	}
	if len(a.all) == 0 {
		return nil, false
	}
	mac := hmac.New(sha256.New, a.seed[:])
	mac.Write([]byte(name))
	return a.all[binary.BigEndian.Uint64(mac.Sum(nil))%uint64(len(a.all))], false
}

// verify compares a name and a password. It takes as long for an unknown name as for a
// wrong password. nil: they do not belong together.
func (a *accounts) verify(name, password string) *account {
	subject, known := a.subjectOf(name)
	if subject == nil {
		return nil // nobody is known, which is no secret
	}
	same, err := subject.comparer.Compare(subject.hash, []byte(password))
	fits := subject.longest == 0 || len(password) <= subject.longest // bcrypt reads no further
	if err != nil || !same || !fits || !known {
		return nil
	}
	return subject
}
