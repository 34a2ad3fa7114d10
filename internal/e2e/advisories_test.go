package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What peers were attacked by and no other test stands for, by the numbers of the attacks.

// SEC-105: an answer that begins a sign-in, or refuses one, is ours alone: the application is not asked, whatever the
// request looks like.
func TestNothingOfTheApplicationBesideASignIn(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(application.Close)
	s := StartSite(t, strings.NewReplacer("{$APP}", strings.TrimPrefix(application.URL, "http://"), "public /public/*", "allow groups staff").Replace(secureSite), staff)
	const navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n"
	for _, request := range []string{
		"GET /x HTTP/1.1\r\n" + navigation,
		"HEAD /x HTTP/1.1\r\n" + navigation,
		"GET /x HTTP/1.1\r\nRange: bytes=0-3\r\nIf-Range: \"a\"\r\n" + navigation,
		"GET /x HTTP/1.1\r\nIf-None-Match: *\r\nIf-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT\r\n" + navigation,
		"POST /x HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n" + navigation,
		"POST /x HTTP/1.1\r\nContent-Length: 0\r\n" + navigation,
		"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + navigation,
		"PROPFIND /x HTTP/1.1\r\n",
		"OPTIONS /x HTTP/1.1\r\nOrigin: https://app.example.test\r\nAccess-Control-Request-Method: GET\r\n",
		"TRACE /x HTTP/1.1\r\n",
		"GET https://app.example.test/x HTTP/1.1\r\n" + navigation,
	} {
		page := raw(t, s, request+"Host: app.example.test:"+s.Port+"\r\nConnection: close\r\n\r\n")
		if page == nil {
			t.Errorf("%q: no answer", request)
			continue
		}
		if page.Status < 300 || page.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %d, Cache-Control %q", request, page.Status, page.Header.Get("Cache-Control"))
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the application was asked %d times", n)
	}
}

// SEC-106: a form of a session that is over, without body, type or length, torn or of a size that is only said, neither
// waits nor breaks anything.
func TestPreservePostOddForms(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(strings.Replace(secureSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tlifetime 2s\n\t\t}\n", 1),
		"public /public/*", "preserve_post", 1), staff)
	cookie := sessionCookie(t, s, "alice")
	if !eventually(20*time.Second, func() bool {
		page := raw(t, s, "GET /x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nCookie: "+cookie+"\r\nConnection: close\r\n\r\n")
		return page != nil && page.Status == http.StatusUnauthorized
	}) {
		t.Fatal("the session is not over")
	}
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	for _, tt := range []struct {
		name, head, body string
		waits            bool
	}{
		{"a form", form + "Content-Length: 3\r\n", "a=b", true},
		{"no body, no type, no length", "", "", false},
		{"no type", "Content-Length: 3\r\n", "a=b", false},
		{"type alone", form, "", true}, // a form with nothing in it
		{"no chunks", form + "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", true},
		{"wrong boundary", "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n", "--c\r\n\r\n--", false},
		{"a gigabyte is said", form + "Content-Length: 1073741824\r\n", "a=b", false},
		{"two types", form + form + "Content-Length: 3\r\n", "a=b", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := raw(t, s, "POST /save HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nCookie: "+cookie+"\r\nOrigin: "+s.HTTPS("app.example.test")+
				"\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\nConnection: close\r\n"+tt.head+"\r\n"+tt.body)
			if page == nil || page.Status >= 500 || page.Status == http.StatusOK {
				t.Fatalf("answered %+v", page)
			}
			if waits := strings.Contains(strings.Join(page.Header["Set-Cookie"], "\n"), "gatehouse_a_") && page.Status == http.StatusSeeOther; waits != tt.waits {
				t.Errorf("%d %s, a sign-in begins: %t", page.Status, reason(page), waits)
			}
		})
	}
	if page := raw(t, s, "GET /oauth2/ping HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nConnection: close\r\n\r\n"); page == nil || page.Status != http.StatusOK {
		t.Error("the process is gone")
	}
}

