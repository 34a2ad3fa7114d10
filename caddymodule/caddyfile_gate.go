package caddymodule

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

var providerName = regexp.MustCompile(`^[a-z0-9_-]+$`)

// parseDirective reads the directive of a site. Syntax:
//
//	gatehouse [<matcher>] [<issuer URL> | <provider name>...] {
//		# with an issuer URL: the words of a provider, without issuer
//		session { ... }                 # where no global one is
//
//		base_path         <path>
//		public_url        <origin>
//		return_to         <origin>...
//		post_logout       <URL>
//		trusted_origins   <origin>...
//		allow|deny [<matcher>] <claim> <value>...
//		allow|deny [<matcher>] {
//			<claim> <value>...          # all of them
//		}
//		allow|deny [<matcher>] expression <CEL over claims>
//		allow any
//		require           [<matcher>] acr <value>...
//		require           [<matcher>] max_age <duration>
//		public            <path>...
//		bearer {
//			audience       <value>...
//			audience_claim <claim>
//			issuer         <URL>... | <URL> {
//				# discovery, endpoint, tls_trust_pool, forward_proxy_url, reach,
//				# insecure_skip_tls_verify, as in a provider
//			}
//			scopes         <scope>...
//			alg            <algorithm>...
//			any_type
//			introspect
//			only
//			require_bound
//			dpop_nonce
//		}
//		users             <file>
//		preflight         pass|reject
//		unauthenticated   login|reject|pass
//		report_only
//		headers           forwarded|remote|off
//		header            <Name> <claim>
//		forward           access_token|id_token|assertion [<Header>]
//		answer_tokens
//		private_responses on|off
//		streams       cut|keep
//		preserve_post [<size>]
//		errors            page|pass
//		pages {
//			root  <folder>
//			name  <text>
//			logo  <URL>
//			color <rrggbb>
//		}
//	}
//
// `allow`, `deny`, `require`, `public`, `header`, `forward` and `issuer` may be repeated. The directive emits one
// route without a matcher: the handler cleans every request and finds its own
// endpoints by the path as the browser sent it, before it asks the matcher.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, h.WrapErr(err)
	}
	gate := new(Gate)
	if matchers != nil {
		gate.Match = caddyhttp.RawMatcherSets{matchers}
	}
	h.Next() // again: taking the matcher out has reset the cursor
	if err := parseGateArguments(h, gate); err != nil {
		return nil, err
	}
	if err := parseBlock(h.Dispenser, directiveWords(h, gate)); err != nil {
		return nil, err
	}
	if err := checkGate(h, gate); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, gate), nil
}

// parseGateArguments reads what stands behind the matcher: one issuer, or the
// names of global providers.
func parseGateArguments(h httpcaddyfile.Helper, gate *Gate) error {
	args, err := values(h.Dispenser)
	if err != nil {
		return err
	}
	for _, arg := range args {
		switch {
		case strings.Contains(arg, "://"), strings.HasPrefix(arg, "{"):
			if gate.Provider != nil || len(gate.Providers) > 0 {
				return h.Errf("%q: a site names one issuer, or providers of the global options, not both", arg)
			}
			gate.Provider = &ProviderConfig{Issuer: arg}
		case !providerName.MatchString(arg):
			return h.Errf("%q is neither an issuer, which begins with https://, nor the name of a provider of the global option", arg)
		case gate.Provider != nil:
			return h.Errf("%q: a site names one issuer, or providers of the global options, not both", arg)
		default:
			gate.Providers = append(gate.Providers, arg)
		}
	}
	return nil
}

// directiveWords is the vocabulary of a directive: with an issuer, a provider's
// words too. Without one they are an error that names its usual cause:
// gatehouse {$ISSUER} with the variable unset is a bare gatehouse.
func directiveWords(h httpcaddyfile.Helper, gate *Gate) vocabulary {
	words := gateWords(h, &gate.GateConfig)
	if gate.Provider == nil {
		for name := range providerWords(new(ProviderConfig)) {
			words[name] = word{hidden: true, parse: func(d *caddyfile.Dispenser) error {
				if name == "issuer" {
					return d.Err("the issuer of a site stands behind gatehouse: gatehouse https://id.example.com { ... }")
				}
				if name == "preset" {
					return d.Err("preset belongs to a provider, and this site names no issuer: write it behind gatehouse, also where the preset knows it (gatehouse https://accounts.google.com { ... })")
				}
				return d.Errf("%s belongs to a provider, and this site names no issuer: write it behind gatehouse (gatehouse https://id.example.com { ... }). If a variable stands there, it is not set", name)
			}}
		}
		return words
	}
	for name, option := range providerWords(gate.Provider) {
		if name != "issuer" {
			words[name] = option
		}
	}
	return words
}

