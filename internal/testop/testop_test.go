package testop_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const (
	verifier    = "verifier-verifier-verifier-verifier-verifier"
	redirectURI = "https://app.example.com/oauth2/callback"
)

// client is a relying party of few words.
type client struct {
	t  *testing.T
	p  *testop.Provider
	hc *http.Client
}

func newClient(t *testing.T, p *testop.Provider) client {
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client{t, p, hc}
}

func (c client) do(r *http.Request) (*http.Response, []byte) {
	c.t.Helper()
	response, err := c.hc.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response, body
}

func (c client) get(address string) (*http.Response, []byte) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(r)
}

func (c client) post(endpoint string, form url.Values) (int, map[string]any) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, c.p.URL(endpoint), strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(c.p.ClientID), url.QueryEscape(c.p.ClientSecret))
	response, body := c.do(r)
	var document map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &document); err != nil {
			c.t.Fatalf("%s: %v in %q", endpoint, err, body)
		}
	}
	return response.StatusCode, document
}

// authorize returns the parameters of the authorization response.
func (c client) authorize(extra url.Values) url.Values {
	c.t.Helper()
	challenge := sha256.Sum256([]byte(verifier))
	parameters := url.Values{
		"client_id": {c.p.ClientID}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {"openid profile email groups"}, "state": {"the state"}, "nonce": {"the nonce"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}
	for name, values := range extra {
		parameters[name] = values
	}
	response, body := c.get(c.p.URL(testop.Authorization) + "?" + parameters.Encode())
	location, err := response.Location()
	if err != nil {
		c.t.Fatalf("authorize: %d %s", response.StatusCode, body)
	}
	return location.Query()
}

func (c client) exchange(code string) (int, map[string]any) {
	c.t.Helper()
	return c.post(testop.Token, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier},
	})
}

func (c client) refresh(token any) (int, map[string]any) {
	c.t.Helper()
	return c.post(testop.Token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.(string)}})
}

// signIn returns the token response.
func (c client) signIn(extra url.Values) map[string]any {
	c.t.Helper()
	status, tokens := c.exchange(c.authorize(extra).Get("code"))
	if status != http.StatusOK {
		c.t.Fatalf("exchange: %d %v", status, tokens)
	}
	return tokens
}

// verify checks the signature over the published keys and returns the claims.
func (c client) verify(idToken any) (map[string]any, error) {
	c.t.Helper()
	_, body := c.get(c.p.URL(testop.JWKS))
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(body, &keys); err != nil {
		c.t.Fatal(err)
	}
	token, err := jose.ParseSigned(idToken.(string), []jose.SignatureAlgorithm{"RS256", "PS256", "ES256", "EdDSA"})
	if err != nil {
		return nil, err
	}
	if payload, err := token.Verify(keys); err == nil {
		return decode(c.t, payload), nil
	} else if token.Signatures[0].Header.KeyID != "" {
		return nil, err
	}
	for _, key := range keys.Keys { // no kid: try all
		if payload, err := token.Verify(key); err == nil {
			return decode(c.t, payload), nil
		}
	}
	return nil, jose.ErrCryptoFailure
}

func decode(t *testing.T, payload []byte) map[string]any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// claims reads the payload of a token whose signature does not count.
func claims(t *testing.T, token any) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.(string), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, payload)
}

func TestSignIn(t *testing.T) {
	p := testop.Start(t, func(p *testop.Provider) { p.Path = "/realms/a/" })
	c := newClient(t, p)

	_, body := c.get(p.URL(testop.Discovery))
	if got := decode(t, body)["issuer"]; got != p.Issuer() || !strings.HasSuffix(p.Issuer(), "/realms/a/") {
		t.Fatalf("issuer %q", got)
	}
	response := c.authorize(url.Values{"login_hint": {"somebody"}})
	if response.Get("iss") != p.Issuer() || response.Get("state") != "the state" {
		t.Fatalf("authorization response %v", response)
	}
	status, tokens := c.exchange(response.Get("code"))
	if status != http.StatusOK {
		t.Fatal(tokens)
	}
	got, err := c.verify(tokens["id_token"])
	if err != nil {
		t.Fatal(err)
	}
	if got["sub"] != "sub-somebody" || got["aud"] != p.ClientID || got["nonce"] != "the nonce" || got["email_verified"] != true {
		t.Fatalf("ID token %v", got)
	}
	r, _ := http.NewRequest(http.MethodGet, p.URL(testop.UserInfo), nil)
	r.Header.Set("Authorization", "Bearer "+tokens["access_token"].(string))
	if _, body := c.do(r); decode(t, body)["sub"] != "sub-somebody" {
		t.Fatalf("userinfo %s", body)
	}
	if p.Calls(testop.Token) != 1 || p.Requests(testop.Token)[0].PostForm.Get("code_verifier") != verifier {
		t.Fatalf("requests %v", p.Requests(testop.Token))
	}
}

