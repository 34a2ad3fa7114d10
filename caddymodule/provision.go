package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/publicsuffix"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// provider is a ProviderConfig that has been provisioned.
type provider struct {
	name         string
	client       *authflow.Client
	userClaim    string
	emailTrusted bool
	// paths maps the names that rules use to where the claims stand.
	paths map[string]string
	// public: anybody can have an account there, so that "anyone who can sign
	// in" is the whole world.
	public bool
}

// preset is what is known of a kind of provider.
type preset struct {
	issuer       string
	emailTrusted bool
}

// presets by name. A preset is named by the user, never guessed.
var presets = map[string]preset{
	"oidc":   {},
	"google": {issuer: "https://accounts.google.com"},
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// publicIssuers let anybody have an account.
var publicIssuers = []string{
	"https://accounts.google.com",
	"https://login.microsoftonline.com/common/",
	"https://login.microsoftonline.com/organizations/",
	"https://login.microsoftonline.com/consumers/",
	"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/", // personal accounts
	"https://appleid.apple.com",
	"https://github.com",
	"https://gitlab.com",
}

func isPublicIssuer(issuer string) bool {
	for _, public := range publicIssuers {
		if strings.TrimSuffix(issuer, "/") == strings.TrimSuffix(public, "/") ||
			strings.HasSuffix(public, "/") && strings.HasPrefix(issuer, public) {
			return true
		}
	}
	return false
}

func (c *ProviderConfig) name() string {
	if c.Name == "" {
		return "default"
	}
	return c.Name
}

// resolve replaces the placeholders of the process. Nothing that resolves to
// nothing is accepted (SEC-11).
func resolve(what, raw string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return value, nil
}

// provisionProvider turns the configuration into a client of the protocol.
func (a *App) provisionProvider(c *ProviderConfig) (*provider, error) {
	if !providerName.MatchString(c.name()) {
		return nil, fmt.Errorf("provider name %q: use letters a-z, digits, _ and -", c.name())
	}
	known, exists := presets[cmp.Or(c.Preset, "oidc")]
	if !exists {
		return nil, fmt.Errorf("provider %s: no preset %q; there are %s", c.name(), c.Preset, strings.Join(presetNames(), ", "))
	}
	config, err := c.client(known)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	p := &provider{
		name:         c.name(),
		userClaim:    cmp.Or(c.UserClaim, "sub"),
		emailTrusted: known.emailTrusted || c.InsecureUnverifiedEmail,
		paths:        make(map[string]string),
		public:       isPublicIssuer(config.Issuer),
	}
	for _, mapping := range c.Claim {
		if mapping.Name == "" || mapping.From == "" {
			return nil, fmt.Errorf("provider %s: claim needs a name and a path", c.name())
		}
		p.paths[mapping.Name] = mapping.From
	}
	a.need(p.userClaim)
	if c.InsecureUnverifiedEmail {
		a.logger.Warn("insecure_unverified_email: e-mail addresses are believed unverified; " +
			"whoever can set one at the provider can be anybody by e-mail")
	}
	if c.InsecureSkipTLSVerify {
		a.logger.Warn("insecure_skip_tls_verify: anyone on the network path can pretend to be the provider")
	}
	p.client, err = a.acquireClient(c, config)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	return p, nil
}

// client is the one place where a provider's configuration becomes authflow's.
func (c *ProviderConfig) client(known preset) (authflow.Config, error) {
	config := authflow.Config{ClientAuth: c.ClientAuth, Now: time.Now}
	for _, field := range []struct {
		word, raw string
		target    *string
	}{
		{"issuer", cmp.Or(c.Issuer, known.issuer), &config.Issuer},
		{"client_id", c.ClientID, &config.ClientID},
	} {
		if field.raw == "" {
			return config, fmt.Errorf("%s is needed", field.word)
		}
		value, err := resolve(field.word, field.raw)
		if err != nil {
			return config, err
		}
		*field.target = value
	}
	for _, scope := range c.Scopes {
		resolved, err := resolve("scopes", scope)
		if err != nil {
			return config, err
		}
		config.Scopes = append(config.Scopes, strings.Fields(resolved)...)
	}
	switch c.UserInfo {
	case "", "on_missing_claims":
		config.UserInfo = authflow.UserInfoOnMissingClaims
	case "off":
		config.UserInfo = authflow.UserInfoOff
	case "required":
		config.UserInfo = authflow.UserInfoRequired
	default:
		return config, fmt.Errorf("userinfo: %q is none of off, on_missing_claims, required", c.UserInfo)
	}
	if c.InsecureSkipTLSVerify {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the user's explicit choice, warned about
		config.Transport = transport
	}
	return config, c.provisionSecret(&config)
}

// provisionSecret checks that the client secret can be read now, and has it read
// again at each use: a rotated secret file needs no reload.
func (c *ProviderConfig) provisionSecret(config *authflow.Config) error {
	if c.ClientAuth == "none" {
		if c.ClientSecret != "" {
			return fmt.Errorf("client_auth none and client_secret contradict each other")
		}
		return nil
	}
	if c.ClientSecret == "" {
		return fmt.Errorf("client_secret is needed (or client_auth none, for a public client)")
	}
	raw := c.ClientSecret
	config.ClientSecret = func() (secret.String, error) {
		value, err := resolve("client_secret", raw)
		return secret.New(value), err
	}
	_, err := config.ClientSecret()
	return err
}

// clientPool holds the clients of the protocol, and with them what they have
// discovered, across reloads. It is derived data, so the key is the configuration.
var clientPool = caddy.NewUsagePool()

// pooledClient is a client in the pool. It holds nothing that needs closing, and
// requests of an old configuration may use it after it has left the pool.
type pooledClient struct{ *authflow.Client }

// Destruct implements caddy.Destructor.
func (pooledClient) Destruct() error { return nil }

func (a *App) acquireClient(c *ProviderConfig, config authflow.Config) (*authflow.Client, error) {
	encoded, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(fmt.Appendf(encoded, "|%q|%q|%q", config.Issuer, config.ClientID, config.Scopes))
	key := string(digest[:])
	client, _, err := clientPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		client, err := authflow.New(config)
		return pooledClient{client}, err
	})
	if err != nil {
		return nil, err
	}
	a.clients = append(a.clients, key)
	return client.(pooledClient).Client, nil
}

