package caddymodule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// What a Caddyfile says is judged while it is read, so that an error names file and
// line: by the functions that provisioning judges by, with a harmless value in the
// place of each placeholder, whose variable or file may not be there yet. What has to
// be read from somewhere is left to provisioning.

// check holds the words of a provider to each other.
func (c *ProviderConfig) check() error {
	if err := cmp.Or(c.checkProfile(), c.checkDisplayName(), checkIssuer(c.Issuer), c.NetworkConfig.check()); err != nil {
		return err
	}
	preset := presets[cmp.Or(c.Preset, "oidc")]
	config, err := c.withoutPlaceholders().authflowConfig(preset)
	if err != nil {
		return err
	}
	c.declareCredentials(&config)
	config.NoDiscovery, config.Reach = c.Discovery == "off", standIn(c.Reach, "")
	config.Endpoints = make(map[string]string, len(c.Endpoint))
	for name, address := range c.Endpoint {
		config.Endpoints[name] = standIn(address, "https://localhost/")
	}
	if err := c.withoutPlaceholders().provisionPreset(preset, &config); err != nil {
		return err
	}
	if err := (&provider{paths: make(map[string]string)}).provisionClaims(c.withoutPlaceholders()); err != nil {
		return err
	}
	return config.Check()
}

// withoutPlaceholders is a provider that can be read without variables and files.
func (c *ProviderConfig) withoutPlaceholders() *ProviderConfig {
	known := *c
	known.Issuer = standIn(c.Issuer, "http://localhost") // where endpoints may be http, too
	if c.Profile != "" {
		known.Issuer = standIn(c.Issuer, "https://localhost")
	}
	known.ClientID = standIn(c.ClientID, "client")
	// No credential is read: a secret stands for whichever there is.
	hasCredential := c.ClientSecret != "" || len(c.ClientKey) > 0 || c.ClientAssertion != ""
	known.ClientSecret, known.ClientKey, known.ClientAssertion = "", nil, ""
	if hasCredential && c.ClientAuth != authflow.ClientAuthNone {
		known.ClientSecret = "secret"
	}
	if slices.ContainsFunc(c.Scopes, holdsPlaceholder) {
		known.Scopes = nil
	}
	known.ClaimSource = slices.DeleteFunc(slices.Clone(c.ClaimSource), holdsPlaceholder)
	known.Claim = slices.DeleteFunc(slices.Clone(c.Claim), func(m ClaimMapping) bool { return holdsPlaceholder(m.Name + m.From) })
	known.UserClaim = standIn(c.UserClaim, "")
	known.Param = maps.Clone(c.Param)
	for name, value := range known.Param {
		known.Param[name] = standIn(value, "value")
	}
	return &known
}

// check holds the words of a session to each other.
func (c *SessionConfig) check() error {
	known := *c
	known.CookieName, known.CookieDomain = standIn(c.CookieName, ""), standIn(c.CookieDomain, "")
	if _, err := known.settings(); err != nil {
		return err
	}
	known.Keys = slices.DeleteFunc(slices.Clone(c.Keys), holdsPlaceholder)
	if len(known.Keys) == 0 {
		return nil
	}
	_, err := (&configuredKeys{raw: known.Keys}).read()
	return err
}

