package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// spoofed are headers of somebody who pretends to be admin.
var spoofed = http.Header{
	"X-Forwarded-User": {"admin"}, "X_forwarded_user": {"admin"}, "Remote-User": {"admin"}, "X-Forwarded-Groups": {"admins"},
}

// identityOf is every header of the application's request that speaks of the user, folded as CGI does.
func identityOf(s Seen) map[string]string {
	found := make(map[string]string)
	for name, values := range s.Header {
		folded := strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
				return c
			}
			return -1
		}, strings.ToLower(name))
		switch folded {
		case "xforwardeduser", "xforwardedemail", "xforwardedgroups", "remoteuser", "xauthrequestuser", "xauthrequestemail", "xteam":
			found[folded] += strings.Join(values, "|")
		}
	}
	return found
}

// The gate in every place that a Caddyfile has for it: the callback is reached, the identity is right, and no spoofed
// header passes on any path, matched or not.
func TestTopologies(t *testing.T) {
	const global = `{
	gatehouse {
		{$PROVIDER}
	}
}
`
	for _, tt := range []struct {
		name, caddyfile  string
		protected, open_ string // paths; open_ may be empty
	}{
		{
			"issuer of the site", `http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id {$CLIENT_ID}
		client_secret {$CLIENT_SECRET}
		user_claim preferred_username
	}
	reverse_proxy {$APP}
}`, "/x", "",
		},
		{"whole site", global + `http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}`, "/x", ""},
		{"under a path matcher", global + `http://localhost:{$PORT} {
	gatehouse /admin/*
	reverse_proxy {$APP}
}`, "/admin/x", "/other"},
		{"under a named matcher", global + `http://localhost:{$PORT} {
	@secret path /admin/* /ops/*
	gatehouse @secret
	reverse_proxy {$APP}
}`, "/ops/x", "/other"},
		{"behind rewrite", global + `http://localhost:{$PORT} {
	rewrite * /app{uri}
	gatehouse
	reverse_proxy {$APP}
}`, "/x", ""},
		{"behind try_files", global + `http://localhost:{$PORT} {
	root {$DIR}
	try_files {path} /index.html
	gatehouse
	reverse_proxy {$APP}
}`, "/spa/route", ""},
		{"in route, after uri strip_prefix", global + `http://localhost:{$PORT} {
	route {
		uri strip_prefix /app
		gatehouse
		reverse_proxy {$APP}
	}
}`, "/app/x", ""},
		{"in a snippet", global + `(auth) {
	gatehouse {args[0]} {
		allow groups {args[1:]}
	}
}
http://localhost:{$PORT} {
	import auth /admin/* staff ops
	reverse_proxy {$APP}
}`, "/admin/x", "/other"},
		{"in handle, with base_path below it", global + `http://localhost:{$PORT} {
	handle /app/* {
		gatehouse {
			base_path /app/oauth2
		}
		reverse_proxy {$APP}
	}
	handle {
		respond 404
	}
}`, "/app/x", ""},
		{"in handle_path", global + `http://localhost:{$PORT} {
	handle_path /app/* {
		gatehouse {
			base_path /app/oauth2
		}
		reverse_proxy {$APP}
	}
}`, "/app/x", ""},
		{"site and area", global + `http://localhost:{$PORT} {
	gatehouse
	gatehouse /admin/* {
		allow groups staff
		header X-Team preferred_username
	}
	reverse_proxy {$APP}
}`, "/admin/x", ""},
		{"site and handle", global + `http://localhost:{$PORT} {
	gatehouse /admin/*
	handle /admin/* {
		gatehouse {
			allow groups staff
		}
		reverse_proxy {$APP}
	}
	handle {
		reverse_proxy {$APP}
	}
}`, "/admin/x", "/other"},
		{"area of a site with its own issuer", `http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id {$CLIENT_ID}
		client_secret {$CLIENT_SECRET}
		user_claim preferred_username
	}
	gatehouse /admin/* {$ISSUER} {
		client_id {$CLIENT_ID}
		client_secret {$CLIENT_SECRET}
		user_claim preferred_username
		allow user alice
	}
	reverse_proxy {$APP}
}`, "/admin/x", ""},
		{"invoked route", `{
	gatehouse {
		{$PROVIDER}
	}
}
&(guard) {
	route {
		gatehouse
		reverse_proxy {$APP}
	}
}
http://localhost:{$PORT} {
	invoke guard
}`, "/x", ""},
		{"http:// of every host", global + `http://:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}`, "/x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, tt.caddyfile, func(p *testop.Provider) { p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}} })
			b := NewBrowser(t)
			if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+tt.protected, spoofed, ""); page.Status != http.StatusUnauthorized {
				t.Fatalf("without session: %d", page.Status)
			}
			if tt.open_ != "" {
				if got := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+tt.open_, spoofed, ""))); len(got) != 0 {
					t.Errorf("spoofed on an open path: %v", got)
				}
			}
			if page := b.Navigate(s.HTTP() + tt.protected); page.Status != http.StatusOK {
				t.Fatalf("sign-in ended at %s with %d:\n%s", page.URL, page.Status, brief(page))
			} else if page.URL.Path != tt.protected {
				t.Errorf("came back to %s", page.URL)
			}
			for _, path := range []string{tt.protected, tt.open_} {
				if path == "" {
					continue
				}
				got := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+path, spoofed, "")))
				if got["xforwardeduser"] != "alice" || got["remoteuser"] != "" || strings.Contains(got["xforwardedgroups"], "admin") {
					t.Errorf("%s: the application is told %v", path, got)
				}
			}
		})
	}
}

