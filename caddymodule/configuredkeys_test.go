package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

func randomKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// A file with keys is followed: a new key in front seals, the others open, one that is gone does not. A torn file, and one
// that is away, change nothing and show nothing.
func TestConfiguredKeysFollowTheirFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zap.ErrorLevel)
	now := time.Now()
	app := &App{logger: zap.New(core)}
	first, second := randomKey(), strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(randomKey()), "=")
	write(first + "\n")
	keys, err := app.keys(&SessionConfig{Keys: []string{"{file." + file + "}"}})
	if err != nil {
		t.Fatal(err)
	}
	if same, err := app.keys(&SessionConfig{Keys: []string{"{file." + file + "}"}}); err != nil || same != keys {
		t.Errorf("two sites with the same keys have two rings: %v", err)
	}
	keys.(*configuredKeys).now = func() time.Time { return now }
	purpose := seal.Purpose{Kind: "test", Scope: "host"}
	ring := func() *seal.Ring {
		t.Helper()
		ring, err := keys.Ring(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ring
	}
	sealed, err := ring().Seal(purpose, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	opens := func(what string, want bool) {
		t.Helper()
		_, err := ring().Open(purpose, sealed)
		var unknown *seal.UnknownKeyError
		if (err == nil) != want || (err != nil && !errors.As(err, &unknown)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	before := ring()
	if now = now.Add(configuredAge); ring() != before {
		t.Error("the same keys are another ring: all that is derived from it is made again")
	}
	for _, broken := range []string{"", "hidden!", first[:20]} {
		write(broken)
		now = now.Add(configuredAge)
		opens("a torn file", true)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	now = now.Add(configuredAge)
	opens("a file that is away", true)
	if logs.Len() != 4 {
		t.Errorf("%d lines are logged, want one for each", logs.Len())
	}
	for _, line := range logs.All() {
		if text := line.ContextMap()["error"].(string); strings.Contains(text, "hidden") || strings.Contains(text, first[:20]) || !strings.Contains(text, file) {
			t.Errorf("logged: %s", text)
		}
	}
	write(second + "\n" + first + "\n")
	opens("not read again yet", true)
	now = now.Add(configuredRefresh)
	keys.Refresh(t.Context())
	opens("the old key", true)
	if sealed, err = ring().Seal(purpose, []byte("x")); err != nil {
		t.Fatal(err)
	}
	write(first)
	now = now.Add(configuredAge)
	opens("sealed with the key that stood in front, and is gone", false)
}
