package caddymodule

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("gatehouse", parseGlobalOption)
	httpcaddyfile.RegisterDirective("gatehouse", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("gatehouse", httpcaddyfile.After, "basic_auth")
}

// parseGlobalOption reads the global option. Syntax:
//
//	gatehouse {
//		provider [<name>] {
//			display_name  <text>
//			preset        oidc|google|oauth2|github
//			issuer        <URL>
//			client_id     <id>
//			client_secret <secret>
//			client_auth   client_secret_basic|client_secret_post|private_key_jwt|tls_client_auth|self_signed_tls_client_auth|none
//			client_key    <file> [<kid>]
//			client_certificate <cert> <key>
//			profile       fapi2
//			response_mode query|form_post|jwt|form_post.jwt
//			par           auto|on|off
//			jar
//			dpop
//			param         <name> <value>
//			param_from_request <name>...
//			scopes        <scope>...
//			userinfo      off|on_missing_claims|required
//			claim_source  <issuer URL>...
//			claim         <name> from <path>
//			user_claim    <claim>
//			userinfo_signed_response_alg <algorithm>
//			introspection_signed_response_alg <algorithm>
//			refresh_interval  <duration>
//			discovery         off
//			endpoint          <name> <URL>|off
//			reach             <origin>
//			tls_trust_pool    <module> ...
//			forward_proxy_url <URL>
//			insecure_unverified_email
//			insecure_skip_tls_verify
//		}
//		session {
//			store            cookie|memory|redis [<address>...] { ... }
//			shared           redis [<address>...] { ... }
//			keys             <key>...
//			lifetime         <duration>
//			idle_timeout     <duration>|off
//			cookie_name      <name>
//			cookie_domain    <domain>
//			cookie_same_site lax|strict|none
//			cookie_persist   on|off
//			insecure_http
//		}
//	}
//
// `provider`, `client_key`, `param`, `claim`, `claim_source` and `endpoint` may be
// repeated.
// Several `gatehouse` options are merged; what is given twice is an error.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if existing != nil {
		if err := caddy.StrictUnmarshalJSON(existing.(httpcaddyfile.App).Value, app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	d.Next() // the option's name
	if d.NextArg() {
		return nil, d.Errf("the global option gatehouse takes a block, no arguments: an issuer of one site stands in the site")
	}
	err := parseBlock(d, vocabulary{
		"provider": {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseProvider(d, app) }},
		"session": {parse: func(d *caddyfile.Dispenser) error {
			if app.Session != nil {
				return d.Err("session is already given")
			}
			if d.NextArg() {
				return d.ArgErr()
			}
			app.Session = new(SessionConfig)
			return parseSession(d, app.Session)
		}},
	})
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "gatehouse", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseProvider(d *caddyfile.Dispenser, app *App) error {
	provider := new(ProviderConfig)
	if d.NextArg() {
		provider.Name = d.Val()
		if !providerName.MatchString(provider.Name) {
			return d.Errf("provider name %q: use letters a-z, digits, _ and -", provider.Name)
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	if slices.ContainsFunc(app.Providers, func(p *ProviderConfig) bool { return p.name() == provider.name() }) {
		return d.Errf("provider %s is already given", provider.name())
	}
	if err := parseBlock(d, providerWords(provider)); err != nil {
		return err
	}
	issuer := cmp.Or(provider.Issuer, presets[provider.Preset].issuer)
	for _, needed := range []struct{ word, value string }{{"issuer", issuer}, {"client_id", provider.ClientID}} {
		if _, isPreset := presets[provider.Name]; needed.value == "" && isPreset && provider.Preset == "" {
			return d.Errf("provider %s needs %s; did you mean preset %s? It is never guessed from the name", provider.name(), needed.word, provider.Name)
		}
		if needed.value == "" {
			return d.Errf("provider %s needs %s", provider.name(), needed.word)
		}
	}
	if err := provider.check(); err != nil {
		return d.WrapErr(err)
	}
	app.Providers = append(app.Providers, provider)
	return nil
}

// providerWords is the vocabulary of a provider, in its own block or in the
// block of a site that names an issuer.
func providerWords(p *ProviderConfig) vocabulary {
	words := networkWords(&p.NetworkConfig)
	maps.Copy(words, vocabulary{
		"display_name":  one(&p.DisplayName),
		"preset":        {parse: func(d *caddyfile.Dispenser) error { return parsePreset(d, p) }},
		"issuer":        one(&p.Issuer),
		"client_id":     one(&p.ClientID),
		"client_secret": one(&p.ClientSecret),
		"client_auth": oneOf(&p.ClientAuth, authflow.ClientSecretBasic, authflow.ClientSecretPost, authflow.PrivateKeyJWT,
			authflow.TLSClientAuth, authflow.SelfSignedTLSClientAuth, authflow.ClientAuthNone),
		"client_key":         {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseClientKey(d, p) }},
		"client_assertion":   one(&p.ClientAssertion),
		"client_certificate": {parse: func(d *caddyfile.Dispenser) error { return parseClientCertificate(d, p) }},
		"profile":            oneOf(&p.Profile, authflow.ProfileFAPI2),
		"response_mode":      oneOf(&p.ResponseMode, "query", authflow.FormPost, authflow.QueryJWT, authflow.FormPostJWT),
		"par":                oneOf(&p.PAR, authflow.PARAuto, authflow.PAROn, authflow.PAROff),
		"jar":                flag(&p.JAR),
		"dpop":               flag(&p.DPoP),
		"param":              {repeat: true, parse: func(d *caddyfile.Dispenser) error { return parseParam(d, p) }},
		"param_from_request": many(&p.ParamFromRequest),
		"scopes":             many(&p.Scopes),
		"userinfo":           oneOf(&p.UserInfo, "off", "on_missing_claims", "required"),
		"claim_source":       {repeat: true, parse: many(&p.ClaimSource).parse},
		"user_claim":         one(&p.UserClaim),
		"refresh_interval":   duration(&p.RefreshInterval, false),

		"userinfo_signed_response_alg":      one(&p.UserInfoSignedResponseAlg),
		"introspection_signed_response_alg": one(&p.IntrospectionSignedResponseAlg),

		"insecure_unverified_email": flag(&p.InsecureUnverifiedEmail),
		"claim": {repeat: true, parse: func(d *caddyfile.Dispenser) error {
			args, err := values(d)
			if err != nil {
				return err
			}
			if len(args) != 3 || args[1] != "from" {
				return d.Err("claim: write claim <name> from <path>")
			}
			if slices.ContainsFunc(p.Claim, func(m ClaimMapping) bool { return m.Name == args[0] }) {
				return d.Errf("claim %s is already given", args[0])
			}
			p.Claim = append(p.Claim, ClaimMapping{Name: args[0], From: args[2]})
			return nil
		}},
	})
	return words
}

// parseSession reads a block of session settings.
func parseSession(d *caddyfile.Dispenser, s *SessionConfig) error {
	if err := parseBlock(d, sessionWords(s)); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func sessionWords(s *SessionConfig) vocabulary {
	return vocabulary{
		"store":            {parse: func(d *caddyfile.Dispenser) error { return parseStore(d, s) }},
		"shared":           {parse: func(d *caddyfile.Dispenser) error { return parseShared(d, s) }},
		"keys":             many(&s.Keys),
		"lifetime":         duration(&s.Lifetime, false),
		"idle_timeout":     duration(&s.IdleTimeout, true),
		"cookie_name":      one(&s.CookieName),
		"cookie_domain":    one(&s.CookieDomain),
		"cookie_same_site": oneOf(&s.CookieSameSite, "lax", "strict", "none"),
		"cookie_persist":   oneOf(&s.CookiePersist, "on", "off"),
		"insecure_http":    flag(&s.InsecureHTTP),
	}
}

// A vocabulary is the words of one block.
type vocabulary map[string]word

// A word is one option: how it is read, whether it may stand twice, and whether
// it is hidden from suggestions, being there only for the sake of its error.
type word struct {
	parse  func(*caddyfile.Dispenser) error
	repeat bool
	hidden bool
}

// parseBlock reads the block at the cursor. What is unknown, or given twice, is
// an error with file and line.
func parseBlock(d *caddyfile.Dispenser, words vocabulary) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		option, known := words[name]
		if !known {
			return d.Errf("unknown option %s%s", name, suggestion(name, words))
		}
		if seen[name] && !option.repeat {
			return d.Errf("%s is already given", name)
		}
		seen[name] = true
		if err := option.parse(d); err != nil {
			return err
		}
	}
	return nil
}