// SEC-114: the admin endpoint tells the configuration as it was written, and no secret that placeholders stand for.
func TestAdminTellsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-of-the-environment"
	c := StartCaddy(t, `{
	gatehouse {
		provider {
			issuer        https://id.example.com
			client_id     app
			client_secret {env.CLIENT_SECRET}
		}
		session {
			keys {env.SESSION_KEYS}
		}
	}
}
http://localhost:{$PORT} {
	gatehouse
	respond ok
}
`, "CLIENT_SECRET="+secret, "SESSION_KEYS=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	status, config, err := c.ask(http.MethodGet, "/config/", nil, "")
	if err != nil || status != http.StatusOK || !json.Valid(config) {
		t.Fatal(status, err)
	}
	if !strings.Contains(string(config), "{env.CLIENT_SECRET}") {
		t.Errorf("the configuration is not what was written: %s", config)
	}
	for _, text := range []string{string(config), c.Logs()} {
		if strings.Contains(text, secret) || strings.Contains(text, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=") {
			t.Error("a secret is told")
		}
	}
}

// SEC-109: what an endpoint takes from outside counts only as far as it is signed or sealed: anything else is refused
// where it decides something, and nothing is gained by it anywhere.
func TestEndpointsTakeNothingUnsigned(t *testing.T) {
	t.Parallel()
	s := StartSite(t, secureSite, staff)
	cookie := sessionCookie(t, s, "alice")
	const unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIn0."
	forged := cookie[:len(cookie)-4] + "AAAA"
	for _, tt := range []struct {
		name, request, headers, body string
		refused                      bool // else a page or redirect that gives nothing
	}{
		{"callback, a state of nobody", "GET /oauth2/callback?state=x&code=y", "", "", true},
		{"callback, form", "POST /oauth2/callback", "Content-Type: application/x-www-form-urlencoded\r\n", "state=x&code=y", false},
		{"back-channel logout, unsigned", "POST /oauth2/backchannel-logout", "Content-Type: application/x-www-form-urlencoded\r\n", "logout_token=" + unsigned, true},
		{"back-channel logout, nothing", "POST /oauth2/backchannel-logout", "", "", true},
		{"front-channel logout of nobody's", "GET /oauth2/frontchannel-logout?iss=https%3A%2F%2Fevil.test&sid=x", "", "", false},
		{"login, a step-up of nobody's", "GET /oauth2/login?step_up=" + unsigned, "", "", false},
		{"login, an issuer of nobody's", "GET /oauth2/login?iss=https%3A%2F%2Fevil.test", "", "", true},
		{"signed-out, a state of nobody", "GET /oauth2/signed-out?state=" + unsigned, "", "", false},
		{"userinfo, an altered cookie", "GET /oauth2/userinfo", "Cookie: " + forged + "\r\n", "", true},
		{"auth, an altered cookie", "GET /oauth2/auth", "Cookie: " + forged + "\r\n", "", true},
		{"a page, an altered cookie", "GET /x", "Cookie: " + forged + "\r\n", "", true},
	} {
		length := ""
		if tt.body != "" {
			length = "Content-Length: " + strconv.Itoa(len(tt.body)) + "\r\n"
		}
		page := raw(t, s, tt.request+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nConnection: close\r\n"+tt.headers+length+"\r\n"+tt.body)
		switch {
		case page == nil || page.Status >= 500:
			t.Errorf("%s: %+v", tt.name, page)
		case tt.refused && page.Status < 400:
			t.Errorf("%s: %d", tt.name, page.Status)
		}
		if page != nil && strings.Contains(strings.Join(page.Header["Set-Cookie"], "\n"), "__Host-gatehouse=v1") {
			t.Errorf("%s: a session", tt.name)
		}
	}
	if page := raw(t, s, "GET /x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\nConnection: close\r\nCookie: "+cookie+"\r\n\r\n"); page == nil || page.Status != http.StatusOK {
		t.Error("somebody was signed out by it")
	}
}
