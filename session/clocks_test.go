package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What was used at a process whose clock is ahead cannot be used again at one whose clock is right, for which it is not
// over yet.
func TestUseOnceWithClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := newMemory()
		state := func(off time.Duration) *State {
			st := NewSharedState(nil, shared, func() time.Time { return time.Now().Add(off) })
			t.Cleanup(st.Close)
			return st
		}
		ahead, right := state(clockSlack-time.Second), state(0)
		until := time.Now().Add(clockSlack)
		if err := ahead.UseOnce(t.Context(), "attempt", "state", until); err != nil {
			t.Fatal(err)
		}
		time.Sleep(clockSlack - time.Second)
		if err := right.UseOnce(t.Context(), "attempt", "state", until); !errors.Is(err, ErrUsed) {
			t.Errorf("used twice: %v", err)
		}
	})
}
