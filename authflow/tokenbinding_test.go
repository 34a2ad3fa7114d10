package authflow_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

const (
	proofURL   = "https://app.example.com/orders"
	boundToken = "bound.access.token"
)

// digest is the base64url of a SHA-256.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// prover makes proofs that are right but for what a test changes.
type prover struct {
	key    crypto.Signer
	alg    jose.SignatureAlgorithm
	header map[string]any // nil values take away
	claims map[string]any
}

func (p prover) thumbprint() string {
	return base64.RawURLEncoding.EncodeToString(must((&jose.JSONWebKey{Key: p.key.Public()}).Thumbprint(crypto.SHA256)))
}

func (p prover) proof(now time.Time) string {
	claims := map[string]any{"jti": rand.Text(), "htm": "GET", "htu": proofURL, "iat": now.Unix(), "ath": digest([]byte(boundToken))}
	header := map[string]any{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: p.key.Public()}}
	for changed, all := range map[*map[string]any]map[string]any{&p.claims: claims, &p.header: header} {
		maps.Copy(all, *changed)
		maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	}
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range header {
		options.ExtraHeaders[jose.HeaderKey(name)] = value
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: p.alg, Key: p.key}, options))
	return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// TestCheckTokenUse: RFC 9449 4.3, whose numbers the names begin with; 7.1, 7.2; RFC
