package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// request makes a request as Caddy hands it to a handler.
func request(t *testing.T, method, target string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	original := *r
	original.URL = new(url.URL)
	*original.URL = *r.URL
	ctx := context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	return r.WithContext(ctx)
}

// withReplacer adds what Caddy's matchers need.
func withReplacer(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
}

func TestMakeOrigin(t *testing.T) {
	for _, tt := range []struct{ scheme, host, want, hostname string }{
		{"https", "App.Example.com", "https://app.example.com", "app.example.com"},
		{"https", "app.example.com:443", "https://app.example.com", "app.example.com"},
		{"http", "app.example.com:80", "http://app.example.com", "app.example.com"},
		{"https", "app.example.com:8443", "https://app.example.com:8443", "app.example.com"},
		{"https", "app.example.com.", "https://app.example.com.", "app.example.com"},
		{"https", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "2001:db8::1"},
		{"https", "[2001:db8::1]", "https://[2001:db8::1]", "2001:db8::1"},
		{"javascript", "app.example.com", "", ""},
		{"https", "", "", ""},
		{"https", "a b", "", ""},
		{"https", "evil.example/x", "", ""},
		{"https", "evil.example?x", "", ""},
		{"https", "evil.example#", "", ""},
		{"https", `evil.example\x`, "", ""},
		{"https", "user@evil.example", "", ""},
		{"https", "app.example.com, evil.example", "", ""},
		{"https", "evil.example\r\nX: y", "", ""},
		{"https", "app.example.com:port", "", ""},
		{"https", "exämple.com", "", ""},
	} {
		o, valid := makeOrigin(tt.scheme, tt.host)
		if valid != (tt.want != "") || valid && (o.String() != tt.want || o.hostname() != tt.hostname) {
			t.Errorf("%s %q: %v %v (%s), want %q", tt.scheme, tt.host, o, valid, o.hostname(), tt.want)
		}
	}
}

// spellings calls do with all texts of up to so many pieces.
func spellings(pieces []string, most int, do func(text string)) {
	var grow func(text string, left int)
	grow = func(text string, left int) {
		do(text)
		for _, piece := range pieces {
			if left > 0 {
				grow(text+piece, left-1)
			}
		}
	}
	grow("", most)
}

// bytesAnd are all bytes, as pieces, and more.
func bytesAnd(more ...string) []string {
	for c := range 256 {
		more = append(more, string([]byte{byte(c)}))
	}
	return more
}

// What is taken without being parsed is what parsing would take, and leave as it is:
// every two bytes, and five of those pieces that mean something.
func TestPlainHosts(t *testing.T) {
	plain := 0
	check := func(host string) {
		if !isPlainHost(host) {
			return
		}
		plain++
		u, err := url.Parse("http://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || u.User != nil || u.Path != "" || strings.ToLower(host) != host {
			t.Errorf("%q is no plain host: %v, %v", host, u, err)
		}
	}
	spellings(bytesAnd("app.example.com", "127.0.0.1", "é"), 2, check)
	spellings([]string{"app.example.com", "a", "A", "0", "-", ".", "_", ":", "99999999", "[", "]", "::1", "%61", "@", "/", "é"}, 5, check)
	if plain < 1000 {
		t.Errorf("%d plain hosts", plain)
	}
}

// A path that is taken as plain is read one way by the most obliging server: every
// two bytes within a path, and five of those pieces that mean something.
func TestPlainPaths(t *testing.T) {
	plain := 0
	check := func(path string) {
		if !isPlain(&url.URL{Path: path}) {
			return
		}
		plain++
		for i, take := range liberties {
			if read := take(path); read != path {
				t.Errorf("%q is read as %q by liberty %d", path, read, i)
			}
		}
	}
	spellings(bytesAnd("/", "..", "::$DATA"), 2, func(text string) { check("/" + text); check("/a" + text + "b/") })
	spellings([]string{"/", ".", "..", "a", "B9", "~", "-", ":", "$", "*", "%41", "\\", ";", "é", " "}, 5, func(text string) { check("/" + text) })
	if plain < 1000 {
		t.Errorf("%d plain paths", plain)
	}
}

