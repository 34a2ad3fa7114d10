package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// RFC 9700 4.4: of two providers of a site one is hostile, and sends a browser on to the other. Its code must come to
// nobody but the provider that gave it, although that one sends no iss.
func TestMixUp(t *testing.T) {
	t.Parallel()
	noIss := func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) {
			b.AuthorizationResponse = testop.Edit{"iss": testop.Absent}
			b.Discovery = testop.Edit{"authorization_response_iss_parameter_supported": testop.Absent}
		})
	}
	s := &Site{OP: testop.Start(t, staff, noIss), App: StartApplication(t), t: t}
	hostile := testop.Start(t, noIss)
	s.Caddy = StartCaddy(t, s.fill(`{
	gatehouse {
		`+strings.Replace(providerBlock(s.OP), "provider {", "provider honest {", 1)+`
		`+strings.Replace(providerBlock(hostile), "provider {", "provider hostile {", 1)+`
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`))
	asked := func(b *Browser, provider string) (location *url.URL, query url.Values) {
		t.Helper()
		location, err := url.Parse(b.Step(s.HTTP() + "/oauth2/login?provider=" + provider).Header.Get("Location"))
		if err != nil || location.Query().Get("state") == "" {
			t.Fatalf("sent to %v: %v", location, err)
		}
		return location, location.Query()
	}
	honest := s.HTTP() + "/oauth2/callback/honest"
	// The attacker begins a sign-in, and has the victim's code bound to it (RFC 9700 4.5.4: PKCE and nonce do not help then).
	authorization, attackers := asked(NewBrowser(t), "honest")
	if got := attackers.Get("redirect_uri"); got != honest {
		t.Errorf("the honest provider is asked to answer at %s", got)
	}
	victim := NewBrowser(t)
	_, query := asked(victim, "hostile")
	if got := query.Get("redirect_uri"); got != s.HTTP()+"/oauth2/callback/hostile" { // which an honest provider has not registered
		t.Errorf("the hostile provider is asked to answer at %s", got)
	}
	for _, parameter := range []string{"client_id", "scope", "code_challenge", "nonce", "redirect_uri"} {
		query.Set(parameter, attackers.Get(parameter))
	}
	authorization.RawQuery = query.Encode()
	wantReason(t, victim.Navigate(authorization.String()), http.StatusBadRequest, "attempt_mismatch")
	if sent := hostile.Requests(testop.Token); len(sent) != 0 {
		t.Errorf("the hostile provider gets the code %q", sent[0].Form.Get("code"))
	}
	if got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?provider=honest&rd=/x")); got.URI != "/x" {
		t.Errorf("came back to %s", got.URI)
	}
}

// A site with one provider has the address that everybody registers, and no other.
func TestOneProviderOneCallback(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate(""))
	b := NewBrowser(t)
	page := b.Step(s.HTTP() + "/oauth2/login")
	page = b.Step(page.Header.Get("Location"))
	answer, err := url.Parse(page.Header.Get("Location"))
	if err != nil || answer.Path != "/oauth2/callback" {
		t.Fatalf("answered at %v: %v", answer, err)
	}
	other := *answer
	other.Path = "/oauth2/callback/default"
	wantReason(t, b.Twin().Navigate(other.String()), http.StatusBadRequest, "attempt_mismatch")
	seen(t, b.Navigate(s.HTTP()+"/x"))
}
