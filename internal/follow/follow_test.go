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

// A settled file is read again for each sign of a change alone, and costs one look otherwise.
func TestFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	now := time.Now()
	old := now.Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"another file of the same length and time in its place", func() error {
			write(path+".new", "bob")
			return os.Rename(path+".new", path)
		}, "bob"},
		{"longer, at the same time", func() error { write(path, "adam"); return nil }, "adam"},
		{"as long as it may be", func() error { write(path, "0123456789"); return nil }, "0123456789"},
		{"gone", func() error { return os.Remove(path) }, "ada"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(path, "ada")
			file, err := Open("file", path, 10, parse, zap.NewNop(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if file.changed(file.current.Load()) {
				t.Fatal("it has not changed")
			}
			if err := tt.change(); err != nil {
				t.Fatal(err)
			}
			if got := *file.Value(); got != tt.want {
				t.Errorf("the file says %q, want %q", got, tt.want)
			}
		})
	}
}

// A file that is wrong is read once a second, not at each use, and its content is parsed again only when it differs.
func TestWrongFileIsReadOnceASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	now := time.Now()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed := 0
	counted := func(content []byte) (*string, error) { parsed++; return parse(content) }
	core, logs := observer.New(zap.ErrorLevel)
	write("ada")
	file, err := Open("words file", path, 10, counted, zap.New(core), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		file.Value()
	}
	if parsed != 1 {
		t.Errorf("what is not settled was parsed %d times, want once", parsed)
	}
	write("wrong")
	for range 3 {
		file.Value()
	}
	if parsed != 2 {
		t.Errorf("parsed %d times within a second, want twice", parsed)
	}
	now = now.Add(retryAfter)
	if file.Value(); parsed != 3 {
		t.Errorf("parsed %d times after a second, want three times", parsed)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "the words file cannot be used any more") {
		t.Errorf("logged %v", logs.All())
	}
}

// A folder is no file.
func TestFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open("file", dir, 10, parse, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
