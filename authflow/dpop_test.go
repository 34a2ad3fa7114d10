package authflow

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// TestDPoPKey: the key of an attempt is its own, survives the attempt's cookie and
// the session, and shows itself nowhere.
func TestDPoPKey(t *testing.T) {
	a := testAttempt(time.Unix(1800000000, 0))
	key, err := a.dpopKey()
	if err != nil {
		t.Fatal(err)
	}
	data, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAttempt(a.State, data)
	if err != nil {
		t.Fatal(err)
	}
	same, err := again.dpopKey()
	if err != nil || same.Thumbprint() != key.Thumbprint() {
		t.Errorf("the attempt came back with another key: %v, %v", same, err)
	}
	parsed, err := ParseDPoPKey(key.Marshal())
	if err != nil || parsed.Thumbprint() != key.Thumbprint() {
		t.Errorf("the session came back with another key: %v, %v", parsed, err)
	}
	if n := len(key.Marshal().Reveal()); n != 32 {
		t.Errorf("a session keeps %d bytes", n)
	}
	if other, err := testAttempt(time.Unix(1800000000, 0)).dpopKey(); err != nil || other.Thumbprint() == key.Thumbprint() {
		t.Error("two attempts share a key")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, key); text != "DPoP key "+key.Thumbprint() {
			t.Errorf("%s shows %s", format, text)
		}
	}
}

// RFC 9449 4.2, 4.3: htu has neither query nor fragment, and is spelt as RFC 3986 6.2.3 would: there are servers, the conformance
// suite's among them, that compare it byte for byte. The path stays as it stands on the wire.
func TestProofTarget(t *testing.T) {
	key, err := testAttempt(time.Unix(1800000000, 0)).dpopKey()
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"https://api.example.com/a%2Fb/./c?x=1#y":  "https://api.example.com/a%2Fb/./c",
		"https://api.example.com/accounts#y?x":     "https://api.example.com/accounts",
		"https://api.example.com:443/accounts":     "https://api.example.com/accounts",
		"http://api.example.com:80/accounts":       "http://api.example.com/accounts",
		"https://api.example.com:80/accounts":      "https://api.example.com:80/accounts",
		"https://api.example.com:8443/accounts":    "https://api.example.com:8443/accounts",
		"HTTPS://API.Example.com/Accounts":         "https://api.example.com/Accounts",
		"https://api.example.com:443":              "https://api.example.com/",
		"https://api.example.com?x=/y":             "https://api.example.com/",
		"https://[2001:DB8::1]:443/accounts":       "https://[2001:db8::1]/accounts",
		"https://api.example.com//accounts/a:443/": "https://api.example.com//accounts/a:443/",
	} {
		proof, err := key.Proof(ProofRequest{Method: "GET", URL: target, Now: time.Unix(1800000000, 0)})
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if htu := openProof(t, proof).claims["htu"]; htu != want {
			t.Errorf("%s is %v, want %s", target, htu, want)
		}
	}
}

