package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// validate provisions a JSON configuration with one gate, as `caddy validate` does.
func validate(t *testing.T, app, gate string) error {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	config := &caddy.Config{AppsRaw: caddy.ModuleMap{
		"gatehouse": json.RawMessage(app),
		"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [` +
			`{"handler": "gatehouse"` + gate + `}]}]}}}`),
	}}
	return caddy.Validate(config)
}

const oneProvider = `{"providers": [{"issuer": "https://id.example.com", "client_id": "app", "client_secret": "x"}]}`

const github = `{"providers": [{"preset": "github", "client_id": "app", "client_secret": "x"}]}`

// What the Caddyfile's parser refuses, a JSON configuration may hold: it is refused when it is loaded, and never at the
// first request (SEC-11).
func TestJSONIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, app, gate, says string }{
		{"right", oneProvider, ``, ""},
		{"null provider", `{"providers": [null]}`, ``, "null"},
		{"no provider", `{}`, ``, "no provider"},
		{"provider without issuer", `{"providers": [{"client_id": "app", "client_secret": "x"}]}`, ``, "issuer"},
		{"provider without client id", `{"providers": [{"issuer": "https://id.example.com", "client_secret": "x"}]}`, ``, "client_id"},
		{"provider without secret", `{"providers": [{"issuer": "https://id.example.com", "client_id": "app"}]}`, ``, "client_secret"},
		{"provider twice", strings.Replace(oneProvider, "[", `[{"issuer": "https://b.example.com", "client_id": "b", "client_secret": "x"},`, 1), ``, "twice"},
		{"provider name", strings.Replace(oneProvider, `"issuer"`, `"name": "A B", "issuer"`, 1), ``, "A B"},
		{"unknown preset", strings.Replace(oneProvider, `"issuer"`, `"preset": "okta", "issuer"`, 1), ``, "okta"},
		{"unknown userinfo", strings.Replace(oneProvider, `"issuer"`, `"userinfo": "maybe", "issuer"`, 1), ``, "maybe"},
		{"unknown client_auth", strings.Replace(oneProvider, `"issuer"`, `"client_auth": "basic", "issuer"`, 1), ``, "basic"},
		{"claim without path", strings.Replace(oneProvider, `"issuer"`, `"claim": [{"name": "x"}], "issuer"`, 1), ``, "claim"},
		{"placeholder in user_claim", strings.Replace(oneProvider, `"issuer"`, `"user_claim": "{env.NOPE_NOPE}", "issuer"`, 1), ``, "NOPE_NOPE"},
		{"assertion in no file", strings.Replace(oneProvider, `"client_secret": "x"`, `"client_assertion": "/nowhere/token"`, 1), ``, "/nowhere/token: no such file"},
		{"assertion that is none", strings.Replace(oneProvider, `"client_secret": "x"`, `"client_assertion": "provider_test.go"`, 1), ``, "client_assertion provider_test.go: no client assertion: not a signed JWT"},
		{"assertion of a variable that is not set", strings.Replace(oneProvider, `"client_secret": "x"`, `"client_assertion": "{env.NOPE_NOPE}"`, 1), ``, "NOPE_NOPE"},
		{"assertion and secret", strings.Replace(oneProvider, `"client_secret"`, `"client_assertion": "ASSERTION", "client_secret"`, 1), ``, "ASSERTION"},
		{"client_auth none with a secret", strings.Replace(oneProvider, `"issuer"`, `"client_auth": "none", "issuer"`, 1), ``, "contradict"},
		{"preset github", github, `, "allow": [{"any": true}]`, ""},
		{"anybody of GitHub", github, ``, "allow any"},
		{"GitHub by another name", strings.Replace(github, `"github"`, `"oauth2", "issuer": "https://a.example.com", "endpoint": {"authorization": "https://github.com/login/oauth/authorize", "token": "https://a.example.com/t", "userinfo": "https://a.example.com/u"}`, 1), ``, "allow any"},
		{"GitHub's secret for another server", strings.Replace(github, `"github"`, `"github", "issuer": "https://git.example.com/login/oauth"`, 1), ``, "endpoint authorization: missing; of a provider that is plain OAuth 2.0"},
		{"OpenID Connect at GitHub", strings.Replace(github, `"github"`, `"github", "scopes": ["openid"]`, 1), `, "allow": [{"any": true}]`, "scopes"},
		{"plain OAuth 2.0 without userinfo", strings.Replace(github, `"github"`, `"github", "userinfo": "off"`, 1), `, "allow": [{"any": true}]`, "userinfo"},
		{"sub of a path that is empty", strings.Replace(github, `"github"`, `"github", "claim": [{"name": "sub", "from": ""}]`, 1), `, "allow": [{"any": true}]`, "claim sub"},
		{"another sub at OpenID Connect", strings.Replace(oneProvider, `"issuer"`, `"claim": [{"name": "sub", "from": "id"}], "issuer"`, 1), ``, "claim sub"},
		{"sub twice", strings.Replace(github, `"github"`, `"github", "claim": [{"name": "sub", "from": "id"}, {"name": "sub", "from": "login"}]`, 1), `, "allow": [{"any": true}]`, "twice"},
		{"unknown member", oneProvider, `, "alow": []`, "alow"},
		{"unknown provider", oneProvider, `, "providers": ["nobody"]`, "nobody"},
		{"provider named twice", oneProvider, `, "providers": ["default", "default"]`, "twice"},
		{"issuer and names", oneProvider, `, "providers": ["default"], "provider": {"issuer": "https://x.example.com", "client_id": "a", "client_secret": "x"}`, "not both"},
		{"empty rule", oneProvider, `, "allow": [{}]`, "exactly one"},
		{"a deny that fits nobody for its comma", oneProvider, `, "deny": [{"claims": {"groups": ["interns,", "guests"]}}]`, "spaces"},
		{"two forms in a rule", oneProvider, `, "allow": [{"any": true, "claims": {"a": ["b"]}}]`, "exactly one"},
		{"rule without values", oneProvider, `, "deny": [{"claims": {"groups": []}}]`, "no value"},
		{"rule with an empty value", oneProvider, `, "deny": [{"claims": {"groups": [""]}}]`, "empty"},
		{"rule with a placeholder of a request", oneProvider, `, "deny": [{"claims": {"groups": ["{http.request.host}"]}}]`, "http.request.host"},
		{"users, of no file", `{}`, `, "users": "/nonexistent/users"`, "/nonexistent/users"},
		{"users, of a placeholder of a request", `{}`, `, "users": "{http.request.host}"`, "http.request.host"},
		{"users beside a provider of that name", strings.Replace(oneProvider, `"issuer"`, `"name": "users", "issuer"`, 1), `, "users": "/dev/null"`, "called users"},
		{"users, and bound tokens only", oneProvider, `, "users": "/dev/null", "bearer": {"audience": ["a"], "require_bound": true}`, "require_bound"},
		{"users beside a provider, and a rule that says not whose", oneProvider, `, "users": "/dev/null", "allow": [{"claims": {"groups": ["ops"]}}]`, "default:ops"},
		{"deny any", oneProvider, `, "deny": [{"any": true}]`, "everybody"},
		{"refresh_interval negative", strings.Replace(oneProvider, `"issuer"`, `"refresh_interval": -1, "issuer"`, 1), ``, "refresh_interval"},
		{"unknown discovery", strings.Replace(oneProvider, `"issuer"`, `"discovery": "on", "issuer"`, 1), ``, "discovery"},
		{"discovery off without endpoints", strings.Replace(oneProvider, `"issuer"`, `"discovery": "off", "issuer"`, 1), ``, "discovery"},
		{"unknown endpoint", strings.Replace(oneProvider, `"issuer"`, `"endpoint": {"tokens": "https://x.example.com"}, "issuer"`, 1), ``, "tokens"},
		{"endpoint empty", strings.Replace(oneProvider, `"issuer"`, `"endpoint": {"token": ""}, "issuer"`, 1), ``, "endpoint token"},
		{"unknown trust pool", strings.Replace(oneProvider, `"issuer"`, `"tls_trust_pool": {"provider": "nope"}, "issuer"`, 1), ``, "tls_trust_pool"},
		{"userinfo required and off", strings.Replace(oneProvider, `"issuer"`, `"userinfo": "required", "endpoint": {"userinfo": "off"}, "issuer"`, 1), ``, "userinfo: required"},
		{"trust pool of nobody", strings.Replace(oneProvider, `"issuer"`, `"tls_trust_pool": {"provider": "system"}, "insecure_skip_tls_verify": true, "issuer"`, 1), ``, "contradict"},
		{"reach with a path", strings.Replace(oneProvider, `"issuer"`, `"reach": "https://x.example.com/y", "issuer"`, 1), ``, "reach"},
		{"proxy with a password", strings.Replace(oneProvider, `"issuer"`, `"forward_proxy_url": "ftp://a:hidden@x.example.com", "issuer"`, 1), ``, "xxxxx"},
		{"empty requirement", oneProvider, `, "require": [{}]`, "exactly one"},
		{"requirement of both", oneProvider, `, "require": [{"acr": ["a"], "max_age": "5m"}]`, "exactly one"},
		{"requirement of an empty acr", oneProvider, `, "require": [{"acr": [""]}]`, "empty"},
		{"requirement of two acr in one", oneProvider, `, "require": [{"acr": ["a b"]}]`, "a b"},
		{"requirement of a quoted acr", oneProvider, `, "require": [{"acr": ["a\"b"]}]`, "quotation"},
		{"requirement of a moment", oneProvider, `, "require": [{"max_age": "1s"}]`, "max_age"},
		{"requirement of less than nothing", oneProvider, `, "require": [{"max_age": -1}]`, "max_age"},
		{"unknown unauthenticated", oneProvider, `, "unauthenticated": "maybe"`, "maybe"},
		{"unknown headers", oneProvider, `, "headers": "both"`, "both"},
		{"unknown errors", oneProvider, `, "errors": "never"`, "never"},
		{"unknown private_responses", oneProvider, `, "private_responses": "yes"`, "yes"},
		{"unknown streams", oneProvider, `, "streams": "perhaps"`, "perhaps"},
		{"forms of less than nothing", oneProvider, `, "preserve_post": -1`, "preserve_post"},
		{"forms that fill the memory", oneProvider, `, "preserve_post": 1048577`, "preserve_post"},
		{"public without slash", oneProvider, `, "public": ["health"]`, "slash"},
		{"matcher on who is signed in", oneProvider, `, "match": [{"vars": {"{http.auth.user.groups}": ["staff"]}}]`, "nobody is signed in yet"},
		{"matcher within a matcher on who is signed in", oneProvider, `, "match": [{"not": [{"expression": "{http.auth.user.id} == 'alice'"}]}]`, "nobody is signed in yet"},
		{"rule for who is signed in", oneProvider, `, "deny": [{"match": {"vars": {"{http.auth.user.groups}": ["staff"]}}, "claims": {"groups": ["x"]}}]`, "nobody is signed in yet"},
		{"requirement for who is signed in", oneProvider, `, "require": [{"match": {"vars": {"{http.auth.user.groups}": ["staff"]}}, "acr": ["phr"]}]`, "nobody is signed in yet"},
		{"form_post over http", strings.Replace(oneProvider, `"issuer"`, `"response_mode": "form_post", "issuer"`, 1), `, "session": {"insecure_http": true}`, "form_post"},
		{"form_post over http, which is https to browsers", strings.Replace(oneProvider, `"issuer"`, `"response_mode": "form_post", "issuer"`, 1), `, "session": {"insecure_http": true}, "public_url": "https://app.example.com"`, ""},
		{"issuer of all tenants", strings.Replace(oneProvider, "https://id.example.com", "https://login.microsoftonline.com/common/v2.0", 1), ``, "each tenant does"},
		{"issuer of all organizations", strings.Replace(oneProvider, "https://id.example.com", "https://login.microsoftonline.com/organizations/v2.0", 1), ``, "each tenant does"},
		{"issuer of one tenant", strings.Replace(oneProvider, "https://id.example.com", "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0", 1), ``, ""},
		{"groups of github without the scope", github, `, "deny": [{"claims": {"groups": ["example"]}}], "allow": [{"any": true}]`, "read:org"},
		{"expression on groups of github without the scope", github, `, "allow": [{"expression": "\"example\" in claims.groups"}]`, "read:org"},
		{"groups of github", strings.Replace(github, `"preset"`, `"scopes": ["read:user", "read:org"], "preset"`, 1), `, "allow": [{"claims": {"groups": ["example"]}}]`, ""},
		{"public that a request chooses", oneProvider, `, "public": ["/{http.request.header.X}*"]`, "placeholder"},
		{"header without claim", oneProvider, `, "header": [{"name": "X-A", "claim": ""}]`, "X-A"},
		{"unknown token", oneProvider, `, "forward": [{"token": "refresh_token"}]`, "refresh_token"},
		{"token without a name", oneProvider, `, "forward": [{"header": "X-Token"}]`, "none of"},
		{"token into a bad name", oneProvider, `, "forward": [{"token": "access_token", "header": "X Token"}]`, "no header's name"},
		{"token into Cookie", oneProvider, `, "forward": [{"token": "access_token", "header": "cookie"}]`, "Cookie"},
		{"token into DPoP", oneProvider, `, "forward": [{"token": "access_token", "header": "DPoP"}]`, "Dpop"},
		{"token into Proxy-Authorization", oneProvider, `, "forward": [{"token": "access_token", "header": "proxy-authorization"}]`, "Proxy-Authorization"},
		{"token into an identity header", oneProvider, `, "forward": [{"token": "access_token", "header": "X-Forwarded-User"}]`, "twice"},
		{"token into a claim's header, as CGI has it", oneProvider, `, "header": [{"name": "X-Team", "claim": "team"}], "forward": [{"token": "access_token", "header": "XTeam"}]`, "twice"},
		{"two tokens into one header", oneProvider, `, "forward": [{"token": "access_token", "header": "Authorization"}, {"token": "id_token", "header": "authorization"}]`, "twice"},
		{"ID token of a provider that issues none", github, `, "allow": [{"any": true}], "forward": [{"token": "id_token"}]`, "issues no ID tokens"},
		{"access token of plain OAuth 2.0", github, `, "allow": [{"any": true}], "forward": [{"token": "access_token"}]`, ""},
		{"base_path with a query", oneProvider, `, "base_path": "/a?b"`, "base_path"},
		{"base_path without slash", oneProvider, `, "base_path": "auth"`, "base_path"},
		{"public_url with a path", oneProvider, `, "public_url": "https://app.example.com/x"`, "public_url"},
		{"public_url of a script", oneProvider, `, "public_url": "javascript://app"`, "public_url"},
		{"return_to with a path", oneProvider, `, "return_to": ["https://a.example.com/x"]`, "return_to"},
		{"trusted_origins star", oneProvider, `, "trusted_origins": ["*"]`, "trusted_origins"},
		{"post_logout of a script", oneProvider, `, "post_logout": "javascript:alert(1)"`, "post_logout"},
		{"unknown store", oneProvider, `, "session": {"store": "files"}`, "files"},
		{"unknown store module", oneProvider, `, "session": {"store": {"backend": "files"}}`, "files"},
		{"memory and shared", oneProvider, `, "session": {"store": "memory", "shared": {"backend": "redis"}}`, "contradict"},
		{"a store that shares and shared", oneProvider, `, "session": {"store": {"backend": "redis"}, "shared": {"backend": "redis"}}`, "contradict"},
		{"redis that is right", oneProvider, `, "session": {"store": {"backend": "redis", "address": ["r"], "prefix": "x:"}}`, ""},
		{"redis at several addresses", oneProvider, `, "session": {"shared": {"backend": "redis", "address": ["a:1", "b:1"]}}`, "sentinel or cluster"},
		{"redis by sentinel and cluster", oneProvider, `, "session": {"shared": {"backend": "redis", "cluster": true, "sentinel": "m"}}`, "contradict"},
		{"redis with a password in its address", oneProvider, `, "session": {"shared": {"backend": "redis", "address": ["redis://a:hidden@b"]}}`, "without scheme"},
		{"redis at a port that is none", oneProvider, `, "session": {"shared": {"backend": "redis", "address": ["a:x"]}}`, "a:x"},
		{"redis at a port that is too high", oneProvider, `, "session": {"shared": {"backend": "redis", "address": ["a:70000"]}}`, "70000"},
		{"redis user without password", oneProvider, `, "session": {"shared": {"backend": "redis", "username": "a"}}`, "password"},
		{"redis password that is not there", oneProvider, `, "session": {"shared": {"backend": "redis", "password": "{env.NOPE_NOPE}"}}`, "NOPE_NOPE"},
		{"redis sentinel password without sentinel", oneProvider, `, "session": {"shared": {"backend": "redis", "sentinel_password": "x"}}`, "without sentinel"},
		{"redis sentinel user without password", oneProvider, `, "session": {"shared": {"backend": "redis", "sentinel": "m", "sentinel_username": "x", "password": "y"}}`, "sentinel_password"},
		{"redis sentinel password that is not there", oneProvider, `, "session": {"shared": {"backend": "redis", "sentinel": "m", "sentinel_password": "{env.NOPE_NOPE}"}}`, "NOPE_NOPE"},
		{"redis sentinel password with a brace", oneProvider, `, "session": {"shared": {"backend": "redis", "sentinel": "m", "sentinel_password": "{hidden"}}`, ""},
		{"redis trust without tls", oneProvider, `, "session": {"shared": {"backend": "redis", "tls_trust_pool": {"provider": "system"}}}`, "without tls"},
		{"redis over TLS at a socket", oneProvider, `, "session": {"shared": {"backend": "redis", "tls": true, "address": ["unix//run/redis.sock"]}}`, "socket"},
		{"redis prefix with braces", oneProvider, `, "session": {"shared": {"backend": "redis", "prefix": "{a}"}}`, "a"},
		{"redis unknown member", oneProvider, `, "session": {"shared": {"backend": "redis", "db": 1}}`, "db"},
		{"keys that are right", oneProvider, `, "session": {"keys": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}`, ""},
		{"keys too short", oneProvider, `, "session": {"keys": ["aGlkZGVu"]}`, "32 bytes"},
		{"keys not in base64", oneProvider, `, "session": {"keys": ["hidden hidden!"]}`, "base64"},
		{"keys twice", oneProvider, `, "session": {"keys": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}`, "two"},
		{"keys of a variable that is not set", oneProvider, `, "session": {"keys": ["{env.NOPE_NOPE}"]}`, "NOPE_NOPE"},
		{"negative lifetime", oneProvider, `, "session": {"lifetime": -1}`, "lifetime"},
		{"negative idle timeout", oneProvider, `, "session": {"idle_timeout": -1}`, "idle_timeout"},
		{"unknown same site", oneProvider, `, "session": {"cookie_same_site": "loose"}`, "loose"},
		{"unknown persist", oneProvider, `, "session": {"cookie_persist": "nope"}`, "nope"},
		{"cookie name", oneProvider, `, "session": {"cookie_name": "a;b"}`, "a;b"},
		{"session twice", strings.Replace(oneProvider, "{", `{"session": {}, `, 1), `, "session": {}`, "never merged"},
		{"color", oneProvider, `, "pages": {"color": "red;}"}`, "red"},
		{"logo of a script", oneProvider, `, "pages": {"logo": "javascript:alert(1)"}`, "logo"},
		{"pages without templates", oneProvider, `, "pages": {"root": "/nonexistent"}`, "nonexistent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := validate(t, tt.app, tt.gate)
			switch {
			case tt.says == "" && err != nil:
				t.Fatal(err)
			case err != nil && strings.Contains(err.Error(), "hidden"):
				t.Errorf("it shows a secret: %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want an error that says %q", err, tt.says)
			}
		})
	}
}