func releaseClient(key string) { _, _ = clientPool.Delete(key) }

// provision is the one place where session settings become the session package's.
func (c *SessionConfig) provision(d *durable) (session.Config, error) {
	config := session.Config{
		Keys:        d.keys,
		State:       d.state,
		Lifetime:    cmp.Or(time.Duration(c.Lifetime), 12*time.Hour),
		IdleTimeout: time.Duration(c.IdleTimeout),
		Now:         time.Now,
		Cookie: session.CookieConfig{
			Name:    cmp.Or(c.CookieName, "gatehouse"),
			Domain:  strings.ToLower(strings.TrimPrefix(c.CookieDomain, ".")),
			Persist: c.CookiePersist != "off",
		},
	}
	if config.Lifetime <= 0 || config.IdleTimeout < 0 {
		return config, fmt.Errorf("session: lifetime and idle_timeout must be longer than 0")
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
	switch c.Store {
	case "", "cookie":
		config.Store = session.CookieStore()
	case "memory":
		config.Store = d.memory
	default:
		return config, fmt.Errorf("session: no store %q; there are cookie, memory", c.Store)
	}
	d.keys.retain(config.Lifetime)
	return config, nil
}

// siteURL checks an URL that is ours to send browsers to.
func siteURL(word, raw string) (string, error) {
	value, err := resolve(word, raw)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", word, err)
	}
	if _, valid := makeOrigin(u.Scheme, u.Host); !valid || u.User != nil {
		return "", fmt.Errorf("%s: %q is no URL with scheme and host", word, value)
	}
	return value, nil
}
