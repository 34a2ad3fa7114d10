package caddymodule

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// RFC 7521 4.2: the assertion is what its file holds at each use. What is wrong with the file is an error that names it, at the
// start and at each use, and shows nothing of it.
func TestAssertionFileIsReadEachTime(t *testing.T) {
	jwt := func(payload string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(payload)) + ".c2ln"
	}
	path := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TOKEN_FILE", path)
	provision := func() (authflow.Config, error) {
		var config authflow.Config
		err := (&ProviderConfig{ClientAssertion: "{env.TOKEN_FILE}"}).provisionAssertion(&config)
		return config, err
	}
	write(jwt(`{"iss": "https://platform.example", "aud": "https://id.example.com", "exp": 1000000000}`)) // it has expired, which is no error yet
	config, err := provision()
	if err != nil || config.ClientAssertion == nil {
		t.Fatal(err)
	}
	for exp, want := range map[string]string{"1800000000": "2027-01-15", "1900000000": "2030-03-17"} {
		write("\n" + jwt(`{"iss": "https://platform.example", "aud": "https://id.example.com", "exp": `+exp+`}`) + "\n")
		if assertion, err := config.ClientAssertion(); err != nil || !strings.Contains(assertion.String(), want) {
			t.Errorf("%v, %v; want one until %s", assertion, err, want)
		}
	}
	long := jwt(`{"iss": "https://platform.example", "aud": "https://id.example.com", "exp": 1800000000, "x": "` + strings.Repeat("hidden", maxAssertion/6) + `"}`)
	for _, tt := range []struct{ name, content, says string }{
		{"empty", "", "not a signed JWT"},
		{"half", "hidden.hidden", "not a signed JWT"},
		{"larger than any", long, "not a signed JWT"},
		{"the cluster's own", jwt(`{"aud": "https://kubernetes.default.svc", "exp": 1800000000, "hidden": 1}`), "the cluster's own API"},
	} {
		write(tt.content)
		_, atUse := config.ClientAssertion()
		_, atStart := provision()
		for when, err := range map[string]error{"at the start": atStart, "at a use": atUse} {
			if !errors.Is(err, authflow.ErrClientAssertion) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s, %s: %v", tt.name, when, err)
			}
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ClientAssertion(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("gone: %v", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ClientAssertion(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a folder: %v", err)
	}
}
