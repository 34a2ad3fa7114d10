package caddymodule

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// SEC-20, SEC-22: what a CGI, WSGI or PHP application makes one variable of is
// one name, however it is spelt.
func TestNameSetFolds(t *testing.T) {
	names := newNameSet(knownIdentityHeaders)
	for _, spelling := range []string{
		"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "XForwardedUser",
		"X--Forwarded--User", "-X-Forwarded-User", "X-Forwarded-User_", "X.Forwarded.User", "X+Forwarded+User",
		"REMOTE_USER", "Remote^User", "RemoteUser", "X~Forwarded~Groups", "x-aUTH-rEQUEST-eMAIL",
		"X_Token_User_Roles", "OIDC_CLAIM_sub", "x-authentik-username", "X-WEBAUTH-USER",
	} {
		if !names.has(spelling) {
			t.Errorf("%q is not recognised as an identity header", spelling)
		}
	}
	for _, other := range []string{
		"X-Forwarded-For", "X-Forwarded-Users", "User-Agent", "X-User", "", "-", "Remote-Address",
		strings.Repeat("X-Forwarded-User", 10),
	} {
		if names.has(other) {
			t.Errorf("%q is taken for an identity header", other)
		}
	}
}

// SEC-20 to SEC-25: each name by which an application may know who is calling is cleared, whichever gate it once stood behind.
// The names stand here once more, so that none goes from the list unnoticed.
func TestHeadersOfOtherGatesAreCleared(t *testing.T) {
	names := newNameSet(knownIdentityHeaders, replacingHeaders)
	for gate, headers := range map[string]string{
		"this one's": "X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Forwarded-Id-Token X-Gatehouse-Assertion",
		"Authelia, as Caddy's documentation has it": "Remote-User Remote-Email Remote-Groups Remote-Name",
		"with an X":                              "X-Remote-User X-Remote-Email X-Remote-Groups X-Remote-Name",
		"oauth2-proxy":                           "X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username X-Auth-Request-Access-Token",
		"Grafana, Nextcloud and others by proxy": "X-Webauth-User X-Authenticated-User X-Forwarded-Name",
		"Vouch":                                  "X-Vouch-User",
		"caddy-security":                         "X-Token-Subject X-Token-User-Name X-Token-User-Email X-Token-User-Roles",
		"authentik":                              "X-Authentik-Username X-Authentik-Groups X-Authentik-Entitlements X-Authentik-Email X-Authentik-Name X-Authentik-Uid X-Authentik-Jwt",
		"mod_auth_openidc":                       "OIDC_CLAIM_sub OIDC_CLAIM_email OIDC_CLAIM_name OIDC_CLAIM_preferred_username OIDC_CLAIM_groups OIDC_access_token OIDC_id_token",
		"SEC-04 paths":                           "X-Original-Url X-Rewrite-Url",
		"SEC-04 WSGI, CGI":                       "X-Script-Name Script-Name Path-Info",
	} {
		for _, name := range strings.Fields(headers) {
			r := &http.Request{Header: http.Header{name: {"admin"}, "X-Other": {"kept"}}}
			if clearIdentity(r, names); len(r.Header) != 1 || r.Header.Get("X-Other") != "kept" {
				t.Errorf("%s: %s: what is left: %v", gate, name, r.Header)
			}
		}
	}
}

func TestReduceConnection(t *testing.T) {
	for _, tt := range []struct {
		name             string
		in               http.Header
		connection, left string
	}{
		{"SEC-24 hop-by-hop nomination", http.Header{"Connection": {"close, X-Forwarded-User"}}, "close", "Connection"},
		{"SEC-24 lower case", http.Header{"Connection": {"x-forwarded-user"}}, "", ""},
		{"SEC-24 over two lines", http.Header{"Connection": {"keep-alive", "X-Forwarded-Groups, Cookie"}}, "keep-alive", "Connection"},
		{"websocket", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, "upgrade", "Connection,Upgrade"},
		{"websocket with a nomination", http.Header{"Connection": {"Upgrade, Remote-User"}, "Upgrade": {"WebSocket"}}, "upgrade", "Connection,Upgrade"},
		{"h2c smuggling", http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAM"}}, "", ""},
		{"h2c beside websocket", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket, h2c"}}, "", ""},
		{"two upgrades", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket", "h2c"}}, "", ""},
		{"proxy-connection", http.Header{"Proxy-Connection": {"X-Forwarded-User"}}, "", ""},
		{"none", http.Header{"Accept": {"*/*"}}, "", "Accept"},
		{"keep-alive alone", http.Header{"Connection": {"keep-alive"}}, "keep-alive", "Connection"},
		{"close alone", http.Header{"Connection": {"close"}}, "close", "Connection"},
		{"a token twice", http.Header{"Connection": {"close, close"}}, "close", "Connection"},
		{"upgrade alone, in two lines", http.Header{"Connection": {"Upgrade", "upgrade"}, "Upgrade": {"websocket"}}, "upgrade", "Connection,Upgrade"},
		{"http2-settings beside websocket", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Http2-Settings": {"AAM"}}, "upgrade", "Connection,Upgrade"},
		{"empty, which names nothing", http.Header{"Connection": {""}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reduceConnection(tt.in)
			if got := tt.in.Get("Connection"); got != tt.connection {
				t.Errorf("Connection: %q, want %q", got, tt.connection)
			}
			var left []string
			for name := range tt.in {
				left = append(left, name)
			}
			slices.Sort(left)
			if got := strings.Join(left, ","); got != tt.left {
				t.Errorf("left: %s, want %s", got, tt.left)
			}
		})
	}
}

// Announced trailers reach the upstream, and what is not announced joins them
// when the body ends.
func TestClearIdentityTrailers(t *testing.T) {
	trailer := http.Header{"X-Forwarded-User": nil, "X-Checksum": nil}
	r := &http.Request{
		Header:  http.Header{"Trailer": {"X-Forwarded-User, X-Checksum"}, "X_forwarded_user": {"admin"}},
		Trailer: trailer,
		Body:    io.NopCloser(strings.NewReader("body")),
	}
	clearIdentity(r, newNameSet(knownIdentityHeaders))
	if len(r.Header["X_forwarded_user"]) != 0 {
		t.Error("the spoofed header is still there")
	}
	if got := r.Header.Get("Trailer"); got != "X-Checksum" {
		t.Errorf("announced: %q", got)
	}
	// net/http fills in every trailer that came when it meets the end of the body.
	trailer["Remote-User"] = []string{"admin"}
	trailer["X-Checksum"] = []string{"abc"}
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	if len(r.Trailer["Remote-User"]) != 0 || r.Trailer.Get("X-Checksum") != "abc" {
		t.Errorf("trailers after the body: %v", r.Trailer)
	}
}
