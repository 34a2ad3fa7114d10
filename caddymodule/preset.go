package caddymodule

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// preset is what is known of a kind of provider.
type preset struct {
	issuer     string
	clientAuth string
	scopes     []string
	// subject is where userinfo says who somebody is, at a provider that is plain
	// OAuth 2.0; "" is OpenID Connect.
	subject string
	// endpoints are those of issuer, and of no other.
	endpoints map[string]string
	// emails: addresses stand in a list below the userinfo endpoint.
	emails bool
	// groupsScope is the scope with which organisations and teams can be read, in lists
	// below the userinfo endpoint.
	groupsScope string
	// claims are names that rules and headers use, and what they are called there.
	claims map[string]string
}

// presets by name. A preset is named by the user, never guessed.
var presets = map[string]preset{
	"oidc":   {},
	"google": {issuer: "https://accounts.google.com"},
	"oauth2": {subject: "sub"},
	"github": {
		issuer:     "https://github.com/login/oauth",
		clientAuth: authflow.ClientSecretPost,
		scopes:     []string{"read:user", "user:email"},
		subject:    "id",
		endpoints: map[string]string{
			"authorization": "https://github.com/login/oauth/authorize",
			"token":         "https://github.com/login/oauth/access_token",
			"userinfo":      "https://api.github.com/user",
		},
		emails:      true,
		groupsScope: "read:org",
		claims:      map[string]string{"preferred_username": "login"},
	},
}

// presetNames are the values that preset takes.
func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// tenantTemplate are issuers at Microsoft that issue nothing: the metadata there, and
// each ID token, name the tenant of the person instead.
var tenantTemplate = regexp.MustCompile(`^https://login\.(?:partner\.)?microsoftonline\.(?:com|us|cn)/(?:common|organizations|consumers)(?:/|$)`)

// checkIssuer refuses an issuer by which nobody could sign in.
func checkIssuer(issuer string) error {
	if tenantTemplate.MatchString(issuer) {
		return fmt.Errorf("issuer: %s issues no tokens, each tenant does: write https://login.microsoftonline.com/<tenant id>/v2.0 "+
			"(personal accounts are 9188040d-6c67-4c5b-b112-36a304b66dad), a provider for each", issuer)
	}
	return nil
}

// maxDisplayName is the longest name of a provider that a page shows, in characters.
const maxDisplayName = 64

// checkDisplayName refuses a name that no page could show.
func (c *ProviderConfig) checkDisplayName() error {
	if utf8.RuneCountInString(c.DisplayName) > maxDisplayName {
		return fmt.Errorf("display_name has more than %d characters", maxDisplayName)
	}
	if c.DisplayName != "" && (strings.TrimSpace(c.DisplayName) == "" || strings.ContainsFunc(c.DisplayName, func(r rune) bool { return !unicode.IsPrint(r) })) {
		return fmt.Errorf("display_name %q is blank, or has characters that cannot be shown", c.DisplayName)
	}
	return nil
}

// groupless reports a provider of which no groups can be known, since the scope for
// them is not asked for.
func (c *ProviderConfig) groupless() bool {
	known := presets[c.Preset]
	scopes := c.Scopes
	if len(scopes) == 0 {
		scopes = known.scopes
	}
	return known.groupsScope != "" && !slices.ContainsFunc(scopes, func(scope string) bool {
		return holdsPlaceholder(scope) || slices.Contains(strings.Fields(scope), known.groupsScope)
	}) && !slices.ContainsFunc(c.Claim, func(m ClaimMapping) bool { return m.Name == "groups" })
}

// checkGroups refuses a rule on groups that nobody can have: as allow it would fit
// nobody, and as deny, which is worse, nobody either.
func (g *Gate) checkGroups(r rule) error {
	for _, p := range g.speakers {
		if p.groupless && g.readsGroupsOf(r, p) {
			return fmt.Errorf("the rule on groups: provider %s tells them with the scope read:org, which is not asked for", p.name)
		}
	}
	return nil
}

// readsGroupsOf reports that a rule is about the groups of a provider. Where there are
// several, each group is written with its provider's name.
func (g *Gate) readsGroupsOf(r rule, p *provider) bool {
	if len(g.speakers) > 1 {
		return slices.ContainsFunc(r.claims["groups"], func(group string) bool { return strings.HasPrefix(group, p.name+":") })
	}
	return len(r.claims["groups"]) > 0 || len(r.lists["groups"]) > 0 ||
		r.expression != nil && slices.Contains(r.expression.reads, "groups")
}

// provisionPreset fills in what the preset knows and the configuration does not
// say, once the rest is there. Of a provider that is plain OAuth 2.0 nothing is
// discovered.
func (c *ProviderConfig) provisionPreset(known preset, config *authflow.Config) error {
	if len(config.Scopes) == 0 {
		config.Scopes = known.scopes
	}
	config.SubjectFrom = known.subject
	if known.subject == "" {
		return nil
	}
	for _, mapping := range c.Claim {
		if mapping.Name == "sub" {
			var err error
			if config.SubjectFrom, err = resolve("claim sub", mapping.From); err != nil {
				return err
			}
		}
	}
	config.NoDiscovery, config.UserInfoEmails = true, known.emails
	config.UserInfoGroups = known.groupsScope != "" && slices.Contains(config.Scopes, known.groupsScope)
	if c.UserInfo == "off" || c.UserInfo == "on_missing_claims" {
		return fmt.Errorf("userinfo: %s, but with preset %s userinfo alone says who somebody is", c.UserInfo, c.Preset)
	}
	if config.Issuer != known.issuer {
		return nil // the secret of one company's server is not for another's
	}
	for name, address := range known.endpoints {
		if _, given := config.Endpoints[name]; !given {
			config.Endpoints[name] = address
		}
	}
	return nil
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

// errPublicIssuer says that a rule is missing.
func errPublicIssuer(issuer string) error {
	return fmt.Errorf("anybody can have an account at %s: say who may pass (allow email_domain ...), or write allow any", issuer)
}
