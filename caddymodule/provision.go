package caddymodule

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/net/publicsuffix"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/users"
	"github.com/gatehouse-auth/gatehouse/session"
)

// provider is a ProviderConfig that has been provisioned.
type provider struct {
	name         string
	displayName  string // what people know it as
	client       *authflow.Client
	profile      string
	userClaim    string
	emailTrusted bool
	// paths maps the names that rules use to where the claims stand.
	paths map[string]string
	// usersFile lists the users of the site's own; then there is no client.
	usersFile *users.File
	// public: anybody can have an account there, so that "anyone who can sign
	// in" is the whole world.
	public bool
	// plain: it is OAuth 2.0 without OpenID Connect, and issues no ID tokens.
	plain bool
	// groupless: it would tell groups, and is not asked for the scope.
	groupless bool
	// dpop: its tokens are bound to a key of the session.
	dpop bool
	// refreshInterval is when a session is refreshed whatever its access token says;
	// 0 is never.
	refreshInterval time.Duration
}

// publicIssuers let anybody have an account.
var publicIssuers = []string{
	"https://accounts.google.com",
	"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/", // personal accounts
	"https://appleid.apple.com",
	"https://github.com/",
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
	if strings.TrimSpace(value) == "" {
		return "", fmt.Errorf("%s is empty", what)
	}
	return value, nil
}

// resolveOptional is resolve for what may be left out.
func resolveOptional(what, raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	return resolve(what, raw)
}

// provisionProvider turns the configuration into a client of the protocol.
func (a *App) provisionProvider(ctx caddy.Context, c *ProviderConfig) (*provider, error) {
	if !providerName.MatchString(c.name()) {
		return nil, fmt.Errorf("provider name %q: use letters a-z, digits, _ and -", c.name())
	}
	known, exists := presets[cmp.Or(c.Preset, "oidc")]
	if !exists {
		return nil, fmt.Errorf("provider %s: no preset %q; there are %s", c.name(), c.Preset, strings.Join(presetNames(), ", "))
	}
	if err := cmp.Or(c.checkProfile(), c.checkDisplayName()); err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	written, err := json.Marshal(c) // loading a module takes it out of the configuration
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	config, err := c.client(known)
	if err == nil {
		err = c.provisionNetwork(ctx, &config)
	}
	if err == nil {
		err = c.provisionPreset(known, &config)
	}
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	if c.RefreshInterval < 0 {
		return nil, fmt.Errorf("provider %s: refresh_interval must be longer than 0", c.name())
	}
	config.Logger = a.slogger
	p := &provider{
		name:            c.name(),
		displayName:     cmp.Or(c.DisplayName, c.name()),
		profile:         c.Profile,
		userClaim:       "sub",
		emailTrusted:    c.InsecureUnverifiedEmail,
		paths:           make(map[string]string),
		public:          isPublicIssuer(config.Issuer) || isPublicIssuer(config.Endpoints["authorization"]),
		plain:           config.SubjectFrom != "",
		groupless:       c.groupless(),
		refreshInterval: time.Duration(c.RefreshInterval),
	}
	maps.Copy(p.paths, known.claims)
	if err := p.provisionClaims(c); err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	a.need(p.userClaim)
	if c.InsecureUnverifiedEmail {
		a.logger.Warn("insecure_unverified_email: e-mail addresses are believed unverified; " +
			"whoever can set one at the provider can be anybody by e-mail")
	}
	p.client, err = a.acquireClient(&c.NetworkConfig, written, config)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	p.dpop = p.client.DPoP()
	a.knowIssuer(p)
	return p, nil
}

// provisionClaims reads which claims go by which names. The known names are ours.
func (p *provider) provisionClaims(c *ProviderConfig) error {
	given := make(map[string]bool)
	for _, mapping := range c.Claim {
		name, err := resolve("claim", mapping.Name)
		if err != nil {
			return err
		}
		from, err := resolve("claim "+name, mapping.From)
		if err != nil {
			return err
		}
		plain := presets[c.Preset].subject != "" // then provisionPreset reads sub
		if isComputed(name) || name == "sub" && !plain {
			return fmt.Errorf("claim %s is a known name; it cannot be another claim", name)
		}
		if given[name] {
			return fmt.Errorf("claim %s is given twice", name)
		}
		if given[name] = true; name == "sub" {
			continue
		}
		p.paths[name] = from
	}
	if c.UserClaim != "" {
		var err error
		if p.userClaim, err = resolve("user_claim", c.UserClaim); err != nil {
			return err
		}
		if isComputed(p.userClaim) {
			return fmt.Errorf("user_claim: %s is no claim", p.userClaim)
		}
	}
	return nil
}

