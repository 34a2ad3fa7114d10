package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// What configurations and links that were written for oauth2-proxy ask for means here what it means there.

// A proxy may ask for more than the site's rules: `?allowed_groups=` in its question. Passed over, it would open what it
// was written to close (SEC-90).
func TestForwardAuthIsAskedForMore(t *testing.T) {
	t.Parallel()
	s := StartSite(t, askedSite, askedPeople)
	alice, gus := signedInBehind(t, s, "alice"), signedInBehind(t, s, "gus")
	for _, tt := range []struct {
		name, query, cookie, uri string
		status                   int
		reason                   string
	}{
		{"a group", "allowed_groups=staff", alice, "/x", 200, ""},
		{"one of several groups", "allowed_groups=ops,staff", alice, "/x", 200, ""},
		{"in two parameters", "allowed_groups=ops&allowed_groups=staff", alice, "/x", 200, ""},
		{"another group", "allowed_groups=staff", gus, "/x", 403, "denied"},
		{"a part of a group's name", "allowed_groups=staf,aff", alice, "/x", 403, "denied"},
		{"no value", "allowed_groups=", alice, "/x", 403, "denied"},
		{"an address", "allowed_emails=ALICE@example.test", alice, "/x", 200, ""},
		{"another address", "allowed_emails=bob@example.test", alice, "/x", 403, "denied"},
		{"who has no address", "allowed_emails=gus@example.test", gus, "/x", 403, "denied"},
		{"a domain", "allowed_email_domains=example.org,example.test", alice, "/x", 200, ""},
		{"another domain", "allowed_email_domains=test", alice, "/x", 403, "denied"},
		{"all of them", "allowed_groups=staff&allowed_emails=alice@example.test", alice, "/x", 200, ""},
		{"all but one", "allowed_groups=staff&allowed_emails=bob@example.test", alice, "/x", 403, "denied"},
		{"the site's rules go on", "allowed_groups=guests", gus, "/admin/x", 403, "denied"},
		{"on a public path", "allowed_groups=staff", gus, "/public/x", 403, "denied"},
		{"nobody", "allowed_groups=staff", "", "/x", 401, "no_session"},
		{"nobody on a public path", "allowed_groups=staff", "", "/public/x", 401, "no_session"},
		{"an endpoint of ours is everybody's", "allowed_groups=staff", "", "/oauth2/login", 200, ""},
		{"a query with two readings", "allowed_groups=ops;staff", alice, "/x", 403, "original_request_unknown"},
		{"with a broken escape", "allowed_groups=%zz", alice, "/x", 403, "original_request_unknown"},
		{"beside another parameter", "login=redirect&allowed_groups=staff", gus, "/x", 403, "denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := asks(t, s, "/oauth2/auth?"+tt.query, tt.cookie, told("GET", tt.uri))
			if page.Status != tt.status || reason(page) != tt.reason {
				t.Errorf("%d %s, want %d %s", page.Status, reason(page), tt.status, tt.reason)
			}
			if page.Status != http.StatusOK && page.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("headers of a refusal: %v", page.Header)
			}
		})
	}
	// The query of the request that is asked about is the visitor's, and asks for nothing.
	if page := asks(t, s, "/oauth2/auth/x?allowed_groups=ops", alice, nil); page.Status != http.StatusOK {
		t.Errorf("a page with such a query: %d", page.Status)
	}
}

// nginx tells with X-Auth-Request-Redirect where a browser wanted to go that it sends to sign in. It is believed as little
// as `rd`, which wins.
func TestSignInByHeader(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	for _, tt := range []struct {
		name, path, header, want string
	}{
		{"as nginx says", "/oauth2/sign_in", "/deep?x=1&y=%2F", "/deep?x=1&y=%2F"},
		{"rd wins", "/oauth2/start?rd=/asked", "/deep", "/asked"},
		{"the endpoint itself", "/oauth2/sign_in", "/oauth2/sign_in", "/"},
		{"the endpoint with its query", "/oauth2/start", "/oauth2/start?x", "/"},
		{"another site", "/oauth2/login", "https://evil.example/", "/"},
		{"another host", "/oauth2/login", "//evil.example/", "/"},
		{"another host, when it is decoded once more", "/oauth2/login", "/%09/evil.example", "/"},
		{"nothing", "/oauth2/login", "", "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBrowser(t)
			r := b.request(http.MethodGet, b.parse(s.HTTP()+tt.path), "")
			fetchMetadata(r, "none", "navigate", "document", true)
			r.Header.Set("X-Auth-Request-Redirect", tt.header)
			page := b.send(r, false, true)
			if page.Status != http.StatusSeeOther {
				t.Fatalf("%d:\n%s", page.Status, brief(page))
			}
			if got := seen(t, b.Navigate(page.Header.Get("Location"))).URI; got != tt.want {
				t.Errorf("came back to %s, want %s", got, tt.want)
			}
		})
	}
}

