package caddymodule

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newKeyFile writes a new Ed25519 key.
func newKeyFile(t *testing.T, path string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is wrong with keys, certificates and the request is an error when the configuration is loaded; that of a file
// names it.
func TestClientConfigurationIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, garbage, absent := filepath.Join(dir, "good.pem"), filepath.Join(dir, "garbage.pem"), filepath.Join(dir, "absent.pem")
	newKeyFile(t, good)
	if err := os.WriteFile(garbage, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, members, says string }{
		{"a key", `"client_key": [{"file": "` + good + `"}]`, ""},
		{"a key and a secret, with a method", `"client_key": [{"file": "` + good + `"}], "client_secret": "x", "client_auth": "client_secret_basic", "jar": true`, ""},
		{"a key and a secret", `"client_key": [{"file": "` + good + `"}], "client_secret": "x"`, "client_auth"},
		{"a key that is not there", `"client_key": [{"file": "` + absent + `"}]`, absent},
		{"a key that is none", `"client_key": [{"file": "` + good + `"}, {"file": "` + garbage + `"}]`, garbage},
		{"a key that is a folder", `"client_key": [{"file": "` + dir + `"}]`, dir},
		{"a key without file", `"client_key": [{"file": ""}]`, "client_key"},
		{"private_key_jwt without key", `"client_auth": "private_key_jwt"`, "client_key"},
		{"a certificate that is not there", `"client_certificate": {"certificate": "` + absent + `", "key": "` + good + `"}`, absent},
		{"a certificate that is a key", `"client_certificate": {"certificate": "` + good + `", "key": "` + good + `"}`, good},
		{"a certificate without key", `"client_certificate": {"certificate": "` + good + `"}`, "client_certificate"},
		{"tls_client_auth without certificate", `"client_auth": "tls_client_auth", "client_key": [{"file": "` + good + `"}]`, "client_certificate"},
		{"jar without key", `"client_secret": "x", "jar": true`, "jar"},
		{"unknown par", `"client_secret": "x", "par": "always"`, "par"},
		{"unknown response_mode", `"client_secret": "x", "response_mode": "fragment"`, "response_mode"},
		{"SEC-67 param state", `"client_secret": "x", "param": {"state": "evil"}`, "state"},
		{"SEC-67 param_from_request redirect_uri", `"client_secret": "x", "param_from_request": ["redirect_uri"]`, "redirect_uri"},
		{"SEC-11 param that resolves to nothing", `"client_secret": "x", "param": {"hd": "{env.NOPE_NOPE}"}`, "NOPE_NOPE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := validate(t, `{"providers": [{"issuer": "https://id.example.com", "client_id": "app", `+tt.members+`}]}`, "")
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("error %v, want one about %s", err, tt.says)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the error shows the file: %v", err)
			}
		})
	}
}

// A key's file is followed without a reload, and nobody who holds the old keys sees them change.
func TestClientKeyFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.pem"), filepath.Join(dir, "second.pem")
	newKeyFile(t, first)
	newKeyFile(t, second)
	files := &clientKeyFiles{files: []ClientKeyConfig{{File: first}, {File: second, KeyID: "next"}}}
	before, err := files.read()
	if err != nil {
		t.Fatal(err)
	}
	old := before[0].String()
	newKeyFile(t, first)
	after, err := files.read()
	if err != nil {
		t.Fatal(err)
	}
	if after[0].String() == old || before[0].String() != old || after[1].String() != "client key next" {
		t.Errorf("%v, then %v", before, after)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	if keys, err := files.read(); err == nil || !strings.Contains(err.Error(), second) {
		t.Errorf("%v, %v", keys, err)
	}
}
