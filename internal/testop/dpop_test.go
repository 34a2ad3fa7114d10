package testop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// prover makes proofs, right and wrong.
type prover struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	header map[jose.HeaderKey]any // over typ
	noJWK  bool
}

func newProver(t *testing.T) prover {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return prover{t: t, key: key}
}

func (p prover) sign(claims map[string]any) string {
	p.t.Helper()
	options := &jose.SignerOptions{EmbedJWK: !p.noJWK, ExtraHeaders: map[jose.HeaderKey]any{"typ": "dpop+jwt"}}
	maps.Copy(options.ExtraHeaders, p.header)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, options)
	if err != nil {
		p.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return compact
}

// proofClaims are those of a right proof, but for what a test wants otherwise.
func proofClaims(method, address string, other map[string]any) map[string]any {
	right := map[string]any{"jti": rand.Text(), "htm": method, "htu": address, "iat": time.Now().Unix()}
	maps.Copy(right, other)
	return right
}

func hash(token string) string {
	digest := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// bound is a client of a provider that binds tokens.
func bound(t *testing.T, change func(*testop.Behaviour)) client {
	c := newClient(t, testop.Start(t))
	c.p.Set(func(b *testop.Behaviour) {
		b.DPoP = true
		if change != nil {
			change(b)
		}
	})
	return c
}

// token makes a token request with proofs; the answer's nonce is returned too.
func (c client) token(form url.Values, proofs ...string) (status int, answer map[string]any, nonce string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, c.p.URL(testop.Token), strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(c.p.ClientID), url.QueryEscape(c.p.ClientSecret))
	r.Header["Dpop"] = proofs
	response, body := c.do(r)
	if err := json.Unmarshal(body, &answer); err != nil {
		c.t.Fatalf("%v in %q", err, body)
	}
	return response.StatusCode, answer, response.Header.Get("DPoP-Nonce")
}

func (c client) codeForm(extra url.Values) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {c.authorize(extra).Get("code")},
		"redirect_uri": {redirectURI}, "code_verifier": {verifier},
	}
}

// at asks a resource server with a token.
func (c client) at(address, authorization string, proofs ...string) (status int, challenge, nonce string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	r.Header["Dpop"] = proofs
	response, _ := c.do(r)
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), response.Header.Get("DPoP-Nonce")
}

// TestProofIsChecked: RFC 9449 4.3. The provider notices what is wrong with a proof:
// else no test of ours would.
func TestProofIsChecked(t *testing.T) {
	c, good := bound(t, nil), newProver(t)
	at := c.p.URL(testop.Token)
	once := good.sign(proofClaims("POST", at, nil))
	private := good
	private.noJWK, private.header = true, map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: good.key}}
	otherKey := good
	otherKey.noJWK, otherKey.header = true, map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: newProver(t).key.Public()}}
	bare, typ := good, good
	bare.noJWK, typ.header = true, map[jose.HeaderKey]any{"typ": "JWT"}
	hour := time.Hour.Milliseconds() / 1000
	for _, test := range []struct {
		name   string
		proofs []string
		says   string
	}{
		{"right", []string{once}, ""},
		{"none", nil, "0 proofs"},
		{"two", []string{good.sign(proofClaims("POST", at, nil)), good.sign(proofClaims("POST", at, nil))}, "2 proofs"},
		{"replayed", []string{once}, "jti"},
		{"no jti", []string{good.sign(proofClaims("POST", at, map[string]any{"jti": ""}))}, "jti"},
		{"no JWT", []string{"x.y.z"}, "no JWT"},
		{"typ JWT", []string{typ.sign(proofClaims("POST", at, nil))}, "typ"},
		{"without jwk", []string{bare.sign(proofClaims("POST", at, nil))}, "no jwk"},
		{"the private key in jwk", []string{private.sign(proofClaims("POST", at, nil))}, "private parameters"},
		{"another key in jwk", []string{otherKey.sign(proofClaims("POST", at, nil))}, "signature"},
		{"another method", []string{good.sign(proofClaims("GET", at, nil))}, "htm"},
		{"another endpoint", []string{good.sign(proofClaims("POST", c.p.URL(testop.Push), nil))}, "htu"},
		{"htu with a query", []string{good.sign(proofClaims("POST", at+"?x", nil))}, "htu"},
		{"old", []string{good.sign(proofClaims("POST", at, map[string]any{"iat": time.Now().Unix() - hour}))}, "iat"},
		{"of the future", []string{good.sign(proofClaims("POST", at, map[string]any{"iat": time.Now().Unix() + hour}))}, "iat"},
		{"ath without a token", []string{good.sign(proofClaims("POST", at, map[string]any{"ath": hash("x")}))}, "ath"},
	} {
		status, answer, _ := c.token(c.codeForm(nil), test.proofs...)
		description, _ := answer["error_description"].(string)
		if test.says == "" && (status != http.StatusOK || answer["token_type"] != "DPoP") ||
			test.says != "" && (answer["error"] != "invalid_dpop_proof" || !strings.Contains(description, test.says)) {
			t.Errorf("%s: %d %v", test.name, status, answer)
		}
	}
}

