package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	g.counters = g.app.counters
	g.behind = sync.OnceValues(g.gatesBehind) // once a server runs, which has all routes
	for _, step := range []func(caddy.Context) error{
		g.provisionWords, g.provisionMatchers, g.provisionProviders, g.provisionBearer, g.provisionUsers, g.provisionRules, g.provisionRequire,
		g.provisionHeaders, g.provisionForward, g.provisionOrigins, g.provisionSession, g.provisionPages,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("gatehouse: %w", err)
		}
	}
	return nil
}

func (g *Gate) provisionMatchers(ctx caddy.Context) error {
	for _, match := range g.Match {
		if err := checkMatcher(match); err != nil {
			return err
		}
	}
	if len(g.Match) > 0 {
		loaded, err := ctx.LoadModule(g, "Match")
		if err != nil {
			return fmt.Errorf("matcher: %w", err)
		}
		if err := g.matchers.FromInterface(loaded); err != nil {
			return err
		}
	}
	return g.provisionPublic(ctx)
}

func (g *Gate) provisionPublic(ctx caddy.Context) error {
	for _, pattern := range g.Public {
		if pattern != "*" && !strings.HasPrefix(pattern, "/") {
			return fmt.Errorf("public: %q does not begin with a slash", pattern)
		}
		if strings.ContainsAny(pattern, "{}") {
			return fmt.Errorf("public: %q holds a placeholder; a path that a request could choose would open what it likes", pattern)
		}
	}
	g.public = slices.Clone(caddyhttp.MatchPath(g.Public))
	return g.public.Provision(ctx)
}