func TestParseDPoPKeyRefuses(t *testing.T) {
	order, _ := base64.StdEncoding.DecodeString("/////wAAAAD//////////7zm+q2nF56E87nKwvxjJVE=")
	for name, scalar := range map[string]string{
		"empty": "", "zero": strings.Repeat("\x00", 32), "the order": string(order),
		"short": strings.Repeat("\x01", 31), "long": "\x00" + strings.Repeat("\x01", 32), "all ones": strings.Repeat("\xff", 32),
	} {
		if _, err := ParseDPoPKey(secret.New(scalar)); !errors.Is(err, ErrDPoPKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// opened is a proof as whoever checks it reads it.
type opened struct {
	header jose.Header
	raw    map[string]any // the header's members
	claims map[string]any
}

func openProof(t *testing.T, compact string) opened {
	t.Helper()
	signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Header
	payload, err := signed.Verify(header.JSONWebKey)
	if err != nil {
		t.Fatal(err)
	}
	proof := opened{header: header}
	head, _, _ := strings.Cut(compact, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(text, &proof.raw) != nil || json.Unmarshal(payload, &proof.claims) != nil {
		t.Fatalf("%s: %v", compact, err)
	}
	return proof
}

// TestProof: RFC 9449 4.2.
func TestProof(t *testing.T) {
	now := time.Unix(1800000000, 999)
	key, err := testAttempt(now).dpopKey()
	if err != nil {
		t.Fatal(err)
	}
	compact, err := key.Proof(ProofRequest{
		Method: "POST", URL: "https://id.example.com:8443/a%2Fb/t?x=1&y#z?",
		AccessToken: secret.New("at"), Nonce: "n-1", Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	proof := openProof(t, compact)
	if proof.raw["typ"] != "dpop+jwt" || proof.raw["alg"] != "ES256" || len(proof.raw) != 3 {
		t.Errorf("header %v", proof.raw)
	}
	jwk, _ := proof.raw["jwk"].(map[string]any)
	if jwk["kty"] != "EC" || jwk["crv"] != "P-256" || jwk["d"] != nil || len(jwk) != 4 {
		t.Errorf("jwk %v: want the public key and nothing else", jwk)
	}
	if thumbprint, err := proof.header.JSONWebKey.Thumbprint(crypto.SHA256); err != nil || base64.RawURLEncoding.EncodeToString(thumbprint) != key.Thumbprint() {
		t.Error("jkt is another key's")
	}
	digest := sha256.Sum256([]byte("at"))
	for name, want := range map[string]any{
		"htm": "POST", "htu": "https://id.example.com:8443/a%2Fb/t", "iat": float64(1800000000),
		"ath": base64.RawURLEncoding.EncodeToString(digest[:]), "nonce": "n-1",
	} {
		if proof.claims[name] != want {
			t.Errorf("%s is %v, want %v", name, proof.claims[name], want)
		}
	}
	bare, err := key.Proof(ProofRequest{Method: "GET", URL: "http://127.0.0.1/", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	claims := openProof(t, bare).claims
	if len(claims) != 4 || claims["jti"] == "" || claims["jti"] == proof.claims["jti"] {
		t.Errorf("without token and nonce: %v", claims)
	}
	for _, bad := range []string{"", "/path", "https:///path", "ftp://h/", "https://user@h/", "https://h/%zz"} {
		if _, err := key.Proof(ProofRequest{Method: "GET", URL: bad, Now: now}); err == nil {
			t.Errorf("a proof for %q", bad)
		}
	}
}

// TestNonces: RFC 9449 8, 8.1, 8.2. A nonce is remembered for its server alone, and
// what is none does not displace one that is.
func TestNonces(t *testing.T) {
	var n Nonces
	const at = "https://id.example.com/token"
	header := func(values ...string) http.Header { return http.Header{"Dpop-Nonce": values} }
	if got := n.Get(at); got != "" {
		t.Errorf("empty: %q", got)
	}
	if got := n.Put(at, header("n-1")); got != "n-1" {
		t.Errorf("put: %q", got)
	}
	for same, is := range map[string]bool{
		"https://id.example.com/par?x": true, "https://ID.example.com:443/": true,
		"http://id.example.com/token": false, "https://id.example.com:8443/token": false, "https://rs.example.com/token": false,
	} {
		if got := n.Get(same); (got == "n-1") != is {
			t.Errorf("%s: %q", same, got)
		}
	}
	for name, bad := range map[string]http.Header{
		"none": header(), "empty": header(""), "twice": header("n-2", "n-2"), "huge": header(strings.Repeat("n", maxNonce+1)),
		"space": header("n 2"), "quote": header(`n"2`), "backslash": header(`n\2`), "control": header("n\x002"), "not ASCII": header("nü"),
	} {
		if got := n.Put(at, bad); got != "" || n.Get(at) != "n-1" {
			t.Errorf("%s: put %q, then %q", name, got, n.Get(at))
		}
	}
	if n.Put("not absolute", header("n-3")) != "" {
		t.Error("a nonce of no server")
	}
	if n.Put(at, header(strings.Repeat("n", maxNonce))); n.Get(at) == "n-1" {
		t.Error("the newest is not used")
	}
	for i := range 10 * maxNonceOrigins {
		n.Put(fmt.Sprintf("https://%d.example.com", i), header("n"))
	}
	if len(n.byOrigin) != maxNonceOrigins {
		t.Errorf("%d origins", len(n.byOrigin))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { n.Put(at, header("n-4")); n.Get(at) })
	}
	group.Wait()
}

// TestWantsDPoPNonce: RFC 9449 9, RFC 9110 11.6.1.
func TestWantsDPoPNonce(t *testing.T) {
	for header, want := range map[string]bool{
		`DPoP error="use_dpop_nonce"`:                                          true,
		`dPoP error="use_dpop_nonce"`:                                          true,
		`DPoP realm="a, b", ERROR = use_dpop_nonce, error_description="x"`:     true,
		`Bearer realm="x", error="invalid_token", DPoP error="use_dpop_nonce"`: true,
		`Negotiate abc==, DPoP algs="ES256 PS256", error="use_dpop_nonce"`:     true,
		`DPoP realm="\"", error="use_dpop_nonc\e"`:                             true,
		``:                                    false,
		`DPoP`:                                false,
		`DPoP error="invalid_token"`:          false,
		`Bearer error="use_dpop_nonce"`:       false,
		`DPoP realm="error=use_dpop_nonce"`:   false,
		`DPoP error="use_dpop_nonce`:          false,
		`DPoP error="use_dpop_nonce\`:         false,
		`DPoP, Bearer error="use_dpop_nonce"`: false,
		`DPoP errors="use_dpop_nonce"`:        false,
		`=;"(((`:                              false,
		`DPoP ; = " , "`:                      false,
	} {
		resp := &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Basic realm="x"`, header}}}
		if got := WantsDPoPNonce(resp); got != want {
			t.Errorf("%s: %v", header, got)
		}
	}
	if WantsDPoPNonce(&http.Response{StatusCode: 400, Header: http.Header{"Www-Authenticate": {`DPoP error="use_dpop_nonce"`}}}) {
		t.Error("with another status")
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The second request has the nonce of the first one's answer, although somebody
// else's answer has come in between: a server may give each out once.
func TestProvingUsesTheNonceThatCame(t *testing.T) {
	const at = "https://id.example.com/token"
	key, err := testAttempt(time.Unix(1800000000, 0)).dpopKey()
	if err != nil {
		t.Fatal(err)
	}
	var sent []any
	base := roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, openProof(t, r.Header.Get("DPoP")).claims["nonce"])
		return &http.Response{StatusCode: 400, Header: http.Header{"Dpop-Nonce": {"mine"}}, Body: http.NoBody}, nil
	})
	c := &Client{cfg: Config{Now: time.Now}, http: &http.Client{Transport: base}}
	var nonces Nonces
	_, err = proving(c, key, &nonces, secret.String{}, func(client *http.Client) (string, error) {
		resp, err := client.Post(at, "", strings.NewReader("x"))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		nonces.Put(at, http.Header{"Dpop-Nonce": {"another's"}})
		return "", newEndpointError(resp, errorUseNonce, "")
	})
	if err == nil || len(sent) != 2 || sent[0] != nil || sent[1] != "mine" {
		t.Errorf("%v, sent %v", err, sent)
	}
}

// BenchmarkProof is what a request with a bound token costs more than one without.
func BenchmarkProof(b *testing.B) {
	key, err := testAttempt(time.Unix(1800000000, 0)).dpopKey()
	if err != nil {
		b.Fatal(err)
	}
	req := ProofRequest{Method: "GET", URL: "https://app.example.com/a/b", AccessToken: secret.New("token"), Nonce: "n", Now: time.Unix(1800000000, 0)}
	for b.Loop() {
		if _, err := key.Proof(req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseDPoPKey is what it costs to take a key out of a session.
func BenchmarkParseDPoPKey(b *testing.B) {
	key, err := testAttempt(time.Unix(1800000000, 0)).dpopKey()
	if err != nil {
		b.Fatal(err)
	}
	marshalled := key.Marshal()
	for b.Loop() {
		if _, err := ParseDPoPKey(marshalled); err != nil {
			b.Fatal(err)
		}
	}
}
