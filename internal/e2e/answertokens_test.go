package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A site of its own tells tokens to the proxy that asks: to nobody else, and beside it the site has nothing that a browser
// could want. The one at which people sign in tells none, as ever.
func TestForwardAuthAnswersWithTokens(t *testing.T) {
	t.Parallel()
	port, untrusting := freePort(t), freePort(t)
	const tokens = " {\n\tlog\n\tgatehouse {\n\t\tpublic_url https://app.example.test\n\t\tpublic /public/*\n\t\tdeny groups guests\n\t\tforward id_token Authorization\n\t\tforward access_token\n\t\tanswer_tokens\n\t}\n\trespond \"not what was asked\"\n}\n"
	s := StartSite(t, strings.Replace(askedSite, "gatehouse {\n\t\tpublic", "gatehouse {\n\t\tforward access_token\n\t\tpublic", 1)+"http://:"+port+tokens, askedPeople)
	other := *s
	other.Caddy = &Caddy{Port: port}
	alice, gus := signedInBehind(t, s, "alice"), signedInBehind(t, s, "gus")
	for _, tt := range []struct {
		name, path, cookie string
		header             http.Header
		status             int
		tokens             bool
	}{
		{"signed in", "/oauth2/auth", alice, told("GET", "/x"), 200, true},
		{"Envoy's prefix", "/oauth2/auth/x", alice, nil, 200, true},
		{"public", "/oauth2/auth", alice, told("GET", "/public/x"), 200, false},
		{"an endpoint", "/oauth2/auth", alice, told("GET", "/oauth2/login"), 200, false},
		{"nobody", "/oauth2/auth", "", told("GET", "/x"), 401, false},
		{"nobody, with a token of his own", "/oauth2/auth", "", http.Header{
			"X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {"/public/x"}, "X-Forwarded-Access-Token": {"mine"}, "Authorization": {"Basic mine"},
		}, 200, false},
		{"whom the rules refuse", "/oauth2/auth", gus, told("GET", "/x"), 403, false},
		{"another site's form (SEC-108)", "/oauth2/auth", alice, http.Header{
			"X-Forwarded-Method": {"POST"}, "X-Forwarded-Uri": {"/x"}, "Origin": {"https://evil.test"}, "Sec-Fetch-Site": {"cross-site"},
		}, 403, false},
		{"the sign-in", "/oauth2/login", alice, nil, 404, false},
		{"who somebody is", "/oauth2/userinfo", alice, nil, 404, false},
		{"the sign-out", "/oauth2/logout", alice, nil, 404, false},
		{"a page", "/x", alice, nil, 404, false},
		{"a public page", "/public/x", alice, nil, 404, false},
		{"its health", "/oauth2/ping", "", nil, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := asks(t, &other, tt.path, tt.cookie, tt.header)
			access, id := page.Header.Get("X-Forwarded-Access-Token"), page.Header.Get("Authorization")
			if tt.tokens { // P36
				for _, token := range []string{access, strings.TrimPrefix(id, "Bearer ")} {
					if len(token) > 8 && strings.Contains(s.Logs(), token) {
						t.Error("a token stands in the log")
					}
				}
			}
			if page.Status != tt.status || (access != "") != tt.tokens || strings.HasPrefix(id, "Bearer ey") != tt.tokens || !tt.tokens && id != "" {
				t.Errorf("%d, %q, %q:\n%s", page.Status, access, id, brief(page))
			}
			if _, set := page.Header["Authorization"]; tt.path == "/oauth2/auth" && tt.status == 200 && !strings.Contains(tt.name, "endpoint") && !set {
				t.Error("a header without a token is not there, and a proxy would leave the visitor's own")
			}
		})
	}
	if page := asks(t, s, "/oauth2/auth", alice, told("GET", "/x")); page.Status != http.StatusOK || page.Header.Get("X-Forwarded-Access-Token") != "" {
		t.Errorf("where people sign in: %d %v", page.Status, page.Header)
	}
	// Nobody is a proxy without trusted_proxies, whatever he says of himself.
	open := StartSite(t, strings.Replace(askedSite, trustLoopback, "", 1)+"http://:"+untrusting+strings.Replace(tokens, "public /public/*", "", 1), func(p *testop.Provider) { askedPeople(p) })
	open.Caddy.Port = untrusting
	for _, header := range []http.Header{told("GET", "/x"), nil} {
		wantReason(t, asks(t, open, "/oauth2/auth", "", header), http.StatusForbidden, "original_request_unknown")
	}
}
