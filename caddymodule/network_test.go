package caddymodule

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// SEC-85: two sites that trust different authorities for one client of one issuer do not share what they know of it.
func TestTrustPoolsAreNotMixedUp(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	app := &App{logger: zap.NewNop(), slogger: slog.New(slog.DiscardHandler), load: "one", needs: map[string]struct{}{}, issuers: map[string]struct{}{}}
	defer func() { _ = app.Cleanup() }()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pools := map[string]string{
		"system": `{"provider": "system"}`,
		"inline": fmt.Sprintf(`{"provider": "inline", "trusted_ca_certs": [%q]}`, base64.StdEncoding.EncodeToString(server.Certificate().Raw)),
	}
	clients := map[any]string{}
	for name, pool := range pools {
		for range 2 { // two sites that say the same share it
			p, err := app.provisionProvider(ctx, &ProviderConfig{
				Issuer: "https://id.example.com", ClientID: "app", ClientSecret: "x", NetworkConfig: NetworkConfig{TLSTrustPool: []byte(pool)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if other, known := clients[p.client]; known && other != name {
				t.Errorf("the client of %s is that of %s", name, other)
			}
			clients[p.client] = name
		}
	}
	if len(clients) != len(pools) {
		t.Errorf("%d clients, want %d", len(clients), len(pools))
	}
}
