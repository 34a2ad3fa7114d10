package e2e_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const secureSite = `{
	gatehouse {
		{$PROVIDER}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		public /public/*
		allow groups staff
		return_to https://other.example.test
	}
	reverse_proxy {$APP}
}
`

func staff(p *testop.Provider) {
	p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}}
	p.Users = []testop.User{{Subject: "2", Name: "carol"}}
}

// raw writes a request as it is and reads the answer; nil if there is none that can be read.
func raw(t *testing.T, s *Site, request string) *Page {
	t.Helper()
	ca, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", "127.0.0.1:"+s.Port, &tls.Config{RootCAs: ca.pool, ServerName: "app.example.test", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return nil
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	u, _ := url.Parse("https://app.example.test")
	return &Page{URL: u, Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

// corpus reads a file of hostile lines.
func corpus(t *testing.T, name string) []string {
	t.Helper()
	content, err := os.ReadFile("testdata/corpora/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(content), "\n"), "\n")
}

// unescape reads the C escapes of a corpus line.
func unescape(t *testing.T, line string) string {
	t.Helper()
	text, err := strconv.Unquote(`"` + strings.NewReplacer(`"`, `\"`, `\0`, `\x00`).Replace(line) + `"`)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return text
}

func sessionCookie(t *testing.T, s *Site, user string) string {
	t.Helper()
	b := s.As(NewBrowser(t), user)
	b.Navigate(s.HTTPS("app.example.test") + "/")
	cookie := b.Jar.Cookie("__Host-gatehouse")
	if cookie == nil {
		t.Fatal("no session")
	}
	return cookie.Name + "=" + cookie.Value
}

// SEC-20 to SEC-25, SEC-03 to SEC-05, SEC-49: no header of a request says who is calling, opens a protected path, or
// moves the redirect URI; on any path, with and without a session.
func TestHeaderCorpus(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	cookie := "Cookie: " + sessionCookie(t, s, "alice") + "\r\n"
	const navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n"
	origin := "Origin: " + s.HTTPS("app.example.test") + "\r\n" // a WebSocket handshake needs it
	send := func(path, headers string) *Page {
		return raw(t, s, "GET "+path+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n"+headers+"\r\n")
	}
	for _, line := range corpus(t, "header-spoof.txt") {
		hostile := unescape(t, line) + "\r\n"
		for _, at := range []struct{ name, path, headers, user string }{
			{"public", "/public/x", "", ""},
			{"public, signed in", "/public/x", cookie, "alice"},
			{"signed in", "/x", cookie, "alice"},
		} {
			page := send(at.path, origin+hostile+at.headers)
			if page == nil || page.Status == http.StatusBadRequest {
				continue // refused whole
			}
			if page.Status != http.StatusOK {
				if at.user == "" || page.Status != http.StatusUnauthorized {
					t.Errorf("%s, %q: %d %s", at.name, line, page.Status, reason(page))
				}
				continue // one of our cookies twice is no session
			}
			var got Seen
			if err := json.Unmarshal([]byte(page.Body), &got); err != nil {
				t.Fatal(err)
			}
			who := identityOf(got)
			if who["xforwardeduser"] != at.user && !(at.user != "" && who["xforwardeduser"] == "" && strings.HasPrefix(line, "Cookie")) {
				t.Errorf("%s, %q: the application is told %v", at.name, line, who)
			}
			for name, value := range who {
				if strings.Contains(value, "admin") || strings.Contains(value, "attacker") || strings.Contains(value, "root") || name == "remoteuser" {
					t.Errorf("%s, %q: the application is told %v", at.name, line, who)
				}
			}
			if strings.Contains(strings.Join(got.Header["Cookie"], ";"), "__Host-gatehouse") {
				t.Errorf("%s, %q: our cookie reached the application", at.name, line)
			}
		}
		if page := send("/x", hostile); page != nil && page.Status == http.StatusOK {
			t.Errorf("%q opens a protected path", line)
		}
		page := send("/x", navigation+hostile)
		if page == nil || page.Status == http.StatusBadRequest || page.Status == http.StatusUnauthorized {
			continue
		}
		location, err := url.Parse(page.Header.Get("Location"))
		if err != nil || page.Status != http.StatusSeeOther {
			t.Errorf("%q: %d %s", line, page.Status, reason(page))
			continue
		}
		if got, want := location.Query().Get("redirect_uri"), s.HTTPS("app.example.test")+"/oauth2/callback"; got != want {
			t.Errorf("%q: redirect_uri %s", line, got)
		}
		if set := page.Header["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], "__Host-gatehouse_a_") || strings.Contains(set[0], "Domain") {
			t.Errorf("%q: Set-Cookie %q", line, set)
		}
	}
}

// SEC-21: Caddy drops names with underscores and dots itself, and can be told not to; the gate does not rely on it.
func TestHeaderNamesThatCaddyLetsThrough(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(secureSite, "{\n", "{\n\tservers {\n\t\texpected_underscore_headers x_* remote_*\n\t\texpected_dot_headers x.* remote.*\n\t}\n", 1), staff)
	cookie := sessionCookie(t, s, "alice")
	for _, name := range []string{"X_Forwarded_User", "X_FORWARDED_GROUPS", "Remote_User", "X.Forwarded.User", "Remote.User", "X_Team"} {
		for _, path := range []string{"/public/x", "/x"} {
			page := raw(t, s, "GET "+path+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nCookie: "+cookie+"\r\n"+name+": admin\r\n\r\n")
			if page == nil {
				t.Fatal("no answer")
			}
			got := seen(t, page)
			if passed := got.Header[http.CanonicalHeaderKey(name)] != nil; passed != (name == "X_Team") {
				t.Errorf("%s on %s: the application is told %v", name, path, got.Header)
			}
			if who := identityOf(got); who["xforwardeduser"] != "alice" {
				t.Errorf("%s on %s: the application is told %v", name, path, who)
			}
		}
	}
}

// staysHere reports that a Location leads to the site itself, or to the other origin that it allows.
func staysHere(s *Site, location string) bool {
	if strings.ContainsFunc(location, func(c rune) bool {
		return c < ' ' || c == 0x7f || c == '\\' && !strings.HasPrefix(location, "https://app.")
	}) {
		return false
	}
	for _, allowed := range []string{s.HTTPS("app.example.test"), "https://other.example.test"} {
		if location == allowed || strings.HasPrefix(location, allowed+"/") {
			return true
		}
	}
	return strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") && !strings.HasPrefix(location, `/\`)
}

// finish goes on from a login redirect and returns the Location that the sign-in ends with.
func finish(t *testing.T, s *Site, start *Page) string {
	t.Helper()
	b := NewBrowser(t)
	at, err := url.Parse(s.HTTPS("app.example.test"))
	if err != nil {
		t.Fatal(err)
	}
	b.Jar.Set(at, start.Header)
	callback := b.Step(start.Header.Get("Location")).Header.Get("Location")
	end := b.Step(callback)
	if end.Status != http.StatusSeeOther {
		t.Fatalf("the sign-in ended with %d %s", end.Status, reason(end))
	}
	return end.Header.Get("Location")
}

// SEC-40 to SEC-46: whatever a link says, the browser stays on the site: at login, after the sign-in, at logout and on
// the provider's landing page, raw and decoded.
func TestRedirectCorpus(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	const navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\nAccept: text/html\r\n"
	open := func(target string) *Page {
		return raw(t, s, "GET "+target+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n"+navigation+"\r\n")
	}
	refused, accepted := 0, 0
	for i, line := range corpus(t, "open-redirects.tsv") {
		if i == 0 {
			continue // the names of the columns
		}
		fields := strings.Split(line, "\t")
		payload, expect := fields[0], fields[len(fields)-1]
		once, _ := url.QueryUnescape(payload)
		twice, _ := url.QueryUnescape(once)
		for form, rd := range map[string]string{
			"raw": strings.ReplaceAll(payload, " ", "%20"), "encoded": url.QueryEscape(payload), "decoded once": url.QueryEscape(once), "decoded twice": url.QueryEscape(twice),
		} {
			if rd == "" {
				continue
			}
			page := open("/oauth2/login?rd=" + rd)
			switch {
			case page == nil || page.Status == http.StatusBadRequest:
				refused++
			case page.Status == http.StatusSeeOther:
				accepted++
				if form == "encoded" && expect == "reject" {
					t.Errorf("login, %s %q is accepted", form, payload)
				}
				if location := finish(t, s, page); !staysHere(s, location) {
					t.Errorf("login, %s %q leads to %q", form, payload, location)
				}
			default:
				t.Errorf("login, %s %q: %d", form, payload, page.Status)
			}
			for _, target := range []string{"/oauth2/logout?rd=" + rd, "/oauth2/signed-out?state=" + rd, "/oauth2/signed-out?rd=" + rd} {
				page := open(target)
				if page != nil && page.Header.Get("Location") != "" && !staysHere(s, page.Header.Get("Location")) {
					t.Errorf("%s leads to %q", target, page.Header.Get("Location"))
				}
			}
		}
		if strings.HasPrefix(payload, "/") {
			if page := open(strings.ReplaceAll(payload, " ", "%20")); page != nil && page.Status == http.StatusSeeOther && strings.HasPrefix(page.Header.Get("Location"), s.OP.Issuer()) {
				if location := finish(t, s, page); !staysHere(s, location) {
					t.Errorf("a request for %q leads to %q", payload, location)
				}
			}
		}
	}
	if refused == 0 || accepted == 0 {
		t.Errorf("%d refused, %d accepted: the corpus was not used", refused, accepted)
	}
}

// P21: every benign target comes back byte for byte, as what was asked for and as a link.
func TestBenignTargets(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	b := NewBrowser(t)
	port := ":" + s.Port
	for _, target := range corpus(t, "return-urls-benign.txt") {
		target = strings.NewReplacer("app.example.com:443", "app.example.test"+port, "app.example.com", "app.example.test"+port,
			"APP.EXAMPLE.COM", "APP.EXAMPLE.TEST"+port, "other.example.com", "other.example.test").Replace(target)
		page := b.Step(s.HTTPS("app.example.test") + "/oauth2/login?rd=" + url.QueryEscape(target))
		if page.Status != http.StatusSeeOther {
			t.Errorf("%s is refused: %s", target, reason(page))
			continue
		}
		if got := finish(t, s, page); got != target {
			t.Errorf("%s came back as %s", target, got)
		}
		if path, _, _ := strings.Cut(target, "#"); strings.HasPrefix(path, "/") {
			page := raw(t, s, "GET "+path+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\r\n")
			if page == nil || page.Status != http.StatusSeeOther {
				t.Errorf("a request for %s: %v", path, page)
				continue
			}
			if got := finish(t, s, page); got != path {
				t.Errorf("a request for %s came back to %s", path, got)
			}
		}
	}
}

// An upgrade to h2c on a public path must not open a tunnel to an upstream that speaks it: requests inside would pass
// no check.
func TestUpgradeToH2C(t *testing.T) {
	t.Parallel()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	got := make(chan http.Header, 1)
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() }))
	upstream.Config.Protocols = protocols
	upstream.Start()
	t.Cleanup(upstream.Close)
	s := &Site{OP: testop.Start(t), App: upstream, t: t}
	s.Caddy = StartCaddy(t, s.fill(secureSite))
	page := raw(t, s, "GET /public/x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n"+
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	if page == nil || page.Status != http.StatusOK {
		t.Fatalf("answer: %v", page)
	}
	if header := <-got; header.Get("Upgrade") != "" || header.Get("Http2-Settings") != "" {
		t.Errorf("the upstream got %v", header)
	}
}

// Trailers reach the upstream: those that say who is calling do not, announced or not.
func TestIdentityInTrailers(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	page := raw(t, s, "POST /public/x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"+
		"Trailer: X-Forwarded-User, X-Checksum\r\n\r\n4\r\nbody\r\n0\r\nX-Forwarded-User: admin\r\nX-Checksum: abc\r\nRemote-User: admin\r\nX_Forwarded_Groups: admins\r\n\r\n")
	if page == nil {
		t.Fatal("no answer")
	}
	got := seen(t, page)
	if got.Body != "body" || got.Trailer.Get("X-Checksum") != "abc" {
		t.Errorf("body %q, trailers %v", got.Body, got.Trailer)
	}
	if who := identityOf(Seen{Header: got.Trailer}); len(who) != 0 {
		t.Errorf("identity in trailers: %v", who)
	}
	if announced := got.Header.Get("Trailer"); strings.Contains(announced, "User") {
		t.Errorf("announced: %s", announced)
	}
}

// A session that was ended gives no identity on a public path either.
func TestEndedSessionOnAPublicPath(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	at := s.HTTPS("app.example.test")
	b := NewBrowser(t)
	page := b.Navigate(at + "/")
	copied := b.Twin()
	if got := seen(t, copied.Navigate(at+"/public/x")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Error("no identity on a public path while the session lives")
	}
	b.Follow(page, "/oauth2/logout")
	if got := seen(t, copied.Navigate(at+"/public/x")); len(identityOf(got)) != 0 {
		t.Errorf("identity of an ended session: %v", identityOf(got))
	}
	carol := s.As(NewBrowser(t), "carol")
	wantReason(t, carol.Navigate(at+"/"), http.StatusForbidden, "denied")
	if got := seen(t, carol.Navigate(at+"/public/x")); len(identityOf(got)) != 0 {
		t.Errorf("identity of who may not pass: %v", identityOf(got))
	}
}

// P13, SEC-108: what another site has the browser send with our cookie is refused.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	at := s.HTTPS("app.example.test")
	b := NewBrowser(t)
	seen(t, b.Navigate(at+"/"))
	cookie := sessionCookie(t, s, "alice")
	with := func(method string, header http.Header) *Page {
		r, err := http.NewRequest(method, at+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		for name, values := range header {
			r.Header[name] = values
		}
		return NewBrowser(t).Do(r)
	}
	for _, tt := range []struct {
		name, method string
		header       http.Header
		passes       bool
	}{
		{"same origin", "POST", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {at}}, true},
		{"no browser", "POST", nil, true},
		{"another site", "POST", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, false},
		{"a sibling host", "DELETE", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {s.HTTPS("evil.example.test")}}, false},
		{"old browser, another site", "POST", http.Header{"Origin": {"https://evil.example"}}, false},
		{"old browser, http of the same host", "POST", http.Header{"Origin": {strings.Replace(at, "https", "http", 1)}}, false},
		{"old browser, another port", "POST", http.Header{"Origin": {"https://app.example.test"}}, false},
		{"null origin", "POST", http.Header{"Origin": {"null"}}, false},
		{"GET from another site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}}, true},
		{"websocket, ours", "GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {at}}, true},
		{"websocket, another site", "GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"https://evil.example"}}, false},
		{"websocket, null", "GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"null"}}, false},
		{"websocket, no origin", "GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false},
	} {
		page := with(tt.method, tt.header)
		if tt.passes != (page.Status == http.StatusOK) || !tt.passes && reason(page) != "cross_origin" {
			t.Errorf("%s: %d %s", tt.name, page.Status, reason(page))
		}
	}
	if page := b.Post("https://evil.example", at+"/oauth2/logout", nil); page.Status != http.StatusForbidden {
		t.Errorf("logout by a form of another site: %d", page.Status)
	}
	page := b.Follow(&Page{URL: &url.URL{Scheme: "https", Host: "evil.example", Path: "/"}}, at+"/oauth2/logout")
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "Sign out?") {
		t.Errorf("logout by a link of another site: %d", page.Status)
	}
	seen(t, b.Navigate(at+"/"))
	if page := b.Submit(page, "logout", nil); !strings.Contains(page.Body, "Signed out") {
		t.Errorf("the confirmed sign-out: %d %s", page.Status, brief(page))
	}
}

// SEC-104, SEC-111: odd Cookie headers and methods are answered, fast, and open nothing.
func TestOddRequests(t *testing.T) {
	s := StartSite(t, secureSite, staff)
	for name, header := range map[string]string{
		"semicolons":       "Cookie: " + strings.Repeat(";", 8000),
		"names of ours":    "Cookie: " + strings.Repeat("__Host-gatehouse=v1.x.y; ", 400),
		"chunks":           "Cookie: __Host-gatehouse=2.v1.x.y; __Host-gatehouse_99999999=z",
		"long":             "Cookie: __Host-gatehouse=v1.k." + strings.Repeat("A", 12000),
		"many attempts":    "Cookie: " + strings.Repeat("__Host-gatehouse_a_x=y; ", 300),
		"quotes":           `Cookie: a="; __Host-gatehouse=v1.x.y; b="`,
		"bearer (SEC-84)":  "Authorization: Bearer x",
		"an empty session": "Cookie: __Host-gatehouse=",
	} {
		start := time.Now()
		page := raw(t, s, "GET /x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n"+header+"\r\n\r\n")
		if page == nil || page.Status != http.StatusUnauthorized {
			t.Errorf("%s: %v", name, page)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	for _, method := range []string{"CONNECT", "TRACE", "FOO", "PRI"} {
		page := raw(t, s, fmt.Sprintf("%s /x HTTP/1.1\r\nHost: app.example.test:%s\r\n\r\n", method, s.Port))
		if page != nil && page.Status == http.StatusOK {
			t.Errorf("%s passes", method)
		}
	}
}