// Applications link to a sign-out at the provider (rd=https://id.example.com/logout?...), which we do anyway. Whoever follows
// such a link is signed out, and led nowhere else.
func TestSignOutToElsewhere(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	for _, rd := range []string{s.OP.Issuer() + "/logout?post_logout_redirect_uri=https://app.example.com", "https://evil.example/", "//evil.example/", "/oauth2/login"} {
		seen(t, b.Navigate(s.HTTP()+"/"))
		page := b.Navigate(s.HTTP() + "/oauth2/sign_out?rd=" + url.QueryEscape(rd))
		if page.Status != http.StatusOK || page.URL.Path != "/oauth2/signed-out" {
			t.Errorf("%s: %d at %s", rd, page.Status, page.URL)
		}
		wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""), http.StatusUnauthorized, "no_session")
	}
	s.WaitLog("return URL")
}

// Scripts read the name that somebody goes by where oauth2-proxy tells it.
func TestUserinfoTellsThePreferredUsername(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	var told struct {
		User, Email, PreferredUsername string
		Groups                         []string
	}
	body := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/oauth2/userinfo", nil, "").Body
	if err := json.Unmarshal([]byte(body), &told); err != nil || told.User == "" || told.PreferredUsername != "alice" {
		t.Errorf("%v in %s", err, body)
	}
}

// migrated runs an example of docs/from-oauth2-proxy.md as it stands there, with this run's provider and application.
func migrated(t *testing.T, name string, replace ...string) *Site {
	t.Helper()
	caddyfile := documented(t, "from-oauth2-proxy.md", " "+name)
	if !strings.Contains(caddyfile, "https://id.example.com") {
		caddyfile = "{\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\n" + caddyfile
	}
	caddyfile = strings.NewReplacer(append([]string{
		"app.example.com {", "http://localhost:{$PORT} {", "https://id.example.com", "{$ISSUER}", "client_id app", "client_id {$CLIENT_ID}",
		"{file./run/secrets/app}", "{$CLIENT_SECRET}", "app:8080", "{$APP}",
	}, replace...)...).Replace(caddyfile)
	return StartSite(t, caddyfile, func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Email: "alice@example.com", EmailVerified: new(true), Groups: []string{"staff"}}
		p.Users = []testop.User{
			{Subject: "2", Name: "gus", Email: "gus@example.com", EmailVerified: new(true), Groups: []string{"guests"}},
			{Subject: "3", Name: "rita", Email: "rita@example.org", EmailVerified: new(true), Groups: []string{"staff"}},
			{Subject: "4", Name: "una", Email: "una@example.com", EmailVerified: new(false), Groups: []string{"staff"}},
			{Subject: "5", Name: "noel", Groups: []string{"staff"}},
		}
	})
}

// --email-domain and --allowed-group: both have to fit.
func TestMigratedRules(t *testing.T) {
	t.Parallel()
	s := migrated(t, "rules")
	if got := seen(t, s.As(NewBrowser(t), "alice").Navigate(s.HTTP()+"/")).Header.Get("X-Forwarded-User"); got != "1" {
		t.Errorf("alice is %q", got)
	}
	for _, name := range []string{"gus", "rita", "una", "noel"} {
		page := s.As(NewBrowser(t), name).Navigate(s.HTTP() + "/")
		if page.Status != http.StatusForbidden || reason(page) != "denied" {
			t.Errorf("%s: %d %s", name, page.Status, reason(page))
		}
	}
	seen(t, NewBrowser(t).Fetch(s.HTTP(), "GET", s.HTTP()+"/healthz", nil, ""))
}