// client is the one place where a provider's configuration becomes authflow's.
func (c *ProviderConfig) client(known preset) (authflow.Config, error) {
	config := authflow.Config{ClientAuth: cmp.Or(c.ClientAuth, known.clientAuth), Profile: c.Profile, Now: time.Now}
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
	if err := checkIssuer(config.Issuer); err != nil {
		return config, err
	}
	for _, scope := range c.Scopes {
		resolved, err := resolve("scopes", scope)
		if err != nil {
			return config, err
		}
		config.Scopes = append(config.Scopes, strings.Fields(resolved)...)
	}
	for _, raw := range c.ClaimSource {
		source, err := resolve("claim_source", raw)
		if err != nil {
			return config, err
		}
		config.ClaimSources = append(config.ClaimSources, source)
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
	config.UserInfoAlg, config.IntrospectionAlg = c.UserInfoSignedResponseAlg, c.IntrospectionSignedResponseAlg
	for _, step := range []func(*authflow.Config) error{c.provisionRequest, c.provisionKeys, c.provisionAssertion, c.provisionSecret} {
		if err := step(&config); err != nil {
			return config, err
		}
	}
	return config, nil
}

// errSecret says that the client secret is not there, without saying what is.
var errSecret = errors.New("client_secret cannot be read, or is empty; a brace that belongs to it is written as \\{")

// placeholderOf names the variable or file that a value consists of.
func placeholderOf(raw string) (string, bool) {
	name, isFile := strings.CutPrefix(raw, "{file.")
	variable, isVariable := strings.CutPrefix(raw, "{env.")
	switch {
	case isFile && strings.HasSuffix(name, "}"):
		return strings.TrimSuffix(name, "}"), true
	case isVariable && strings.HasSuffix(variable, "}"):
		return strings.TrimSuffix(variable, "}"), true
	}
	return "", false
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
		if config.ClientKeys != nil || config.MutualTLS || config.ClientAssertion != nil {
			return nil
		}
		return fmt.Errorf("client_secret is needed (or client_key, client_certificate, client_assertion, or client_auth none, for a public client)")
	}
	raw := c.ClientSecret
	config.ClientSecret = func() (secret.String, error) {
		value, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
		if err != nil {
			return secret.String{}, errSecret // the replacer's text may quote the secret
		}
		return secret.New(value), nil
	}
	if _, err := config.ClientSecret(); err != nil {
		if name, isPlaceholder := placeholderOf(raw); isPlaceholder {
			return fmt.Errorf("%w (%s)", err, name)
		}
		return err
	}
	return nil
}

// clientPool holds the clients of the protocol, and with them what they have
// discovered, across reloads. It is derived data, so the key is the configuration.
var clientPool = caddy.NewUsagePool()

// pooledClient is a client in the pool. It holds nothing that needs closing, and
// requests of an old configuration may use it after it has left the pool.
type pooledClient struct{ *authflow.Client }

// Destruct implements caddy.Destructor.
func (pooledClient) Destruct() error { return nil }

// acquireClient finds the client of a configuration as it was written, or makes it.
func (a *App) acquireClient(c *NetworkConfig, written []byte, config authflow.Config) (*authflow.Client, error) {
	if c.InsecureSkipTLSVerify {
		a.logger.Warn("insecure_skip_tls_verify: anyone on the network path can pretend to be the provider", zap.String("issuer", config.Issuer))
	}
	encoded := fmt.Appendf(written, "|%q|%q|%q|%q|%q|%q|%q", config.Issuer, config.ClientID, config.Scopes, config.Reach, config.Endpoints, config.Parameters, config.ClaimSources)
	if t, is := config.Transport.(*http.Transport); is && t.TLSClientConfig.RootCAs != nil || strings.Contains(c.ForwardProxyURL, "{") {
		// The text does not say what is in the file: a reload follows it.
		encoded = append(encoded, a.load...)
	}
	digest := sha256.Sum256(encoded)
	key := string(digest[:])
	client, _, err := clientPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		config.Transport = traced(config.Transport)
		client, err := authflow.New(config)
		return pooledClient{client}, err
	})
	if err != nil {
		return nil, err
	}
	a.releases = append(a.releases, func() { _, _ = clientPool.Delete(key) })
	return client.(pooledClient).Client, nil
}

// provision is settings, for whose lifetime keys are kept.
func (c *SessionConfig) provision(d *durable) (session.Config, error) {
	config, err := c.settings()
	if err == nil {
		d.keys.Retain(config.Lifetime)
	}
	return config, err
}

// settings is the one place where session settings become the session package's.
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