func TestCodeAndRefreshTokenAreGoodOnce(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	code := c.authorize(nil).Get("code")
	_, tokens := c.exchange(code)
	first := tokens["refresh_token"]

	status, tokens := c.refresh(first)
	if status != http.StatusOK || tokens["refresh_token"] == first {
		t.Fatalf("refresh: %d %v", status, tokens)
	}
	if status, _ := c.refresh(first); status != http.StatusBadRequest || p.Reuses() != 1 {
		t.Fatalf("spent refresh token: %d, %d reuses", status, p.Reuses())
	}
	if status, _ := c.refresh(tokens["refresh_token"]); status != http.StatusBadRequest {
		t.Fatalf("the family lives on after a reuse: %d", status)
	}
	if status, _ := c.exchange(code); status != http.StatusBadRequest {
		t.Fatalf("code used twice: %d", status)
	}
}

func TestProviderRefuses(t *testing.T) {
	p := testop.Start(t, func(p *testop.Provider) { p.RedirectURIs = []string{redirectURI} })
	c := newClient(t, p)
	if got := c.authorize(url.Values{"code_challenge": nil}).Get("error"); got != "invalid_request" {
		t.Errorf("no PKCE: %q", got)
	}
	if response, _ := c.get(p.URL(testop.Authorization) + "?client_id=client&redirect_uri=https://evil.example/"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("unregistered redirect_uri: %d", response.StatusCode)
	}
	status, document := c.post(testop.Token, url.Values{
		"grant_type": {"authorization_code"}, "code": {c.authorize(nil).Get("code")},
		"redirect_uri": {redirectURI}, "code_verifier": {"another verifier"},
	})
	if status != http.StatusBadRequest || document["error"] != "invalid_grant" {
		t.Errorf("wrong verifier: %d %v", status, document)
	}
	r, _ := http.NewRequest(http.MethodPost, p.URL(testop.Token), strings.NewReader("grant_type=refresh_token"))
	r.SetBasicAuth(p.ClientID, p.ClientSecret) // not form-encoded
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if response, _ := c.do(r); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("raw secret in Basic: %d", response.StatusCode)
	}
}

