package caddymodule

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a key and a certificate for it, and returns client_certificate as JSON.
func writePair(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificateFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return `"client_certificate": {"certificate": "` + certificateFile + `", "key": "` + keyFile + `"}`
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What contradicts the profile is refused in JSON as well, and what only a file tells when the configuration is loaded.
func TestFAPI2IsRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, weak := writePair(t, ec), writePair(t, rsaKey(t, 1024))
	short := filepath.Join(t.TempDir(), "short.pem")
	if err := os.WriteFile(short, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey(t, 1024))}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLAIN", "http://id.example.com")
	for _, tt := range []struct{ name, members, gate, says string }{
		{"a certificate", good, "", ""},
		{"RSA of 2048 bits", writePair(t, rsaKey(t, 2048)), "", ""},
		{"5.4.1 RSA of 1024 bits", weak, "", "at least 2048"},
		{"5.4.1 a key of 1024 bits", good + `, "client_auth": "private_key_jwt", "client_key": [{"file": "` + short + `"}]`, "", "2048"},
		{"unknown", strings.Replace(good, `"client`, `"profile": "fapi1", "client`, 1), "", "fapi1"},
		{"5.3.3.1 a secret", good + `, "client_secret": "x"`, "", "client_secret: a client proves itself"},
		{"5.3.3.1 nothing to prove itself by", `"userinfo": "off"`, "", "client_key or client_certificate"},
		{"5.3.3.2 par off", good + `, "par": "off"`, "", "5.3.3.2"},
		{"5.2.1 insecure_skip_tls_verify", good + `, "insecure_skip_tls_verify": true`, "", "5.2.1"},
		{"5.2.1 http in a variable", good + `, "issuer": "{env.PLAIN}"`, "", "https"},
		{"5.2.1 insecure_http", good, `, "session": {"insecure_http": true}`, "insecure_http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			members := `"client_id": "app", ` + tt.members
			for member, value := range map[string]string{"issuer": "https://id.example.com", "profile": "fapi2"} {
				if !strings.Contains(members, `"`+member+`"`) {
					members += `, "` + member + `": "` + value + `"`
				}
			}
			err := validate(t, `{"providers": [{`+members+`}]}`, tt.gate)
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("error %v, want one about %s", err, tt.says)
			}
		})
	}
	if err := validate(t, `{"providers": [{"issuer": "https://id.example.com", "client_id": "app", `+weak+`}]}`, ""); err != nil {
		t.Errorf("without the profile: %v", err)
	}
}
