package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A configuration that would take tokens it should not, or none, is refused when it is loaded.
func TestBearerIsRefused(t *testing.T) {
	two := strings.Replace(oneProvider, "[", `[{"name": "b", "issuer": "https://b.example.com", "client_id": "b", "client_secret": "x"},`, 1)
	network := func(words string) string {
		return `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com", ` + words + `}]}, "allow": [{"any": true}]`
	}
	for _, tt := range []struct{ name, app, gate, says string }{
		{"right", oneProvider, `"bearer": {"audience": ["https://app.example.com"]}`, ""},
		{"SEC-83 no audience", oneProvider, `"bearer": {}`, "audience"},
		{"SEC-11 an empty audience", oneProvider, `"bearer": {"audience": [""]}`, "empty"},
		{"an audience that a request chooses", oneProvider, `"bearer": {"audience": ["https://{http.request.host}"]}`, "http.request.host"},
		{"an audience claim that is not there", oneProvider, `"bearer": {"audience": ["a"], "audience_claim": "{env.NOPE_NOPE}"}`, "NOPE_NOPE"},
		{"SEC-81 alg HS256", oneProvider, `"bearer": {"audience": ["a"], "alg": ["HS256"]}`, "HS256"},
		{"an empty scope", oneProvider, `"bearer": {"audience": ["a"], "scopes": [""]}`, "empty"},
		{"unknown word", oneProvider, `"bearer": {"audience": ["a"], "audiences": ["a"]}`, "audiences"},
		{"introspection at one of two providers", two, `"bearer": {"audience": ["a"], "introspect": true}`, "introspect"},
		{"an issuer without rules", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com"}]}`, "allow any"},
		{"an issuer and a rule that does not say whose", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com"}]}, "allow": [{"claims": {"groups": ["ops"]}}]`, "default:ops"},
		{"an issuer and a rule", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com"}]}, "allow": [{"claims": {"user": ["ci.example.com:repo"]}}]`, ""},
		{"an issuer twice", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://id.example.com"}]}, "allow": [{"any": true}]`, "already"},
		{"two issuers of one name", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com/a"}, {"issuer": "https://ci.example.com/b"}]}, "allow": [{"any": true}]`, "taken for each other"},
		{"an issuer over http", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "http://ci.example.com"}]}, "allow": [{"any": true}]`, "https"},
		{"an issuer that is none", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "ci"}]}, "allow": [{"any": true}]`, "no URL"},
		{"a null issuer", oneProvider, `"bearer": {"audience": ["a"], "issuer": [null]}, "allow": [{"any": true}]`, "null"},
		{"an empty issuer", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": ""}]}, "allow": [{"any": true}]`, "empty"},
		{"an issuer that is a client", oneProvider, `"bearer": {"audience": ["a"], "issuer": [{"issuer": "https://ci.example.com", "client_id": "x"}]}, "allow": [{"any": true}]`, "client_id"},
		{"an issuer that is reached otherwise", oneProvider, network(`"reach": "https://ci.internal", "discovery": "off", "endpoint": {"jwks": "https://ci.internal/keys"}, "tls_trust_pool": {"provider": "system"}, "forward_proxy_url": "http://proxy.example.com"`), ""},
		{"an issuer whose verification is off", oneProvider, network(`"insecure_skip_tls_verify": true`), ""},
		{"an issuer that is trusted by nobody and anybody", oneProvider, network(`"insecure_skip_tls_verify": true, "tls_trust_pool": {"provider": "system"}`), "contradict"},
		{"an issuer reached over http", oneProvider, network(`"reach": "http://ci.internal"`), "reach"},
		{"an issuer reached by a variable that is not there", oneProvider, network(`"reach": "{env.NOPE_NOPE}"`), "NOPE_NOPE"},
		{"an issuer behind a proxy that is none", oneProvider, network(`"forward_proxy_url": "ftp://proxy"`), "forward_proxy_url"},
		{"an issuer of authorities that are none", oneProvider, network(`"tls_trust_pool": {"provider": "nope"}`), "tls_trust_pool"},
		{"an issuer without metadata and keys", oneProvider, network(`"discovery": "off"`), "no endpoint jwks"},
		{"an issuer whose discovery is on", oneProvider, network(`"discovery": "on", "endpoint": {"jwks": "https://ci.internal/keys"}`), "is not off"},
		{"an issuer at which somebody signs in", oneProvider, network(`"endpoint": {"token": "https://ci.internal/token"}`), "endpoint token"},
		{"an issuer without keys", oneProvider, network(`"endpoint": {"jwks": "off"}`), "endpoint jwks"},
		{"keys over http", oneProvider, network(`"endpoint": {"jwks": "http://ci.internal/keys"}`), "endpoint jwks"},
		{"unknown preflight", oneProvider, `"preflight": "maybe"`, "maybe"},
		{"introspection signed by HS256", strings.Replace(oneProvider, `"issuer"`, `"introspection_signed_response_alg": "HS256", "issuer"`, 1), `"bearer": {"audience": ["a"]}`, "introspection_signed_response_alg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := validate(t, tt.app, ", "+tt.gate)
			switch {
			case tt.says == "" && err != nil:
				t.Fatal(err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want an error that says %q", err, tt.says)
			}
		})
	}
}

// newBearerBenched is a gate that takes access tokens, and requests with one.
func newBearerBenched(b testing.TB) (gate *Gate, bring func(count int) []*http.Request) {
	op := testop.Start(b)
	b.Setenv("XDG_DATA_HOME", b.TempDir())
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module": "file_system", "root": %q}`, b.TempDir())),
		AppsRaw: caddy.ModuleMap{
			"gatehouse": json.RawMessage(fmt.Sprintf(`{"providers": [{"issuer": %q, "client_id": %q, "client_secret": %q, "user_claim": "preferred_username"}],
				"session": {"insecure_http": true}}`, op.Issuer(), op.ClientID, op.ClientSecret)),
			"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "gatehouse",
				"bearer": {"audience": ["http://app.example.com"], "scopes": ["read"]}, "public": ["/public/*"], "allow": [{"claims": {"groups": ["staff"]}}]}]}]}}}`),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	app, err := ctx.App("http")
	if err != nil {
		b.Fatal(err)
	}
	server := app.(*caddyhttp.App).Servers["s"]
	bench := &benched{gate: server.Routes[0].Handlers[0].(*Gate), server: server}
	token := op.Issue(testop.AccessToken{Audience: "http://app.example.com", Scope: "read write", Claims: testop.Edit{
		"preferred_username": "alice", "email": "alice@example.com", "email_verified": true, "groups": []string{"staff"},
	}})
	return bench.gate, func(count int) []*http.Request { return bench.bearing(count, token) }
}

// BenchmarkBearer is the whole of what the gate adds to a request with an access token that it knows.
func BenchmarkBearer(b *testing.B) {
	gate, bring := newBearerBenched(b)
	benchmarkGate(b, gate, bring)
}

// A known access token makes nine heap allocations: the visit, the token with its watch, its text, what asks the cache, the
// context and what cancels it, the placeholders, the values of the headers, and the list of the groups among them.
func TestAllocationBudgetOfAccessTokens(t *testing.T) {
	gate, bring := newBearerBenched(t)
	checkAllocations(t, gate, bring, 9)
}
