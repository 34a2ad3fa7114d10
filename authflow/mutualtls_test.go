package authflow_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// newCertificate is a self-signed certificate for 127.0.0.1.
func newCertificate() tls.Certificate {
	key := newEC(elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

// TestMutualTLS: RFC 8705 2 and 5. The endpoints of the aliases are the only ones
// that there are.
func TestMutualTLS(t *testing.T) {
	server, client := newCertificate(), newCertificate()
	for _, method := range []string{"", authflow.TLSClientAuth, authflow.SelfSignedTLSClientAuth} {
		t.Run("client_auth "+method, func(t *testing.T) {
			p := testop.Start(t, func(p *testop.Provider) {
				p.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert}
				p.ClientCertificate = client.Leaf
			})
			p.Set(func(b *testop.Behaviour) {
				b.OnlyClientAuth = "tls_client_auth"
				nowhere := "https://127.0.0.1:1/nowhere"
				b.Discovery = testop.Edit{
					"token_endpoint": nowhere, "userinfo_endpoint": nowhere, "pushed_authorization_request_endpoint": nowhere,
					"mtls_endpoint_aliases": map[string]string{
						"token_endpoint": p.URL(testop.Token), "userinfo_endpoint": p.URL(testop.UserInfo),
						"pushed_authorization_request_endpoint": p.URL(testop.Push),
					},
				}
			})
			transport := authflow.NewTransport()
			transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{client}}
			transport.TLSClientConfig.RootCAs.AddCert(server.Leaf)
			s := rp{t: t, p: p, network: transport, client: newClient(t, p, func(cfg *authflow.Config) {
				cfg.ClientSecret, cfg.ClientAuth, cfg.MutualTLS, cfg.Transport = nil, method, true, transport
				cfg.PAR, cfg.UserInfo = authflow.PAROn, authflow.UserInfoRequired
			})}
			grant := s.mustLogin("bob")
			if _, err := s.client.Refresh(t.Context(), refreshOf(grant)); err != nil {
				t.Error(err)
			}
			for _, request := range append(p.Requests(testop.Token), p.Requests(testop.Push)...) {
				if request.PostForm.Get("client_id") != p.ClientID || request.PostForm.Has("client_secret") || request.Header.Get("Authorization") != "" {
					t.Errorf("client authentication beside the certificate: %v", request.PostForm)
				}
			}
		})
	}
}

// Aliases are addresses of the provider like the others, and only for who has a
// certificate.
func TestMutualTLSAliases(t *testing.T) {
	for name, test := range map[string]struct {
		mutual  bool
		aliases any
		reason  authflow.Reason
	}{
		"no certificate":            {false, map[string]string{"token_endpoint": "http://evil.example/"}, ""},
		"SEC-113 an alias on http":  {true, map[string]string{"token_endpoint": "http://evil.example/"}, authflow.ReasonDiscovery},
		"aliases that are none":     {true, "x", authflow.ReasonDiscovery},
		"aliases for other clients": {true, map[string]string{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.MutualTLS, cfg.ClientAuth = test.mutual, "client_secret_basic" })
			s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{"mtls_endpoint_aliases": test.aliases} })
			_, err := s.login("bob")
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.reason, authflow.Unavailable)
		})
	}
}