// checkWords holds the words of a directive to each other, and to those of the global
// options.
func (g *Gate) checkWords(global *App) error {
	known := &Gate{GateConfig: g.GateConfig, app: &App{needs: make(map[string]struct{})}}
	known.PublicURL, known.PostLogout = standIn(g.PublicURL, ""), standIn(g.PostLogout, "")
	known.ReturnTo = slices.DeleteFunc(slices.Clone(g.ReturnTo), holdsPlaceholder)
	known.TrustedOrigins = slices.DeleteFunc(slices.Clone(g.TrustedOrigins), holdsPlaceholder)
	known.Header = slices.Clone(g.Header)
	for i := range known.Header {
		known.Header[i].Claim = standIn(known.Header[i].Claim, "claim")
	}
	known.Require = slices.Clone(g.Require)
	for i := range known.Require {
		requirement := &known.Require[i]
		requirement.Match, requirement.ACR = nil, slices.Clone(requirement.ACR)
		for j := range requirement.ACR {
			requirement.ACR[j] = standIn(requirement.ACR[j], "acr")
		}
	}
	if g.Pages != nil {
		pages := *g.Pages
		pages.Root = ""
		known.Pages = &pages
	}
	for _, step := range []func(caddy.Context) error{
		known.provisionWords, known.provisionPublic, known.provisionRequire,
		known.provisionHeaders, known.provisionForward, known.provisionOrigins, known.provisionPages,
	} {
		if err := step(caddy.Context{}); err != nil {
			return err
		}
	}
	for _, match := range g.Match {
		if err := checkMatcher(match); err != nil {
			return err
		}
	}
	return cmp.Or(known.checkRules(global), g.checkFormPost(global))
}

// checkRules holds the rules to the providers of the site.
func (g *Gate) checkRules(global *App) error {
	of := g.providersOf(global)
	for _, p := range of {
		g.speakers = append(g.speakers, &provider{name: p.name(), groupless: p.groupless()})
		if issuer := cmp.Or(p.Issuer, presets[p.Preset].issuer); len(g.Allow) == 0 && isPublicIssuer(issuer) {
			return errPublicIssuer(issuer)
		}
	}
	if g.Bearer != nil || g.Users != "" {
		g.speakers = nil // there are others, too
	}
	for _, config := range slices.Concat(g.Allow, g.Deny) {
		compiled := rule{claims: make(map[string][]string, len(config.Claims))}
		for claim, accepted := range config.Claims {
			compiled.claims[claim] = slices.DeleteFunc(slices.Clone(accepted), holdsPlaceholder)
		}
		if config.Expression != "" {
			var err error
			if compiled.expression, err = compileExpression(config.Expression, func(string) {}); err != nil {
				return err
			}
		}
		if err := errors.Join(g.checkProviderOf(compiled), g.checkGroups(compiled)); err != nil {
			return err
		}
	}
	return nil
}

// providersOf are the providers at which people sign in here.
func (g *GateConfig) providersOf(global *App) []*ProviderConfig {
	switch {
	case g.Provider != nil:
		return []*ProviderConfig{g.Provider}
	case len(g.Providers) == 0:
		return global.Providers
	}
	var named []*ProviderConfig
	for _, name := range g.Providers {
		if p := global.providerConfig(name); p != nil {
			named = append(named, p)
		}
	}
	return named
}

// checkFormPost holds that an answer by POST of another site can find its attempt:
// browsers bring such a cookie only if it is SameSite=None, and take that only if it is
// Secure, so from https or this machine.
func (g *GateConfig) checkFormPost(global *App) error {
	session := cmp.Or(g.Session, global.Session)
	if session == nil || !session.InsecureHTTP || strings.HasPrefix(g.PublicURL, "https://") {
		return nil
	}
	for _, p := range g.providersOf(global) {
		if strings.HasPrefix(p.ResponseMode, authflow.FormPost) {
			return fmt.Errorf("provider %s: response_mode %s, but the session has insecure_http: over plain http browsers keep the cookie back "+
				"that such an answer needs; use response_mode query or jwt, or https", p.name(), p.ResponseMode)
		}
	}
	return nil
}

// errUserMatcher says why a matcher cannot ask who is signed in.
var errUserMatcher = errors.New("a matcher asks for {http.auth.user.*}, and nobody is signed in yet when it is asked: what it selects would be open. " +
	"Write who may pass as allow, and who may not as deny; behind another gatehouse, the matcher gatehouse knows whom that has let pass")

// checkMatcher refuses a condition of a gate, or of one of its rules, that nobody could
// meet: who is signed in is found out behind it.
func checkMatcher(match caddy.ModuleMap) error {
	for _, matcher := range match {
		if bytes.Contains(matcher, []byte("http.auth.user.")) {
			return errUserMatcher
		}
	}
	return nil
}
