package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// RFC 7521 4.2: the platform's token proves the client, as it stands in its file now: there is no secret. When nobody renews it,
// nobody signs in, the log says why, and who is signed in stays so.
func TestClientAssertion(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "p", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "p"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	const platform = "https://platform.example"
	issue := func(audience string, lifetime time.Duration) string {
		t.Helper()
		payload, err := json.Marshal(map[string]any{"iss": platform, "sub": "workload", "aud": audience, "exp": time.Now().Add(lifetime).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err == nil {
			err = os.WriteFile(path+".new", []byte(token+"\n"), 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	issue("https://kubernetes.default.svc.cluster.local", time.Minute)
	caddyfile := clientSite("client_assertion {env.TOKEN_FILE}")
	if logs := CaddyFails(t, strings.NewReplacer("{$ISSUER}", "https://id.example.com", "{$CLIENT_ID}", "app", "{$APP}", "localhost:1").Replace(caddyfile), "TOKEN_FILE="+path); !strings.Contains(logs, "it is for the cluster's own API") {
		t.Errorf("the cluster's token: %s", logs)
	}
	s := &Site{OP: testop.Start(t, staff, func(p *testop.Provider) { p.ClientJWKS, p.FederatedIssuer = string(set), platform }), App: StartApplication(t), t: t}
	s.OP.Set(func(b *testop.Behaviour) { b.OnlyClientAuth = "private_key_jwt" })
	issue(s.OP.Issuer(), -time.Minute) // a machine that has slept starts all the same
	s.Caddy = StartCaddy(t, s.fill(caddyfile), "TOKEN_FILE="+path)
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/x"), http.StatusInternalServerError, "client_assertion_unreadable")
	first := issue(s.OP.Issuer(), 5*time.Minute)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/x"))
	second := issue(s.OP.Issuer(), 6*time.Minute)
	seen(t, NewBrowser(t).Navigate(s.HTTP()+"/x"))
	for i, request := range s.OP.Requests(testop.Token) {
		if form := request.PostForm; form.Get("client_assertion") != []string{first, second}[i] || form.Has("client_secret") || request.Header.Get("Authorization") != "" {
			t.Errorf("request %d proves the client by %v", i, form)
		}
	}
	issue(s.OP.Issuer(), -time.Minute)
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/x"), http.StatusInternalServerError, "client_assertion_unreadable")
	s.WaitLog("has expired, and nobody has renewed it")
	seen(t, b.Navigate(s.HTTP()+"/x"))
}
