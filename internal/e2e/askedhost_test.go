package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// manyHosts is a gate of docs/forward-auth.md that is asked about several hosts, and a proxy in front of it and of an
// application: people sign in at auth.example.test alone.
func manyHosts(t *testing.T, more ...string) (s *Site, front *Caddy) {
	t.Helper()
	op, application := testop.Start(t, askedPeople), StartApplication(t)
	gate := freePort(t)
	front = StartCaddy(t, strings.NewReplacer("GATE", "127.0.0.1:"+gate, "APP", strings.TrimPrefix(application.URL, "http://")).Replace(`https://auth.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	reverse_proxy GATE
}
https://app.example.test:{$PORT}, https://wiki.example.test:{$PORT}, https://app.other.test:{$PORT} {
	tls {$CERT} {$KEY}
	route {
		reverse_proxy GATE {
			method GET
			rewrite /oauth2/auth?login=redirect
			header_up X-Forwarded-Method {method}
			header_up X-Forwarded-Uri {uri}
			@pass status 2xx
			handle_response @pass {
				request_header X-Forwarded-User {rp.header.X-Forwarded-User}
				request_header X-Forwarded-Groups {rp.header.X-Forwarded-Groups}
			}
		}
		reverse_proxy APP
	}
}
`))
	s = &Site{OP: op, App: application, t: t}
	caddyfile := "{\n\t" + trustLoopback + "\n}\n" + documented(t, "forward-auth.md", " many")
	s.Caddy = StartCaddy(t, s.fill(strings.NewReplacer(append([]string{
		"http://:8080", "http://:" + gate, "https://id.example.com", "{$ISSUER}", "client_id app", "client_id {$CLIENT_ID}\n\t\tuser_claim preferred_username",
		"{file./run/secrets/app}", "{$CLIENT_SECRET}", "https://auth.example.com", front.HTTPS("auth.example.test"),
		"return_to ", "return_to " + front.HTTPS("app.other.test") + " ", "https://*.example.com", front.HTTPS("*.example.test"), "cookie_domain example.com", "cookie_domain example.test", "@wiki host wiki.example.com", "@wiki host wiki.example.test",
	}, more...)...).Replace(caddyfile)))
	s.Caddy.Port = gate
	return s, front
}