func TestIDTokenMisbehaviours(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	header := func(token any) map[string]any {
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(token.(string), ".")[0])
		if err != nil {
			t.Fatal(err)
		}
		return decode(t, text)
	}
	for _, test := range []struct {
		name     string
		set      func(*testop.Behaviour)
		verifies bool
		check    func(token any) bool
	}{
		{"right", func(*testop.Behaviour) {}, true, func(token any) bool { return header(token)["kid"] == "rsa-1" }},
		{
			"nonce changed", func(b *testop.Behaviour) { b.IDToken = testop.Edit{"nonce": testop.Append("1")} }, true,
			func(token any) bool { return claims(t, token)["nonce"] == "the nonce1" },
		},
		{
			"sub absent", func(b *testop.Behaviour) { b.IDToken = testop.Edit{"sub": testop.Absent} }, true,
			func(token any) bool { _, there := claims(t, token)["sub"]; return !there },
		},
		{
			"second audience", func(b *testop.Behaviour) { b.IDToken = testop.Edit{"aud": []string{"client", "b"}} }, true,
			func(token any) bool { return len(claims(t, token)["aud"].([]any)) == 2 },
		},
		{
			"duplicate member", func(b *testop.Behaviour) { b.IDTokenPayload = testop.Member(`"iss":"https://evil.example"`) }, true,
			func(token any) bool { return claims(t, token)["iss"] == "https://evil.example" },
		},
		{
			"alg nOnE", func(b *testop.Behaviour) { b.Alg = "nOnE" }, false,
			func(token any) bool { return header(token)["alg"] == "nOnE" && strings.HasSuffix(token.(string), ".") },
		},
		{
			"public key as HMAC secret", func(b *testop.Behaviour) { b.Alg, b.HMACKey = "HS256", p.PublicKeyPEM() }, false,
			func(token any) bool { return header(token)["kid"] == "rsa-1" },
		},
		{
			"HS256 with the client secret", func(b *testop.Behaviour) { b.Alg = "HS256" }, false,
			func(token any) bool { return header(token)["alg"] == "HS256" },
		},
		{
			"wrong key", func(b *testop.Behaviour) { b.WrongKey = true }, false,
			func(token any) bool { return header(token)["kid"] == "rsa-1" },
		},
		{"weak key", func(b *testop.Behaviour) { b.WeakKey = true }, true, nil},
		{
			"crit unknown", func(b *testop.Behaviour) { b.IDTokenHeader = testop.Edit{"crit": []string{"x"}, "x": 1} }, false,
			func(token any) bool { return header(token)["x"] == float64(1) },
		},
		{"payload not encoded", func(b *testop.Behaviour) {
			b.IDTokenHeader = testop.Edit{"crit": []string{"b64"}, "b64": false}
		}, true, func(token any) bool { return header(token)["b64"] == false }}, // go-jose knows it
		{"corrupt signature", func(b *testop.Behaviour) { b.CorruptSignature = true }, false, nil},
		{"ES256", func(b *testop.Behaviour) { b.Alg = "ES256" }, true, nil},
		{"EdDSA", func(b *testop.Behaviour) { b.Alg = "EdDSA" }, true, nil},
		{"PS256", func(b *testop.Behaviour) { b.Alg = "PS256" }, true, nil},
		{
			"kid absent", func(b *testop.Behaviour) { b.IDTokenHeader = testop.Edit{"kid": testop.Absent} }, true,
			func(token any) bool { _, there := header(token)["kid"]; return !there },
		},
		{"kid unknown, jku", func(b *testop.Behaviour) {
			b.IDTokenHeader = testop.Edit{"kid": "../../etc/passwd", "jku": "https://evil.example/"}
		}, false, func(token any) bool { return header(token)["jku"] == "https://evil.example/" }},
		{
			"rotate on sign", func(b *testop.Behaviour) { b.RotateOnSign = true }, true,
			func(token any) bool { return header(token)["kid"] == "rsa-2" },
		},
		{"JSON serialization", func(b *testop.Behaviour) { b.IDTokenText = func(string) string { return "{}" } }, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.Behave()
			p.Set(test.set)
			token := c.signIn(nil)["id_token"]
			if _, err := c.verify(token); (err == nil) != test.verifies {
				t.Errorf("verify: %v", err)
			}
			if test.check != nil && !test.check(token) {
				t.Errorf("token %v", token)
			}
		})
	}
}

func TestStrangeKeysStandBeforeTheRightOnes(t *testing.T) {
	p := testop.Start(t)
	p.Set(func(b *testop.Behaviour) { b.StrangeKeys, b.DecoyKeys, b.NoKeyIDs = true, true, true })
	_, body := newClient(t, p).get(p.URL(testop.JWKS))
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 13+3+3 || !bytes.Contains(set.Keys[0], []byte("secp256k1")) {
		t.Fatalf("%d keys: %s", len(set.Keys), body)
	}
}

func TestOnlyRSAKeys(t *testing.T) {
	p := testop.Start(t)
	for _, count := range []int{1, 3} {
		p.Set(func(b *testop.Behaviour) { b.RSAKeys, b.NoKeyIDs = count, true })
		_, body := newClient(t, p).get(p.URL(testop.JWKS))
		if strings.Count(string(body), `"kty":"RSA"`) != count || strings.Count(string(body), `"kty"`) != count || strings.Contains(string(body), "kid") {
			t.Errorf("want %d RSA keys: %s", count, body)
		}
	}
}