// A WebSocket over HTTP/3 and HTTP/2 is a CONNECT (RFC 9220, RFC 8441); any other CONNECT is refused.
func TestExtendedConnect(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*http.Request)
		passes bool
	}{
		"HTTP/3 websocket": {func(r *http.Request) { r.ProtoMajor, r.Proto = 3, "websocket" }, true},
		"HTTP/2 websocket": {func(r *http.Request) { r.ProtoMajor = 2; r.Header.Set(":protocol", "websocket") }, true},
		"HTTP/3 tunnel":    {func(r *http.Request) { r.ProtoMajor, r.Proto = 3, "HTTP/3.0" }, false},
		"HTTP/3 udp":       {func(r *http.Request) { r.ProtoMajor, r.Proto = 3, "connect-udp" }, false},
		"HTTP/1 tunnel":    {func(*http.Request) {}, false},
		"named websocket":  {func(r *http.Request) { r.Proto = "websocket" }, false},
	} {
		g := &Gate{names: newNameSet()}
		r := request(t, http.MethodConnect, "https://app.example.com/ws")
		tt.set(r)
		if _, err := g.receive(r); (err == nil) != tt.passes {
			t.Errorf("%s: %v", name, err)
		}
		caddyhttp.SetVar(r.Context(), visitVar, nil)
	}
}
