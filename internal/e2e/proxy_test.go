package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// behind sends a request as a proxy in front of the gate would: plain http from loopback, with what it says of the browser.
func behind(t *testing.T, s *Site, path string, header http.Header) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.HTTP()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example.com"
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for name, values := range header {
		r.Header[name] = values
	}
	return NewBrowser(t).Do(r)
}

// P15: behind a proxy that ends TLS the gate knows the browser's address from public_url, or from a proxy that Caddy
// trusts; with neither it signs nobody in and says what to do; a stranger's word never counts (SEC-05, SEC-48).
func TestBehindAProxyThatEndsTLS(t *testing.T) {
	const plain = `{
	{$SERVERS}
	gatehouse {
		{$PROVIDER}
	}
}
http://:{$PORT} {
	gatehouse {
		{$OPTION}
		public /public/*
	}
	reverse_proxy {$APP}
}
`
	forwarded := http.Header{
		"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.example.com"}, "X-Forwarded-For": {"203.0.113.9"},
	}
	for _, tt := range []struct {
		name, servers, option string
		header                http.Header
		redirectURI           string // "" = refused with not_https
	}{
		{"public_url", "", "public_url https://app.example.com", nil, "https://app.example.com/oauth2/callback"},
		{"public_url wins over a stranger", "", "public_url https://app.example.com", forwarded, "https://app.example.com/oauth2/callback"},
		{"public_url wins over a trusted proxy", trustLoopback, "public_url https://app.example.com", forwarded, "https://app.example.com/oauth2/callback"},
		{"trusted_proxies", trustLoopback, "", forwarded, "https://public.example.com/oauth2/callback"},
		{"trusted_proxies, proto only", trustLoopback, "", http.Header{"X-Forwarded-Proto": {"https"}}, "https://app.example.com/oauth2/callback"},
		{"trusted_proxies, and the proxy says http", trustLoopback, "", http.Header{"X-Forwarded-Proto": {"http"}}, ""},
		{"neither", "", "", nil, ""},
		{"a stranger forwards", "", "", forwarded, ""},
		{"a stranger by RFC 7239", "", "", http.Header{"Forwarded": {"for=127.0.0.1;host=app.example.com;proto=https"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, strings.NewReplacer("{$SERVERS}", tt.servers, "{$OPTION}", tt.option).Replace(plain))
			page := behind(t, s, "/x", tt.header)
			if tt.redirectURI == "" {
				wantReason(t, page, http.StatusInternalServerError, "not_https")
				if page.Header.Get("Set-Cookie") != "" {
					t.Errorf("a cookie was set: %s", page.Header.Get("Set-Cookie"))
				}
				s.WaitLog("public_url")
				s.WaitLog("trusted_proxies")
				seen(t, behind(t, s, "/public/x", tt.header))
				return
			}
			location, err := url.Parse(page.Header.Get("Location"))
			if err != nil || page.Status != http.StatusSeeOther {
				t.Fatalf("%d %s", page.Status, page.Header.Get("Location"))
			}
			if got := location.Query().Get("redirect_uri"); got != tt.redirectURI {
				t.Errorf("redirect_uri %s, want %s", got, tt.redirectURI)
			}
			cookie := page.Header.Get("Set-Cookie")
			if !strings.HasPrefix(cookie, "__Host-gatehouse_a_") || !strings.Contains(cookie, "; Secure") || strings.Contains(cookie, "Domain") {
				t.Errorf("the attempt's cookie: %s", cookie)
			}
		})
	}
}

const trustLoopback = `servers {
		trusted_proxies static 127.0.0.0/8
	}`

// The whole way through a proxy that ends TLS: Caddy in front of Caddy.
func TestThroughAProxyThatEndsTLS(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	`+trustLoopback+`
	gatehouse {
		{$PROVIDER}
	}
}
http://:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`)
	front := StartCaddy(t, `
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	reverse_proxy `+strings.TrimPrefix(s.HTTP(), "http://")+`
}
`)
	b := NewBrowser(t)
	at := front.HTTPS("app.example.test")
	page := b.Navigate(at + "/deep?x=1")
	got := seen(t, page)
	if got.Header.Get("X-Forwarded-User") != "alice" || page.URL.String() != at+"/deep?x=1" {
		t.Errorf("at %s as %q", page.URL, got.Header.Get("X-Forwarded-User"))
	}
	if b.Jar.Cookie("__Host-gatehouse") == nil {
		t.Errorf("cookies: %v", b.Jar.Names("app.example.test"))
	}
	if page := b.Follow(page, "/oauth2/logout"); !strings.Contains(page.Body, "Signed out") {
		t.Errorf("sign-out: %d %s", page.Status, brief(page))
	}
}

// A request whose Host is no host, or that a catch-all site gets under any name, never decides where codes go to but by its own name.
func TestHostOfACatchAllSite(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`)
	for _, host := range []string{"evil.example/x", `evil.example\x`, "user@evil.example", "a b", "evil.example,b"} {
		r, err := http.NewRequest(http.MethodGet, s.HTTP()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if page := NewBrowser(t).Do(r); page.Status != http.StatusBadRequest {
			t.Errorf("Host %q: %d", host, page.Status)
		}
	}
}

// A session that was made on loopback does not count on a plain-text connection that somebody has forwarded.
func TestSessionOverAForwardedPlainConnection(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", http.Header{"X-Forwarded-For": {"203.0.113.9"}}, "")
	wantReason(t, page, http.StatusUnauthorized, "no_session")
}
