package caddymodule

import (
	"testing"

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
