// Package users holds the users of a site that gives access tokens for a name and a
// password: the file that lists them ([File]), and the limits within which passwords may
// be tried ([Limiter]). It knows no tokens and no requests.
package users

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
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/internal/follow"
)

// User is one line of a users file. It never changes.
type User struct {
	// Name is printable ASCII without spaces, at most 255 characters.
	Name string
	// Groups are sorted, each there once.
	Groups []string
	// Entry is a digest of the whole line. A token ends when the entry of its user
	// changes.
	Entry string

	hash []byte
	// comparer is Caddy's module for this kind of hash. It takes the time that the
	// hash asks for, whatever the password.
	comparer caddyauth.Comparer
	// longest is how many bytes of a password the hash knows; 0 is all.
	longest int
}

// List is all users of a file. It never changes.
type List struct {
	byName map[string]*User
	// An unknown name is compared with the hash of one of all, which seed chooses: always
	// the same one, so that an unknown name takes as long as a known one.
	all  []*User
	seed [sha256.Size]byte
}

// Bounds of a users file, in bytes.
const (
	maxFile = 1 << 20
	maxName = 255 // what sub may have (OIDC Core 2)
)

// File is a users file, which is followed without a reload.
type File = follow.File[List]

// Open reads a users file. An error names the file and the line. The clock is time.Now
// by default.
func Open(path string, logger *zap.Logger, now func() time.Time) (*File, error) {
	return follow.Open("users file", path, maxFile, Parse, logger, now)
}

// Parse reads the lines of a users file: a name, a hash and any number of groups, with
// white space between them. A word that begins with # begins a comment. An error begins
// with the number of the line, and never quotes a hash.
func Parse(content []byte) (*List, error) {
	parsed := &List{byName: make(map[string]*User), seed: sha256.Sum256(content)}
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
		user, err := parseLine(fields)
		if err == nil && parsed.byName[user.Name] != nil {
			err = fmt.Errorf("user %s is there twice", user.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
		parsed.byName[user.Name] = user
		parsed.all = append(parsed.all, user)
	}
	return parsed, nil
}

func parseLine(fields []string) (*User, error) {
	u := &User{Name: fields[0]}
	if len(u.Name) > maxName || strings.ContainsFunc(u.Name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, fmt.Errorf("%.64q: a user's name is printable ASCII without spaces, at most %d characters", u.Name, maxName)
	}
	if len(fields) < 2 {
		return nil, fmt.Errorf("user %s has no hash; gatehouse hash-password makes one", u.Name)
	}
	u.Groups = slices.Compact(slices.Sorted(slices.Values(fields[2:])))
	for _, group := range u.Groups {
		if strings.Contains(group, ",") || strings.ContainsFunc(group, func(c rune) bool { return !unicode.IsGraphic(c) }) {
			return nil, fmt.Errorf("user %s: %.64q is not a group; groups are separated by white space", u.Name, group)
		}
	}
	u.hash = []byte(fields[1])
	if err := u.readHash(fields[1]); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Name, err)
	}
	u.Entry = entryOf(u)
	return u, nil
}

// The hashes that Caddy's modules make. A hash that could not be compared, or would take
// hours, is an error when the file is read. So is an empty key of argon2id, which would
// fit every password.
var (
	bcryptHash   = regexp.MustCompile(`^\$2[aby]?\$(\d\d)\$[./A-Za-z0-9]{53}$`)
	argon2idHash = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}$`)
)

const (
	minBcryptCost, maxBcryptCost = 4, 18 // a second at 14, twice that for each one more
	bcryptLength                 = 72    // bytes
	maxArgon2Memory              = 1 << 20
)

// readHash finds the module that compares passwords with a hash of this kind.
func (u *User) readHash(hash string) error {
	if match := bcryptHash.FindStringSubmatch(hash); match != nil {
		if cost, _ := strconv.Atoi(match[1]); cost < minBcryptCost || cost > maxBcryptCost {
			return fmt.Errorf("a bcrypt cost of %d; it takes %d to %d", cost, minBcryptCost, maxBcryptCost)
		}
		u.comparer, u.longest = caddyauth.BcryptHash{}, bcryptLength
		return nil
	}
	match := argon2idHash.FindStringSubmatch(hash)
	if match == nil {
		return errors.New("the second word is not a bcrypt or argon2id hash; gatehouse hash-password makes one")
	}
	memory, _ := strconv.Atoi(match[1])
	rounds, _ := strconv.Atoi(match[2])
	threads, _ := strconv.Atoi(match[3])
	if memory > maxArgon2Memory || rounds < 1 || threads < 1 || threads > 255 {
		return fmt.Errorf("argon2id with m=%d, t=%d, p=%d; it takes at most %d KiB of memory, and at least one round and one thread", memory, rounds, threads, maxArgon2Memory)
	}
	if _, _, err := caddyauth.DecodeHash(u.hash); err != nil {
		return errors.New("the hash cannot be decoded")
	}
	u.comparer = caddyauth.Argon2idHash{}
	return nil
}

// entryOf is the digest of all that a line says. It stands in tokens, where it gives
// nothing of the password away: the hash holds a salt, which nobody can guess.
func entryOf(u *User) string {
	sum := sha256.New()
	for _, word := range append([]string{u.Name, string(u.hash)}, u.Groups...) {
		sum.Write(binary.AppendUvarint(nil, uint64(len(word))))
		sum.Write([]byte(word))
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12])
}

// Find returns the user of a name, nil if there is none.
func (l *List) Find(name string) *User { return l.byName[name] }

// Verify returns the user of a name if the password is right, else nil. It takes as long
// for an unknown name as for a wrong password.
func (l *List) Verify(name, password string) *User {
	compared, known := l.comparedWith(name)
	if compared == nil {
		return nil // the file is empty, which is no secret
	}
	same, err := compared.comparer.Compare(compared.hash, []byte(password))
	fits := compared.longest == 0 || len(password) <= compared.longest // bcrypt reads no further
	if err != nil || !same || !fits || !known {
		return nil
	}
	return compared
}

// comparedWith returns whose hash a password is compared with: that of the name's user,
// or, if the name is not known, of another one. It is nil if there are no users.
func (l *List) comparedWith(name string) (user *User, known bool) {
	user = l.byName[name]
	if user != nil {
		return user, true
	}
	if len(l.all) == 0 {
		return nil, false
	}
	mac := hmac.New(sha256.New, l.seed[:])
	mac.Write([]byte(name))
	return l.all[binary.BigEndian.Uint64(mac.Sum(nil))%uint64(len(l.all))], false
}