// 8705 3.
func TestCheckTokenUse(t *testing.T) {
	now := time.Now()
	ec, other := newEC(elliptic.P256()), newEC(elliptic.P256())
	right := prover{key: ec, alg: jose.ES256}
	with := func(claims map[string]any) string { p := right; p.claims = claims; return p.proof(now) }
	titled := func(header map[string]any) string { p := right; p.header = header; return p.proof(now) }
	bound := &authflow.AccessToken{KeyThumbprint: right.thumbprint()}
	private := must(json.Marshal(jose.JSONWebKey{Key: ec}))
	unsigned := strings.Split(right.proof(now), ".")
	unsigned[0] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"dpop+jwt","jwk":` + string(must(json.Marshal(jose.JSONWebKey{Key: ec.Public()}))) + `}`))
	corrupt := right.proof(now)
	corrupt = corrupt[:len(corrupt)-4] + map[bool]string{true: "AAAA", false: "BBBB"}[!strings.HasSuffix(corrupt, "AAAA")]
	large := prover{key: clientRSA(), alg: jose.PS256}
	since := func(ahead time.Duration) func(*authflow.TokenUse) {
		return func(u *authflow.TokenUse) { u.Since = now.Add(ahead) }
	}

	for _, test := range []struct {
		name    string
		token   *authflow.AccessToken
		change  func(*authflow.TokenUse)
		proofs  []string
		refused authflow.Reason // "" = it is used rightly
	}{
		{"right", bound, nil, []string{right.proof(now)}, ""},
		{"the scheme in other letters", bound, func(u *authflow.TokenUse) { u.Scheme = "dpop" }, []string{right.proof(now)}, ""},
		{"RSA", &authflow.AccessToken{KeyThumbprint: large.thumbprint()}, nil, []string{large.proof(now)}, ""},
		{"(1) no header", bound, nil, nil, authflow.ReasonProof},
		{"(1) two headers", bound, nil, []string{right.proof(now), right.proof(now)}, authflow.ReasonProof},
		{"(2) no JWT", bound, nil, []string{"proof"}, authflow.ReasonProof},
		{"(2) two in one", bound, nil, []string{right.proof(now) + "," + right.proof(now)}, authflow.ReasonProof},
		{"(2) huge", bound, nil, []string{with(map[string]any{"x": strings.Repeat("x", 16<<10)})}, authflow.ReasonProof},
		{"(3) no jti", bound, nil, []string{with(map[string]any{"jti": nil})}, authflow.ReasonProof},
		{"(3) an empty jti", bound, nil, []string{with(map[string]any{"jti": ""})}, authflow.ReasonProof},
		{"(3) a long jti", bound, nil, []string{with(map[string]any{"jti": strings.Repeat("x", 300)})}, authflow.ReasonProof},
		{"(3) no htm", bound, nil, []string{with(map[string]any{"htm": nil})}, authflow.ReasonProof},
		{"(3) no htu", bound, nil, []string{with(map[string]any{"htu": nil})}, authflow.ReasonProof},
		{"(3) no iat", bound, nil, []string{with(map[string]any{"iat": nil})}, authflow.ReasonProof},
		{"(3) no ath", bound, nil, []string{with(map[string]any{"ath": nil})}, authflow.ReasonProof},
		{"(4) typ JWT", bound, nil, []string{titled(map[string]any{"typ": "JWT"})}, authflow.ReasonProof},
		{"(4) no typ", bound, nil, []string{titled(map[string]any{"typ": nil})}, authflow.ReasonProof},
		{"(4) an access token", bound, nil, []string{titled(map[string]any{"typ": "at+jwt"})}, authflow.ReasonProof},
		{"RFC 7515 crit", bound, nil, []string{titled(map[string]any{"crit": []string{"exp"}})}, authflow.ReasonProof},
		{"(5) alg none", bound, nil, []string{unsigned[0] + "." + unsigned[1] + "."}, authflow.ReasonProof},
		{"(6) signature", bound, nil, []string{corrupt}, authflow.ReasonProof},
		{"(6) signed by another key", bound, nil, []string{prover{key: other, alg: jose.ES256, header: map[string]any{"jwk": jose.JSONWebKey{Key: ec.Public()}}}.proof(now)}, authflow.ReasonProof},
		{"(7) a private key", bound, nil, []string{titled(map[string]any{"jwk": json.RawMessage(private)})}, authflow.ReasonProof},
		{"(7) no key", bound, nil, []string{titled(map[string]any{"jwk": nil})}, authflow.ReasonProof},
		{"(7) a secret", bound, nil, []string{titled(map[string]any{"jwk": map[string]string{"kty": "oct", "k": "c2VjcmV0"}})}, authflow.ReasonProof},
		{"(8) another method", bound, nil, []string{with(map[string]any{"htm": "POST"})}, authflow.ReasonProof},
		{"(8) the method in other letters", bound, nil, []string{with(map[string]any{"htm": "get"})}, authflow.ReasonProof},
		{"(9) another path", bound, nil, []string{with(map[string]any{"htu": proofURL + "/1"})}, authflow.ReasonProof},
		{"(9) another host", bound, nil, []string{with(map[string]any{"htu": "https://evil.example/orders"})}, authflow.ReasonProof},
		{"(9) another scheme", bound, nil, []string{with(map[string]any{"htu": "http://app.example.com/orders"})}, authflow.ReasonProof},
		{"(9) with a user", bound, nil, []string{with(map[string]any{"htu": "https://app.example.com@evil.example/orders"})}, authflow.ReasonProof},
		{"(9) a path alone", bound, nil, []string{with(map[string]any{"htu": "/orders"})}, authflow.ReasonProof},
		{"(9) query and fragment do not count", bound, nil, []string{with(map[string]any{"htu": proofURL + "?a=b#c"})}, ""},
		{"(9) host in other letters, and its port", bound, nil, []string{with(map[string]any{"htu": "HTTPS://APP.example.com:443/orders"})}, ""},
		{"(9) another port", bound, nil, []string{with(map[string]any{"htu": "https://app.example.com:8443/orders"})}, authflow.ReasonProof},
		{"(9) encoded without need", bound, nil, []string{with(map[string]any{"htu": "https://app.example.com/%6frders"})}, ""},
		{"(9) an encoded slash is none", bound, func(u *authflow.TokenUse) { u.URL = "https://app.example.com/a/b" }, []string{with(map[string]any{"htu": "https://app.example.com/a%2Fb"})}, authflow.ReasonProof},
		{"(9) encoding in other letters", bound, func(u *authflow.TokenUse) { u.URL = "https://app.example.com/a%2fb" }, []string{with(map[string]any{"htu": "https://app.example.com/a%2Fb"})}, ""},
		{"(9) no path is the root", bound, func(u *authflow.TokenUse) { u.URL = "https://app.example.com/" }, []string{with(map[string]any{"htu": "https://app.example.com"})}, ""},
		{"(10) no nonce", bound, func(u *authflow.TokenUse) { u.NeedNonce = true }, []string{right.proof(now)}, authflow.ReasonProofNonce},
		{"(10) another nonce", bound, func(u *authflow.TokenUse) { u.NeedNonce = true }, []string{with(map[string]any{"nonce": "m"})}, authflow.ReasonProofNonce},
		{"(10) our nonce", bound, func(u *authflow.TokenUse) { u.NeedNonce = true }, []string{with(map[string]any{"nonce": "n"})}, ""},
		{"11.1 from before the start, perhaps used", bound, since(0), []string{with(map[string]any{"iat": now.Add(-2 * time.Second).Unix()})}, authflow.ReasonProofNonce},
		{"11.1 from before the start, with a nonce of before", bound, since(time.Hour), []string{with(map[string]any{"iat": now.Unix(), "nonce": "n"})}, authflow.ReasonProofNonce},
		{"11.1 from before the start, with another nonce", bound, since(0), []string{with(map[string]any{"iat": now.Add(-2 * time.Second).Unix(), "nonce": "m"})}, authflow.ReasonProofNonce},
		{"11.1 a clock that is behind, with a nonce of since", bound, since(0), []string{with(map[string]any{"iat": now.Add(-2 * time.Second).Unix(), "nonce": "n"})}, ""},
		{"11.1 in the second of the start", bound, since(0), []string{right.proof(now)}, ""},
		{"(11) a minute old", bound, nil, []string{with(map[string]any{"iat": now.Add(-59 * time.Second).Unix()})}, ""},
		{"(11) older", bound, nil, []string{with(map[string]any{"iat": now.Add(-62 * time.Second).Unix()})}, authflow.ReasonProof},
		{"(11) a little ahead", bound, nil, []string{with(map[string]any{"iat": now.Add(9 * time.Second).Unix()})}, ""},
		{"(11) of the future", bound, nil, []string{with(map[string]any{"iat": now.Add(12 * time.Second).Unix()})}, authflow.ReasonProof},
		{"(12) of another token", bound, nil, []string{with(map[string]any{"ath": digest([]byte("another"))})}, authflow.ReasonProof},
		{"(12) another key", bound, nil, []string{prover{key: other, alg: jose.ES256}.proof(now)}, authflow.ReasonProof},
		{"11.1 used before", bound, func(u *authflow.TokenUse) {
			u.UseOnce = func(string, time.Time) error { return errors.New("used") }
		}, []string{right.proof(now)}, authflow.ReasonProofUsed},
		{"11.1 it cannot be told whether", bound, func(u *authflow.TokenUse) {
			u.UseOnce = func(string, time.Time) error { return authflow.NewError(authflow.ReasonProviderUnavailable, nil) }
		}, []string{right.proof(now)}, authflow.ReasonProviderUnavailable},
		{"7.2 bound, and sent as Bearer", bound, func(u *authflow.TokenUse) { u.Scheme = "Bearer" }, []string{right.proof(now)}, authflow.ReasonTokenBinding},
		{"7.1 not bound, and sent as DPoP", &authflow.AccessToken{}, nil, []string{right.proof(now)}, authflow.ReasonTokenBinding},
		{"not bound, as Bearer", &authflow.AccessToken{}, func(u *authflow.TokenUse) { u.Scheme = "bearer" }, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var remembered time.Time
			use := authflow.TokenUse{
				Scheme: "DPoP", Token: secret.New(boundToken), Method: "GET", URL: proofURL, Proofs: test.proofs, Now: now,
				Nonce:   func(n string) (time.Time, bool) { return now, n == "n" },
				UseOnce: func(id string, until time.Time) error { remembered = until; return nil },
			}
			if test.change != nil {
				test.change(&use)
			}
			err := authflow.CheckTokenUse(test.token, use)
			if authflow.ReasonOf(err) != test.refused || (err == nil) != (test.refused == "") {
				t.Fatalf("error %v, want %s", err, test.refused)
			}
			// Nothing that is refused is remembered; what counts, until it is refused itself.
			if counted := err == nil && len(test.proofs) > 0; counted != !remembered.IsZero() || counted && remembered.Sub(now) > 71*time.Second {
				t.Errorf("remembered until %s", remembered)
			}
		})
	}
}

// Our own proofs are what we take.
func TestOurProofsCount(t *testing.T) {
	key := must(authflow.ParseDPoPKey(secret.New(string(must(newEC(elliptic.P256()).Bytes())))))
	now := time.Now()
	proof := must(key.Proof(authflow.ProofRequest{Method: "GET", URL: proofURL + "?q", AccessToken: secret.New(boundToken), Now: now}))
	err := authflow.CheckTokenUse(&authflow.AccessToken{KeyThumbprint: key.Thumbprint()}, authflow.TokenUse{
		Scheme: "DPoP", Token: secret.New(boundToken), Method: "GET", URL: proofURL, Proofs: []string{proof}, Now: now,
		UseOnce: func(string, time.Time) error { return nil },
	})
	if err != nil {
		t.Error(err)
	}
	if algs := authflow.ProofAlgs(); len(algs) == 0 || strings.Contains(strings.Join(algs, " "), "HS") || strings.Contains(strings.Join(algs, " "), "none") {
		t.Errorf("algs %q", algs)
	}
}

// TestCertificateBoundToken: RFC 8705 3.
func TestCertificateBoundToken(t *testing.T) {
	certificate := func() *x509.Certificate {
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	}
	own, other := certificate(), certificate()
	right := prover{key: must(rsa.GenerateKey(rand.Reader, 2048)), alg: jose.RS256}
	bound := &authflow.AccessToken{CertificateThumbprint: digest(own.Raw)}
	both := &authflow.AccessToken{CertificateThumbprint: digest(own.Raw), KeyThumbprint: right.thumbprint()}
	for name, test := range map[string]struct {
		token   *authflow.AccessToken
		shown   *x509.Certificate
		scheme  string
		refused authflow.Reason
	}{
		"right":                          {bound, own, "Bearer", ""},
		"no certificate":                 {bound, nil, "Bearer", authflow.ReasonTokenCertificate},
		"of another client":              {bound, other, "Bearer", authflow.ReasonTokenCertificate},
		"one that nobody asked for":      {&authflow.AccessToken{}, other, "Bearer", ""},
		"also bound to a key":            {both, own, "DPoP", ""},
		"also bound to a key, as Bearer": {both, own, "Bearer", authflow.ReasonTokenBinding},
		"a key does not stand for it":    {both, nil, "DPoP", authflow.ReasonTokenCertificate},
		"it does not stand for a key":    {bound, own, "DPoP", authflow.ReasonTokenBinding},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			err := authflow.CheckTokenUse(test.token, authflow.TokenUse{
				Scheme: test.scheme, Token: secret.New(boundToken), Method: "GET", URL: proofURL, Proofs: []string{right.proof(now)},
				Certificate: test.shown, Now: now, UseOnce: func(string, time.Time) error { return nil },
			})
			if authflow.ReasonOf(err) != test.refused || (err == nil) != (test.refused == "") {
				t.Errorf("error %v, want %s", err, test.refused)
			}
		})
	}
}
