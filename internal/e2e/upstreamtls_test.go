package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// RFC 8705 3: for tokens that are bound to a client certificate the upstream side is tls_client_auth of the proxy's
// transport, Caddy's or ours.
func TestUpstreamSeesTheClientCertificate(t *testing.T) {
	t.Parallel()
	certificate, key := writeCertificate(t, t.TempDir())
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	serverFile, serverKey := writeCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(serverFile, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || !r.TLS.PeerCertificates[0].Equal(own.Leaf) {
			http.Error(w, "not the certificate that the token is bound to", http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(Seen{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, ""})
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	api.StartTLS()
	t.Cleanup(api.Close)
	for _, transport := range []string{"http", "gatehouse"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, strings.Replace(withGate("forward access_token Authorization"), "reverse_proxy {$APP}",
				strings.NewReplacer("TRANSPORT", transport, "API", api.URL, "CERT", certificate, "KEY", key, "CA", writeAuthority(t)).Replace(
					`reverse_proxy API {
		transport TRANSPORT {
			tls_client_auth CERT KEY
			tls_trust_pool file CA
		}
	}`), 1))
			got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/"))
			if token, isBearer := strings.CutPrefix(got.Header.Get("Authorization"), "Bearer "); !isBearer || userinfo(t, s, token) != "sub-alice" {
				t.Errorf("Authorization: %s", got.Header.Get("Authorization"))
			}
		})
	}
}
