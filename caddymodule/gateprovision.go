package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"
)

// Provision prepares the gate. Everything that the configuration got wrong is an
// error here, and nothing at the first request.
func (g *Gate) Provision(ctx caddy.Context) error {
	g.logger, g.now = ctx.Logger(), time.Now
	app, err := ctx.App("gatehouse")
	if err != nil {
		return err
	}
	g.app = app.(*App)
	for _, step := range []func(caddy.Context) error{
		g.provisionMatchers, g.provisionProviders, g.provisionRules,
		g.provisionHeaders, g.provisionOrigins, g.provisionSession, g.provisionPages,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("gatehouse: %w", err)
		}
	}
	return nil
}

func (g *Gate) provisionMatchers(ctx caddy.Context) error {
	if len(g.Match) > 0 {
		loaded, err := ctx.LoadModule(g, "Match")
		if err != nil {
			return fmt.Errorf("matcher: %w", err)
		}
		if err := g.matchers.FromInterface(loaded); err != nil {
			return err
		}
	}
	for _, pattern := range g.Public {
		if pattern != "*" && !strings.HasPrefix(pattern, "/") {
			return fmt.Errorf("public: %q does not begin with a slash", pattern)
		}
	}
	g.public = slices.Clone(caddyhttp.MatchPath(g.Public))
	return g.public.Provision(ctx)
}

func (g *Gate) provisionProviders(caddy.Context) error {
	switch {
	case g.Provider != nil && len(g.Providers) > 0:
		return errors.New("a site names one issuer, or providers of the app, not both")
	case g.Provider != nil:
		own, err := g.app.provisionProvider(g.Provider)
		if err != nil {
			return err
		}
		g.providers = []*provider{own}
	case len(g.Providers) > 0:
		for _, name := range g.Providers {
			known := g.app.resolved(name)
			if known == nil {
				return fmt.Errorf("no provider %s", name)
			}
			if slices.Contains(g.providers, known) {
				return fmt.Errorf("provider %s is named twice", name)
			}
			g.providers = append(g.providers, known)
		}
	default:
		g.providers = g.app.providers
	}
	if len(g.providers) == 0 {
		return errors.New("no provider: name an issuer, or configure one in the app")
	}
	return nil
}

func (g *Gate) provisionRules(ctx caddy.Context) error {
	need := func(claim string) {
		g.need(claim)
		if claim == "email_domain" {
			g.need("email")
		}
	}
	var err error
	if g.allow, err = provisionRules(ctx, g.Allow, need); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	if g.deny, err = provisionRules(ctx, g.Deny, need); err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	g.rulesMatch = slices.ContainsFunc(slices.Concat(g.allow, g.deny), func(r rule) bool { return r.matchers != nil })
	for _, config := range g.Deny {
		if config.Any {
			return errors.New("deny any would refuse everybody")
		}
	}
	for _, config := range slices.Concat(g.Allow, g.Deny) {
		if err := g.checkProviderOf(config); err != nil {
			return err
		}
	}
	for _, p := range g.providers {
		if p.public && len(g.Allow) == 0 {
			return fmt.Errorf("anybody can have an account at %s: say who may pass (allow email_domain ...), or write allow any", p.client.Issuer())
		}
	}
	if !slices.Contains([]string{"", "login", "reject", "pass"}, g.Unauthenticated) {
		return fmt.Errorf("unauthenticated: %q is none of login, reject, pass", g.Unauthenticated)
	}
	return nil
}

// checkProviderOf holds that with several providers a rule says whose claim it
// means: else anyone's choice of name at one would open what is meant for another.
func (g *Gate) checkProviderOf(config Rule) error {
	if len(g.providers) < 2 {
		return nil
	}
	if _, named := config.Claims["provider"]; named {
		return nil
	}
	for claim := range config.Claims {
		if claim != "user" && claim != "groups" {
			return fmt.Errorf("several providers sign people in here: the rule on %s must say whose, in a block with provider <name>", claim)
		}
	}
	if config.Expression != "" && !strings.Contains(config.Expression, "provider") {
		return errors.New("several providers sign people in here: the expression must say whose, by provider")
	}
	return nil
}

func (g *Gate) need(claim string) {
	if claim == "user" || claim == "provider" || claim == "email_domain" || claim == "sub" {
		return
	}
	if !slices.Contains(g.needs, claim) {
		g.needs = append(g.needs, claim)
	}
	g.app.need(claim)
}

