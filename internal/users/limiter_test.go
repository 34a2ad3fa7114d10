package users

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
)

// fixedLimiter is one in which no two of the names and addresses here share a bucket. With
// a secret at random they do, once in a thousand runs.
func fixedLimiter() *Limiter {
	l := NewLimiter()
	l.secret = []byte("of the tests")
	return l
}

// The limits of tries: they come back with time, a right password gives back what it took, and nothing is shared but on
// purpose.
func TestLimiter(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	try := func(a *Limiter, name, address string) bool {
		_, err := a.Take(t.Context(), session.NewState(nil, nil), "file", name, address, now)
		if tooMany, is := errors.AsType[*TooManyError](err); err != nil && (!is || tooMany.RetryAfter <= 0) {
			t.Errorf("%v", err)
		}
		return err == nil
	}
	count := func(a *Limiter, name, address string) int {
		n := 0
		for try(a, name, address) {
			n++
		}
		return n
	}
	a := fixedLimiter()
	if n := count(a, "eve", "192.0.2.1"); n != 10 {
		t.Errorf("one address: %d", n)
	}
	now = now.Add(12 * time.Second)
	if n := count(a, "eve", "192.0.2.1"); n != 2 {
		t.Errorf("after twelve seconds: %d", n)
	}
	if n := count(a, "ada", "192.0.2.1"); n != 0 {
		t.Errorf("the address, for another name: %d", n)
	}
	for _, address := range []string{"192.0.2.2", "192.0.2.3"} {
		count(a, "eve", address)
	}
	if n := count(a, "eve", "192.0.2.4"); n != 3 {
		t.Errorf("a new address for a name that is used up: %d", n)
	}
	for range 20 {
		try(a, "eve", "192.0.2.4")
	}
	if n := count(a, "ada", "192.0.2.4"); n != 7 {
		t.Errorf("what the name refuses has cost the address: %d are left of 7", n)
	}
	for range 50 {
		giveBack, err := a.Take(t.Context(), session.NewState(nil, nil), "file", "eve", "192.0.2.5", now)
		if err != nil {
			t.Fatal("right passwords cost something")
		}
		giveBack()
	}
	now = now.Add(24 * time.Hour)
	if n := count(a, "eve", "192.0.2.4"); n != 10 {
		t.Errorf("after a day: %d", n)
	}

	a = fixedLimiter()
	if n := count(a, "eve", "2001:db8::1") + count(a, "eve", "2001:db8::2"); n != 10 {
		t.Errorf("two addresses of one network: %d", n)
	}
	if n := count(a, "eve", "2001:db8:0:1::1"); n != 10 {
		t.Errorf("another network: %d", n)
	}
	a = fixedLimiter()
	if n := count(a, "eve", "192.0.2.1") + count(a, "eve", "::ffff:192.0.2.1"); n != 10 {
		t.Errorf("one address in two spellings: %d", n)
	}
	a = fixedLimiter()
	if n := count(a, "eve", "@") + count(a, "eve", "/run/client.sock"); n != 20 {
		t.Errorf("two addresses that are no IP addresses: %d", n)
	}
	if b, c := NewLimiter(), NewLimiter(); b.slot("a", "bc") == c.slot("a", "bc") || a.slot("a", "bc") == a.slot("ab", "c") {
		t.Error("slots can be told in advance, or run together")
	}
}

// elsewhere is what other processes have used up, of each kind.
type elsewhere struct {
	used  map[string]int
	away  error
	asked int
}

// Place implements Places.
func (e *elsewhere) Place(_ context.Context, n int, _ time.Duration, _ string, parts ...string) (func(), error) {
	e.asked++
	switch {
	case e.away != nil:
		return nil, e.away
	case e.used[parts[0]] >= n:
		return nil, session.ErrUsed
	}
	e.used[parts[0]]++
	return func() { e.used[parts[0]]-- }, nil
}

// What is tried at other processes counts here; while they cannot be asked, this one's own limits do.
func TestLimiterAmongProcesses(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	count := func(a *Limiter, others *elsewhere) (n int) {
		for range 100 {
			if _, err := a.Take(t.Context(), others, "file", "eve", "192.0.2.1", now); err == nil {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name   string
		others elsewhere
		want   int
	}{
		{"nothing is used up", elsewhere{used: map[string]int{}}, 10},
		{"some of the address", elsewhere{used: map[string]int{"address": 6}}, 4},
		{"all of the address", elsewhere{used: map[string]int{"address": 10}}, 0},
		{"all of the name", elsewhere{used: map[string]int{"name": 20}}, 3},
		{"all of the name, from here", elsewhere{used: map[string]int{"name": 20, "reserve": 3}}, 0},
		{"they cannot be asked", elsewhere{away: session.ErrUnavailable}, 10},
	} {
		if n := count(fixedLimiter(), &tt.others); n != tt.want || tt.others.asked > 33 {
			t.Errorf("%s: %d attempts and %d questions, want %d and as many as this process would allow", tt.name, n, tt.others.asked, tt.want)
		}
	}
	a, others := fixedLimiter(), &elsewhere{used: map[string]int{"address": 10}}
	for range 5 {
		count(a, others)
		now = now.Add(time.Minute) // a minute of one address costs a name what it gets back
	}
	if used := others.used["name"]; used != 0 {
		t.Errorf("what the address refuses elsewhere has cost the name %d attempts", used)
	}
	a, others = fixedLimiter(), &elsewhere{used: map[string]int{}}
	for range 50 {
		giveBack, err := a.Take(t.Context(), others, "file", "eve", "192.0.2.1", now)
		if err != nil {
			t.Fatal("right passwords cost something")
		}
		giveBack()
	}
}

// Only so many passwords are compared at once, whoever waits gives up with the request.
func TestCompareIsBounded(t *testing.T) {
	a := fixedLimiter()
	for range cap(a.hashing) {
		a.hashing <- struct{}{}
	}
	if cap(a.hashing) < 1 {
		t.Error("nobody is compared")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Compare(ctx, func() *User { t.Error("compared"); return nil }); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	<-a.hashing
	want := new(User)
	for range 3 { // the place is free again each time
		if who, err := a.Compare(t.Context(), func() *User { return want }); err != nil || who != want {
			t.Errorf("%v %v", who, err)
		}
	}
}
