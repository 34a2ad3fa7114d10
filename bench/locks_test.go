package main

import (
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Requests of one session, on more threads than there are cores, do not wait for each other at a lock of ours. A lock
// that is held for a moment is waited for now and then; what counts is for how much of the time. A busy machine takes
// threads away while they hold one, and with -race it did so for up to 8 of 100 of the time, so that the best of several
// rounds counts and some is allowed: a lock around the work of a request shows as 33 to 51 of 100.
func TestNobodyWaitsForALockOfOurs(t *testing.T) {
	const (
		rounds  = 8
		round   = 250 * time.Millisecond
		threads = 8
		allowed = 0.10
	)
	b, err := startInProcess(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	}()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	second := cyclesPerSecond(t)
	for _, target := range b.targets {
		least, where := 1.0, ""
		for n := 0; n < rounds && least > allowed; n++ {
			before, _ := waits(t)
			begun := time.Now()
			sent, err := target.load(threads, round)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun)
			after, longest := waits(t)
			share := float64(after-before) / second / took.Seconds() / threads
			t.Logf("%s: %d requests, %.4f of the time in wait for locks of ours", target.name, sent, share)
			if share < least {
				least, where = share, longest
			}
		}
		if least > allowed {
			t.Errorf("%s: requests spend %.3f of their time in wait for locks of ours, most of it here:\n%s", target.name, least, where)
		}
	}
}

// cyclesPerSecond is what the profile counts in.
func cyclesPerSecond(t *testing.T) float64 {
	t.Helper()
	var text strings.Builder
	if err := pprof.Lookup("mutex").WriteTo(&text, 1); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text.String(), "cycles/second=")
	line, _, _ := strings.Cut(rest, "\n")
	cycles, err := strconv.ParseFloat(line, 64)
	if err != nil || cycles <= 0 {
		t.Fatalf("%q: %v", text.String(), err)
	}
	return cycles
}

// waits is for how many cycles anybody has waited at locks of ours so far, and where longest.
func waits(t *testing.T) (total int64, where string) {
	t.Helper()
	records := make([]runtime.BlockProfileRecord, 10000)
	count, ok := runtime.MutexProfile(records)
	if !ok {
		t.Fatalf("more than %d records", len(records))
	}
	var longest int64
	for _, r := range records[:count] {
		if !ours(r.Stack()) {
			continue
		}
		total += r.Cycles
		if r.Cycles > longest {
			longest, where = r.Cycles, describe(r.Stack())
		}
	}
	return total, where
}

// ours reports that the lock was let go by the gate, or by a library that it had called.
func ours(stack []uintptr) bool {
	frames := runtime.CallersFrames(stack)
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, "github.com/gatehouse-auth/gatehouse/") && !strings.Contains(frame.Function, "/bench."):
			return true
		case strings.HasPrefix(frame.Function, "github.com/caddyserver/"), !more:
			return false
		}
	}
}

func describe(stack []uintptr) string {
	var text strings.Builder
	frames := runtime.CallersFrames(stack)
	for {
		frame, more := frames.Next()
		text.WriteString("\t" + frame.Function + "\n")
		if !more {
			return text.String()
		}
	}
}
