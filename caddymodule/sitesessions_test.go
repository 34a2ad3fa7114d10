package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/session"
)

// Each word of session becomes the setting that it names, and without a word the default holds.
func TestSessionSettings(t *testing.T) {
	t.Setenv("COOKIE_DOMAIN", ".Example.com")
	standard := session.CookieConfig{Name: "gatehouse", Persist: true, SameSite: http.SameSiteLaxMode}
	for _, tt := range []struct {
		name           string
		words          SessionConfig
		lifetime, idle time.Duration
		cookie         func(*session.CookieConfig)
	}{
		{"nothing", SessionConfig{}, 12 * time.Hour, 0, nil},
		{"lifetime", SessionConfig{Lifetime: caddy.Duration(time.Hour)}, time.Hour, 0, nil},
		{"idle_timeout, as long as the lifetime", SessionConfig{Lifetime: caddy.Duration(time.Hour), IdleTimeout: caddy.Duration(time.Hour)}, time.Hour, time.Hour, nil},
		{"lax", SessionConfig{CookieSameSite: "lax"}, 12 * time.Hour, 0, nil},
		{"strict", SessionConfig{CookieSameSite: "strict"}, 12 * time.Hour, 0, func(c *session.CookieConfig) { c.SameSite = http.SameSiteStrictMode }},
		{"none", SessionConfig{CookieSameSite: "none"}, 12 * time.Hour, 0, func(c *session.CookieConfig) { c.SameSite = http.SameSiteNoneMode }},
		{"persist on", SessionConfig{CookiePersist: "on"}, 12 * time.Hour, 0, nil},
		{"persist off", SessionConfig{CookiePersist: "off"}, 12 * time.Hour, 0, func(c *session.CookieConfig) { c.Persist = false }},
		{"name", SessionConfig{CookieName: "wiki"}, 12 * time.Hour, 0, func(c *session.CookieConfig) { c.Name = "wiki" }},
		{"domain", SessionConfig{CookieDomain: "{env.COOKIE_DOMAIN}"}, 12 * time.Hour, 0, func(c *session.CookieConfig) { c.Domain = "example.com" }},
	} {
		want := standard
		if tt.cookie != nil {
			tt.cookie(&want)
		}
		config, err := tt.words.settings()
		if err != nil || config.Lifetime != tt.lifetime || config.IdleTimeout != tt.idle || config.Cookie != want {
			t.Errorf("%s: %+v, %v", tt.name, config, err)
		}
	}
	for _, tt := range []struct {
		words SessionConfig
		says  string
	}{
		{SessionConfig{Lifetime: -1}, "longer than 0"},
		{SessionConfig{IdleTimeout: -1}, "longer than 0"},
		{SessionConfig{Lifetime: caddy.Duration(time.Hour), IdleTimeout: caddy.Duration(time.Hour + 1)}, "does nothing"},
		{SessionConfig{CookieDomain: "co.uk"}, "public suffix"},
		{SessionConfig{CookieDomain: "com"}, "public suffix"},
		{SessionConfig{CookieDomain: "{env.NOPE_NOPE}"}, "NOPE_NOPE"},
		{SessionConfig{CookieName: "{env.NOPE_NOPE}"}, "NOPE_NOPE"},
		{SessionConfig{CookiePersist: "maybe"}, "maybe"},
		{SessionConfig{CookieSameSite: "Lax"}, "Lax"},
	} {
		if _, err := tt.words.settings(); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.words, err, tt.says)
		}
	}
}