// One sign-in, at the gate's own host, is good at every host that return_to names and the cookie reaches; the rules are
// judged by the host that was asked for.
func TestOneGateForManyHosts(t *testing.T) {
	t.Parallel()
	s, front := manyHosts(t)
	app, wiki, auth := front.HTTPS("app.example.test"), front.HTTPS("wiki.example.test"), front.HTTPS("auth.example.test")
	b := s.As(NewBrowser(t), "gus")
	const deep = "/deep/%2f?x=1&y=%26"
	page := b.Navigate(app + deep)
	if got := seen(t, page); got.Header.Get("X-Forwarded-User") != "gus" || got.URI != deep || page.URL.String() != app+deep {
		t.Errorf("at %s as %q", page.URL, got.Header.Get("X-Forwarded-User"))
	}
	if hop := page.Hops[0]; hop.Status != http.StatusSeeOther || !strings.HasPrefix(hop.Header.Get("Location"), auth+"/oauth2/login?rd=") || len(hop.Header["Set-Cookie"]) > 0 {
		t.Errorf("the first answer is %d %v", hop.Status, hop.Header)
	}
	calls := s.OP.Calls("authorize")
	seen(t, b.Navigate(app+"/again"))
	page = b.Navigate(wiki + "/") // staff alone
	wantReason(t, page, http.StatusForbidden, "denied")
	if another := auth + "/oauth2/login?prompt=select_account&amp;rd=" + strings.ReplaceAll(url.QueryEscape(wiki+"/"), "+", "%20"); !strings.Contains(page.Body, another) {
		t.Errorf("another account is not at %s:\n%s", another, brief(page))
	}
	if strings.Contains(page.Body, "/oauth2/logout") {
		t.Errorf("a form that no page of that host can send:\n%s", brief(page))
	}
	if s.OP.Calls("authorize") != calls {
		t.Error("a host more is another sign-in")
	}
	for _, tt := range []struct {
		name, at, method string
		header           http.Header
		status           int
		reason           string
	}{
		{"a form of the page itself", app, "POST", http.Header{"Origin": {app}, "Sec-Fetch-Site": {"same-origin"}}, http.StatusOK, ""},
		{"a form of the page itself, in an old browser", app, "POST", http.Header{"Origin": {app}, "Sec-Fetch-Site": nil}, http.StatusOK, ""},
		{"a form of a sibling (SEC-108)", app, "POST", http.Header{"Origin": {wiki}, "Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden, "cross_origin"},
		{"a form of the gate's own host", app, "POST", http.Header{"Origin": {auth}, "Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden, "cross_origin"},
		{"an endpoint's path at another host", app, "GET", nil, http.StatusForbidden, "original_request_unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := "/x"
			if strings.Contains(tt.name, "endpoint") {
				path = "/oauth2/login"
			}
			page := b.Fetch(tt.at, tt.method, tt.at+path, tt.header, "")
			if page.Status != tt.status || tt.reason != "" && reason(page) != tt.reason {
				t.Errorf("%d %s:\n%s", page.Status, reason(page), brief(page))
			}
		})
	}
	// Elsewhere the gate says that somebody has to sign in, and leads there by no redirect of its own.
	stranger := NewBrowser(t)
	wantReason(t, stranger.Fetch(app, "GET", app+"/x", nil, ""), http.StatusUnauthorized, "no_session")
	// No cookie of auth.example.test gets there: a sign-in would not end (P10).
	wantReason(t, stranger.Navigate(front.HTTPS("app.other.test")+"/x"), http.StatusBadRequest, "login_loop")
	b.Navigate(auth + "/oauth2/logout")
	wantReason(t, b.Fetch(app, "GET", app+"/x", nil, ""), http.StatusUnauthorized, "no_session")
}

// A host that return_to does not name is none that somebody comes back to, whatever it says; nor is one that nobody trusted tells.
func TestOneGateForNamedHosts(t *testing.T) {
	t.Parallel()
	s, front := manyHosts(t)
	auth, app := front.HTTPS("auth.example.test"), front.HTTPS("app.example.test")
	gateAsks := func(header http.Header) *Page {
		h := told("GET", "/x")
		for name, values := range header {
			h[name] = values
		}
		return asks(t, s, "/oauth2/auth", "", h)
	}
	login := func(target string) string {
		if strings.HasPrefix(target, "/") {
			return "/oauth2/login?rd=" + url.QueryEscape(target)
		}
		return auth + "/oauth2/login?rd=" + url.QueryEscape(target)
	}
	host := strings.TrimPrefix(app, "https://")
	for _, tt := range []struct {
		name   string
		header http.Header
		want   string
		status int
	}{
		{"a host of return_to", http.Header{"X-Forwarded-Host": {host}}, login(app + "/x"), 401},
		{"in capitals", http.Header{"X-Forwarded-Host": {strings.ToUpper(host)}}, login(app + "/x"), 401},
		{"as ingress-nginx tells it", http.Header{"X-Forwarded-Uri": nil, "X-Original-Url": {app + "/x"}}, login(app + "/x"), 401},
		{"in both ways", http.Header{"X-Forwarded-Uri": nil, "X-Forwarded-Host": {host}, "X-Original-Url": {app + "/x"}}, login(app + "/x"), 401},
		{"a path with an address in its query is no address", http.Header{"X-Forwarded-Uri": nil, "X-Forwarded-Host": {host}, "X-Original-Url": {"/x?u=https://" + host + "/y"}}, login(app + "/x?u=https://" + host + "/y"), 401},
		{"in two ways that differ (SEC-04)", http.Header{"X-Forwarded-Uri": nil, "X-Forwarded-Host": {strings.Replace(host, "app", "wiki", 1)}, "X-Original-Url": {app + "/x"}}, "", 403},
		{"in one header twice (SEC-04)", http.Header{"X-Forwarded-Uri": nil, "X-Original-Url": {app + "/x", auth + "/x"}}, "", 403},
		{"the gate's own", http.Header{"X-Forwarded-Host": {strings.TrimPrefix(auth, "https://")}}, login("/x"), 401},
		{"a host that the cookies do not reach", http.Header{"X-Forwarded-Host": {"app.other.test:" + front.Port}}, auth + login("/x"), 401},
		{"another domain", http.Header{"X-Forwarded-Host": {"app.evil.example"}}, login("/x"), 401},
		{"a domain that ends alike (SEC-42)", http.Header{"X-Forwarded-Host": {"evilexample.test:" + front.Port}}, login("/x"), 401},
		{"another port", http.Header{"X-Forwarded-Host": {"app.example.test:1"}}, login("/x"), 401},
		{"http", http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {host}}, login("/x"), 401},
		{"a list", http.Header{"X-Forwarded-Host": {host + ", evil.example"}}, login("/x"), 401},
		{"a user", http.Header{"X-Forwarded-Host": {"evil.example@" + host}}, login("/x"), 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := gateAsks(tt.header)
			if got := page.Header.Get("X-Gatehouse-Login"); page.Status != tt.status || got != tt.want {
				t.Errorf("%d %q, want %d %q", page.Status, got, tt.status, tt.want)
			}
		})
	}
	// Without trusted_proxies nobody says which host was asked for.
	untrusting, its := manyHosts(t, trustLoopback, "", "deny @wiki groups guests", "")
	page := asks(t, untrusting, "/oauth2/auth", "", http.Header{"X-Forwarded-Host": {"app.example.test:" + its.Port}, "X-Original-Url": {its.HTTPS("app.example.test") + "/x"}})
	if got := page.Header.Get("X-Gatehouse-Login"); page.Status != http.StatusUnauthorized || got != login("/") {
		t.Errorf("from somebody who is not trusted: %d %q", page.Status, got)
	}
	for rd, status := range map[string]int{
		app + "/x": http.StatusSeeOther, app + "/@alice": http.StatusSeeOther, front.HTTPS("other.example.test") + "/": http.StatusSeeOther, "https://app.example.test/": http.StatusBadRequest,
		"https://evil.example/": http.StatusBadRequest, "https://app.example.test:" + front.Port + "@evil.example/": http.StatusBadRequest,
		strings.Replace(app, "app.", "evil", 1) + "/": http.StatusBadRequest, strings.Replace(app, "https", "http", 1) + "/": http.StatusBadRequest, app + "/oauth2/logout": http.StatusBadRequest,
	} {
		if page := NewBrowser(t).Step(auth + "/oauth2/login?rd=" + url.QueryEscape(rd)); page.Status != status {
			t.Errorf("rd=%s: %d", rd, page.Status)
		}
	}
}
