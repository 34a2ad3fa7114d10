package guard_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

func TestCall(t *testing.T) {
	if got, err := guard.Call(func() (int, error) { return 1, nil }); got != 1 || err != nil {
		t.Errorf("work that succeeds: %d, %v", got, err)
	}
	failed := errors.New("failed")
	if _, err := guard.Call(func() (int, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Errorf("work that fails: %v", err)
	}
	_, err := guard.Call(func() (int, error) { panic("torn") })
	if err == nil || !strings.HasPrefix(err.Error(), "panic: torn\n") || !strings.Contains(err.Error(), "TestCall") {
		t.Errorf("work that panics: %v", err)
	}
}