// checkGate holds the directive to the global options, which Caddy has read
// before any site.
func checkGate(h httpcaddyfile.Helper, gate *Gate) error {
	global := new(App)
	if option, given := h.Option("gatehouse").(httpcaddyfile.App); given {
		if err := json.Unmarshal(option.Value, global); err != nil {
			return h.WrapErr(err)
		}
	}
	if gate.Provider != nil {
		if gate.Provider.ClientID == "" {
			return h.Errf("%s needs client_id", gate.Provider.Issuer)
		}
		if err := gate.Provider.check(); err != nil {
			return h.WrapErr(err)
		}
	} else if len(global.Providers) == 0 && gate.Users == "" {
		return h.Err("no provider: write the issuer's URL behind gatehouse, or a provider into the global option gatehouse. " +
			"An issuer behind another gatehouse is of that one alone: where two need it, it belongs into the global option")
	}
	for _, name := range gate.Providers {
		if global.providerConfig(name) == nil {
			return h.Errf("no provider %s in the global option gatehouse", name)
		}
	}
	if gate.Session != nil && global.Session != nil {
		return h.Err("session stands in the global option gatehouse already; the two are never merged")
	}
	if err := gate.checkWords(global); err != nil {
		return h.WrapErr(err)
	}
	return nil
}

func gateWords(h httpcaddyfile.Helper, g *GateConfig) vocabulary {
	return vocabulary{
		"session":           {parse: func(d *caddyfile.Dispenser) error { return parseSiteSession(d, g) }},
		"base_path":         one(&g.BasePath),
		"public_url":        one(&g.PublicURL),
		"return_to":         many(&g.ReturnTo),
		"post_logout":       one(&g.PostLogout),
		"trusted_origins":   many(&g.TrustedOrigins),
		"allow":             {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseRule(h, d, &g.Allow) }},
		"deny":              {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseRule(h, d, &g.Deny) }},
		"require":           {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseRequire(h, d, g) }},
		"public":            {repeat: true, parse: many(&g.Public).parse},
		"users":             one(&g.Users),
		"bearer":            {parse: func(d *caddyfile.Dispenser) error { return parseBearer(d, g) }},
		"preflight":         oneOf(&g.Preflight, "pass", "reject"),
		"unauthenticated":   oneOf(&g.Unauthenticated, "login", "reject", "pass"),
		"report_only":       flag(&g.ReportOnly),
		"headers":           oneOf(&g.Headers, "forwarded", "remote", "off"),
		"header":            {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseHeader(d, g) }},
		"forward":           {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseForward(d, g) }},
		"answer_tokens":     flag(&g.AnswerTokens),
		"private_responses": oneOf(&g.PrivateResponses, "on", "off"),
		"streams":           oneOf(&g.Streams, "cut", "keep"),
		"preserve_post":     {parse: func(d *caddyfile.Dispenser) error { return parsePreservePost(d, g) }},
		"errors":            oneOf(&g.Errors, "page", "pass"),
		"pages":             {parse: func(d *caddyfile.Dispenser) error { return parsePages(d, g) }},
	}
}

func parseSiteSession(d *caddyfile.Dispenser, g *GateConfig) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	g.Session = new(SessionConfig)
	return parseSession(d, g.Session)
}

func parseBearer(d *caddyfile.Dispenser, g *GateConfig) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	g.Bearer = new(BearerConfig)
	if err := parseBlock(d, bearerWords(g.Bearer)); err != nil {
		return err
	}
	if len(g.Bearer.Audience) == 0 {
		return d.Err("bearer needs audience")
	}
	return nil
}

func bearerWords(b *BearerConfig) vocabulary {
	return vocabulary{
		"audience":       many(&b.Audience),
		"audience_claim": one(&b.AudienceClaim),
		"issuer":         {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseBearerIssuer(d, b) }},
		"scopes":         many(&b.Scopes),
		"alg":            many(&b.Alg),
		"any_type":       flag(&b.AnyType),
		"introspect":     flag(&b.Introspect),
		"only":           flag(&b.Only),
		"require_bound":  flag(&b.RequireBound),
		"dpop_nonce":     flag(&b.DPoPNonce),
	}
}

func parsePages(d *caddyfile.Dispenser, g *GateConfig) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	g.Pages = new(PagesConfig)
	return parseBlock(d, pagesWords(g.Pages))
}

func pagesWords(p *PagesConfig) vocabulary {
	return vocabulary{
		"root":  one(&p.Root),
		"name":  one(&p.Name),
		"logo":  one(&p.Logo),
		"color": one(&p.Color),
	}
}

func parseHeader(d *caddyfile.Dispenser, g *GateConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 2 {
		hint := ""
		if len(args) == 1 {
			hint = "; did you mean headers?"
		}
		return d.Errf("header takes a name and a claim, not %d values%s", len(args), hint)
	}
	if strings.HasPrefix(strings.ToLower(args[1]), "x-") {
		return d.Errf("header takes the header's name first: did you mean header %s %s?", args[1], args[0])
	}
	for _, other := range g.Header {
		if strings.EqualFold(other.Name, args[0]) {
			return d.Errf("header %s is already given", args[0])
		}
	}
	g.Header = append(g.Header, HeaderConfig{Name: args[0], Claim: args[1]})
	return nil
}

