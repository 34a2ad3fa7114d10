package e2e_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// startTLS serves a handler over https, with a certificate of the tests' authority.
func startTLS(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(writeCertificate(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// writeAuthority writes the certificate of the tests' authority.
func writeAuthority(t *testing.T) string {
	t.Helper()
	ca, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// speakAs makes a provider call itself by a public origin.
func speakAs(origin string) func(*testop.Behaviour) {
	return func(b *testop.Behaviour) {
		public := testop.Change(func(right any) any {
			text, is := right.(string)
			u, err := url.Parse(text)
			if !is || err != nil {
				return testop.Absent(right)
			}
			return origin + u.Path
		})
		b.Discovery = testop.Edit{
			"issuer": public, "authorization_endpoint": public, "token_endpoint": public, "jwks_uri": public, "userinfo_endpoint": public,
			"end_session_endpoint": public, "revocation_endpoint": public, "pushed_authorization_request_endpoint": public,
		}
		b.IDToken, b.AuthorizationResponse = testop.Edit{"iss": origin}, testop.Edit{"iss": origin}
	}
}

// forwardProxy is a proxy for CONNECT, in whose network every name leads to one server. It notes what it was asked for.
type forwardProxy struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func startForwardProxy(t *testing.T, server string) *forwardProxy {
	t.Helper()
	p := &forwardProxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.Host)
		p.mu.Unlock()
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer upstream.Close()
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		// Not before: what the client sends next would be read ahead by the server.
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // ends with the connection
		go io.Copy(upstream, client)                      //nolint:errcheck // ends with the connection
		io.Copy(client, upstream)                         //nolint:errcheck // ends with the connection
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *forwardProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(p.asked)))
}

// P16: the provider's public name does not lead anywhere from the gate; its back channel is behind a forward proxy and has a
// certificate of the company's own authority. Every call takes that way, and the browser knows nothing of it.
func TestReachThroughAProxy(t *testing.T) {
	op := testop.Start(t)
	var mu sync.Mutex
	hosts := map[string]string{} // by path
	back := startTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.URL.Path] = r.Host + " " + r.TLS.ServerName
		mu.Unlock()
		op.ServeHTTP(w, r)
	}))
	front := startTLS(t, op)
	_, port, err := net.SplitHostPort(front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	issuer := "https://id.example.test:" + port
	op.Set(speakAs(issuer))
	op.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"expires_in": testop.Absent} })
	proxy := startForwardProxy(t, back.Listener.Addr().String())
	app := StartApplication(t)

	caddyfile := `{
	gatehouse {
		provider {
			issuer            ` + issuer + `
			client_id         ` + op.ClientID + `
			client_secret     "` + op.ClientSecret + `"
			userinfo          required
			par               on
			reach             https://idp.other.test:8443
			forward_proxy_url ` + proxy.URL + `
			tls_trust_pool    file ` + writeAuthority(t) + `
			refresh_interval  1s
		}
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy ` + strings.TrimPrefix(app.URL, "http://") + `
}
`
	c := StartCaddy(t, caddyfile)
	b := NewBrowser(t)
	page := b.Step(c.HTTP() + "/x")
	if page.Status != http.StatusSeeOther || !strings.HasPrefix(page.Header.Get("Location"), issuer+"/authorization?") {
		t.Fatalf("sent to %d %s", page.Status, page.Header.Get("Location"))
	}
	seen(t, b.Navigate(c.HTTP()+"/x"))
	refreshed := eventually(10*time.Second, func() bool {
		return b.Fetch(c.HTTP(), "GET", c.HTTP()+"/x", nil, "").Status == http.StatusOK && op.Calls(testop.Token) > 1
	})
	if !refreshed {
		t.Error("no refresh")
	}
	page = b.Navigate(c.HTTP() + "/oauth2/logout")
	if !strings.Contains(page.Body, "Signed out") || op.Calls(testop.EndSession) != 1 {
		t.Errorf("after the sign-out: %d %s", page.Status, brief(page))
	}
	if asked := proxy.requests(); !slices.Equal(asked, []string{"CONNECT idp.other.test:8443"}) {
		t.Errorf("the proxy was asked for %q", asked)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range []string{"/.well-known/openid-configuration", "/par", "/token", "/userinfo", "/jwks", "/revocation"} {
		if hosts[path] != "idp.other.test:8443 idp.other.test" {
			t.Errorf("%s was called by Host and SNI %q", path, hosts[path])
		}
	}
}

// A certificate of an authority that is not trusted stops every call: nothing is believed of it.
func TestTrustPool(t *testing.T) {
	t.Parallel()
	op := testop.Start(t)
	front := startTLS(t, op)
	op.Set(speakAs(front.URL))
	for name, test := range map[string]struct {
		line   string
		status int
	}{
		"without":                  {"", http.StatusServiceUnavailable},
		"tls_trust_pool":           {"tls_trust_pool file " + writeAuthority(t), http.StatusSeeOther},
		"of somebody else":         {"tls_trust_pool file " + writeOtherAuthority(t), http.StatusServiceUnavailable},
		"insecure_skip_tls_verify": {"insecure_skip_tls_verify", http.StatusSeeOther},
	} {
		t.Run(name, func(t *testing.T) {
			c := StartCaddy(t, "http://localhost:{$PORT} {\n\tgatehouse "+front.URL+" {\n\t\tclient_id client\n\t\tclient_secret x\n\t\t"+
				test.line+"\n\t}\n\trespond ok\n}\n")
			page := NewBrowser(t).Step(c.HTTP() + "/")
			if page.Status != test.status {
				t.Errorf("%d %s", page.Status, reason(page))
			}
			if test.status == http.StatusServiceUnavailable && reason(page) != "discovery_failed" {
				t.Errorf("reason %s", reason(page))
			}
		})
	}
}

