package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// variant is oidcc-client-test as the suite plays it with one value of client_auth_type or request_type.
type variant struct {
	name   string
	words  string // of the provider in the Caddyfile
	method string // of client authentication: the provider takes no other, and offers no other
	// mtls is where the token endpoint for a client with a certificate stands: "" for nowhere, else in the place of the other,
	// or among mtls_endpoint_aliases alone.
	mtls   string
	signed bool // the request is a request object
}

const (
	inPlace = "in place"
	aliased = "aliased"
)

// variants are those that this client is able to. It has neither client_secret_jwt nor request_uri.
var variants = []variant{
	{name: "client_auth_type=client_secret_post", words: "client_secret {$SECRET}", method: "client_secret_post"},
	{name: "client_auth_type=private_key_jwt", words: "client_key {$SIGNING}", method: "private_key_jwt"},
	{name: "client_auth_type=none", words: "client_auth none", method: "none"},
	{name: "client_auth_type=tls_client_auth", words: "client_certificate {$OURS}", method: "tls_client_auth", mtls: inPlace},
	{name: "client_auth_type=self_signed_tls_client_auth", words: "client_certificate {$OURS}\n\t\tclient_auth self_signed_tls_client_auth", method: "tls_client_auth", mtls: inPlace},
	{name: "client_auth_type=tls_client_auth/oidcc-client-test-mtls-endpoint-aliases", words: "client_certificate {$OURS}", method: "tls_client_auth", mtls: aliased},
	{name: "request_type=request_object", words: "client_secret {$SECRET}\n\t\tclient_auth client_secret_basic\n\t\tclient_key {$SIGNING}\n\t\tjar", method: "client_secret_basic", signed: true},
	{name: "request_type=request_object, private_key_jwt", words: "client_key {$SIGNING}\n\t\tjar", method: "private_key_jwt", signed: true},
}

// behave makes the provider one like the suite's in this variant.
func (v variant) behave(op *testop.Provider, b *testop.Behaviour) {
	asTheSuite(b)
	b.OnlyClientAuth, b.RequireRequestObject = v.method, v.signed
	b.Discovery["token_endpoint_auth_methods_supported"] = []string{v.method}
	if v.mtls == aliased {
		b.Discovery["token_endpoint"] = "https://127.0.0.1:1/without-a-certificate"
		b.Discovery["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": op.URL(testop.Token)}
	}
}

// TestConformanceVariants plays oidcc-client-test in the variants of the suite's plans that TestConformance does not take. One
// Caddy serves all, each at a site of its own.
func TestConformanceVariants(t *testing.T) {
	t.Parallel()
	certificate, key, ours := loadCertificate(t)
	_, _, server := loadCertificate(t)
	signing := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, signing)
	var sites strings.Builder
	providers := make([]*testop.Provider, len(variants))
	for i, v := range variants {
		op := testop.Start(t, func(op *testop.Provider) {
			op.Path, op.ClientID, op.ClientCertificate = "/test/a/gatehouse/", fmt.Sprintf("client-%d", i), ours.Leaf
			op.TLS = &tls.Config{Certificates: []tls.Certificate{server}}
			if v.mtls != "" {
				op.TLS.ClientAuth = tls.RequestClientCert
			}
		})
		op.Set(func(b *testop.Behaviour) { v.behave(op, b) })
		fill := strings.NewReplacer("{$OURS}", certificate+" "+key, "{$SIGNING}", signing, "{$SECRET}", "`"+op.ClientSecret+"`")
		fmt.Fprintf(&sites, `https://m%d.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse %s {
		client_id %s
		tls_trust_pool file %s
		user_claim preferred_username
		userinfo required
		%s
	}
	respond "signed in as {header.X-Forwarded-User}"
}
`, i, op.Issuer(), op.ClientID, writeAuthority(t), fill.Replace(v.words))
		providers[i] = op
	}
	caddy := StartCaddy(t, sites.String())
	for i, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			op, at := providers[i], caddy.HTTPS(fmt.Sprintf("m%d.example.test", i))
			if strings.Contains(v.words, "client_key") {
				op.ClientJWKS = NewBrowser(t).Step(at + "/oauth2/jwks").Body
			}
			page := NewBrowser(t).Navigate(at + "/wanted?x=1")
			if page.Status != http.StatusOK || page.Body != "signed in as alice" || page.URL.String() != at+"/wanted?x=1" {
				t.Errorf("%s: %d %s", page.URL, page.Status, brief(page))
			}
			if trace := strings.Join(op.Trace(), " "); trace != signIn {
				t.Errorf("asked of the provider: %s", trace)
			}
			v.wantRequest(t, op, op.Requests(testop.Authorization)[0])
			v.wantTokenRequest(t, op, op.Requests(testop.Token)[0])
		})
	}
}

// wantRequest: of a request that is signed, the browser carries what OAuth 2.0 and OpenID Connect want outside, with the values
// that are inside (OIDC Core 6.1).
func (v variant) wantRequest(t *testing.T, op *testop.Provider, request testop.Request) {
	t.Helper()
	query := request.URL.Query()
	if query.Has("request") != v.signed || query.Get("response_type") != "code" || query.Get("scope") != "openid profile email" || query.Get("client_id") != op.ClientID {
		t.Fatalf("authorization request: %v", query)
	}
	if !v.signed {
		return
	}
	header, claims := readJWT(t, query.Get("request"))
	if len(query) != 4 || header["alg"] != "ES256" || claims["iss"] != op.ClientID || claims["aud"] != op.Issuer() || claims["sub"] != nil {
		t.Errorf("%v by %v, beside %v", claims, header, query)
	}
	for _, name := range []string{"response_type", "scope", "client_id"} {
		if claims[name] != query.Get(name) {
			t.Errorf("%s is %v inside, %q outside", name, claims[name], query.Get(name))
		}
	}
}

// wantTokenRequest: the client shows what proves it, and nothing besides.
func (v variant) wantTokenRequest(t *testing.T, op *testop.Provider, request testop.Request) {
	t.Helper()
	form := request.PostForm
	shown := map[string]bool{
		"client_secret_basic": request.Header.Get("Authorization") != "",
		"client_secret_post":  form.Has("client_secret"),
		"private_key_jwt":     form.Has("client_assertion"),
	}
	for method, is := range shown {
		if is != (method == v.method) {
			t.Errorf("%s: shown is %t in %v", method, is, form)
		}
	}
	if v.method == "private_key_jwt" {
		if _, claims := readJWT(t, form.Get("client_assertion")); claims["aud"] != op.Issuer() || claims["sub"] != op.ClientID || claims["jti"] == "" || claims["iat"] == nil {
			t.Errorf("assertion: %v", claims)
		}
	}
	if slices.Contains([]string{"none", "tls_client_auth"}, v.method) && form.Get("client_id") != op.ClientID {
		t.Errorf("who asks: %v", form)
	}
}