// parseRule reads one allow or deny: a line, or a block whose claims must all fit.
func parseRule(h httpcaddyfile.Helper, d *caddyfile.Dispenser, rules *[]Rule) error {
	word := d.Val()
	matchers, args, err := ruleArguments(h, d)
	if err != nil {
		return err
	}
	rule := Rule{Match: matchers, Claims: make(map[string][]string)}
	switch {
	case len(args) == 0:
		if err := parseRuleBlock(d, rule.Claims); err != nil {
			return err
		}
		if len(rule.Claims) == 0 {
			return d.Errf("%s needs a claim and its values%s", word, anyHint(word))
		}
	case args[0] == "any" && word == "allow":
		if len(args) > 1 {
			return d.Err("allow any takes no values")
		}
		rule.Any = true
	case args[0] == "expression":
		if len(args) != 2 {
			return d.Errf("%s expression takes one expression; quote it", word)
		}
		rule.Expression = args[1]
	case len(args) == 1:
		return d.Errf("%s %s has no value: nobody could fit%s", word, args[0], anyHint(word))
	default:
		if err := checkAccepted(args[0], args[1:]); err != nil {
			return d.WrapErr(err)
		}
		rule.Claims[args[0]] = args[1:]
	}
	if len(rule.Claims) == 0 {
		rule.Claims = nil
	}
	*rules = append(*rules, rule)
	return nil
}

// anyHint says how everybody is written, who may have been meant.
func anyHint(word string) string {
	if word == "allow" {
		return " (anyone who can sign in: allow any)"
	}
	return ""
}

// ruleArguments reads a rule's line. Its first token may be a matcher.
func ruleArguments(h httpcaddyfile.Helper, d *caddyfile.Dispenser) (caddy.ModuleMap, []string, error) {
	var matchers caddy.ModuleMap
	args, err := values(d)
	if err != nil || len(args) == 0 {
		return nil, args, err
	}
	if first := args[0]; strings.HasPrefix(first, "/") || strings.HasPrefix(first, "@") || first == "*" {
		line := caddyfile.NewDispenser([]caddyfile.Token{
			{File: d.File(), Line: d.Line(), Text: "rule"}, {File: d.File(), Line: d.Line(), Text: first},
		})
		line.Next()
		matchers, _, err = h.WithDispenser(line).MatcherToken()
		if err != nil {
			return nil, nil, d.WrapErr(err)
		}
		if err := checkMatcher(matchers); err != nil {
			return nil, nil, d.WrapErr(err)
		}
		args = args[1:]
	}
	return matchers, args, nil
}

func parseRuleBlock(d *caddyfile.Dispenser, claims map[string][]string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		claim := d.Val()
		if strings.TrimSpace(claim) == "" {
			return d.Err("a claim of the rule has no name")
		}
		if _, twice := claims[claim]; twice {
			return d.Errf("%s is already given in this rule", claim)
		}
		accepted, err := values(d)
		if err != nil {
			return err
		}
		if len(accepted) == 0 {
			return d.Errf("%s has no value: nobody could fit", claim)
		}
		if err := checkAccepted(claim, accepted); err != nil {
			return d.WrapErr(err)
		}
		claims[claim] = accepted
	}
	return nil
}

// parseRequire reads `require [<matcher>] acr <value>...` or `max_age <duration>`.
func parseRequire(h httpcaddyfile.Helper, d *caddyfile.Dispenser, g *GateConfig) error {
	matchers, args, err := ruleArguments(h, d)
	if err != nil {
		return err
	}
	if len(args) < 2 {
		return d.Err("require takes acr and its values, or max_age and a duration")
	}
	requirement := Requirement{Match: matchers}
	switch args[0] {
	case "acr":
		requirement.ACR = args[1:]
	case "max_age":
		if len(args) != 2 {
			return d.Errf("require max_age takes one duration, not %d values", len(args)-1)
		}
		maxAge, err := caddy.ParseDuration(args[1])
		if err != nil {
			return d.Errf("require max_age: %q is no duration; write 90s, 30m, 12h or 7d", args[1])
		}
		if maxAge < shortestMaxAge {
			return d.Errf("require max_age: less than %s passes before the page is there", shortestMaxAge)
		}
		requirement.MaxAge = caddy.Duration(maxAge)
	default:
		return d.Errf("require %s: there are acr and max_age", args[0])
	}
	g.Require = append(g.Require, requirement)
	return nil
}

// parsePreservePost reads the size of a form: 64KiB if it is not said.
func parsePreservePost(d *caddyfile.Dispenser, g *GateConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) > 1 {
		return d.Errf("preserve_post takes one size, not %d", len(args))
	}
	g.PreservePost = preservedPost
	if len(args) == 0 {
		return nil
	}
	size, err := humanize.ParseBytes(args[0])
	if err != nil || size == 0 || size > maxPreservedPost {
		return d.Errf("preserve_post: %q is no size from 1 byte to 1MiB", args[0])
	}
	g.PreservePost = int64(size)
	return nil
}
