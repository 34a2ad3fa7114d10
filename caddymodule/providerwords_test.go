package caddymodule

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A provider is what its words say, and the strict one without them. Each dangerous word is warned of.
func TestProviderWords(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	core, logs := observer.New(zap.WarnLevel)
	app := &App{logger: zap.New(core), slogger: slog.New(slog.DiscardHandler), load: "one", needs: map[string]struct{}{}, issuers: map[string]struct{}{}}
	defer func() { _ = app.Cleanup() }()
	provision := func(change func(*ProviderConfig)) *provider {
		t.Helper()
		c := &ProviderConfig{Issuer: "https://id.example.com", ClientID: "app", ClientSecret: "x"}
		change(c)
		p, err := app.provisionProvider(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := provision(func(*ProviderConfig) {})
	if p.name != "default" || p.displayName != "default" || p.userClaim != "sub" || p.emailTrusted || p.public || p.plain || p.groupless || p.refreshInterval != 0 || p.dpop || len(p.paths) != 0 {
		t.Errorf("without a word: %+v", p)
	}
	if _, known := app.issuers["https://id.example.com"]; !known {
		t.Error("nobody can end the sessions of this issuer")
	}
	if logs.Len() != 0 {
		t.Errorf("warned of nothing: %v", logs.All())
	}
	for _, tt := range []struct {
		name   string
		change func(*ProviderConfig)
		says   func(*provider) bool
		warns  string
	}{
		{"name", func(c *ProviderConfig) { c.Name = "main" }, func(p *provider) bool { return p.name == "main" && p.displayName == "main" }, ""},
		{"display_name", func(c *ProviderConfig) { c.DisplayName = "Example" }, func(p *provider) bool { return p.name == "default" && p.displayName == "Example" }, ""},
		{"user_claim", func(c *ProviderConfig) { c.UserClaim = "upn" }, func(p *provider) bool { return p.userClaim == "upn" }, ""},
		{"claim", func(c *ProviderConfig) { c.Claim = []ClaimMapping{{Name: "groups", From: "realm.roles"}} }, func(p *provider) bool { return p.path("groups") == "realm.roles" }, ""},
		{"refresh_interval", func(c *ProviderConfig) { c.RefreshInterval = caddy.Duration(time.Minute) }, func(p *provider) bool { return p.refreshInterval == time.Minute }, ""},
		{"dpop", func(c *ProviderConfig) { c.DPoP = true }, func(p *provider) bool { return p.dpop }, ""},
		{"a public issuer", func(c *ProviderConfig) { c.Issuer = "https://accounts.google.com" }, func(p *provider) bool { return p.public }, ""},
		{"insecure_unverified_email", func(c *ProviderConfig) { c.InsecureUnverifiedEmail = true }, func(p *provider) bool { return p.emailTrusted }, "insecure_unverified_email"},
		{"insecure_skip_tls_verify", func(c *ProviderConfig) { c.InsecureSkipTLSVerify = true }, func(*provider) bool { return true }, "insecure_skip_tls_verify"},
	} {
		before := logs.Len()
		if p := provision(tt.change); !tt.says(p) {
			t.Errorf("%s: %+v", tt.name, p)
		}
		said := ""
		for _, line := range logs.All()[before:] {
			said += line.Message
		}
		if (said != "") != (tt.warns != "") || !strings.Contains(said, tt.warns) {
			t.Errorf("%s: warned %q", tt.name, said)
		}
	}
}

// RFC 9110 11.2: a token is of the characters that one may have, with = at its end alone.
func TestToken68(t *testing.T) {
	for text, want := range map[string]bool{
		"azAZ09-._~+/": true, "a": true, "a=": true, "a==": true,
		"": false, "=": false, "a=a": false, "a b": false, "a,b": false, "a\"": false, "a\x00": false, "\u00e9": false, "a\t": false,
		"@": false, "[": false, "`": false, "{": false, ":": false, ",": false,
	} {
		if got := isToken68(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
