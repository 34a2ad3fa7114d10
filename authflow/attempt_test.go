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
	a.Provider, a.ReturnTo = "idp", "/there?a=b&c=\x00%"
	a.binding = bindingOf("https://id.example.com", "app", "https://app.example.com/oauth2/callback")
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
	// What everybody can read in the address of the provider's page gives nothing of it away.
	a, b := newAttempt(now), newAttempt(now)
	if b.State = a.State; a.Nonce() == b.Nonce() || a.verifier() == b.verifier() {
		t.Error("nonce and verifier follow from the state")
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
	b, err := ParseAttempt(a.State, data)
	if err != nil {
		t.Fatal(err)
	}
	if a.State != b.State || a.Provider != b.Provider || a.ReturnTo != b.ReturnTo || a.binding != b.binding ||
		!a.Created.Equal(b.Created) || a.Nonce() != b.Nonce() || a.verifier() != b.verifier() {
		t.Errorf("%+v became %+v", a, b)
	}
	a.Provider = strings.Repeat("x", 256)
	if data, err := a.MarshalBinary(); err == nil {
		t.Errorf("a name of 256 bytes made %d bytes", len(data))
	}
}

// TestBindingIsUnambiguous: SEC-85, SEC-86. No character moved from one part to
// the next leaves the digest as it is.
func TestBindingIsUnambiguous(t *testing.T) {
	seen := map[[bindingBytes]byte][]string{}
	for _, parts := range [][]string{{"ab", "c", ""}, {"a", "bc", ""}, {"abc", "", ""}, {"", "abc", ""}, {"a", "b", "c"}, {"1:a", "", "bc"}, {"", "", "abc"}} {
		binding := bindingOf(parts[0], parts[1], parts[2])
		if other, taken := seen[binding]; taken {
			t.Errorf("%q and %q have one digest", parts, other)
		}
		seen[binding] = parts
	}
}

func TestParseAttemptRefuses(t *testing.T) {
	attempt := testAttempt(time.Unix(1800000000, 0))
	data, err := attempt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	type input struct {
		state string
		data  []byte
	}
	tests := map[string]input{
		"nothing":                {attempt.State, nil},
		"another version":        {attempt.State, append([]byte{1}, data[1:]...)},
		"state without time":     {"-" + attempt.State[1:], data},
		"state in upper case":    {strings.ToUpper(attempt.State[:7]) + attempt.State[7:], data},
		"state with a semicolon": {attempt.State[:9] + ";" + attempt.State[10:], data},
		"state with a newline":   {attempt.State[:9] + "\n" + attempt.State[10:], data},
		"state too long":         {attempt.State + "A", data},
		"no state":               {"", data},
	}
	for i := range attemptHead + 1 + len(attempt.Provider) + 6 {
		tests[fmt.Sprintf("cut off after %d", i)] = input{attempt.State, data[:i]}
	}
	for name, in := range tests {
		if a, err := ParseAttempt(in.state, in.data); !errors.Is(err, ErrAttemptMalformed) || a != nil {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// FuzzParseAttempt: it never panics, and what it accepts is exactly what
// MarshalBinary makes.
func FuzzParseAttempt(f *testing.F) {
	attempt := testAttempt(time.Unix(1800000000, 0))
	data, err := attempt.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(attempt.State, data)
	f.Add(attempt.State, data[:40])
	f.Add("", []byte{attemptVersion})
	f.Fuzz(func(t *testing.T, state string, data []byte) {
		a, err := ParseAttempt(state, data)
		if err != nil {
			return
		}
		again, err := a.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) || a.State != state {
			t.Fatalf("%x became %x, %v", data, again, err)
		}
		if !urlSafe.MatchString(a.State) {
			t.Fatalf("state is %q", a.State)
		}
	})
}