// suggestion helps with a misspelt option, or one of another block.
func suggestion(name string, words vocabulary) string {
	for known, option := range words {
		if !option.hidden && strings.TrimSuffix(known, "s") == strings.TrimSuffix(name, "s") {
			return "; did you mean " + known + "?"
		}
	}
	for _, other := range []struct {
		where string
		words vocabulary
	}{
		{"a provider block", providerWords(new(ProviderConfig))},
		{"the session block", sessionWords(new(SessionConfig))},
		{"a site's gatehouse block", gateWords(httpcaddyfile.Helper{}, new(GateConfig))},
	} {
		if _, known := other.words[name]; known {
			return "; it belongs into " + other.where
		}
	}
	names := make([]string, 0, len(words))
	for known, option := range words {
		if !option.hidden {
			names = append(names, known)
		}
	}
	slices.Sort(names)
	if hint := otherWords[strings.ReplaceAll(name, "-", "_")]; hint != "" {
		return "; " + hint
	}
	if meant := closest(name, names); meant != "" {
		return "; did you mean " + meant + "?"
	}
	return "; known here: " + strings.Join(names, ", ")
}

// values reads the arguments that remain on the line. An empty one is an error,
// and so is a placeholder that only a request could fill: our options are read
// once, when the configuration is loaded.
func values(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	for _, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return nil, d.Errf("%s has an empty value", name)
		}
		if strings.Contains(arg, "{http.") {
			return nil, d.Errf("%s: %q is a placeholder of a request; options are read when the configuration is loaded "+
				"(for a file, write an absolute path: {file./run/secrets/name})", name, arg)
		}
	}
	return args, nil
}