func TestTrace(t *testing.T) {
	p := testop.Start(t, func(p *testop.Provider) { p.Path = "/a/" })
	for _, address := range []string{p.URL(testop.JWKS), p.URL(testop.Discovery), p.Issuer() + "unknown", p.URL(testop.JWKS) + "/elsewhere"} {
		newClient(t, p).get(address)
	}
	if got, want := strings.Join(p.Trace(), " "), "jwks discovery /a/unknown jwks"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestResponseMisbehaviours(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	p.Set(func(b *testop.Behaviour) {
		b.AuthorizationResponse = testop.Edit{"iss": testop.Absent, "state": testop.Append("x")}
		b.TwiceInResponse = "code"
		b.TokenResponse = testop.Edit{"expires_in": testop.Absent}
		b.NoRefreshRotation = true
	})
	response := c.authorize(nil)
	if response.Has("iss") || response.Get("state") != "the statex" || len(response["code"]) != 2 {
		t.Errorf("authorization response %v", response)
	}
	_, tokens := c.exchange(response.Get("code"))
	if _, there := tokens["expires_in"]; there {
		t.Errorf("token response %v", tokens)
	}
	p.Set(func(b *testop.Behaviour) { b.RefreshedSubject = "sub-mallory" })
	_, refreshed := c.refresh(tokens["refresh_token"])
	if _, there := refreshed["refresh_token"]; there || claims(t, refreshed["id_token"])["sub"] != "sub-mallory" {
		t.Errorf("refresh response %v", refreshed)
	}
	p.Set(func(b *testop.Behaviour) { b.RefreshError = "invalid_grant" })
	if status, document := c.refresh(tokens["refresh_token"]); status != http.StatusBadRequest || document["error"] != "invalid_grant" {
		t.Errorf("refresh: %d %v", status, document)
	}
	p.Behave()
	p.Set(func(b *testop.Behaviour) { b.AuthorizationError = "access_denied" })
	if response := c.authorize(nil); response.Get("error") != "access_denied" || response.Has("code") {
		t.Errorf("authorization response %v", response)
	}
}

func TestFaults(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	p.Set(func(b *testop.Behaviour) {
		b.Faults = map[string]testop.Fault{
			testop.Discovery: {Status: http.StatusBadGateway, Body: "<h1>no</h1>", Times: 1},
			testop.JWKS:      {Abort: true},
			testop.UserInfo:  {Hang: true},
		}
	})
	if response, body := c.get(p.URL(testop.Discovery)); response.StatusCode != http.StatusBadGateway || string(body) != "<h1>no</h1>" {
		t.Errorf("first: %d %s", response.StatusCode, body)
	}
	if response, _ := c.get(p.URL(testop.Discovery)); response.StatusCode != http.StatusOK {
		t.Errorf("second: %d", response.StatusCode)
	}
	if _, err := c.hc.Get(p.URL(testop.JWKS)); err == nil {
		t.Error("abort: an answer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, p.URL(testop.UserInfo), nil)
	if _, err := c.hc.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v", err)
	}
	p.Down()
	if _, err := c.hc.Get(p.URL(testop.Discovery)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("down: %v", err)
	}
	p.Up(t)
	if response, _ := c.get(p.URL(testop.Discovery)); response.StatusCode != http.StatusOK {
		t.Errorf("up: %d", response.StatusCode)
	}
}

func TestTransportInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testop.New()
		p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.JWKS: {Delay: time.Hour}} })
		hc := &http.Client{Transport: p.Transport()}
		start := time.Now()
		response, err := hc.Get(p.URL(testop.JWKS))
		if err != nil || response.StatusCode != http.StatusOK || time.Since(start) != time.Hour {
			t.Fatalf("%v %v after %v", response, err, time.Since(start))
		}
		hc.Timeout = time.Minute
		if _, err := hc.Get(p.URL(testop.JWKS)); err == nil {
			t.Fatal("no timeout")
		}
		p.Down()
		if _, err := hc.Get(p.URL(testop.JWKS)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("down: %v", err)
		}
	})
}

func TestLogout(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	tokens := c.signIn(nil)
	response, _ := c.get(p.URL(testop.EndSession) + "?" + url.Values{
		"id_token_hint": {tokens["id_token"].(string)}, "post_logout_redirect_uri": {"https://app.example.com/out"}, "state": {"s"},
	}.Encode())
	if got := response.Header.Get("Location"); got != "https://app.example.com/out?state=s" {
		t.Errorf("Location %q", got)
	}
	if status, _ := c.refresh(tokens["refresh_token"]); status != http.StatusBadRequest {
		t.Errorf("refresh after logout: %d", status)
	}
	other := c.signIn(nil)
	if status, _ := c.post(testop.Revocation, url.Values{"token": {other["refresh_token"].(string)}}); status != http.StatusOK {
		t.Errorf("revoke: %d", status)
	}
	if status, _ := c.refresh(other["refresh_token"]); status != http.StatusBadRequest {
		t.Errorf("refresh after revocation: %d", status)
	}
	token, err := p.Sign(p.LogoutTokenClaims("sub-alice", "", nil), testop.Edit{"typ": "logout+jwt"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.verify(token); err != nil || got["sub"] != "sub-alice" {
		t.Errorf("logout token %v, %v", got, err)
	}
}
