package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// provider is who says who somebody is: an OpenID provider, with all that its
// ProviderConfig says, a further issuer of access tokens, or a file of users.
type provider struct {
	name         string
	displayName  string           // what people know it as
	client       *authflow.Client // nil for a file of users
	profile      string
	userClaim    string
	emailTrusted bool
	// paths maps the names that rules use to where the claims stand.
	paths map[string]string
	// public: anybody can have an account there, so that "anyone who can sign
	// in" is the whole world.
	public bool
	// plain: it is OAuth 2.0 without OpenID Connect, and issues no ID tokens.
	plain bool
	// groupless: it tells groups only with a scope that is not asked for.
	groupless bool
	// dpop: its tokens are bound to a key of the session.
	dpop bool
	// refreshInterval is when a session is refreshed whatever its access token says;
	// 0 is never.
	refreshInterval time.Duration
}

// isOf reports that a session was made at this provider, for this client.
func (p *provider) isOf(s *session.Session) bool {
	return p.name == s.Provider && p.client.Issuer() == s.Issuer && p.client.ClientID() == s.ClientID
}

// same reports that two sites mean the same provider, wherever each names it.
func (p *provider) same(other *provider) bool {
	return p == other || p.name == other.name && p.client == other.client && p.client != nil
}

// path is where a claim stands in what the provider tells.
func (p *provider) path(name string) string {
	if path, mapped := p.paths[name]; mapped {
		return path
	}
	return name
}

// key is what a session keeps a claim under: its name, and the path if that is
// another, so that a mapping that is changed asks for the claim anew.
func (p *provider) key(name string) string {
	if path := p.path(name); path != name {
		return name + " from " + path
	}
	return name
}

// refreshAt is a little before the access token expires, so that it is never used
// at the last moment: a tenth of its life, at most 30 seconds. refresh_interval may
// be earlier, and counts alone where the provider does not say when that is; without
// either, a session is not refreshed.
func (p *provider) refreshAt(now, expiry time.Time) time.Time {
	var at time.Time
	if !expiry.IsZero() {
		early := min(expiry.Sub(now)/10, 30*time.Second)
		at = expiry.Add(-max(early, 0))
	}
	if interval := now.Add(p.refreshInterval); p.refreshInterval > 0 && (at.IsZero() || interval.Before(at)) {
		at = interval
	}
	return at
}

func (c *ProviderConfig) name() string {
	if c.Name == "" {
		return "default"
	}
	return c.Name
}

// provisionProvider turns the configuration into a client of the protocol.
func (a *App) provisionProvider(ctx caddy.Context, c *ProviderConfig) (*provider, error) {
	if !providerName.MatchString(c.name()) {
		return nil, fmt.Errorf("provider name %q: use letters a-z, digits, _ and -", c.name())
	}
	p, err := a.newProvider(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.name(), err)
	}
	a.need(p.userClaim)
	a.recordIssuer(p)
	return p, nil
}

// newProvider checks a configuration, and makes the provider with its client.
func (a *App) newProvider(ctx caddy.Context, c *ProviderConfig) (*provider, error) {
	known, exists := presets[cmp.Or(c.Preset, "oidc")]
	if !exists {
		return nil, fmt.Errorf("no preset %q; there are %s", c.Preset, strings.Join(presetNames(), ", "))
	}
	if err := cmp.Or(c.checkProfile(), c.checkDisplayName()); err != nil {
		return nil, err
	}
	if c.RefreshInterval < 0 {
		return nil, errors.New("refresh_interval must be longer than 0")
	}
	written, err := json.Marshal(c) // loading a module takes it out of the configuration
	if err != nil {
		return nil, err
	}
	config, err := c.authflowConfig(known)
	if err != nil {
		return nil, err
	}
	config.Logger = a.slogger
	if err := c.provisionNetwork(ctx, &config); err != nil {
		return nil, err
	}
	if err := c.provisionPreset(known, &config); err != nil {
		return nil, err
	}
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
		return nil, err
	}
	if c.InsecureUnverifiedEmail {
		a.logger.Warn("insecure_unverified_email: e-mail addresses are believed unverified; " +
			"whoever can set one at the provider can be anybody by e-mail")
	}
	if p.client, err = a.acquireClient(&c.NetworkConfig, written, config); err != nil {
		return nil, err
	}
	p.dpop = p.client.DPoP()
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
		given[name] = true
		if name == "sub" {
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

// authflowConfig turns a provider's configuration into that of package authflow. It is
// the only place that does.
func (c *ProviderConfig) authflowConfig(known preset) (authflow.Config, error) {
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

// provisionRequest reads how authorization requests are made.
func (c *ProviderConfig) provisionRequest(config *authflow.Config) error {
	switch c.ResponseMode {
	case "", "query":
	case authflow.FormPost, authflow.QueryJWT, authflow.FormPostJWT:
		config.ResponseMode = c.ResponseMode
	default:
		return fmt.Errorf("response_mode: %q is none of query, form_post, jwt, form_post.jwt", c.ResponseMode)
	}
	config.PAR, config.RequestObject, config.DPoP = c.PAR, c.JAR, c.DPoP
	config.ParametersFromRequest = c.ParamFromRequest
	config.Parameters = make(map[string]string, len(c.Param))
	for name, raw := range c.Param {
		value, err := resolve("param "+name, raw)
		if err != nil {
			return err
		}
		config.Parameters[name] = value
	}
	return nil
}