// P15, SEC-05, SEC-48: public_url, else a trusted proxy's word, else the request's
// own; never a stranger's.
func TestBrowserOrigin(t *testing.T) {
	forwarded := http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.example.com"}}
	for _, tt := range []struct {
		name      string
		publicURL string
		trusted   bool
		tls       bool
		insecure  bool
		header    http.Header
		host      string
		peer      string
		want      string
		secure    bool
	}{
		{name: "https", tls: true, host: "app.example.com", want: "https://app.example.com", secure: true},
		{name: "plain http from afar", host: "app.example.com", want: "http://app.example.com"},
		{name: "plain http, allowed", insecure: true, host: "app.example.com", want: "http://app.example.com", secure: true},
		{name: "loopback", host: "localhost:8080", peer: "127.0.0.1:5000", want: "http://localhost:8080", secure: true},
		{name: "loopback, IPv6", host: "[::1]:8080", peer: "[::1]:5000", want: "http://[::1]:8080", secure: true},
		{name: "a proxy on this host", host: "app.example.com", peer: "127.0.0.1:5000", want: "http://app.example.com"},
		{
			name: "a proxy on this host that keeps the Host localhost", host: "localhost", peer: "127.0.0.1:5000",
			header: http.Header{"X-Forwarded-For": {"203.0.113.9"}}, want: "http://localhost",
		},
		{name: "a stranger names localhost", host: "localhost", peer: "203.0.113.9:5000", want: "http://localhost"},
		{name: "a trusted proxy", trusted: true, host: "10.0.0.1:8080", header: forwarded, want: "https://public.example.com", secure: true},
		{name: "SEC-05 a stranger forwards", host: "app.example.com", header: forwarded, want: "http://app.example.com"},
		{
			name: "a trusted proxy's list is ambiguous", trusted: true, host: "app.example.com",
			header: http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"app.example.com, evil.example"}}, want: "http://app.example.com",
		},
		{
			name: "a trusted proxy says it twice", trusted: true, host: "app.example.com",
			header: http.Header{"X-Forwarded-Proto": {"https", "http"}}, want: "http://app.example.com",
		},
		{
			name: "SEC-48 scheme of a trusted proxy", trusted: true, host: "app.example.com",
			header: http.Header{"X-Forwarded-Proto": {"javascript"}}, want: "",
		},
		{
			name: "public_url wins", publicURL: "https://public.example.com", trusted: true, host: "10.0.0.1",
			header: http.Header{"X-Forwarded-Host": {"evil.example"}}, want: "https://public.example.com", secure: true,
		},
		{name: "invalid host", host: "evil.example/", want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &Gate{}
			g.sessionConfig.InsecureHTTP = tt.insecure
			if tt.publicURL != "" {
				g.publicOrigin, _ = parseOrigin(tt.publicURL)
			}
			r := request(t, "GET", "/")
			r.Host, r.RemoteAddr = tt.host, "203.0.113.1:5000"
			if tt.peer != "" {
				r.RemoteAddr = tt.peer
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{HandshakeComplete: true}
			}
			if tt.header != nil {
				r.Header = tt.header
			}
			caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, tt.trusted)
			o, secure, valid := g.browserOrigin(r)
			if valid != (tt.want != "") || valid && (o.String() != tt.want || secure != tt.secure) {
				t.Errorf("got %s, secure %v, valid %v", o, secure, valid)
			}
		})
	}
}

func TestLenientPaths(t *testing.T) {
	for target, want := range map[string][]string{
		"/admin":                                nil,
		"/a/b/":                                 nil,
		"/.well-known/security.txt":             {"/.well-known/security.txt"},
		"/public/..%2fadmin":                    {"/admin"},
		"/public/%2e%2e/admin":                  {"/admin"},
		"//admin":                               {"/admin"},
		"/admin/.":                              {"/admin"},
		"/admin;x=1/users":                      {"/admin/users"},
		"/public/..;/admin":                     {"/admin"},
		"/public%5c..%5cadmin":                  {"/admin"},
		"/%2561dmin":                            {"/admin"},
		"/foo/secret%23/bar":                    {"/foo/secret#/bar", "/foo/secret"},
		"/api/private%3f/status":                {"/api/private?/status", "/api/private"},
		"/admin%00":                             {"/admin"},
		"/admin%20":                             {"/admin"},
		"/admin%C2%A0":                          {"/admin"},
		"/admin%E3%80%80/x":                     {"/admin/x"},
		"/wiki/C%2B%2B":                         {"/wiki/C++"},
		"/a%252f..%252f..%252fadmin":            {"/admin"},
		"/%25zz/%252e%252e/admin/x":             {"/admin/x"},
		"/x%253f/%252e%252e/admin/x":            {"/admin/x", "/x"},
		"/x%2523/%252e%252e/admin/x":            {"/admin/x", "/x"},
		"/x%250a/%252e%252e/admin/x":            {"/admin/x", "/x"},
		"/x%23%5c..%5cadmin%5cs":                {"/admin/s", "/x"},
		"/x%00%5c..%5cadmin%5cs":                {"/admin/s", "/x"},
		"/static/%23%5c..%5c..%5cprivate":       {"/private", "/static/"},
		"/static/%2523/%252e%252e/%252e%252e/p": {"/p", "/static/"},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := lenientPaths(u)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range want {
			if !slices.Contains(got, path) {
				t.Errorf("%s is read as %q, and not as %s", target, got, path)
			}
		}
		if want == nil && got != nil {
			t.Errorf("%s is read as %q", target, got)
		}
	}
}
