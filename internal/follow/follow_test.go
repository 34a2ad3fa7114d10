package follow

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func parse(content []byte) (*string, error) {
	text := string(content)
	if text == "wrong" {
		return nil, errors.New("1: wrong")
	}
	return &text, nil
}

// What a file says is followed as it changes, also within the grain of its time, and a file that is wrong changes nothing.
func TestFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	now := time.Now()
	core, logs := observer.New(zap.ErrorLevel)
	write := func(text string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write("ada", now)
	file, err := Open("file", path, 10, parse, zap.New(core), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		if got := *file.Value(); got != want {
			t.Errorf("the file says %q, want %q", got, want)
		}
	}
	says("ada")
	write("bob", now) // as long as before, at the same time
	says("bob")
	now = now.Add(time.Minute)
	says("bob")
	before := file.Value()
	if file.Value() != before || file.changed(file.current.Load()) {
		t.Error("what did not change was read again")
	}
	write("wrong", now)
	says("bob")
	now = now.Add(retryAfter)
	says("bob")
	if logs.Len() != 1 || logs.All()[0].ContextMap()["error"] != path+":1: wrong" {
		t.Errorf("logged %v", logs.All())
	}
	write("eve", now.Add(time.Second))
	now = now.Add(retryAfter)
	says("eve")
	write(strings.Repeat("e", 11), now.Add(2*time.Second))
	says("eve")
	if logs.Len() != 2 {
		t.Errorf("a file that is too long was not refused: %v", logs.All())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(retryAfter)
	says("eve")
	if logs.Len() != 3 {
		t.Errorf("logged %v", logs.All())
	}
	if _, err := Open("file", path, 10, parse, zap.NewNop(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