// headerSets are the identity headers by the word of `headers`.
var headerSets = map[string][]HeaderConfig{
	"forwarded": {
		{"X-Forwarded-User", "user"},
		{"X-Forwarded-Email", "email"},
		{"X-Forwarded-Groups", "groups"},
		{"X-Forwarded-Preferred-Username", "preferred_username"},
	},
	"remote": {
		{"Remote-User", "user"},
		{"Remote-Email", "email"},
		{"Remote-Groups", "groups"},
		{"Remote-Name", "name"},
	},
	"off": nil,
}

func (g *Gate) provisionHeaders(caddy.Context) error {
	word := g.Headers
	if word == "" {
		word = "forwarded"
	}
	set, known := headerSets[word]
	if !known {
		return fmt.Errorf("headers: %q is none of forwarded, remote, off", word)
	}
	var own []string
	g.identityHeaders = slices.Clone(set)
	for _, config := range g.Header {
		if !httpguts.ValidHeaderFieldName(config.Name) || config.Claim == "" {
			return fmt.Errorf("header %q %q: a header name and a claim are needed", config.Name, config.Claim)
		}
		name := http.CanonicalHeaderKey(config.Name)
		if slices.ContainsFunc(g.identityHeaders, func(h HeaderConfig) bool { return h.Name == name }) {
			return fmt.Errorf("header %s is set twice", name)
		}
		if protectedHeader(name) {
			return fmt.Errorf("header %s is not a claim's place: the connection, the cookies or the body depend on it", name)
		}
		g.identityHeaders = append(g.identityHeaders, HeaderConfig{Name: name, Claim: config.Claim})
	}
	for _, header := range g.identityHeaders {
		g.need(header.Claim)
		own = append(own, header.Name)
	}
	g.own = newNameSet(own)
	g.names = newNameSet(knownIdentityHeaders, own)
	return nil
}

// protectedHeader names headers that are no identity, and break a request or its
// protection if they are set or cleared as one.
func protectedHeader(name string) bool {
	return slices.Contains([]string{
		"Connection", "Content-Length", "Content-Type", "Cookie", "Host", "Origin", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Accept", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest",
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
	}, name)
}

func (g *Gate) provisionOrigins(caddy.Context) error {
	if g.PublicURL != "" {
		text, err := siteURL("public_url", g.PublicURL)
		if err != nil {
			return err
		}
		var valid bool
		if g.publicOrigin, valid = parseOrigin(strings.TrimSuffix(text, "/")); !valid {
			return fmt.Errorf("public_url: %q is no origin: write https://host", text)
		}
	}
	g.trusted = make(map[string]struct{})
	for _, list := range []struct {
		word   string
		values []string
		add    func(origin)
	}{
		{"trusted_origins", g.TrustedOrigins, func(o origin) { g.trusted[o.String()] = struct{}{} }},
		{"return_to", g.ReturnTo, func(o origin) { g.returnTo = append(g.returnTo, o.String()) }},
	} {
		for _, raw := range list.values {
			text, err := resolve(list.word, raw)
			if err != nil {
				return err
			}
			o, valid := parseOrigin(text)
			if !valid {
				return fmt.Errorf("%s: %q is no origin: write https://host", list.word, text)
			}
			list.add(o)
		}
	}
	if g.PostLogout != "" {
		var err error
		if g.postLogout, err = siteURL("post_logout", g.PostLogout); err != nil {
			return err
		}
	}
	g.basePath = "/oauth2"
	if g.BasePath != "" {
		g.basePath = strings.TrimSuffix(g.BasePath, "/")
		if !strings.HasPrefix(g.basePath, "/") || strings.ContainsAny(g.basePath, "?#%\\;{}* ") || strings.Contains(g.basePath, "//") {
			return fmt.Errorf("base_path: %q is no plain path below the root", g.BasePath)
		}
	}
	return nil
}

func (g *Gate) provisionSession(caddy.Context) error {
	site, err := g.app.sessions(g.Session)
	if err != nil {
		return err
	}
	g.sessions, g.cookies, g.sessionConfig = site.manager, site.cookies, site.config
	if g.sessionConfig.InsecureHTTP {
		g.logger.Warn("insecure_http: sessions travel unencrypted; whoever can read the network can use them")
	}
	switch g.Errors {
	case "", "page":
	case "pass":
		g.passErrors = true
	default:
		return fmt.Errorf("errors: %q is none of page, pass", g.Errors)
	}
	if !slices.Contains([]string{"", "on", "off"}, g.PrivateResponses) {
		return fmt.Errorf("private_responses: %q is none of on, off", g.PrivateResponses)
	}
	return nil
}

func (g *Gate) provisionPages(caddy.Context) error {
	var err error
	g.pages, err = newPages(g.Pages)
	return err
}
