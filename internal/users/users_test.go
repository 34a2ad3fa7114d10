package users

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"
)

// Hashes of "antitiming", as `gatehouse hash-password` makes them.
var (
	bcryptOfTest = string(caddyauth.BcryptHash{}.FakeHash())
	argon2OfTest = string(caddyauth.Argon2idHash{}.FakeHash())
)

func TestParseUsers(t *testing.T) {
	parsed, err := Parse([]byte("# all\r\n\n  ada\t" + bcryptOfTest + "  ops reader ops # a comment\r\nbob " + argon2OfTest))
	if err != nil {
		t.Fatal(err)
	}
	ada, bob := parsed.byName["ada"], parsed.byName["bob"]
	if len(parsed.all) != 2 || !slices.Equal(ada.Groups, []string{"ops", "reader"}) || len(bob.Groups) != 0 {
		t.Errorf("%+v %+v", ada, bob)
	}
	hash22, hash31 := "$2a$14$"+strings.Repeat("a", 22), strings.Repeat("b", 31)
	for _, tt := range []struct{ name, text, says string }{
		{"no hash", "ada", "1: user ada has no hash"},
		{"the line is named", "# x\n\nada", "3: user ada"},
		{"twice", "ada " + bcryptOfTest + "\nada " + argon2OfTest, "2: user ada is there twice"},
		{"a password instead of a hash", "ada secret", "not a bcrypt or argon2id hash"},
		{"a hash of another kind", "ada $6$salt$" + strings.Repeat("x", 86), "not a bcrypt or argon2id hash"},
		{"a hash of base64, as Caddy once took it", "ada JDJhJDE0JFgzdWxxZi9pR3huZjFrNm9NWi5SWmVKVW9xSTlQWDJQTTRyUzVsa0lLSlhkdUxHWEdQcnQ2", "not a bcrypt or argon2id hash"},
		{"bcrypt that is torn", "ada " + bcryptOfTest[:len(bcryptOfTest)-1], "not a bcrypt or argon2id hash"},
		{"bcrypt that takes days", "ada " + strings.Replace(hash22+hash31, "$14$", "$31$", 1), "cost"},
		{"bcrypt that costs nothing", "ada " + strings.Replace(hash22+hash31, "$14$", "$03$", 1), "cost"},
		{"argon2id whose empty key fits all passwords", "ada $argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$", "not a bcrypt or argon2id hash"},
		{"argon2id of a short key", "ada $argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$AAAA", "not a bcrypt or argon2id hash"},
		{"argon2id that needs all memory", "ada " + strings.Replace(argon2OfTest, "m=47104", "m=9999999", 1), "memory"},
		{"argon2id of no round", "ada " + strings.Replace(argon2OfTest, "t=1", "t=0", 1), "round"},
		{"argon2id of no thread", "ada " + strings.Replace(argon2OfTest, "p=1", "p=0", 1), "thread"},
		{"argon2id of too many threads", "ada " + strings.Replace(argon2OfTest, "p=1", "p=256", 1), "p=256"},
		{"argon2id of another version", "ada " + strings.Replace(argon2OfTest, "v=19", "v=16", 1), "not a bcrypt or argon2id hash"},
		{"groups with commas", "ada " + bcryptOfTest + " ops,reader", "separated by white space"},
		{"a group with a control character", "ada " + bcryptOfTest + " o\x01ps", "not a group"},
		{"a name that is no subject", "\u00fcnal " + bcryptOfTest, "printable ASCII"},
		{"a mark of the byte order", "\ufeffada " + bcryptOfTest, "printable ASCII"},
		{"a name with a control character", "a\x00da " + bcryptOfTest, "printable ASCII"},
		{"a long name", strings.Repeat("a", 256) + " " + bcryptOfTest, "at most 255"},
	} {
		_, err := Parse([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "$2a$14$X3") {
			t.Errorf("%s: the error tells the hash: %v", tt.name, err)
		}
	}
}

// Hashes that cost next to nothing: of "correct horse", and of 72 times x.
const (
	bcryptOfHorse = "$2a$04$YFnyzRq95MeXpAyGNvgP.eAulW0RsRj53zz6Ofjp8mImYe5OCo.jy"
	bcryptOf72    = "$2a$04$IEnY3MjA/6zAnDKERaNZHOjacnV9XqAriD5iOTn/Bbl3g9WG4ko8W"
	argon2OfHorse = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$M7jw0GQI4Kfcxf+xPldfNRYttP89scc9XVAYAcaZ0U0"
)

// A line of each kind of hash lets in who has its password, and nobody else: not who has the first 72 bytes of a longer one,
// where bcrypt reads no further.
func TestParsedUsersSignIn(t *testing.T) {
	long := strings.Repeat("x", 72)
	parsed, err := Parse([]byte("ada " + bcryptOfHorse + "\nbob " + argon2OfHorse + "\neve " + bcryptOf72))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, password string
		right          bool
	}{
		{"ada", "correct horse", true},
		{"ada", "wrong", false},
		{"ada", "", false},
		{"bob", "correct horse", true},
		{"bob", "wrong", false},
		{"bob", "", false},
		{"eve", long, true},
		{"eve", long + "x", false},
		{"mallory", "correct horse", false},
	} {
		if who := parsed.Verify(tt.name, tt.password); (who != nil) != tt.right || who != nil && who.Name != tt.name {
			t.Errorf("%s with %q: %v", tt.name, tt.password, who)
		}
	}
}

