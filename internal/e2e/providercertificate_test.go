package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The provider's certificate expires: nobody is signed out, the log says what is wrong, and who signs in has the reason of a
// provider that is away. When it is renewed, sessions are refreshed and people sign in, without a restart.
func TestProviderCertificateExpires(t *testing.T) {
	t.Parallel()
	var certificate atomic.Pointer[tls.Certificate]
	certificate.Store(certificateUntil(t, time.Now().Add(time.Hour)))
	s := &Site{App: StartApplication(t), t: t}
	s.OP = testop.Start(t, func(p *testop.Provider) {
		p.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.Load(), nil }}
	})
	s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 2 * time.Second })
	trusting := strings.Replace(s.fill(oneSite), "client_id", "tls_trust_pool file "+writeAuthority(t)+"\n\t\t\tclient_id", 1)
	s.Caddy = StartCaddy(t, trusting)
	b, late := NewBrowser(t), NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	callback := late.Step(late.Step(s.HTTP() + "/").Header.Get("Location")).Header.Get("Location")

	certificate.Store(certificateUntil(t, time.Now().Add(-time.Minute)))
	s.OP.Down() // closes the connections of before
	s.OP.Up(t)
	if !eventually(20*time.Second, func() bool {
		seen(t, b.Navigate(s.HTTP()+"/"))
		return strings.Contains(s.Logs(), "a session could not be refreshed")
	}) {
		t.Fatal("no refresh is tried")
	}
	s.WaitLog("certificate has expired")
	wantReason(t, late.Step(callback), http.StatusServiceUnavailable, "provider_unavailable")
	seen(t, b.Navigate(s.HTTP()+"/"))

	certificate.Store(certificateUntil(t, time.Now().Add(time.Hour)))
	calls := s.OP.Calls(testop.Token)
	if !eventually(40*time.Second, func() bool {
		seen(t, b.Navigate(s.HTTP()+"/"))
		return s.OP.Calls(testop.Token) > calls
	}) {
		t.Error("the certificate is renewed, and no session is refreshed")
	}
	seen(t, NewBrowser(t).Navigate(s.HTTP()+"/"))
}

// certificateUntil is a certificate of 127.0.0.1 that expires then.
func certificateUntil(t *testing.T, end time.Time) *tls.Certificate {
	t.Helper()
	der, key := signCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(end.UnixNano()), NotBefore: end.Add(-2 * time.Hour), NotAfter: end,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
