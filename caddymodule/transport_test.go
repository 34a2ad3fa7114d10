package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The transport takes what Caddy's own takes, and nothing that would make proofs which no upstream could take.
func TestTransportIsProvisioned(t *testing.T) {
	for _, tt := range []struct{ name, options, says string }{
		{"bare", ``, ""},
		{"with Caddy's options", `, "dial_timeout": "5s", "versions": ["1.1"], "tls": {"insecure_skip_verify": true}`, ""},
		{"with an origin", `, "htu_origin": "https://api.example.com"`, ""},
		{"what Caddy refuses", `, "versions": ["4"]`, "unsupported HTTP version"},
		{"unknown option", `, "htu": "https://api.example.com"`, "htu"},
		{"origin with a path", `, "htu_origin": "https://api.example.com/v1"`, "htu_origin"},
		{"origin without a scheme", `, "htu_origin": "api.example.com"`, "htu_origin"},
		{"origin of a variable that is not set", `, "htu_origin": "{env.NOPE_NOPE}"`, "NOPE_NOPE"},
		{"origin that a request chooses", `, "htu_origin": "https://{http.request.host}"`, "http.request.host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			err := caddy.Validate(&caddy.Config{AppsRaw: caddy.ModuleMap{
				"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [` +
					`{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "gatehouse"` + tt.options + `}}]}]}}}`),
			}})
			switch {
			case tt.says == "" && err != nil:
				t.Fatal(err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want an error that says %q", err, tt.says)
			}
		})
	}
}

// What is no visit of a gate is no word of ours, whatever stands in that variable.
func TestOnlyAVisitBindsATokenTo(t *testing.T) {
	for name, value := range map[string]any{
		"nothing": nil, "a text": "forged", "a visit without one": &visit{}, "one whose headers others have taken": &visit{bound: &bound{}},
	} {
		r := request(t, http.MethodGet, "https://app.example.com/")
		caddyhttp.SetVar(r.Context(), visitVar, value)
		if boundToken(r) != nil {
			t.Error(name)
		}
	}
	r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/", nil) // a health check has no variables
	if err != nil || boundToken(r) != nil {
		t.Error("a request of the proxy's own", err)
	}
}

// RFC 9449 4.2: htu is what the upstream sees: its Host, and the path as it stands on the wire.
func TestProofTarget(t *testing.T) {
	for _, tt := range []struct{ name, url, host, origin, want string }{
		{"Host that is sent", "http://10.0.0.1:8080/a%2Fb?q=1", "api.example.com", "", "http://api.example.com/a%2Fb?q=1"},
		{"no Host", "https://10.0.0.1:8443/", "", "", "https://10.0.0.1:8443/"},
		{"an empty path", "http://10.0.0.1:8080", "api.example.com", "", "http://api.example.com/"},
		{"htu_origin", "http://10.0.0.1:8080/v1/x", "app.example.com", "https://api.example.com", "https://api.example.com/v1/x"},
	} {
		r, err := http.NewRequest(http.MethodGet, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tt.host
		transport := &Transport{htuOrigin: tt.origin}
		if got := transport.target(r); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
