package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// otherWords are words of other proxies and of libraries, as people who switch write
// them, and what is written here instead.
var otherWords = map[string]string{
	"allowed_groups":        "write allow groups <name>...",
	"allowed_group":         "write allow groups <name>...",
	"allowed_roles":         "write allow <claim> <value>..., with the claim that holds the roles",
	"allowed_emails":        "write allow email <address>...",
	"email_domain":          "write allow email_domain <domain>...",
	"email_domains":         "write allow email_domain <domain>...",
	"bypass":                "paths without sign-in are public <path>...",
	"exclude":               "paths without sign-in are public <path>...",
	"skip_auth":             "paths without sign-in are public <path>...",
	"skip_auth_route":       "paths without sign-in are public <path>...",
	"skip_auth_routes":      "paths without sign-in are public <path>...",
	"skip_auth_preflight":   "write preflight pass",
	"skip_jwt_bearer_token": "write bearer { audience <name> }",
	"whitelist_domain":      "origins to come back to are return_to <origin>...",
	"whitelist_domains":     "origins to come back to are return_to <origin>...",
	"proxy_prefix":          "write base_path <path>",
	"provider":              "a provider block stands in the global option gatehouse; a site names its issuer: gatehouse https://id.example.com { ... }",
	"upstream":              "the upstream stands in reverse_proxy, below this block",
	"upstreams":             "the upstream stands in reverse_proxy, below this block",
	"oidc_issuer_url":       "write issuer <URL>",
	"provider_url":          "write issuer <URL>",
	"discovery_url":         "write issuer <URL>: the metadata are below it",
	"metadata_url":          "write issuer <URL>: the metadata are below it",
	"provider_ca_file":      "write tls_trust_pool file <path>",
	"secret":                "write client_secret <value>",
	"client_secret_file":    "write client_secret {file./path}, which is read again at each use",
	"client_assertion_file": "write client_assertion <file>",
	"federated_token_file":  "write client_assertion <file>",
	"redirect_uri":          "it need not be said: it is the site's address with /oauth2/callback (public_url and base_path change that)",
	"redirect_url":          "it need not be said: it is the site's address with /oauth2/callback (public_url and base_path change that)",
	"callback_url":          "it need not be said: it is the site's address with /oauth2/callback (public_url and base_path change that)",
	"response_type":         "it need not be said: it is always code",
	"pkce":                  "it need not be said: PKCE with S256 is always used",
	"code_challenge_method": "it need not be said: PKCE with S256 is always used",
	"nonce":                 "it need not be said: a nonce is always sent and checked",
	"prompt":                "write param prompt <value>",
	"login_hint":            "write param_from_request login_hint",
	"audience":              "write param audience <value>; the audience of access tokens stands in bearer",
	"resource":              "write param resource <URL>",
	"cookie_secret":         "it need not be said: keys make themselves (write keys <value>... for some of your own)",
	"cookie_secure":         "it need not be said: cookies are Secure wherever the site is https",
	"cookie_httponly":       "it need not be said: cookies are always HttpOnly",
	"cookie_expire":         "write lifetime <duration>",
	"cookie_refresh":        "write refresh_interval <duration>, in the provider",
	"session_store_type":    "write store cookie, memory or redis, in session",
	"trusted_proxies":       "it is Caddy's own, in the global option servers",
	"reverse_proxy":         "it is a directive of its own, below this block; is a closing brace missing?",
}

// parsePreset reads the kind of a provider. Most have none of their own, and need none.
func parsePreset(d *caddyfile.Dispenser, p *ProviderConfig) error {
	if err := one(&p.Preset).parse(d); err != nil {
		return err
	}
	if names := presetNames(); !slices.Contains(names, p.Preset) {
		return d.Errf("preset: %q is none of %s; whatever speaks OpenID Connect needs none, its issuer says all",
			p.Preset, strings.Join(names, ", "))
	}
	return nil
}