// A trust pool that changes its file is followed at a reload, though the configuration is the same.
func TestTrustPoolIsReadAtAReload(t *testing.T) {
	t.Parallel()
	op := testop.Start(t)
	front := startTLS(t, op)
	op.Set(speakAs(front.URL))
	file := writeOtherAuthority(t)
	caddyfile := "http://localhost:{$PORT} {\n\tgatehouse " + front.URL +
		" {\n\t\tclient_id client\n\t\tclient_secret x\n\t\ttls_trust_pool file " + file + "\n\t}\n\trespond ok\n}\n"
	c := StartCaddy(t, caddyfile)
	wantReason(t, NewBrowser(t).Step(c.HTTP()+"/"), http.StatusServiceUnavailable, "discovery_failed")
	right, err := os.ReadFile(writeAuthority(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, right, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reload(caddyfile + "# so that Caddy loads it\n")
	if page := NewBrowser(t).Step(c.HTTP() + "/"); page.Status != http.StatusSeeOther {
		t.Errorf("%d %s", page.Status, reason(page))
	}
}

// writeOtherAuthority writes the certificate of an authority that nobody here has one of.
func writeOtherAuthority(t *testing.T) string {
	t.Helper()
	other, err := newCA()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What cannot be is an error when the configuration is loaded.
func TestNetworkIsRefused(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"tls_trust_pool file /no/such/file":        "tls_trust_pool",
		"forward_proxy_url ftp://proxy.test":       "forward_proxy_url",
		"forward_proxy_url proxy.test:3128":        "forward_proxy_url",
		"reach http://idp.internal":                "reach",
		"reach https://idp.internal/realms/a":      "reach",
		"endpoint token http://id.example.com/t":   "endpoint token",
		"endpoint jwks off":                        "endpoint jwks",
		"discovery off":                            "discovery",
		"userinfo_signed_response_alg HS256":       "userinfo_signed_response_alg",
		"reach {env.NO_SUCH_VARIABLE}":             "NO_SUCH_VARIABLE",
		"endpoint token {env.NO_SUCH_VARIABLE}":    "NO_SUCH_VARIABLE",
		"forward_proxy_url {env.NO_SUCH_VARIABLE}": "NO_SUCH_VARIABLE",
	} {
		t.Run(line, func(t *testing.T) {
			text := CaddyFails(t, "http://localhost:{$PORT} {\n\tgatehouse https://id.example.com {\n\t\tclient_id a\n\t\tclient_secret x\n\t\t"+line+"\n\t}\n}\n")
			if !strings.Contains(text, says) {
				t.Errorf("the error does not name %s: %s", says, text)
			}
		})
	}
}

// A provider without metadata, and one whose metadata says too much.
func TestEndpointsByHand(t *testing.T) {
	t.Parallel()
	const client = "\n\t\t\tissuer {$ISSUER}\n\t\t\tclient_id {$CLIENT_ID}\n\t\t\tclient_secret {$CLIENT_SECRET}\n\t\t\t"
	for name, test := range map[string]struct {
		lines     string
		discovery int
	}{
		"discovery off": {"discovery off\n\t\t\tendpoint authorization {$ISSUER}/authorization\n\t\t\tendpoint token {$ISSUER}/token\n\t\t\tendpoint jwks {$ISSUER}/jwks", 0},
		"endpoint off":  {"userinfo on_missing_claims\n\t\t\tendpoint end_session off\n\t\t\tendpoint userinfo off", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, strings.Replace(oneSite, "{$PROVIDER}", "provider {"+client+test.lines+"\n\t\t}", 1))
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			page := b.Navigate(s.HTTP() + "/oauth2/logout")
			if !strings.Contains(page.Body, "Signed out") {
				t.Errorf("after the sign-out: %d %s", page.Status, brief(page))
			}
			if calls := s.OP.Calls(testop.Discovery); calls != test.discovery {
				t.Errorf("%d calls for metadata, want %d", calls, test.discovery)
			}
			if calls := s.OP.Calls(testop.EndSession) + s.OP.Calls(testop.UserInfo); calls != 0 {
				t.Errorf("%d calls of what is off", calls)
			}
		})
	}
}

// Plan Basic, module oidcc-client-test-userinfo-signed: the claims of a signed userinfo answer are the user's; one that is not
// signed signs nobody in.
func TestSignedUserinfo(t *testing.T) {
	t.Parallel()
	caddyfile := strings.Replace(oneSite, "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			userinfo      required
			userinfo_signed_response_alg RS256
			user_claim    preferred_username
		}`, 1)
	s := StartSite(t, caddyfile, func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.ThinIDToken, b.UserInfoAlg = true, "RS256" })
	})
	if got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("told: %v", identityOf(got))
	}
	s.OP.Set(func(b *testop.Behaviour) { b.UserInfoAlg = "" })
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusBadGateway, "userinfo_jwt_refused")
}
