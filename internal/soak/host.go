package main

import (
	"fmt"
	"testing"
)

// host stands for the test that [redistest] and [testop] live in, where there is
// none. What would fail the test panics.
type host struct {
	testing.TB
	cleanups []func()
}

// Helper does nothing.
func (*host) Helper() {}

// Cleanup remembers what end is to do.
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// Fatal panics.
func (*host) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Fatalf panics.
func (*host) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Skipf panics: what is missing is needed.
func (*host) Skipf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end does what was to be done at the end, the last first.
func (h *host) end() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}
