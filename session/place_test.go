package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// So many places there are, in all processes together, until they are given back or over.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, false)
		take := func(gate int, parts ...string) (func(), error) {
			return r.gates[gate].state.Place(t.Context(), 3, time.Minute, "tries", parts...)
		}
		var last func()
		for i := range 3 {
			giveBack, err := take(i%2, "ada")
			if err != nil {
				t.Fatal(err)
			}
			last = giveBack
		}
		for gate := range 2 {
			if _, err := take(gate, "ada"); !errors.Is(err, ErrUsed) {
				t.Errorf("a fourth: %v, want ErrUsed", err)
			}
		}
		if _, err := take(0, "bob"); err != nil {
			t.Errorf("of another: %v", err)
		}
		for range 2 { // what is given back twice is one place
			last()
		}
		if _, err := take(1, "ada"); err != nil {
			t.Errorf("given back: %v", err)
		}
		if _, err := take(1, "ada"); !errors.Is(err, ErrUsed) {
			t.Errorf("given back twice: %v, want ErrUsed", err)
		}
		time.Sleep(time.Minute)
		if _, err := take(0, "ada"); err != nil {
			t.Errorf("after a minute: %v", err)
		}
		r.shared.set(func(m *memory) { m.away = errOutage })
		if _, err := take(0, "ada"); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUsed) {
			t.Errorf("away: %v, want ErrUnavailable", err)
		}
		alone := NewState(nil, nil)
		for range 10 {
			if giveBack, err := alone.Place(t.Context(), 3, time.Minute, "tries", "ada"); err != nil {
				t.Errorf("alone: %v", err)
			} else {
				giveBack()
			}
		}
	})
}
