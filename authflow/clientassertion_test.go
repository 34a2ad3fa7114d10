package authflow_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// unsigned is a JWT of a payload, whose signature nobody looks at here.
func unsignedAssertion(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(payload)) + ".c2ln"
}

func TestParseClientAssertion(t *testing.T) {
	right := `{"iss": "https://platform.example", "sub": "system:serviceaccount:apps:gate", "aud": ["https://id.example.com"], "exp": 1800000000}`
	assertion, err := authflow.ParseClientAssertion([]byte("\n" + unsignedAssertion(right) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, assertion); text != "client assertion until 2027-01-15T08:00:00Z" {
			t.Errorf("%s shows %s", verb, text)
		}
	}
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"half a file", unsignedAssertion(right)[:40]},
		{"a secret", "s3cret"},
		{"unsigned", strings.TrimSuffix(unsignedAssertion(right), "c2ln")},
		{"two", unsignedAssertion(right) + "\n" + unsignedAssertion(right)},
		{"another line", unsignedAssertion(right) + "\nx"},
		{"encrypted", "a.b.c.d.e"},
		{"no base64", "a.!.c"},
		{"no object", unsignedAssertion(`[]`)},
		{"exp twice", unsignedAssertion(`{"aud": "x", "exp": 1800000000, "exp": 1900000000}`)},
		{"RFC 7523 3 (4) no exp, as old service accounts' tokens", unsignedAssertion(`{"iss": "kubernetes/serviceaccount", "aud": "x"}`)},
		{"exp is text", unsignedAssertion(`{"aud": "x", "exp": "1800000000"}`)},
		{"RFC 7523 3 (3) no aud", unsignedAssertion(`{"exp": 1800000000}`)},
		{"for the cluster's own API", unsignedAssertion(`{"aud": ["https://kubernetes.default.svc.cluster.local", "k3s"], "exp": 1800000000}`)},
		{"for its own issuer", unsignedAssertion(`{"iss": "https://cluster.example", "aud": ["x", "https://cluster.example"], "exp": 1800000000}`)},
	} {
		if _, err := authflow.ParseClientAssertion([]byte(tt.text)); !errors.Is(err, authflow.ErrClientAssertion) {
			t.Errorf("%s: %v", tt.name, err)
		} else if tt.text != "" && strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: the error quotes it: %v", tt.name, err)
		}
	}
}

// RFC 7521 4.2, RFC 7523 2.2: an assertion of the platform's proves the client wherever a secret would, and is read each
// time; one that has expired is not sent.
func TestIssuedAssertion(t *testing.T) {
	key := newEC(elliptic.P256())
	const platform = "https://platform.example"
	set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "p", Algorithm: "ES256", Use: "sig"}}}))
	p := testop.Start(t, func(p *testop.Provider) { p.ClientJWKS, p.FederatedIssuer = string(set), platform })
	p.Set(func(b *testop.Behaviour) { b.OnlyClientAuth = authflow.PrivateKeyJWT })
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "p"}}, nil))
	issue := func(until time.Time) string {
		payload := must(json.Marshal(map[string]any{"iss": platform, "sub": "workload", "aud": p.Issuer(), "exp": until.Unix()}))
		return must(must(signer.Sign(payload)).CompactSerialize())
	}
	var file string
	reads := 0
	s := rp{t: t, p: p, client: newClient(t, p, func(cfg *authflow.Config) {
		cfg.ClientSecret, cfg.PAR = nil, authflow.PAROn
		cfg.ClientAssertion = func() (authflow.ClientAssertion, error) {
			reads++
			return authflow.ParseClientAssertion([]byte(file))
		}
	})}
	file = issue(p.Now().Add(5 * time.Minute))
	grant := s.mustLogin("bob")
	first := file
	file = issue(p.Now().Add(6 * time.Minute)) // renewed
	if _, err := s.client.Refresh(t.Context(), refreshOf(grant)); err != nil {
		t.Error(err)
	}
	requests := p.Requests(testop.Token)
	for i, want := range []string{first, file} {
		form := requests[i].PostForm
		if form.Get("client_assertion") != want || form.Get("client_id") != p.ClientID || form.Has("client_secret") || requests[i].Header.Get("Authorization") != "" {
			t.Errorf("request %d: %v", i, form)
		}
	}
	if pushed := p.Requests(testop.Push)[0].PostForm; pushed.Get("client_assertion") != first || reads != 3 {
		t.Errorf("pushed with %v, and read %d times", pushed, reads)
	}

	for name, text := range map[string]string{"expired": issue(p.Now()), "gone": "", "half of it": file[:len(file)/2]} {
		file = text
		_, err := s.client.Refresh(t.Context(), refreshOf(grant))
		wantError(t, err, authflow.ReasonClientAssertion, authflow.Internal)
		if got := len(p.Requests(testop.Token)); got != 2 {
			t.Errorf("%s: it was sent", name)
		}
	}
	file = issue(p.Now().Add(time.Minute))
	if _, err := s.login("bob"); err != nil {
		t.Errorf("renewed at last: %v", err)
	}
}

// An assertion and another way to prove the client contradict each other: nobody can tell which one counts.
func TestIssuedAssertionAlone(t *testing.T) {
	some := func() (authflow.ClientAssertion, error) {
		return authflow.ClientAssertion{}, errors.New("nobody asked")
	}
	for name, set := range map[string]func(*authflow.Config){
		"":                    func(*authflow.Config) {},
		"private_key_jwt":     func(c *authflow.Config) { c.ClientAuth = authflow.PrivateKeyJWT },
		"a key for jar":       func(c *authflow.Config) { c.ClientKeys, c.RequestObject = noKeys, true },
		"client_secret":       func(c *authflow.Config) { c.ClientSecret = noSecret },
		"client_auth none":    func(c *authflow.Config) { c.ClientAuth = authflow.ClientAuthNone },
		"client_secret_basic": func(c *authflow.Config) { c.ClientAuth, c.ClientSecret = authflow.ClientSecretBasic, noSecret },
		"tls_client_auth":     func(c *authflow.Config) { c.ClientAuth, c.MutualTLS = authflow.TLSClientAuth, true },
		"fapi2":               func(c *authflow.Config) { c.Profile, c.DPoP = authflow.ProfileFAPI2, true },
	} {
		cfg := authflow.Config{Issuer: "https://id.example.com", ClientID: "app", ClientAssertion: some}
		set(&cfg)
		fine := name == "" || name == "private_key_jwt" || name == "a key for jar"
		if err := cfg.Check(); (err == nil) != fine || err != nil && !strings.Contains(err.Error(), "client_assertion") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