// --skip-auth-route, --trusted-ip and --ping-path: what they let pass, and nothing beside it.
func TestMigratedSkips(t *testing.T) {
	t.Parallel()
	for network, trusted := range map[string]bool{"10.1.0.0/16": false, "127.0.0.0/8": true} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := migrated(t, "skip", "10.1.0.0/16", network)
			b := NewBrowser(t)
			for _, tt := range []struct {
				method, path string
				open         bool
			}{
				{"GET", "/public/x", true}, {"POST", "/public/x", false}, {"GET", "/x", false}, {"GET", "/x/public/", false}, {"GET", "/public/../x", false},
			} {
				page := b.Fetch(s.HTTP(), tt.method, s.HTTP()+tt.path, http.Header{"X-Forwarded-User": {"root"}, "X-Forwarded-For": {"10.1.0.1"}}, "")
				if !tt.open && !trusted {
					wantReason(t, page, http.StatusUnauthorized, "no_session")
				} else if user := seen(t, page).Header.Get("X-Forwarded-User"); user != "" {
					t.Errorf("%s %s without a sign-in is %q", tt.method, tt.path, user)
				}
			}
			if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/ping", nil, ""); page.Status != http.StatusOK || page.Body != "OK" {
				t.Errorf("ping: %d %q", page.Status, page.Body)
			}
			b.Navigate(s.HTTP() + "/oauth2/start")
			if got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/public/x", nil, "")).Header.Get("X-Forwarded-User"); got != "alice" {
				t.Errorf("who has a session is %q on a path that is open", got)
			}
		})
	}
}

// --htpasswd-file: a password that is right, or a sign-in, and no way between the two.
func TestMigratedPasswords(t *testing.T) {
	t.Parallel()
	s := migrated(t, "htpasswd")
	basic := func(scheme, name, password string) string {
		return scheme + " " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
	}
	for _, tt := range []struct {
		name          string
		authorization []string
		status        int
	}{
		{"right", []string{basic("Basic", "carol", "pw")}, http.StatusOK},
		{"wrong", []string{basic("Basic", "carol", "no")}, http.StatusUnauthorized},
		{"somebody else", []string{basic("Basic", "root", "pw")}, http.StatusUnauthorized},
		{"none", nil, http.StatusUnauthorized},
		{"nothing behind the scheme", []string{"Basic"}, http.StatusUnauthorized},
		{"another spelling", []string{basic("basic", "carol", "no")}, http.StatusUnauthorized},
		{"a wrong one first", []string{basic("Basic", "carol", "no"), basic("Basic", "carol", "pw")}, http.StatusUnauthorized},
		{"another scheme first", []string{"Bearer x", basic("Basic", "carol", "no")}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := NewBrowser(t).Fetch(s.HTTP(), "GET", s.HTTP()+"/", http.Header{"Authorization": tt.authorization, "X-Forwarded-User": {"root"}}, "")
			if page.Status != tt.status {
				t.Fatalf("%d:\n%s", page.Status, brief(page))
			}
			if page.Status == http.StatusOK && seen(t, page).Header.Get("X-Forwarded-User") != "carol" {
				t.Errorf("the application sees %v", seen(t, page).Header)
			}
		})
	}
	if got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/")).Header.Get("X-Forwarded-User"); got != "alice" {
		t.Errorf("who signs in is %q", got)
	}
}

// Several --upstream: each path is behind the sign-in, and goes to its own.
func TestMigratedUpstreams(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.RequestURI, r.Header.Get("X-Forwarded-User"))
	}))
	defer api.Close()
	s := migrated(t, "upstreams", "api:8080", strings.TrimPrefix(api.URL, "http://"), "/srv/files", folder)
	b := NewBrowser(t)
	for _, path := range []string{"/", "/api/x", "/files/a.txt", "/static/x"} {
		wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+path, nil, ""), http.StatusUnauthorized, "no_session")
	}
	if got := seen(t, b.Navigate(s.HTTP()+"/a%2fb//c")).URI; got != "/a%2fb//c" {
		t.Errorf("the application is asked for %s", got)
	}
	for path, want := range map[string]string{"/api/x?q=1": "200 /api/x?q=1 for alice", "/files/a.txt": "200 a file", "/static/x": "204 "} {
		page := b.Navigate(s.HTTP() + path)
		if got := fmt.Sprintf("%d %s", page.Status, page.Body); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
