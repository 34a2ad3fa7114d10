package authflow

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	_ encoding.BinaryMarshaler = (*Attempt)(nil)

	// urlSafe is what a cookie's name, a nonce and a verifier (RFC 7636 4.1) may
	// consist of.
	urlSafe = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

func testAttempt(now time.Time) *Attempt {
	a := newAttempt(now)
	a.Provider, a.Issuer, a.ClientID = "idp", "https://id.example.com", "app"
	a.RedirectURI, a.ReturnTo = "https://app.example.com/oauth2/callback", "/there?a=b&c=\x00%"
	return a
}

// TestAttemptValues: SEC-63, SEC-64. State, nonce, verifier and challenge are
// long, fresh, and tell nothing about each other.
func TestAttemptValues(t *testing.T) {
	now := time.Unix(1800000000, 999)
	seen := map[string]bool{}
	for range 1000 {
		a := newAttempt(now)
		for name, value := range map[string]string{
			"state": a.State, "nonce": a.Nonce(), "verifier": a.verifier(), "challenge": a.challenge(),
		} {
			if seen[value] {
				t.Fatalf("%s %q for the second time", name, value)
			}
			seen[value] = true
			if !urlSafe.MatchString(value) || len(value) < 22 || len(value) > 43 {
				t.Fatalf("%s is %q", name, value)
			}
		}
		if len(a.verifier()) < 43 { // RFC 7636 4.1
			t.Fatalf("a verifier of %d characters", len(a.verifier()))
		}
	}
	if a := newAttempt(now); !a.Created.Equal(time.Unix(1800000000, 0)) || !a.Expires().Equal(time.Unix(1800000600, 0)) {
		t.Errorf("created %s, expires %s", a.Created, a.Expires())
	}
}

// TestAttemptSecret: a printed attempt does not show what it is made from.
func TestAttemptSecret(t *testing.T) {
	a := testAttempt(time.Now())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if printed := fmt.Sprintf(verb, a); strings.Contains(printed, a.secret.Reveal()) ||
			strings.Contains(printed, fmt.Sprintf("%x", a.secret.Reveal())) {
			t.Errorf("%s shows the secret", verb)
		}
	}
}

func TestStatesSortByTime(t *testing.T) {
	var states []string
	for _, seconds := range []int64{0, 1, 35, 36, 1<<31 - 1, 1 << 31, 1800000000, 36 * 36 * 36 * 36 * 36 * 36, 78364164095} {
		states = append(states, newAttempt(time.Unix(seconds, 0)).State)
	}
	slices.Sort(states[:7])
	if !slices.IsSorted([]string{states[0], states[1], states[2], states[3], states[4]}) {
		t.Error("states do not sort by time")
	}
	for _, state := range states {
		if len(state) != len(states[0]) {
			t.Errorf("state %q has another length", state)
		}
	}
}

func TestAttemptEncoding(t *testing.T) {
	a := testAttempt(time.Unix(1800000000, 0))
	data, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseAttempt(data)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(a.fields(), b.fields(), func(x, y *string) bool { return *x == *y }) ||
		!a.Created.Equal(b.Created) || a.Nonce() != b.Nonce() || a.verifier() != b.verifier() {
		t.Errorf("%+v became %+v", a, b)
	}
	a.ReturnTo = strings.Repeat("x", 1<<16)
	if data, err := a.MarshalBinary(); err == nil {
		t.Errorf("64 KiB in one field made %d bytes", len(data))
	}
}

func TestParseAttemptRefuses(t *testing.T) {
	data, err := testAttempt(time.Unix(1800000000, 0)).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int, b byte) []byte { c := bytes.Clone(data); c[i] = b; return c }
	tests := map[string][]byte{
		"nothing":                nil,
		"another version":        with(0, 2),
		"one byte more":          append(bytes.Clone(data), 0),
		"state without time":     with(3, '-'),
		"state in upper case":    with(4, 'T'),
		"state with a semicolon": with(12, ';'),
		"state with a newline":   with(12, '\n'),
		"state too long":         with(2, 30),
		"field beyond the end":   with(1, 0xff),
	}
	for i := range data {
		tests[fmt.Sprintf("cut off after %d", i)] = data[:i]
	}
	for name, data := range tests {
		if a, err := ParseAttempt(data); !errors.Is(err, ErrAttemptMalformed) || a != nil {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// FuzzParseAttempt: it never panics, and what it accepts is exactly what
// MarshalBinary makes.
func FuzzParseAttempt(f *testing.F) {
	data, err := testAttempt(time.Unix(1800000000, 0)).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:40])
	f.Add([]byte{attemptVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAttempt(data)
		if err != nil {
			return
		}
		again, err := a.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x became %x, %v", data, again, err)
		}
		if !urlSafe.MatchString(a.State) {
			t.Fatalf("state is %q", a.State)
		}
	})
}