// A rewrite never opens a path that either its old or its new name protects (SEC-08), and what servers read in
// different ways is protected if any of them would say so (SEC-01, SEC-02, SEC-07).
func TestRewritesAndReadings(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	@spa path /spa/* /admin/spa
	rewrite @spa /index.html
	rewrite /entrance /admin/back
	rewrite /static/in /private
	gatehouse /admin/*
	reverse_proxy {$APP}
}
http://public.localhost:{$PORT} {
	rewrite /static/in /private
	rewrite /private/out /static/out
	gatehouse {
		public /static/* /healthz
	}
	reverse_proxy {$APP}
}
`)
	matched := s.HTTP()
	public := "http://public.localhost:" + s.Port
	for _, tt := range []struct {
		at, path string
		open     bool
	}{
		{matched, "/other", true},
		{matched, "/spa/x", true},
		{matched, "/admin/x", false},
		{matched, "/admin/spa", false},
		{matched, "/entrance", false},
		{matched, "/ADMIN/x", false},
		{matched, "//admin/x", false},
		{matched, "/./admin/x", false},
		{matched, "/x/..%2fadmin/x", false},
		{matched, "/x/%2e%2e/admin/x", false},
		{matched, "/admin;x=1/x", false},
		{matched, "/x/..;/admin/x", false},
		{matched, "/x%5c..%5cadmin/x", false},
		{matched, "/%2561dmin/x", false},
		{matched, "/%61dmin/x", false},
		{matched, "/%25zz/%252e%252e/admin/x", false},
		{matched, "/x%253f/%252e%252e/admin/x", false},
		{matched, "/x%23%5c..%5cadmin%5cs", false},
		{matched, "/x%00%5c..%5cadmin%5cs", false},
		{matched, "/100%25/x", true},
		{public, "/static/x", true},
		{public, "/healthz", true},
		{public, "/", false},
		{public, "/static/in", false},
		{public, "/private/out", false},
		{public, "/static/../private", false},
		{public, "/static/%2e%2e/private", false},
		{public, "/static/..%2fprivate", false},
		{public, "/static/..;/private", false},
		{public, "/static/%2e%2e;x/private", false},
		{public, "/static%5c..%5cprivate", false},
		{public, "/static/%252e%252e/private", false},
		{public, "/private%3f/static/x", false},
		{public, "/static/%25zz/%252e%252e/%252e%252e/private", false},
		{public, "/static/%2523/%252e%252e/%252e%252e/private", false},
		{public, "/static/%23%5c..%5c..%5cprivate", false},
		{public, "/static/a%20b.png", true},
		{public, "/private%23/static/x", false},
		{public, "/private?/static/x", false},
		{public, "/private?x=/healthz", false},
		{public, "/healthz/x", false},
		{public, "/x/healthz", false},
	} {
		b := NewBrowser(t)
		r, err := http.NewRequest(http.MethodGet, tt.at+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		page := b.Do(r)
		if open := page.Status == http.StatusOK; open != tt.open {
			t.Errorf("%s%s: status %d, open %v", tt.at, tt.path, page.Status, tt.open)
		}
	}
}

// Each option that only the outermost gate can honour is an error in a later one, never silence (SEC-90).
func TestGateConflict(t *testing.T) {
	const head = `{
	gatehouse {
		provider one {
			issuer {$ISSUER}
			client_id {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
		}
		provider two {
			issuer https://two.example.com
			client_id x
			client_secret x
		}
	}
}
http://localhost:{$PORT} {
	gatehouse one
	gatehouse /area/* `
	for name, later := range map[string]string{
		"base_path":      "{\n\t\tbase_path /other\n\t}",
		"public_url":     "{\n\t\tpublic_url https://app.example.com\n\t}",
		"pages":          "{\n\t\tpages {\n\t\t\tname Other\n\t\t}\n\t}",
		"errors":         "{\n\t\terrors pass\n\t}",
		"return_to":      "{\n\t\treturn_to https://other.example.com\n\t}",
		"post_logout":    "{\n\t\tpost_logout https://other.example.com\n\t}",
		"private":        "{\n\t\tprivate_responses off\n\t}",
		"streams":        "{\n\t\tstreams keep\n\t}",
		"forms":          "{\n\t\tpreserve_post\n\t}",
		"other provider": "two",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, head+later+"\n\treverse_proxy {$APP}\n}\n")
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			wantReason(t, b.Navigate(s.HTTP()+"/area/x"), http.StatusInternalServerError, "gate_conflict")
			s.WaitLog("gate_conflict")
		})
	}
}

// A second gate clears the header names of its own, whatever the first has let through.
func TestSecondGateClearsItsOwnHeaders(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		public /area/open
	}
	gatehouse /area/* {
		header X-Team team
		public /area/open
	}
	reverse_proxy {$APP}
}
`)
	b := NewBrowser(t)
	forged := http.Header{"X-Team": {"root"}, "X_team": {"root"}}
	if got := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/area/open", forged, ""))); len(got) != 0 {
		t.Errorf("anonymous, open: %v", got)
	}
	seen(t, b.Navigate(s.HTTP()+"/area/x"))
	if got := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/area/x", forged, ""))); got["xteam"] != "" || got["xforwardeduser"] != "alice" {
		t.Errorf("SEC-23 signed in, without the claim: %v", got)
	}
}

// SEC-86, P28: the wiki's cookie opens nothing at the admin host, though one wildcard site serves both.
func TestCookieOfAnotherHost(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
https://*.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse
	reverse_proxy {$APP}
}
`)
	wiki, admin := s.HTTPS("wiki.example.test"), s.HTTPS("admin.example.test")
	b := NewBrowser(t)
	seen(t, b.Navigate(wiki+"/"))
	stolen := b.Jar.Cookie("__Host-gatehouse")
	if stolen == nil || !stolen.Secure || !stolen.HttpOnly {
		t.Fatalf("the session cookie: %v (%v)", stolen, b.Jar.Names("wiki.example.test"))
	}
	for _, host := range []string{admin, wiki} {
		r, err := http.NewRequest(http.MethodGet, host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", stolen.Name+"="+stolen.Value)
		page := NewBrowser(t).Do(r)
		if passes := page.Status == http.StatusOK; passes != (host == wiki) {
			t.Errorf("%s: %d", host, page.Status)
		}
	}
}
