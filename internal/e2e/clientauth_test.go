package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// clientSite is a site whose provider has the given lines besides issuer and client.
func clientSite(lines string) string {
	return `{
	gatehouse {
		provider {
			issuer     {$ISSUER}
			client_id  {$CLIENT_ID}
			scopes     openid profile email groups
			user_claim preferred_username
			` + strings.ReplaceAll(lines, "\n", "\n\t\t\t") + `
		}
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`
}

// writeKey writes a new P-256 key as PEM.
func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	temporary := path + ".new" // what replaces a key file does it in one step
	if err := os.WriteFile(temporary, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

// published are the ids of the keys at the endpoint `jwks`.
func published(t *testing.T, at string) []string {
	t.Helper()
	page := NewBrowser(t).Step(at + "/oauth2/jwks")
	if page.Status != http.StatusOK || page.Header.Get("Content-Type") != "application/jwk-set+json" || page.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Fatalf("jwks: %d %v", page.Status, page.Header)
	}
	if strings.Contains(page.Body, `"d":`) {
		t.Fatalf("a private key is published: %s", page.Body)
	}
	var set struct {
		Keys []struct{ Kid, Alg, Use string }
	}
	decode(t, page.Body, &set)
	var kids []string
	for _, key := range set.Keys {
		if key.Alg != "ES256" || key.Use != "sig" {
			t.Errorf("published %+v", key)
		}
		kids = append(kids, key.Kid)
	}
	return kids
}

// OIDC Core 9, RFC 9126, RFC 9101: a client with a key signs and pushes its requests. The provider knows its keys from
// the endpoint `jwks`, so a new key that stands there works at once.
func TestClientKey(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	first, next := filepath.Join(folder, "first.pem"), filepath.Join(folder, "next.pem")
	writeKey(t, first)
	writeKey(t, next)
	s := StartSite(t, strings.NewReplacer("FIRST", first, "NEXT", next).Replace(clientSite("client_key FIRST\nclient_key NEXT next\npar on\njar")))
	s.OP.ClientJWKS = s.HTTP() + "/oauth2/jwks" // before anybody signs in
	s.OP.Set(func(b *testop.Behaviour) {
		b.OnlyClientAuth, b.RequirePAR, b.RequireRequestObject = "private_key_jwt", true, true
		b.AccessTokenLifetime = 2 * time.Second
	})
	kids := published(t, s.HTTP())
	if len(kids) != 2 || len(kids[0]) != 43 || kids[1] != "next" {
		t.Errorf("published %q", kids)
	}
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/deep?x=1")
	if got := seen(t, page); got.URI != "/deep?x=1" || got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("came back to %s as %q", got.URI, got.Header.Get("X-Forwarded-User"))
	}
	for _, request := range s.OP.Requests(testop.Authorization) {
		if names := slices.Sorted(maps.Keys(request.URL.Query())); !slices.Equal(names, []string{"client_id", "request_uri"}) {
			t.Errorf("the browser carries %v", names)
		}
	}
	// A refresh signs a new assertion; a jti that was there before would be refused.
	writeKey(t, first)
	cookie := b.Jar.Cookie("gatehouse").Value
	renewed := eventually(15*time.Second, func() bool {
		seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
		return b.Jar.Cookie("gatehouse").Value != cookie
	})
	if !renewed {
		t.Error("the session was not refreshed with the new key")
	}
	if now := published(t, s.HTTP()); len(now) != 2 || now[0] == kids[0] || now[1] != "next" {
		t.Errorf("published %q after the change", now)
	}
	// Without its file nobody signs in, and the reason says so.
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusInternalServerError, "client_key_unreadable")
	wantReason(t, NewBrowser(t).Step(s.HTTP()+"/oauth2/jwks"), http.StatusInternalServerError, "client_key_unreadable")
	s.WaitLog(first)
}

