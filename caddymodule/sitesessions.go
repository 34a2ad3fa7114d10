package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/publicsuffix"

	"github.com/gatehouse-auth/gatehouse/session"
)

// settings turns the session settings of a configuration into those of package session,
// and refuses what could not work. It is the only place that does.
func (c *SessionConfig) settings() (session.Config, error) {
	name, err := resolveOptional("cookie_name", c.CookieName)
	if err != nil {
		return session.Config{}, err
	}
	domain, err := resolveOptional("cookie_domain", c.CookieDomain)
	if err != nil {
		return session.Config{}, err
	}
	config := session.Config{
		Lifetime:    cmp.Or(time.Duration(c.Lifetime), session.DefaultLifetime),
		IdleTimeout: time.Duration(c.IdleTimeout),
		Cookie: session.CookieConfig{
			Name:    cmp.Or(name, session.DefaultCookieName),
			Domain:  strings.ToLower(strings.TrimPrefix(domain, ".")),
			Persist: c.CookiePersist != "off",
		},
	}
	if !slices.Contains([]string{"", "on", "off"}, c.CookiePersist) {
		return config, fmt.Errorf("session: cookie_persist: %q is none of on, off", c.CookiePersist)
	}
	if config.Lifetime <= 0 || config.IdleTimeout < 0 {
		return config, fmt.Errorf("session: lifetime and idle_timeout must be longer than 0")
	}
	if config.IdleTimeout > config.Lifetime {
		return config, fmt.Errorf("session: idle_timeout %s does nothing, since every session ends after lifetime %s", config.IdleTimeout, config.Lifetime)
	}
	if domain := config.Cookie.Domain; domain != "" {
		if suffix, _ := publicsuffix.PublicSuffix(domain); suffix == domain {
			return config, fmt.Errorf("session: cookie_domain %s is a public suffix; browsers refuse such a cookie", domain)
		}
	}
	switch c.CookieSameSite {
	case "", "lax":
		config.Cookie.SameSite = http.SameSiteLaxMode
	case "strict":
		config.Cookie.SameSite = http.SameSiteStrictMode
	case "none":
		config.Cookie.SameSite = http.SameSiteNoneMode
	default:
		return config, fmt.Errorf("session: cookie_same_site: %q is none of lax, strict, none", c.CookieSameSite)
	}
	return config, config.Cookie.Check()
}

// siteSessions says how the sessions of one site are kept.
type siteSessions struct {
	config  SessionConfig
	manager *session.Manager
	terms   sessionTerms
}

// sessionTerms is what sites that share a cookie must agree on.
type sessionTerms struct {
	store          session.Store
	state          *session.State
	keys           session.Keys
	lifetime, idle time.Duration
	cookies        session.CookieConfig
}

// sessions makes the session manager of a site, by the site's own settings or by the
// app's. Cookies are kept for linger after their session has ended. Sites that share a
// cookie scope must agree on the terms.
func (a *App) sessions(ctx caddy.Context, own *SessionConfig, linger time.Duration) (*siteSessions, error) {
	site := new(siteSessions)
	switch {
	case own != nil && a.Session != nil:
		return nil, errors.New("session: the app has a session block already, and the two are never merged")
	case own != nil:
		site.config = *own
	case a.Session != nil:
		site.config = *a.Session
	}
	config, err := site.config.settings()
	if err != nil {
		return nil, err
	}
	if config.Keys, err = a.keys(&site.config); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	modules := site.config // which Caddy empties when it loads them
	if err := a.provisionStore(ctx, &modules, &config); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	site.terms = sessionTerms{config.Store, config.State, config.Keys, config.Lifetime, config.IdleTimeout, config.Cookie}
	if err := a.agree(site.terms); err != nil {
		return nil, err
	}
	config.Linger = linger
	a.durable.keys.Retain(config.Lifetime + linger)
	if site.manager, err = session.NewManager(config); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.managers[config.State] = site.manager
	return site, nil
}

// agree refuses sites that share a cookie by its domain and differ in their terms. Sites
// at one host are compared by [App.checkHosts].
func (a *App) agree(terms sessionTerms) error {
	if terms.cookies.Domain == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	scope := terms.cookies.Domain + " " + terms.cookies.Name
	if other, shared := a.domains[scope]; shared && other != terms {
		return fmt.Errorf("session: sites that share cookie_domain %s must agree on store, shared, keys and lifetimes", terms.cookies.Domain)
	}
	a.domains[scope] = terms
	return nil
}