func (g *Gate) provisionProviders(ctx caddy.Context) error {
	switch {
	case g.Provider != nil && len(g.Providers) > 0:
		return errors.New("a site names one issuer, or providers of the app, not both")
	case g.Provider != nil:
		own, err := g.app.provisionProvider(ctx, g.Provider)
		if err != nil {
			return err
		}
		g.providers = []*provider{own}
	case len(g.Providers) > 0:
		for _, name := range g.Providers {
			known := g.app.provider(name)
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
	if len(g.providers) == 0 && g.Users == "" {
		return errors.New("no provider: name an issuer, or configure one in the app")
	}
	for _, p := range g.providers {
		g.need(p.userClaim)
	}
	return nil
}

func (g *Gate) provisionRules(ctx caddy.Context) error {
	var err error
	if g.allow, err = provisionRules(ctx, g.Allow, g.need, g.checkPrefix); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	if g.deny, err = provisionRules(ctx, g.Deny, g.need, g.checkPrefix); err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	g.lists = followLists(slices.Concat(g.allow, g.deny)...)
	g.rulesMatch = slices.ContainsFunc(slices.Concat(g.allow, g.deny), func(r rule) bool { return r.matchers != nil })
	for _, config := range g.Deny {
		if config.Any {
			return errors.New("deny any would refuse everybody")
		}
	}
	for _, r := range slices.Concat(g.allow, g.deny) {
		if err := errors.Join(g.checkProviderOf(r), g.checkGroups(r)); err != nil {
			return err
		}
	}
	for _, p := range g.providers {
		if p.public && len(g.Allow) == 0 {
			return errPublicIssuer(p.client.Issuer())
		}
	}
	return nil
}

// provisionWords checks the options that are one of a few words.
func (g *Gate) provisionWords(caddy.Context) error {
	for _, option := range []struct {
		name, word string
		choices    []string
	}{
		{"unauthenticated", g.Unauthenticated, []string{"login", "reject", "pass"}},
		{"preflight", g.Preflight, []string{"pass", "reject"}},
		{"private_responses", g.PrivateResponses, []string{"on", "off"}},
		{"streams", g.Streams, []string{"cut", "keep"}},
		{"errors", g.Errors, []string{"page", "pass"}},
	} {
		if option.word != "" && !slices.Contains(option.choices, option.word) {
			return fmt.Errorf("%s: %q is none of %s", option.name, option.word, strings.Join(option.choices, ", "))
		}
	}
	if g.PreservePost < 0 || g.PreservePost > maxPreservedPost {
		return fmt.Errorf("preserve_post: %d bytes; a form of 1 byte to 1 MiB can be kept", g.PreservePost)
	}
	g.passErrors = g.Errors == "pass"
	return nil
}

// checkProviderOf refuses, where several providers sign people in, a rule that does not
// say whose claim it means: somebody could choose at one provider the name that a rule
// means at another, and a user or group without its provider's name would never fit.
func (g *Gate) checkProviderOf(r rule) error {
	if len(g.speakers) < 2 {
		return nil
	}
	for _, name := range r.claims["provider"] {
		if !g.hasSpeaker(name) {
			return fmt.Errorf("the rule on provider: %q is none of this site's", name)
		}
	}
	for claim, accepted := range r.claims {
		if claim == "user" || claim == "groups" {
			for _, value := range accepted {
				if err := g.checkPrefix(claim, value); err != nil {
					return err
				}
			}
		} else if len(r.claims["provider"]) == 0 {
			return fmt.Errorf("several providers sign people in here: the rule on %s must say whose, in a block with provider <name>", claim)
		}
	}
	if r.expression != nil && !r.expression.ofProvider {
		return errors.New("several providers sign people in here: the expression must say whose, by provider")
	}
	return nil
}

func (g *Gate) hasSpeaker(name string) bool {
	return slices.ContainsFunc(g.speakers, func(p *provider) bool { return p.name == name })
}

// checkPrefix refuses, where several providers sign people in, a user or group that is
// written without its provider's name.
func (g *Gate) checkPrefix(claim, value string) error {
	if len(g.speakers) < 2 || claim != "user" && claim != "groups" {
		return nil
	}
	if name, _, prefixed := strings.Cut(value, ":"); !prefixed || !g.hasSpeaker(name) {
		return fmt.Errorf("several providers sign people in here: write the rule on %s %s with its provider, as %s:%s",
			claim, value, g.speakers[0].name, value)
	}
	return nil
}

// need records a claim that a rule or a header of this gate reads.
func (g *Gate) need(name string) {
	claim := claimBehind(name)
	if claim == "" || claim == "scope" { // only access tokens have a scope, and they bring all claims at once
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
		claim, err := resolve("header "+config.Name, config.Claim)
		if err != nil {
			return err
		}
		name := http.CanonicalHeaderKey(config.Name)
		if slices.ContainsFunc(g.identityHeaders, func(h HeaderConfig) bool { return newNameSet([]string{h.Name}).has(name) }) {
			return fmt.Errorf("header %s is set twice, or is one variable to a CGI application with another", name)
		}
		if protectedHeader(name) {
			return fmt.Errorf("header %s is not a claim's place: the connection, the cookies or the body depend on it", name)
		}
		g.identityHeaders = append(g.identityHeaders, HeaderConfig{Name: name, Claim: claim})
	}
	for _, header := range g.identityHeaders {
		g.need(header.Claim)
		own = append(own, header.Name)
	}
	g.own = newNameSet(own)
	g.names = newNameSet(knownIdentityHeaders, replacingHeaders, own)
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
		check  func(text string, o origin) error
		add    func(origin)
	}{
		{"trusted_origins", g.TrustedOrigins, checkExact, func(o origin) { g.trusted[o.String()] = struct{}{} }},
		{"return_to", g.ReturnTo, checkReturnTo, func(o origin) { g.returnTo = append(g.returnTo, o.String()) }},
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
			if err := list.check(text, o); err != nil {
				return err
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
			return fmt.Errorf("base_path: %q is no plain path; write one such as /oauth2", g.BasePath)
		}
	}
	return nil
}

// checkExact holds that an origin of trusted_origins is one and no other.
func checkExact(text string, o origin) error {
	if strings.Contains(o.host, "*") {
		return fmt.Errorf("trusted_origins: %q: origins are compared exactly, and none stands for several; write each", text)
	}
	return nil
}

func (g *Gate) provisionSession(ctx caddy.Context) error {
	var linger time.Duration
	if g.PreservePost > 0 {
		linger = formLinger
	}
	site, err := g.app.sessions(ctx, g.Session, linger)
	if err != nil {
		return err
	}
	g.sessions, g.sessionConfig, g.terms = site.manager, site.config, site.terms
	g.cookies, g.keys, g.state = site.terms.cookies, site.terms.keys, site.terms.state
	if g.sessionConfig.InsecureHTTP {
		g.logger.Warn("insecure_http: sessions travel unencrypted; whoever can read the network can use them")
	}
	return errors.Join(g.checkProfiles(), g.checkFormPost(g.app))
}

func (g *Gate) provisionPages(caddy.Context) error {
	var err error
	g.pages, err = newPages(g.Pages)
	return err
}

// siteURL checks a URL of the configuration that browsers are sent to.
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