// RFC 8705: the certificate proves the client, at the endpoints of the aliases.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	folder, server := t.TempDir(), t.TempDir()
	certificate, key := writeCertificate(t, folder)
	serverFile, serverKey := writeCertificate(t, server)
	pair, err := tls.LoadX509KeyPair(serverFile, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.NewReplacer("CERT", certificate, "KEY", key, "CA", writeAuthority(t)).Replace("client_certificate CERT KEY\nclient_auth METHOD\ntls_trust_pool file CA\npar on")
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		t.Run(method, func(t *testing.T) {
			s := StartSite(t, clientSite(strings.Replace(lines, "METHOD", method, 1)), func(p *testop.Provider) {
				p.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
				p.ClientCertificate = own.Leaf
			})
			s.OP.Set(func(b *testop.Behaviour) {
				b.OnlyClientAuth = "tls_client_auth"
				b.Discovery = testop.Edit{
					"token_endpoint":        "https://127.0.0.1:1/nowhere",
					"mtls_endpoint_aliases": map[string]string{"token_endpoint": s.OP.URL(testop.Token)},
				}
			})
			if got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice" {
				t.Errorf("signed in as %v", identityOf(got))
			}
		})
	}
}

// Rule 20, SEC-67: what a link to the login may pass on is an allow-list, and replaces nothing of ours.
func TestParameters(t *testing.T) {
	t.Parallel()
	s := StartSite(t, clientSite("client_secret {$CLIENT_SECRET}\nparam hd example.com\nparam ui_locales en\nparam_from_request login_hint ui_locales acr_values"))
	asked := func(query string) url.Values {
		t.Helper()
		page := NewBrowser(t).Step(s.HTTP() + "/oauth2/login" + query)
		location, err := url.Parse(page.Header.Get("Location"))
		if err != nil || page.Status != http.StatusSeeOther {
			t.Fatalf("%d %v %s", page.Status, err, brief(page))
		}
		return location.Query()
	}
	ours := asked("")
	if ours.Get("hd") != "example.com" || ours.Get("ui_locales") != "en" {
		t.Errorf("asked with %v", ours)
	}
	evil := url.Values{"rd": {"/x"}, "ui_locales": {"de"}, "login_hint": {"bob&scope=all"}}
	for _, name := range []string{"client_id", "redirect_uri", "scope", "response_type", "response_mode", "nonce", "state", "hd", "request", "request_uri", "code_challenge"} {
		evil.Set(name, "evil")
	}
	got := asked("?" + evil.Encode())
	for name, want := range map[string]string{
		"ui_locales": "de", "login_hint": "bob&scope=all", "hd": "example.com", "client_id": s.OP.ClientID, "scope": ours.Get("scope"),
		"redirect_uri": ours.Get("redirect_uri"), "response_type": "code", "response_mode": "", "request": "", "request_uri": "", "rd": "",
	} {
		if got.Get(name) != want || len(got[name]) > 1 {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if got.Get(name) == "evil" || got.Get(name) == "" {
			t.Errorf("%s is %q", name, got.Get(name))
		}
	}
	for _, query := range []string{"?login_hint=a&login_hint=b", "?login_hint=" + strings.Repeat("a", 513), "?acr_values=a%0Ab"} {
		page := NewBrowser(t).Step(s.HTTP() + "/oauth2/login" + query)
		wantReason(t, page, http.StatusBadRequest, "parameter_refused")
		if page.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s begins a sign-in", query)
		}
	}
	// Only the login passes anything on: any other page has a query of its own.
	page := NewBrowser(t).Step(s.HTTP() + "/page?login_hint=bob&ui_locales=de")
	if location := page.Header.Get("Location"); strings.Contains(location, "bob") || strings.Contains(location, "ui_locales=de") {
		t.Errorf("a page's query is passed on: %s", location)
	}
}

// With several providers the choice between them keeps what the link says, for whom it may be passed on to.
func TestParametersThroughTheChooser(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	block := func(name, lines string) string {
		return strings.Replace(providerBlock(s.OP), "provider {", "provider "+name+" {\n\t\t\t"+lines, 1)
	}
	s.Caddy = StartCaddy(t, s.fill(`{
	gatehouse {
		`+block("one", "param_from_request login_hint prompt")+`
		`+block("two", "param x y")+`
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`))
	page := NewBrowser(t).Navigate(s.HTTP() + "/oauth2/login?rd=/x&prompt=login&login_hint=bob%26state%3Devil")
	for link, want := range map[string]bool{
		`/oauth2/login?login_hint=bob%26state%3Devil&amp;prompt=login&amp;provider=one&amp;rd=%2Fx"`: true,
		`/oauth2/login?prompt=login&amp;provider=two&amp;rd=%2Fx"`:                                   true,
		"state=evil": false,
	} {
		if strings.Contains(page.Body, link) != want {
			t.Errorf("link %s: want %v in\n%s", link, want, brief(page))
		}
	}
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?login_hint=a&login_hint=b"), http.StatusBadRequest, "parameter_refused")
}
