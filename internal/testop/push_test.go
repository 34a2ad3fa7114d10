package testop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// keyedClient is a provider, a client with a key there, and a way to sign with that key.
func keyedClient(t *testing.T) (client, func(typ string, claims map[string]any) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	p := testop.Start(t, func(p *testop.Provider) { p.ClientJWKS = string(set) })
	sign := func(typ string, claims map[string]any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}},
			new(jose.SignerOptions).WithType(jose.ContentType(typ)))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	return newClient(t, p), sign
}

// request are the parameters of an authorization request that is right.
func (c client) request() url.Values {
	return url.Values{
		"client_id": {c.p.ClientID}, "response_type": {"code"}, "redirect_uri": {redirectURI}, "scope": {"openid"},
		"code_challenge": {"x"}, "code_challenge_method": {"S256"}, "state": {"s"},
	}
}

func (c client) push(form url.Values) (int, map[string]any) {
	c.t.Helper()
	response, err := c.hc.PostForm(c.p.URL(testop.Push), form)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, answer
}

// The provider notices what is wrong with an assertion: else no test of ours would.
func TestClientAssertion(t *testing.T) {
	c, sign := keyedClient(t)
	now := time.Now().Unix()
	right := func() map[string]any {
		return map[string]any{"iss": c.p.ClientID, "sub": c.p.ClientID, "aud": c.p.Issuer(), "exp": now + 50, "jti": "j"}
	}
	for _, test := range []struct {
		name   string
		claims map[string]any
		says   string
	}{
		{"right", nil, ""},
		{"the same jti", nil, "jti"},
		{"no jti", map[string]any{"jti": ""}, "jti"},
		{"aud is a list", map[string]any{"aud": []string{c.p.Issuer()}}, "aud"},
		{"aud is the endpoint", map[string]any{"aud": c.p.URL(testop.Token)}, "aud"},
		{"exp far away", map[string]any{"exp": now + 300}, "exp"},
		{"expired", map[string]any{"exp": now - 1}, "exp"},
		{"another iss", map[string]any{"iss": "x"}, "iss"},
		{"another sub", map[string]any{"sub": "x"}, "sub"},
	} {
		claims := right()
		for name, value := range test.claims {
			claims[name] = value
		}
		if test.name != "right" && test.name != "the same jti" && test.name != "no jti" {
			claims["jti"] = test.name
		}
		form := c.request()
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", sign("", claims))
		status, answer := c.push(form)
		description, _ := answer["error_description"].(string)
		if test.says == "" && status != http.StatusCreated || test.says != "" && (status != http.StatusUnauthorized || !strings.Contains(description, test.says)) {
			t.Errorf("%s: %d %v", test.name, status, answer)
		}
	}
	other, signOther := keyedClient(t)
	form := c.request()
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", signOther("", right()))
	if status, answer := c.push(form); status != http.StatusUnauthorized || other.p == c.p {
		t.Errorf("another key: %d %v", status, answer)
	}
	if status, answer := c.push(c.request()); status != http.StatusUnauthorized {
		t.Errorf("no client authentication: %d %v", status, answer)
	}
}

func TestPushedRequest(t *testing.T) {
	c, sign := keyedClient(t)
	authenticated := func(form url.Values) url.Values {
		form.Set("client_secret", c.p.ClientSecret)
		return form
	}
	ask := func(query url.Values) int {
		response, _ := c.get(c.p.URL(testop.Authorization) + "?" + query.Encode())
		return response.StatusCode
	}
	reference := func() url.Values {
		status, answer := c.push(authenticated(c.request()))
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, answer)
		}
		return url.Values{"client_id": {c.p.ClientID}, "request_uri": {answer["request_uri"].(string)}}
	}
	once := reference()
	if first, second := ask(once), ask(once); first != http.StatusFound || second != http.StatusBadRequest {
		t.Errorf("used once: %d, twice: %d", first, second)
	}
	more := reference()
	more.Set("scope", "openid")
	if status := ask(more); status != http.StatusBadRequest {
		t.Errorf("something beside: %d", status)
	}
	inside := c.request()
	inside.Set("request_uri", "urn:x")
	if status, answer := c.push(authenticated(inside)); status != http.StatusBadRequest {
		t.Errorf("request_uri inside: %d %v", status, answer)
	}
	claims := func() map[string]any {
		claims := map[string]any{"iss": c.p.ClientID, "aud": c.p.Issuer(), "exp": time.Now().Unix() + 60}
		for name := range c.request() {
			claims[name] = c.request().Get(name)
		}
		return claims
	}
	c.p.Set(func(b *testop.Behaviour) { b.RequireRequestObject = true })
	for name, test := range map[string]struct {
		typ    string
		change func(claims map[string]any)
		status int
	}{
		"right":             {"oauth-authz-req+jwt", func(map[string]any) {}, http.StatusFound},
		"another typ":       {"JWT", func(map[string]any) {}, http.StatusBadRequest},
		"another aud":       {"oauth-authz-req+jwt", func(c map[string]any) { c["aud"] = "x" }, http.StatusBadRequest},
		"another client_id": {"oauth-authz-req+jwt", func(c map[string]any) { c["client_id"] = "x" }, http.StatusBadRequest},
		"expired":           {"oauth-authz-req+jwt", func(c map[string]any) { c["exp"] = 1 }, http.StatusBadRequest},
		"request inside":    {"oauth-authz-req+jwt", func(c map[string]any) { c["request"] = "x" }, http.StatusBadRequest},
	} {
		inside := claims()
		test.change(inside)
		query := url.Values{"client_id": {c.p.ClientID}, "request": {sign(test.typ, inside)}}
		if status := ask(query); status != test.status {
			t.Errorf("request object, %s: %d", name, status)
		}
	}
	if status := ask(c.request()); status != http.StatusBadRequest {
		t.Errorf("without request object: %d", status)
	}
	c.p.Set(func(b *testop.Behaviour) { *b = testop.Behaviour{RequirePAR: true} })
	if status := ask(c.request()); status != http.StatusBadRequest {
		t.Errorf("not pushed: %d", status)
	}
}