// one reads an option of exactly one value.
func one(target *string) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args, err := values(d)
		if err != nil {
			return err
		}
		if len(args) != 1 {
			return d.Errf("%s takes one value, not %d%s", name, len(args), countHint(name, len(args)))
		}
		*target = args[0]
		return nil
	}}
}

// oneOf reads an option whose value is one of a few words.
func oneOf(target *string, choices ...string) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if err := one(target).parse(d); err != nil {
			return err
		}
		if !slices.Contains(choices, *target) {
			return d.Errf("%s: %q is none of %s", name, *target, strings.Join(choices, ", "))
		}
		return nil
	}}
}

// many reads an option of one or more values.
func many(target *[]string) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args, err := values(d)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return d.Errf("%s takes one or more values%s", name, countHint(name, 0))
		}
		*target = append(*target, args...)
		return nil
	}}
}

// flag reads an option without value.
func flag(target *bool) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no value", name)
		}
		*target = true
		return nil
	}}
}

// duration reads a positive duration, or "off" where that has a meaning.
func duration(target *caddy.Duration, mayBeOff bool) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var text string
		if err := one(&text).parse(d); err != nil {
			return err
		}
		if mayBeOff && text == "off" {
			return nil
		}
		parsed, err := caddy.ParseDuration(text)
		if err != nil {
			return d.Errf("%s: %q is no duration; write 90s, 30m, 12h or 7d", name, text)
		}
		if parsed <= 0 {
			return d.Errf("%s must be longer than 0", name)
		}
		*target = caddy.Duration(parsed)
		return nil
	}}
}

// countHint names the option that was probably meant, for the pair that is
// easily confused, or why a value that was written is not there.
func countHint(name string, count int) string {
	switch {
	case name == "headers":
		return "; did you mean header?"
	case count == 0:
		return " (a variable that is not set leaves none, and a # begins a comment)"
	}
	return ""
}
