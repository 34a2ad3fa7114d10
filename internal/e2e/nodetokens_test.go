package e2e_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// A provider that we did not write issues tokens to programs (RFC 6749 4.4, RFC 8707): JWTs and opaque ones, with
// introspection answers as JSON and signed, bound to nothing, to a key, and to a certificate.
func TestNodeProviderIssuesAccessTokens(t *testing.T) {
	t.Parallel()
	serverCertificate, serverKey := writeCertificate(t, t.TempDir())
	certificate, key := writeCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	authority := writeAuthority(t)
	for name, alg := range map[string]string{"answers in JSON": "", "signed answers": "RS256"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, port := StartApplication(t), freePort(t)
			at := "https://app.example.test:" + port
			program := func(id string) NodeClient {
				return NodeClient{ID: id, Secret: "secret", RedirectURIs: []string{}, GrantTypes: []string{"client_credentials"}}
			}
			keyed, certified := program("keyed"), program("certified")
			keyed.DPoP, certified.BindCertificate = true, true
			p := StartNodeProvider(t, NodeConfig{
				Clients: []NodeClient{
					{ID: "app", Secret: "secret", RedirectURIs: []string{at + "/oauth2/callback"}, IntrospectionAlg: alg},
					program("plain"), keyed, certified,
				},
				Users:       []NodeUser{},
				Resources:   map[string]string{at + "/jwt": "jwt", at + "/opaque": "opaque", "https://other.example.test": "jwt"},
				Certificate: serverCertificate, Key: serverKey,
			})
			signed := ""
			if alg != "" {
				signed = "introspection_signed_response_alg " + alg
			}
			c := StartCaddy(t, strings.NewReplacer("{$SITE}", at, "{$ISSUER}", p.Issuer, "{$CA}", authority, "{$SIGNED}", signed,
				"{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$SITE} {
	tls {$CERT} {$KEY} {
		client_auth {
			mode request
		}
	}
	gatehouse {$ISSUER} {
		client_id app
		client_secret secret
		tls_trust_pool file {$CA}
		user_claim client_id
		{$SIGNED}
		bearer {
			audience {$SITE}/jwt {$SITE}/opaque
			introspect
			scopes read
		}
	}
	reverse_proxy {$APP}
}
`))
			b := NewBrowser(t)
			b.transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
			proof := newProofs(t)
			get := func(client, resource, scope string) string {
				t.Helper()
				endpoint := p.Issuer + "/token"
				form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {scope}}
				r, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.SetBasicAuth(client, "secret")
				if client == "keyed" {
					text, err := proof.key.Proof(authflow.ProofRequest{Method: "POST", URL: endpoint, Now: time.Now()})
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("DPoP", text)
				}
				page := b.Do(r)
				var answer struct {
					AccessToken string `json:"access_token"`
				}
				decode(t, page.Body, &answer)
				if answer.AccessToken == "" {
					t.Fatalf("%d %s\n%s", page.Status, page.Body, p.Logs())
				}
				return answer.AccessToken
			}
			for _, kind := range []string{"/jwt", "/opaque"} {
				address := at + kind + "/orders?x=1"
				token := get("plain", at+kind, "read write")
				if isJWT := strings.Count(token, ".") == 2; isJWT != (kind == "/jwt") {
					t.Fatalf("%s: the token is %s", kind, token)
				}
				calls := map[string]http.Header{
					"plain": bearing(token), "keyed": proof.header("GET", address, get("keyed", at+kind, "read"), ""), "certified": bearing(get("certified", at+kind, "read")),
				}
				for client, header := range calls {
					if got := seen(t, callFrom(b, "GET", address, header)); got.Header.Get("X-Forwarded-User") != client {
						t.Errorf("%s: %s is %q", kind, client, got.Header.Get("X-Forwarded-User"))
					}
				}
				wantReason(t, call(t, "GET", address, calls["certified"]), 401, "token_certificate_mismatch")
				wantReason(t, callFrom(b, "GET", address, calls["keyed"]), 401, "dpop_proof_used")
				wantReason(t, callFrom(b, "GET", address, bearing(get("keyed", at+kind, "read"))), 401, "token_binding_refused")
				wantReason(t, callFrom(b, "GET", address, bearing(get("plain", at+kind, "write"))), 403, "insufficient_scope")
				wantReason(t, callFrom(b, "GET", at+"/else", bearing(token)), 401, "aud_mismatch")
			}
			wantReason(t, callFrom(b, "GET", at+"/jwt", bearing(get("plain", "https://other.example.test", "read"))), 401, "aud_mismatch")
			wantReason(t, callFrom(b, "GET", at+"/opaque", bearing("unknown")), 401, "token_inactive")
			if t.Failed() {
				t.Logf("%s\n%s", c.Logs(), p.Logs())
			}
		})
	}
}
