package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A provider that we did not write takes our pushed requests and answers by form_post, and takes what a key of ours has
// signed: assertions and request objects, verified with what the endpoint `jwks` publishes.
func TestNodeProviderTakesWhatWeSend(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key.pem")
	writeKey(t, key)
	for name, test := range map[string]struct {
		client NodeClient
		lines  string
		secure bool
	}{
		"form_post, pushed": {NodeClient{Secret: "secret +/:%", RequirePAR: true}, `client_secret "secret +/:%"
		response_mode form_post
		par on`, true},
		"form_post":       {NodeClient{Secret: "secret +/:%"}, "client_secret \"secret +/:%\"\n\t\tresponse_mode form_post", true},
		"private_key_jwt": {NodeClient{TokenEndpointAuth: "private_key_jwt"}, "client_key " + key, false},
		"private_key_jwt, pushed and signed": {
			NodeClient{TokenEndpointAuth: "private_key_jwt", RequirePAR: true, RequireSigned: true},
			"client_key " + key + "\n\t\tjar\n\t\tpar on", false,
		},
		"signed by value": {
			NodeClient{TokenEndpointAuth: "private_key_jwt", RequireSigned: true}, "client_key " + key + "\n\t\tjar\n\t\tparam max_age 3600", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, port := StartApplication(t), freePort(t)
			at, certificate := "http://localhost:"+port, ""
			if test.secure {
				at, certificate = "https://app.example.test:"+port, "tls {$CERT} {$KEY}"
			}
			client := test.client
			client.ID, client.RedirectURIs = "app", []string{at + "/oauth2/callback"}
			if client.Secret == "" {
				client.JWKSURI = at + "/oauth2/jwks"
			}
			p := StartNodeProvider(t, NodeConfig{
				Clients:            []NodeClient{client},
				Users:              []NodeUser{{Subject: "ada", Name: "Ada"}},
				AccessTokenSeconds: 3,
			})
			c := StartCaddy(t, strings.NewReplacer("{$SITE}", at, "{$TLS}", certificate, "{$ISSUER}", p.Issuer, "{$LINES}", test.lines,
				"{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$SITE} {
	{$TLS}
	gatehouse {$ISSUER} {
		client_id app
		scopes openid profile offline_access
		{$LINES}
	}
	reverse_proxy {$APP}
}
`))
			b := NewBrowser(t)
			begun := b.Step(at + "/deep?x=1")
			query := b.parse(begun.Header.Get("Location")).Query()
			if names := slices.Sorted(maps.Keys(query)); client.RequirePAR && !slices.Equal(names, []string{"client_id", "request_uri"}) {
				t.Errorf("the browser carries %v", names)
			}
			page := b.Submit(b.Navigate(begun.Header.Get("Location")), "interaction", map[string]string{"login": "ada"})
			page = b.Submit(page, "interaction", nil)
			if test.secure {
				page = b.Submit(page, "callback", nil)
			}
			if got := seen(t, page); got.URI != "/deep?x=1" || got.Header.Get("X-Forwarded-User") != "ada" {
				t.Errorf("came back to %s as %q", got.URI, got.Header.Get("X-Forwarded-User"))
			}
			if test.secure {
				return // its refresh is that of every client with a secret
			}
			cookie := b.Jar.Cookie("gatehouse").Value
			if !eventually(15*time.Second, func() bool {
				seen(t, b.Fetch(at, "GET", at+"/x", nil, ""))
				return b.Jar.Cookie("gatehouse").Value != cookie
			}) {
				t.Errorf("the session was not refreshed:\n%s\n%s", c.Logs(), p.Logs())
			}
		})
	}
}

// RFC 8705: a certificate that the provider knows by its key proves the client, at sign-in, refresh and push.
func TestNodeProviderKnowsOurCertificate(t *testing.T) {
	t.Parallel()
	certificate, key := writeCertificate(t, t.TempDir())
	serverCertificate, serverKey := writeCertificate(t, t.TempDir())
	authority := writeAuthority(t)
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: own.Leaf.PublicKey, Certificates: []*x509.Certificate{own.Leaf}, Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	app, port := StartApplication(t), freePort(t)
	at := "http://localhost:" + port
	for name, known := range map[string]bool{"ours": true, "of somebody else": false} {
		t.Run(name, func(t *testing.T) {
			shownCertificate, shownKey := certificate, key
			if !known {
				shownCertificate, shownKey = writeCertificate(t, t.TempDir())
			}
			p := StartNodeProvider(t, NodeConfig{
				Clients: []NodeClient{{
					ID: "app", RedirectURIs: []string{at + "/oauth2/callback"}, TokenEndpointAuth: "self_signed_tls_client_auth", JWKS: jwks, RequirePAR: true,
				}},
				Users:              []NodeUser{{Subject: "ada", Name: "Ada"}},
				AccessTokenSeconds: 3,
				Certificate:        serverCertificate, Key: serverKey,
			})
			c := StartCaddy(t, strings.NewReplacer("{$SITE}", at, "{$ISSUER}", p.Issuer, "{$CA}", authority, "{$OURS}", shownCertificate+" "+shownKey,
				"{$APP}", strings.TrimPrefix(app.URL, "http://")).Replace(`{
}
{$SITE} {
	gatehouse {$ISSUER} {
		client_id app
		client_certificate {$OURS}
		client_auth self_signed_tls_client_auth
		par on
		tls_trust_pool file {$CA}
		scopes openid profile offline_access
	}
	reverse_proxy {$APP}
}
`))
			b := NewBrowser(t)
			page := b.Navigate(at + "/deep")
			if !known {
				wantReason(t, page, http.StatusBadGateway, "par_refused")
				return
			}
			page = b.Submit(page, "interaction", map[string]string{"login": "ada"})
			page = b.Submit(page, "interaction", nil)
			if got := seen(t, page); got.URI != "/deep" || got.Header.Get("X-Forwarded-User") != "ada" {
				t.Errorf("came back to %s as %q", got.URI, got.Header.Get("X-Forwarded-User"))
			}
			cookie := b.Jar.Cookie("gatehouse").Value
			if !eventually(15*time.Second, func() bool {
				seen(t, b.Fetch(at, "GET", at+"/x", nil, ""))
				return b.Jar.Cookie("gatehouse").Value != cookie
			}) {
				t.Errorf("the session was not refreshed:\n%s\n%s", c.Logs(), p.Logs())
			}
		})
	}
}
