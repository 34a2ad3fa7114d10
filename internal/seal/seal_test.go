package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

var (
	epoch   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	purpose = seal.Purpose{Kind: "session", Scope: "app.example.com"}
)

func testKey(t testing.TB, fill byte, created time.Time) seal.Key {
	t.Helper()
	key, err := seal.NewKey(created)
	if err != nil {
		t.Fatal(err)
	}
	key.Secret = bytes.Repeat([]byte{fill}, 32)
	return key
}

func testRing(t testing.TB, keys ...seal.Key) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func mustSeal(t testing.TB, ring *seal.Ring, p seal.Purpose, plaintext string) string {
	t.Helper()
	value, err := ring.Seal(p, []byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSealAndOpen(t *testing.T) {
	ring := testRing(t, testKey(t, 1, epoch))
	cookieValue := regexp.MustCompile(`^[A-Za-z0-9._=-]+$`) // RFC 6265 4.1.1, and no quoting anywhere
	for _, plaintext := range []string{"x", "\x00", strings.Repeat("long", 1000)} {
		before := []byte(plaintext)
		value, err := ring.Seal(purpose, before)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != plaintext {
			t.Error("Seal changed the caller's slice")
		}
		if !cookieValue.MatchString(value) {
			t.Errorf("%q is not safe in a cookie", value)
		}
		got, err := ring.Open(purpose, value)
		if err != nil || string(got) != plaintext {
			t.Errorf("Open = %q, %v; want %q", got, err, plaintext)
		}
	}
	if one, other := mustSeal(t, ring, purpose, "x"), mustSeal(t, ring, purpose, "x"); one == other {
		t.Error("one plaintext sealed twice gives one value")
	}
}

func TestSealRefuses(t *testing.T) {
	ring := testRing(t, testKey(t, 1, epoch))
	if _, err := ring.Seal(purpose, nil); !errors.Is(err, seal.ErrEmpty) {
		t.Errorf("an empty payload, which would not open again: %v, want ErrEmpty", err)
	}
	largest := 0
	for size := 4000; size < 5000; size++ {
		value, err := ring.Seal(purpose, make([]byte, size))
		if errors.Is(err, seal.ErrTooLarge) {
			break
		}
		if err != nil || len(value) > seal.MaxSealed {
			t.Fatalf("%d bytes: a value of %d bytes, %v", size, len(value), err)
		}
		if _, err := ring.Open(purpose, value); err != nil {
			t.Fatalf("%d bytes were sealed but do not open: %v", size, err)
		}
		largest = size
	}
	if value := mustSeal(t, ring, purpose, strings.Repeat("x", largest)); len(value) <= seal.MaxSealed-4 {
		t.Errorf("the longest value has %d bytes of %d", len(value), seal.MaxSealed)
	}
	if largest < 4400 || largest == 4999 {
		t.Errorf("the largest payload has %d bytes, want about 4500", largest)
	}
}

// SEC-92: swap every artefact into every slot. SEC-86: move bytes between fields.
func TestOpensForItsPurposeOnly(t *testing.T) {
	ring := testRing(t, testKey(t, 1, epoch))
	purposes := []seal.Purpose{
		{"session", "app.example.com"},
		{"session", "wiki.example.com"},
		{"session", "app.example.co"},
		{"session", ""},
		{"attempt", "app.example.com"},
		{"sessiona", "pp.example.com"},
		{"", "sessionapp.example.com"},
		{"session|app.example.com", ""},
	}
	for _, sealed := range purposes {
		value := mustSeal(t, ring, sealed, "payload")
		for _, opened := range purposes {
			_, err := ring.Open(opened, value)
			if sealed == opened && err != nil {
				t.Errorf("%v does not open for itself: %v", sealed, err)
			}
			if sealed != opened && !errors.Is(err, seal.ErrForged) {
				t.Errorf("sealed for %v, opened for %v: %v, want ErrForged", sealed, opened, err)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	key, other := testKey(t, 1, epoch), testKey(t, 2, epoch)
	ring := testRing(t, key)
	value := mustSeal(t, ring, purpose, "payloa") // ends in base64 padding
	text := value[strings.LastIndex(value, ".")+1:]
	if !strings.HasSuffix(text, "=") {
		t.Fatalf("%q: the rows about padding need some", text)
	}
	head := "v1." + key.ID + "."
	forged := mustSeal(t, testRing(t, seal.Key{ID: key.ID, Secret: other.Secret}), purpose, "payload")
	strayBits := func() string { // the last digit before the padding carries bits that decode to nothing
		digits := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		end := len(strings.TrimRight(text, "="))
		return text[:end-1] + string(digits[strings.IndexByte(digits, text[end-1])^1]) + text[end:]
	}()
	a, _ := base64.URLEncoding.DecodeString(text)
	if b, _ := base64.URLEncoding.DecodeString(strayBits); !bytes.Equal(a, b) {
		t.Fatal("the row about stray bits has none")
	}
	tests := []struct {
		name, value string
		want        error
	}{
		{"nothing", "", seal.ErrMalformed},
		{"no version", text, seal.ErrMalformed},
		{"another version", "v2." + value[3:], seal.ErrMalformed},
		{"version in capitals", "V1." + value[3:], seal.ErrMalformed},
		{"no key ID", "v1.." + text, seal.ErrMalformed},
		{"no text", "v1." + key.ID, seal.ErrMalformed},
		{"empty text", head, seal.ErrForged},
		{"key ID with a slash", "v1.../../key." + text, seal.ErrMalformed},
		{"key ID with what follows z", "v1.{." + text, seal.ErrMalformed},
		{"key ID of 33 bytes", "v1." + strings.Repeat("a", 33) + "." + text, seal.ErrMalformed},
		{"another key's value under this key's ID", forged, seal.ErrForged},
		{"quoted", `"` + value + `"`, seal.ErrMalformed},
		{"white space at the end", value + " ", seal.ErrMalformed},
		{"line break inside base64, which the decoder skips", head + text[:9] + "\r\n" + text[9:], seal.ErrMalformed},
		{"line break at the end", value + "\n", seal.ErrMalformed},
		{"stray bits at the end of base64", head + strayBits, seal.ErrMalformed},
		{"padding left out", strings.TrimRight(value, "="), seal.ErrMalformed},
		{"padding twice", value + "=", seal.ErrMalformed},
		{"standard base64", head + "+/" + text[2:], seal.ErrMalformed},
		{"one byte too long for any work", "v1." + strings.Repeat("a", seal.MaxSealed), seal.ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := ring.Open(purpose, test.value); !errors.Is(err, test.want) || got != nil {
				t.Errorf("Open = %q, %v; want %v", got, err, test.want)
			}
		})
	}
}

// SEC-64: whatever byte is flipped, nothing opens.
func TestFlippedByteNeverOpens(t *testing.T) {
	ring := testRing(t, testKey(t, 1, epoch))
	value := mustSeal(t, ring, purpose, "a payload of some length")
	for i := range value {
		for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
			flipped := []byte(value)
			flipped[i] ^= bit
			if got, err := ring.Open(purpose, string(flipped)); err == nil {
				t.Fatalf("byte %d flipped by %#x opens as %q", i, bit, got)
			}
		}
	}
}

func TestRotation(t *testing.T) {
	old, current := testKey(t, 1, epoch), testKey(t, 2, epoch.Add(time.Hour))
	before := mustSeal(t, testRing(t, old), purpose, "payload")
	both := testRing(t, current, old)
	if _, err := both.Open(purpose, before); err != nil {
		t.Errorf("under [new, old] an old value does not open: %v", err)
	}
	after := mustSeal(t, both, purpose, "payload")
	if !strings.HasPrefix(after, "v1."+current.ID+".") {
		t.Errorf("%q is not sealed with the first key", after)
	}
	var unknown *seal.UnknownKeyError
	if _, err := testRing(t, current).Open(purpose, before); !errors.As(err, &unknown) || unknown.ID != old.ID || unknown.Newer {
		t.Errorf("under [new] an old value: %v, want an unknown key that is not newer", err)
	}
}

func TestUnknownKey(t *testing.T) {
	mid := testKey(t, 1, epoch)
	configured, err := seal.KeyFromSecret(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		ring  []seal.Key
		value seal.Key
		newer bool
	}{
		{"retired long ago", []seal.Key{mid}, testKey(t, 2, epoch.Add(-time.Second)), false},
		{"of another ring, made in the same second", []seal.Key{mid}, testKey(t, 2, epoch), true},
		{"of another ring, made later", []seal.Key{mid}, testKey(t, 2, epoch.Add(time.Hour)), true},
		{"between the ring's keys", []seal.Key{testKey(t, 3, epoch.Add(time.Hour)), mid}, testKey(t, 2, epoch.Add(time.Minute)), true},
		{"between the ring's keys, the oldest first", []seal.Key{mid, testKey(t, 3, epoch.Add(time.Hour))}, testKey(t, 2, epoch.Add(time.Minute)), true},
		{"without a time", []seal.Key{mid}, configured, false},
		{"with a time, but the ring has none", []seal.Key{configured}, mid, false},
		{"with a time, and the ring has both kinds", []seal.Key{configured, mid}, testKey(t, 2, epoch.Add(time.Hour)), true},
		{"with a time, and the ring has both kinds, the configured one last", []seal.Key{mid, configured}, testKey(t, 2, epoch.Add(time.Hour)), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ring, value := testRing(t, test.ring...), mustSeal(t, testRing(t, test.value), purpose, "x")
			var unknown *seal.UnknownKeyError
			if _, err := ring.Open(purpose, value); !errors.As(err, &unknown) || unknown.ID != test.value.ID || unknown.Newer != test.newer {
				t.Errorf("Open: %v, newer %v; want newer %v", err, unknown != nil && unknown.Newer, test.newer)
			}
			if _, timed := seal.KeyTime(unknown.ID); unknown.MayBeNewer() != (test.newer || !timed) {
				t.Errorf("may be newer: %v", unknown.MayBeNewer())
			}
			if err := ring.Holds(value); !errors.As(err, &unknown) {
				t.Errorf("Holds: %v, want an unknown key", err)
			}
		})
	}
}

func TestNewRingRefuses(t *testing.T) {
	key := testKey(t, 1, epoch)
	tests := map[string][]seal.Key{
		"no key":                      {},
		"secret of 31 bytes":          {{ID: key.ID, Secret: make([]byte, 31)}},
		"no ID":                       {{Secret: key.Secret}},
		"ID with a dot":               {{ID: "a.b", Secret: key.Secret}},
		"ID in capitals":              {{ID: "ABC", Secret: key.Secret}},
		"two keys with one ID":        {key, {ID: key.ID, Secret: make([]byte, 32)}},
		"a good one and a broken one": {key, {ID: "b", Secret: nil}},
	}
	for name, keys := range tests {
		if _, err := seal.NewRing(keys...); !errors.Is(err, seal.ErrKey) {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
}

// An ID may have as many bytes as the longest that is accepted, and no more.
func TestLongestKeyID(t *testing.T) {
	ring := testRing(t, seal.Key{ID: strings.Repeat("z", 32), Secret: make([]byte, 32)})
	if _, err := ring.Open(purpose, mustSeal(t, ring, purpose, "x")); err != nil {
		t.Error(err)
	}
}

func TestRingKeepsNoReference(t *testing.T) {
	key, same := testKey(t, 1, epoch), seal.Key{}
	same.ID, same.Secret = key.ID, bytes.Clone(key.Secret)
	ring := testRing(t, key)
	clear(key.Secret)
	if _, err := testRing(t, same).Open(purpose, mustSeal(t, ring, purpose, "x")); err != nil {
		t.Errorf("the ring's key changed with the caller's slice: %v", err)
	}
}

func TestKeys(t *testing.T) {
	var ids []string
	secrets := map[string]bool{string(make([]byte, 32)): true}
	for seconds := range 3 {
		for range 2 {
			key, err := seal.NewKey(epoch.Add(time.Duration(seconds) * time.Second))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, key.ID)
			if secrets[string(key.Secret)] {
				t.Errorf("%v: its secret is not random", key)
			}
			secrets[string(key.Secret)] = true
			if created, ok := seal.KeyTime(key.ID); !ok || !created.Equal(key.Created) || len(key.Secret) != 32 {
				t.Errorf("%v: %v, %v, %d bytes", key.ID, created, ok, len(key.Secret))
			}
		}
	}
	for i := 0; i+2 < len(ids); i++ {
		if ids[i] >= ids[i+2] || ids[i] == ids[i+1] {
			t.Errorf("IDs do not sort by time or are not unique: %v", ids)
		}
	}
	for name, at := range map[string]time.Time{"before 1970": time.Unix(-1, 0), "after 4453": time.Unix(1<<40, 0)} {
		if _, err := seal.NewKey(at); !errors.Is(err, seal.ErrKey) {
			t.Errorf("a key made %s: %v, want ErrKey", name, err)
		}
	}
	for _, id := range []string{"", "k234567", ids[0][1:], ids[0] + "a", "-00000-abcdefghij", "0000000_abcdefghij", "zzzzzz!-abcdefghij", "+000001-abcdefghij"} {
		if at, ok := seal.KeyTime(id); ok {
			t.Errorf("KeyTime(%q) = %v", id, at)
		}
	}
	for name, at := range map[string]time.Time{"at the beginning of 1970": time.Unix(0, 0), "in the last second of seven digits": time.Unix(78_364_164_095, 0)} {
		if key, err := seal.NewKey(at); err != nil || !key.Created.Equal(at) {
			t.Errorf("a key made %s: %v", name, err)
		}
	}
	if created, ok := seal.KeyTime("zzzzzzz-abcdefghij"); !ok || created.Year() != 4453 {
		t.Errorf("the last ID is of %v", created)
	}
}

func TestKeyFromSecret(t *testing.T) {
	a, err := seal.KeyFromSecret(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := seal.KeyFromSecret(bytes.Repeat([]byte{1}, 32))
	b, _ := seal.KeyFromSecret(bytes.Repeat([]byte{2}, 40))
	if a.ID != again.ID || a.ID == b.ID {
		t.Errorf("IDs %q, %q of one secret, %q of another", a.ID, again.ID, b.ID)
	}
	if _, timed := seal.KeyTime(a.ID); timed || !a.Created.IsZero() {
		t.Error("a configured key has a time of creation")
	}
	if _, err := seal.KeyFromSecret(make([]byte, 31)); !errors.Is(err, seal.ErrKey) {
		t.Errorf("31 bytes: %v, want ErrKey", err)
	}
	testRing(t, a, b)
	mine := bytes.Repeat([]byte{1}, 32)
	kept, _ := seal.KeyFromSecret(mine)
	clear(mine)
	if !bytes.Equal(kept.Secret, a.Secret) {
		t.Error("the key changed with the caller's slice")
	}
}

func TestKeyShowsNoSecret(t *testing.T) {
	key := seal.Key{ID: "abc", Secret: bytes.Repeat([]byte("Z"), 32)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, value := range []any{key, &key, []seal.Key{key}, struct{ K seal.Key }{key}} {
			if shown := fmt.Sprintf(verb, value); strings.Contains(shown, "ZZ") || strings.Contains(strings.ToLower(shown), "5a5a") || strings.Contains(shown, "90 90") {
				t.Errorf("%s: %s", verb, shown)
			}
		}
	}
}

// SEC-85: what was opened before counts only while its key is there.
func TestHolds(t *testing.T) {
	first, second := testKey(t, 1, epoch), testKey(t, 2, epoch)
	value := mustSeal(t, testRing(t, first), purpose, "x")
	if err := testRing(t, second, first).Holds(value); err != nil {
		t.Errorf("of the second key: %v", err)
	}
	var unknown *seal.UnknownKeyError
	if err := testRing(t, second).Holds(value); !errors.As(err, &unknown) {
		t.Errorf("of a key that was retired: %v, want UnknownKeyError", err)
	}
	for name, value := range map[string]string{
		"too long": "v1." + first.ID + "." + strings.Repeat("a", seal.MaxSealed),
		"no text":  "v1." + first.ID, "no key": "v1..x", "another version": "v2." + first.ID + ".x", "empty": "",
	} {
		if err := testRing(t, first).Holds(value); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

// A cookie that was sealed by an earlier version of this program keeps opening.
func TestVectors(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	ring := testRing(t,
		seal.Key{ID: "0t8b1j9-abcdefghij", Secret: secret},
		seal.Key{ID: "keyoftheconfigurat", Secret: bytes.Repeat([]byte{7}, 64)},
	)
	for _, vector := range vectors {
		got, err := ring.Open(vector.purpose, vector.value)
		if err != nil || string(got) != vector.plaintext {
			t.Errorf("%v: %q, %v; want %q", vector.purpose, got, err, vector.plaintext)
		}
	}
	if key, err := seal.KeyFromSecret(secret); err != nil || key.ID != vectorKeyID {
		t.Errorf("the ID derived from a secret is %q, %v; want %q", key.ID, err, vectorKeyID)
	}
	blob, err := base64.StdEncoding.DecodeString(vectorBlob)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.OpenBlob(secret, purpose, blob); err != nil || string(got) != "a record" {
		t.Errorf("blob: %q, %v", got, err)
	}
}

func TestBlob(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	plaintext := []byte("a record of a store")
	blob, err := seal.SealBlob(key, purpose, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.OpenBlob(key, purpose, blob); err != nil || !bytes.Equal(got, plaintext) || string(plaintext) != "a record of a store" {
		t.Fatalf("OpenBlob = %q, %v", got, err)
	}
	if empty, err := seal.SealBlob(key, purpose, nil); err != nil {
		t.Error(err)
	} else if got, err := seal.OpenBlob(key, purpose, empty); err != nil || len(got) != 0 {
		t.Errorf("an empty blob: %q, %v", got, err)
	}
	other := seal.Purpose{Kind: "session", Scope: "wiki.example.com"}
	kind := seal.Purpose{Kind: "attempt", Scope: purpose.Scope}
	tests := []struct {
		name string
		key  []byte
		p    seal.Purpose
		blob []byte
		want error
	}{
		{"another key", bytes.Repeat([]byte{2}, 32), purpose, blob, seal.ErrForged},
		{"another scope", key, other, blob, seal.ErrForged},
		{"another kind", key, kind, blob, seal.ErrForged},
		{"nothing", key, purpose, nil, seal.ErrMalformed},
		{"another version", key, purpose, append([]byte{2}, blob[1:]...), seal.ErrMalformed},
		{"version only", key, purpose, blob[:1], seal.ErrForged},
		{"tag cut off", key, purpose, blob[:len(blob)-1], seal.ErrForged},
		{"byte at the end", key, purpose, append(slices.Clone(blob), 0), seal.ErrForged},
		{"short key", key[:31], purpose, blob, seal.ErrKey},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := seal.OpenBlob(test.key, test.p, test.blob); !errors.Is(err, test.want) || got != nil {
				t.Errorf("OpenBlob = %q, %v; want %v", got, err, test.want)
			}
		})
	}
	for i := range blob {
		flipped := bytes.Clone(blob)
		flipped[i] ^= 1
		if _, err := seal.OpenBlob(key, purpose, flipped); err == nil {
			t.Errorf("byte %d flipped opens", i)
		}
	}
	if _, err := seal.SealBlob(key[:31], purpose, plaintext); !errors.Is(err, seal.ErrKey) {
		t.Errorf("sealing with a short key: %v, want ErrKey", err)
	}
}

// A blob's key is not a cookie's key, though made of one secret.
func TestBlobAndCookieShareNoKey(t *testing.T) {
	key := testKey(t, 1, epoch)
	value := mustSeal(t, testRing(t, key), purpose, "payload")
	blob, _ := base64.URLEncoding.DecodeString(value[strings.LastIndex(value, ".")+1:])
	if _, err := seal.OpenBlob(key.Secret, purpose, append([]byte{1}, blob...)); !errors.Is(err, seal.ErrForged) {
		t.Errorf("a cookie's bytes as a blob: %v, want ErrForged", err)
	}
}

func TestRingConcurrently(t *testing.T) {
	ring := testRing(t, testKey(t, 1, epoch), testKey(t, 2, epoch))
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			p := seal.Purpose{Kind: fmt.Sprint("kind ", i%5), Scope: fmt.Sprint(i)}
			value, err := ring.Seal(p, []byte("x"))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := ring.Open(p, value); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// FuzzOpen holds Open to: it never panics, and what opens is what was sealed, in
// the one spelling that Seal made. Nobody without the key can do that, so the
// fuzzer changes sealed values.
func FuzzOpen(f *testing.F) {
	ring := testRing(f, testKey(f, 1, epoch))
	f.Add([]byte("payload"), 0, byte(0), "")
	f.Add([]byte("payload"), 5, byte(1), "")
	f.Add([]byte("x"), 60, byte(0), "\n")
	f.Add([]byte("payload of more bytes"), -1, byte(0), "=")
	f.Add([]byte{0}, 30, byte(0x80), "..")
	f.Fuzz(func(t *testing.T, plaintext []byte, at int, flip byte, insert string) {
		value, err := ring.Seal(purpose, plaintext)
		if err != nil {
			if len(plaintext) != 0 && !errors.Is(err, seal.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		at = ((at % len(value)) + len(value)) % len(value)
		changed := []byte(value[:at] + insert + value[at:])
		changed[at] ^= flip
		_, _ = ring.Open(purpose, insert)
		got, err := ring.Open(purpose, string(changed))
		if string(changed) != value {
			if err == nil {
				t.Fatalf("a changed value opens as %q:\n%q\n%q", got, value, changed)
			}
			return
		}
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("Open = %q, %v; want %q", got, err, plaintext)
		}
	})
}

// A derived secret belongs to its key and its kind, and to no cookie or record.
func TestDerive(t *testing.T) {
	one, two := testKey(t, 1, epoch), testKey(t, 2, epoch.Add(time.Hour))
	derive := func(ring *seal.Ring, kind string) []string {
		t.Helper()
		secrets, err := ring.Derive(kind, 48)
		if err != nil {
			t.Fatal(err)
		}
		texts := make([]string, len(secrets))
		for i, secret := range secrets {
			if texts[i] = string(secret); len(secret) != 48 || bytes.Contains(secret, bytes.Repeat([]byte{1}, 8)) {
				t.Errorf("%x", secret)
			}
		}
		return texts
	}
	both := derive(testRing(t, two, one), "assertion")
	if alone := derive(testRing(t, one), "assertion"); len(both) != 2 || both[1] != alone[0] || both[0] == both[1] {
		t.Errorf("not one for each key, in the ring's order")
	}
	if other := derive(testRing(t, one), "other"); other[0] == both[1] {
		t.Error("two kinds have one secret")
	}
	if _, err := testRing(t, one).Derive("assertion", 1<<20); err == nil {
		t.Error("more than HKDF gives")
	}
}
