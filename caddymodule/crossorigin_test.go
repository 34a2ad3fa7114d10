package caddymodule

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// SEC-12: a sign-in or sign-out in TLS early data can be replayed, so it is asked for again.
func TestEarlyData(t *testing.T) {
	for name, serve := range map[string]func(*Gate, http.ResponseWriter, *http.Request, *visit) error{
		"callback": (*Gate).serveCallback,
		"logout":   (*Gate).serveLogout,
	} {
		g := &Gate{logger: zap.NewNop(), basePath: "/oauth2"}
		r := request(t, http.MethodGet, "/oauth2/"+name)
		r.TLS = &tls.ConnectionState{HandshakeComplete: false}
		var handlerError caddyhttp.HandlerError
		err := serve(g, httptest.NewRecorder(), r, &visit{gate: g})
		if !errors.As(err, &handlerError) || handlerError.StatusCode != http.StatusTooEarly {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCrossOriginRules(t *testing.T) {
	ours := origin{scheme: "https", host: "app.example.com"}
	g := &Gate{trusted: map[string]struct{}{"https://friend.example.com": {}}}
	for _, tt := range []struct {
		name, method string
		header       http.Header
		passes       bool
	}{
		{"GET of another site", "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, true},
		{"POST without any sign of a browser", "POST", nil, true},
		{"POST, same origin by Sec-Fetch-Site", "POST", http.Header{"Sec-Fetch-Site": {"same-origin"}}, true},
		{"POST, typed", "POST", http.Header{"Sec-Fetch-Site": {"none"}}, true},
		{"POST, same site is not same origin", "POST", http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		{"POST, our origin", "POST", http.Header{"Origin": {"https://app.example.com"}}, true},
		{"POST, our host over http (SEC-108)", "POST", http.Header{"Origin": {"http://app.example.com"}}, false},
		{"POST, trusted", "POST", http.Header{"Origin": {"https://friend.example.com"}, "Sec-Fetch-Site": {"cross-site"}}, true},
		{"POST, trusted by suffix only", "POST", http.Header{"Origin": {"https://x.friend.example.com"}}, false},
		{"POST, two origins", "POST", http.Header{"Origin": {"https://app.example.com", "https://evil.example"}}, false},
		{"GET, two origins", "GET", http.Header{"Origin": {"https://app.example.com", "https://evil.example"}}, false},
		{"an unknown method is unsafe", "FOO", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"extended CONNECT, ours", "CONNECT", http.Header{"Origin": {"https://app.example.com"}}, true},
		{"extended CONNECT, another site", "CONNECT", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"same-origin"}}, false},
		{"extended CONNECT, none", "CONNECT", nil, false},
		{"websocket in capitals", "GET", http.Header{"Upgrade": {"WebSocket"}, "Origin": {"https://evil.example"}}, false},
	} {
		r := request(t, tt.method, "/")
		if tt.header != nil {
			r.Header = tt.header
		}
		if err := g.crossOrigin(r, ours); (err == nil) != tt.passes {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
