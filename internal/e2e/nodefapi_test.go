package e2e_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// publicKey is the key of a PEM file as a provider is told of it.
func publicKey(t *testing.T, path, kid string) json.RawMessage {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return keySet(t, jose.JSONWebKey{Key: private.(*ecdsa.PrivateKey).Public(), KeyID: kid, Use: "sig"})
}

func keySet(t *testing.T, key jose.JSONWebKey) json.RawMessage {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// FAPI 2.0 against a provider that we did not write, and that keeps to it: requests are pushed, tokens are bound, and what
// they open is fetched through the gate from where that provider checks the binding, its userinfo endpoint. A refresh brings
// tokens that are bound as the first ones were.
func TestNodeProviderOfFAPI2(t *testing.T) {
	t.Parallel()
	certificate, key := writeCertificate(t, t.TempDir())
	serverCertificate, serverKey := writeCertificate(t, t.TempDir())
	authority := writeAuthority(t)
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	signing := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, signing)
	signs := publicKey(t, signing, "first")
	shows := keySet(t, jose.JSONWebKey{Key: own.Leaf.PublicKey, Certificates: []*x509.Certificate{own.Leaf}, Use: "sig"})
	client, transport := "client_certificate "+certificate+" "+key, "http {\n\t\t\ttls_client_auth "+certificate+" "+key
	for name, test := range map[string]struct {
		client           NodeClient
		words, transport string
		nonces           bool
	}{
		"self_signed_tls_client_auth, bound to the certificate": {
			NodeClient{TokenEndpointAuth: "self_signed_tls_client_auth", JWKS: shows, BindCertificate: true},
			client + "\n\t\tclient_auth self_signed_tls_client_auth", transport, false,
		},
		"private_key_jwt, bound to the certificate": {
			NodeClient{TokenEndpointAuth: "private_key_jwt", JWKS: signs, BindCertificate: true},
			client + "\n\t\tclient_key " + signing + " first", transport, false,
		},
		"private_key_jwt, DPoP": {
			NodeClient{TokenEndpointAuth: "private_key_jwt", JWKS: signs, DPoP: true}, "client_key " + signing + " first", "gatehouse {", false,
		},
		"private_key_jwt, DPoP with nonces": {
			NodeClient{TokenEndpointAuth: "private_key_jwt", JWKS: signs, DPoP: true}, "client_key " + signing + " first", "gatehouse {", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			at := "https://app.example.test:" + port
			test.client.ID, test.client.RedirectURIs, test.client.RequirePAR = "app", []string{at + "/oauth2/callback"}, true
			p := StartNodeProvider(t, NodeConfig{
				Clients: []NodeClient{test.client}, Users: []NodeUser{{Subject: "ada", Name: "Ada"}},
				AccessTokenSeconds: 3, FAPI: true, DPoPNonces: test.nonces, Certificate: serverCertificate, Key: serverKey,
			})
			c := StartCaddy(t, strings.NewReplacer("{$SITE}", at, "{$ISSUER}", p.Issuer, "{$WORDS}", test.words, "{$TRANSPORT}", test.transport, "{$CA}", authority).Replace(`{$SITE} {
	tls {$CERT} {$KEY}
	gatehouse {$ISSUER} {
		profile fapi2
		client_id app
		{$WORDS}
		tls_trust_pool file {$CA}
		scopes openid profile offline_access
		userinfo off
		forward access_token Authorization
	}
	@bare header X-Bare *
	reverse_proxy @bare {$ISSUER} {
		transport http {
			tls_trust_pool file {$CA}
		}
	}
	reverse_proxy {$ISSUER} {
		transport {$TRANSPORT}
			tls_trust_pool file {$CA}
		}
	}
}
`))
			b := NewBrowser(t)
			begun := b.Step(at + "/me")
			query := b.parse(begun.Header.Get("Location")).Query()
			if names := slices.Sorted(maps.Keys(query)); !slices.Equal(names, []string{"client_id", "request_uri"}) {
				t.Fatalf("the browser carries %v:\n%s\n%s", names, brief(begun), p.Logs())
			}
			page := b.Submit(b.Navigate(begun.Header.Get("Location")), "interaction", map[string]string{"login": "ada"})
			page = b.Submit(page, "interaction", nil)
			if page.URL.String() != at+"/me" {
				t.Errorf("came back to %s", page.URL)
			}
			wantMe := func(page *Page) {
				t.Helper()
				var me struct{ Sub, Name string }
				if page.Status != http.StatusOK || json.Unmarshal([]byte(page.Body), &me) != nil || me.Sub != "ada" || me.Name != "Ada" {
					t.Fatalf("%d %s\n%s\n%s", page.Status, brief(page), c.Logs(), p.Logs())
				}
			}
			wantMe(page)
			cookie := b.Jar.Cookie("__Host-gatehouse").Value
			if !eventually(15*time.Second, func() bool {
				wantMe(b.Fetch(at, "GET", at+"/me", nil, ""))
				return b.Jar.Cookie("__Host-gatehouse").Value != cookie
			}) {
				t.Errorf("the session was not refreshed:\n%s\n%s", c.Logs(), p.Logs())
			}
			wantMe(b.Fetch(at, "GET", at+"/me", nil, ""))
			if page := b.Fetch(at, "GET", at+"/me", http.Header{"X-Bare": {"1"}}, ""); page.Status != http.StatusUnauthorized && page.Status != http.StatusBadRequest {
				t.Errorf("without certificate or proof: %d %s", page.Status, brief(page))
			}
		})
	}
}
