package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
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