// TestTokensAreBound: RFC 9449 5, 7.1, 7.2, 10, 10.1.
func TestTokensAreBound(t *testing.T) {
	c, mine, other := bound(t, nil), newProver(t), newProver(t)
	at, info := c.p.URL(testop.Token), c.p.URL(testop.UserInfo)
	_, answer, _ := c.token(c.codeForm(nil), mine.sign(proofClaims("POST", at, nil)))
	access, _ := answer["access_token"].(string)
	if c.p.Key(access) == "" {
		t.Error("bound to no key")
	}
	ath := map[string]any{"ath": hash(access)}
	resource := httptest.NewServer(c.p.Resource("", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer resource.Close()
	for name, test := range map[string]struct {
		address, scheme, proof string
		status                 int
	}{
		"right":                {info, "DPoP", mine.sign(proofClaims("GET", info, ath)), 200},
		"dpop":                 {info, "dpop", mine.sign(proofClaims("GET", info, ath)), 200},
		"elsewhere":            {resource.URL + "/a?b", "DPoP", mine.sign(proofClaims("GET", resource.URL+"/a", ath)), 200},
		"for another server":   {resource.URL + "/a", "DPoP", mine.sign(proofClaims("GET", info, ath)), 401},
		"as Bearer":            {info, "Bearer", mine.sign(proofClaims("GET", info, ath)), 401},
		"another key":          {info, "DPoP", other.sign(proofClaims("GET", info, ath)), 401},
		"without ath":          {info, "DPoP", mine.sign(proofClaims("GET", info, nil)), 401},
		"ath of another token": {info, "DPoP", mine.sign(proofClaims("GET", info, map[string]any{"ath": hash("x")})), 401},
	} {
		if status, challenge, _ := c.at(test.address, test.scheme+" "+access, test.proof); status != test.status {
			t.Errorf("%s: %d %s", name, status, challenge)
		}
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer["refresh_token"].(string)}}
	if _, refused, _ := c.token(refresh, other.sign(proofClaims("POST", at, nil))); refused["error"] != "invalid_grant" {
		t.Errorf("refreshed with another key: %v", refused)
	}
	if _, renewed, _ := c.token(refresh, mine.sign(proofClaims("POST", at, nil))); renewed["token_type"] != "DPoP" {
		t.Errorf("refreshed: %v", renewed)
	}
	if _, refused, _ := c.token(c.codeForm(url.Values{"dpop_jkt": {"x"}}), mine.sign(proofClaims("POST", at, nil))); refused["error"] != "invalid_grant" {
		t.Errorf("a code of another key: %v", refused)
	}
	c.p.Set(func(b *testop.Behaviour) { b.DPoPBoundCode = true })
	if response := c.authorize(nil); response.Get("error") == "" {
		t.Errorf("a code of no key: %v", response)
	}
	c.p.Set(func(b *testop.Behaviour) { b.DPoPDowngrade = true })
	if _, answer, _ := c.token(c.codeForm(url.Values{"dpop_jkt": {"x"}}), "nonsense"); answer["token_type"] != "Bearer" {
		t.Errorf("downgraded: %v", answer)
	}
}

// TestNonces: RFC 9449 8, 9.
func TestNonces(t *testing.T) {
	c, key := bound(t, func(b *testop.Behaviour) { b.DPoPNonceOnce, b.DPoPScheme = true, "dPoP" }), newProver(t)
	at, info := c.p.URL(testop.Token), c.p.URL(testop.UserInfo)
	with := func(method, address, nonce, ath string) string {
		return key.sign(proofClaims(method, address, map[string]any{"nonce": nonce, "ath": ath}))
	}
	form := c.codeForm(nil)
	status, answer, first := c.token(form, with("POST", at, "", ""))
	if status != 400 || answer["error"] != "use_dpop_nonce" || first == "" {
		t.Fatalf("%d %v %q", status, answer, first)
	}
	status, answer, second := c.token(form, with("POST", at, first, ""))
	if status != 200 || second == "" || second == first {
		t.Fatalf("%d %v %q", status, answer, second)
	}
	if _, refused, _ := c.token(c.codeForm(nil), with("POST", at, first, "")); refused["error"] != "use_dpop_nonce" {
		t.Errorf("a nonce twice: %v", refused)
	}
	access, _ := answer["access_token"].(string)
	status, challenge, nonce := c.at(info, "DPoP "+access, with("GET", info, second, hash(access)))
	if status != 401 || !strings.HasPrefix(challenge, "dPoP ") || !strings.Contains(challenge, `error="use_dpop_nonce"`) {
		t.Errorf("the other server's nonce: %d %s", status, challenge)
	}
	if status, challenge, _ := c.at(info, "DPoP "+access, with("GET", info, nonce, hash(access))); status != 200 {
		t.Errorf("%d %s", status, challenge)
	}
	c.p.Set(func(b *testop.Behaviour) { b.DPoPNonceOnce, b.DPoPNonces = false, true })
	_, _, nonce = c.token(c.codeForm(nil), with("POST", at, "", ""))
	c.p.RotateNonces()
	if _, refused, _ := c.token(c.codeForm(nil), with("POST", at, nonce, "")); refused["error"] != "use_dpop_nonce" {
		t.Errorf("an old nonce: %v", refused)
	}
	c.p.Set(func(b *testop.Behaviour) { b.DPoPNonceLoop = true })
	for range 3 {
		if status, _, nonce = c.token(c.codeForm(nil), with("POST", at, nonce, "")); status != 400 {
			t.Error("a nonce was good")
		}
	}
	c.p.Set(func(b *testop.Behaviour) { b.DPoPNonceHeader = []string{"a b"} })
	if _, _, nonce = c.token(c.codeForm(nil), with("POST", at, "", "")); nonce != "a b" {
		t.Errorf("DPoP-Nonce %q", nonce)
	}
}