// What is just within the bounds is a user.
func TestParseUsersWithinBounds(t *testing.T) {
	hash := func(cost string) string { return strings.Replace(bcryptOfTest, "$14$", "$"+cost+"$", 1) }
	for _, tt := range []struct{ name, text string }{
		{"the longest name", strings.Repeat("a", 255) + " " + bcryptOfTest},
		{"the first and the last character of a name", "!~ " + bcryptOfTest},
		{"the lowest cost of bcrypt", "ada " + hash("04")},
		{"the highest cost of bcrypt", "ada " + hash("18")},
		{"the most memory of argon2id", "ada " + strings.Replace(argon2OfTest, "m=47104", "m=1048576", 1)},
		{"the most threads of argon2id", "ada " + strings.Replace(argon2OfTest, "p=1", "p=255", 1)},
	} {
		if parsed, err := Parse([]byte(tt.text)); err != nil || len(parsed.all) != 1 {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := Parse([]byte("ada " + strings.Replace(argon2OfTest, "m=47104", "m=1048577", 1))); err == nil {
		t.Error("more than the most memory of argon2id is taken")
	}
}

// failing is a hash that cannot be compared, of which the module says that it fits.
type failing struct{}

func (failing) Compare([]byte, []byte) (bool, error) { return true, errors.New("no") }

// A comparison that fails lets nobody in.
func TestVerifyFailsClosed(t *testing.T) {
	ada := &User{Name: "ada", comparer: failing{}}
	if who := (&List{byName: map[string]*User{"ada": ada}, all: []*User{ada}}).Verify("ada", "x"); who != nil {
		t.Errorf("%v is let in", who)
	}
}

// Which user an unknown name is compared with cannot be told without the file.
func TestComparedWithDependsOnTheFile(t *testing.T) {
	text := "ada " + bcryptOfHorse + "\nbob " + argon2OfHorse
	one, err := Parse([]byte(text))
	other, err2 := Parse([]byte(text + "\n# later"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		name := strings.Repeat("x", i)
		a, _ := one.comparedWith(name)
		b, _ := other.comparedWith(name)
		if a.Name != b.Name {
			return
		}
	}
	t.Error("it is the same one whatever else the file says")
}

// A token ends when its line changes: every part of a line is in its name, and nothing runs together.
func TestEntryOf(t *testing.T) {
	entries := map[string]string{}
	for _, line := range []string{
		"ada " + bcryptOfTest, "bob " + bcryptOfTest, "ada " + argon2OfTest, "ada " + bcryptOfTest + " a b", "ada " + bcryptOfTest + " ab",
		"ada " + bcryptOfTest + " a", "ada " + bcryptOfTest + " b",
	} {
		parsed, err := Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		entry := parsed.all[0].Entry
		if other, twice := entries[entry]; twice {
			t.Errorf("%q and %q have one entry", line, other)
		}
		entries[entry] = line
	}
}

// counted counts the comparisons of a hash.
type counted struct{ calls *[]string }

func (c counted) Compare(hash, password []byte) (bool, error) {
	*c.calls = append(*c.calls, string(hash))
	return string(hash) == string(password), nil
}

// An unknown name takes as long as a wrong password: it is compared, once, with the hash of some user, always the same.
func TestVerify(t *testing.T) {
	var calls []string
	known := &List{byName: map[string]*User{}}
	for _, name := range []string{"ada", "bob", "eve"} {
		a := &User{Name: name, hash: []byte("of " + name), comparer: counted{&calls}, longest: 6}
		known.byName[name], known.all = a, append(known.all, a)
	}
	if who := known.Verify("ada", "of ada"); who == nil || who.Name != "ada" {
		t.Errorf("right: %v", who)
	}
	for _, password := range []string{"of bob", "", "of adax"} {
		if who := known.Verify("ada", password); who != nil {
			t.Errorf("%q: %v", password, who)
		}
	}
	long := &User{Name: "long", hash: []byte("of longer"), comparer: counted{&calls}, longest: 6}
	known.byName["long"] = long
	if who := known.Verify("long", "of longer"); who != nil {
		t.Error("more of a password than the hash knows")
	}
	if who := (&List{}).Verify("ada", "of ada"); who != nil {
		t.Errorf("nobody is known, but %v", who)
	}
	compared := map[string]bool{}
	for _, name := range []string{"nobody", "x", "Ada", "", "root", "admin", "y", "z"} {
		calls = nil
		for _, password := range []string{"of ada", "of bob", "of eve"} {
			if who := known.Verify(name, password); who != nil {
				t.Errorf("%s is %v", name, who)
			}
		}
		if len(calls) != 3 || calls[0] != calls[1] || calls[1] != calls[2] {
			t.Errorf("%s was compared with %q", name, calls)
		}
		compared[calls[0]] = true
	}
	if len(compared) < 2 {
		t.Errorf("all unknown names are compared with %v", compared)
	}
}

// What is wrong with a users file says where, and gives no hash away.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := Open(path, zap.NewNop(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, tt := range []struct{ text, says string }{
		{"ada " + bcryptOfTest + "\nbob", path + ":2: user bob has no hash"},
		{strings.Repeat("#", maxFile+1), "more than"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q", err, tt.says)
		}
	}
}
