package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// Organisations and teams are asked for where the scope is, and of nobody but GitHub.
func TestPresetGroups(t *testing.T) {
	for _, tt := range []struct {
		preset string
		scopes []string
		want   bool
	}{
		{"github", []string{"read:user", "read:org"}, true},
		{"github", nil, false},
		{"oauth2", []string{"read:org"}, false},
		{"oidc", []string{"openid", "read:org"}, false},
	} {
		config := authflow.Config{Scopes: tt.scopes, Endpoints: map[string]string{}}
		if err := (&ProviderConfig{Preset: tt.preset}).provisionPreset(presets[tt.preset], &config); err != nil || config.UserInfoGroups != tt.want {
			t.Errorf("%s with %v: asked for groups: %v, %v", tt.preset, tt.scopes, config.UserInfoGroups, err)
		}
	}
}

// A name that a page shows is short, and can be seen.
func TestDisplayName(t *testing.T) {
	for _, tt := range []struct {
		name, displayName, says string
	}{
		{"none", "", ""},
		{"plain", "Example & Sons", ""},
		{"64 characters", strings.Repeat("é", 64), ""},
		{"65 characters", strings.Repeat("é", 65), "more than 64 characters"},
		{"blank", "   ", "is blank"},
		{"a line break", "Example\nSign out", "cannot be shown"},
		{"a control character", "Example\x00", "cannot be shown"},
		{"what turns the direction of text", "Example\u202egro.live", "cannot be shown"},
		{"no width", "\u200b", "cannot be shown"},
	} {
		for by, check := range map[string]func() error{
			"Caddyfile": (&ProviderConfig{DisplayName: tt.displayName}).checkDisplayName,
			"JSON": func() error {
				_, err := new(App).provisionProvider(caddy.Context{}, &ProviderConfig{DisplayName: tt.displayName, Issuer: "https://id.example.com"})
				return err
			},
		} {
			err := check()
			if tt.says == "" && err != nil && strings.Contains(err.Error(), "display_name") {
				t.Errorf("%s, %s: %v", tt.name, by, err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%s, %s: %v, want one that says %q", tt.name, by, err, tt.says)
			}
		}
	}
}
