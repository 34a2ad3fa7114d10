package main

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		beCaddy()
		return
	}
	os.Exit(m.Run())
}

// A few seconds of it, with bounds for a machine that is busy with other tests.
func TestSoak(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := soak(t.Context(), t, options{length: 8 * time.Second, seed: 1, people: 4, within: 10 * time.Second, recovery: 20 * time.Second}, &out)
	if b.count(violations) > 0 || b.count("sign-ins") == 0 || b.count("requests with a session") == 0 {
		t.Errorf("\n%s", out.String())
	}
}

// What excuses an answer is judged by rules of its own.
func TestBook(t *testing.T) {
	epoch := time.Unix(1e9, 0)
	at := func(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }
	b := &book{refreshed: map[string]time.Time{"in flight": at(9), "handed on": at(5), "frozen with it": at(21)}, faults: []*fault{
		{kind: killGate, gate: 0, from: at(10), to: at(12)},
		{kind: freezeRedis, gate: -1, from: at(11), to: at(14)},
		{kind: reload, gate: 1, from: at(15), to: at(16)},
		{kind: freezeGate, gate: 1, from: at(20), to: at(25)},
		{kind: killGate, gate: 1, from: at(26)},
	}}
	for _, tt := range []struct {
		name      string
		got, want bool
	}{
		{"of that gate", b.during(at(9), at(11), 0, killGate), true},
		{"of the other gate", b.during(at(9), at(10), 1, killGate), false},
		{"of another kind", b.during(at(9), at(10), 0, freezeGate), false},
		{"over before", b.during(at(13), at(14), 0, killGate), false},
		{"not over yet", b.during(at(90), at(91), 1, killGate), true},
		{"of Redis, at any gate", b.during(at(13), at(14), 1, freezeRedis), true},
		{"quiet before all", b.quiet(at(7), at(9), time.Second), true},
		{"no time", b.quiet(at(7), at(7), time.Second), false},
		{"faults that overlap", b.quiet(at(10), at(14), time.Second), false},
		{"a reload is no disturbance", b.quiet(at(14), at(19), 4*time.Second), true},
		{"quiet between two", b.quiet(at(12), at(22), 5*time.Second), true},
		{"too short between two", b.quiet(at(12), at(22), 7*time.Second), false},
		{"never again", b.quiet(at(25), at(90), 2*time.Second), false},
		{"killed at once", b.lostInFlight("in flight", at(0), 2*time.Second), true},
		{"of a session before this one", b.lostInFlight("in flight", at(10), 2*time.Second), false},
		{"killed later", b.lostInFlight("handed on", at(0), 2*time.Second), false},
		{"frozen, then killed", b.lostInFlight("frozen with it", at(0), 2*time.Second), true},
		{"never refreshed", b.lostInFlight("nobody", at(0), 2*time.Second), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v", tt.name, tt.got)
		}
	}
}
