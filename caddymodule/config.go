package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ProviderConfig is one OpenID provider and the client that we are to it.
// Strings may hold placeholders of the process ({env.*}, {file.*}); they are
// resolved when the configuration is loaded, client_secret at each use.
type ProviderConfig struct {
	// The provider's name, [a-z0-9_-]+: what sites and rules call it.
	// Default: "default".
	Name string `json:"name,omitempty"`

	// What people know the provider as, on the pages: up to 64 characters.
	// Default: the provider's name.
	DisplayName string `json:"display_name,omitempty"`

	// What is known of this kind of provider: "oidc", "google", "oauth2" (it
	// issues no ID token, and userinfo says who somebody is) or "github".
	// Default: "oidc". It is never guessed from the name.
	Preset string `json:"preset,omitempty"`

	// The issuer identifier, an https URL (http on loopback), compared exactly
	// with what discovery and ID tokens say (OIDC Discovery 4.3).
	Issuer string `json:"issuer,omitempty"`

	// The client identifier that the provider has registered for us.
	ClientID string `json:"client_id,omitempty"`

	// The client secret. A {file.*} placeholder is read at each use, so a
	// changed file is followed without a reload.
	ClientSecret string `json:"client_secret,omitempty"`

	// The client's private keys: the first signs, all are published at the
	// endpoint `jwks`.
	ClientKey []ClientKeyConfig `json:"client_key,omitempty"`

	// A file in which the platform keeps an assertion of who this client is, which the
	// provider takes instead of a secret (RFC 7521 4.2). It is read again at each use.
	ClientAssertion string `json:"client_assertion,omitempty"`

	// The client's certificate, shown on every connection to the provider.
	ClientCertificate *ClientCertificateConfig `json:"client_certificate,omitempty"`

	// How the client authenticates at the token endpoint, by the names of
	// RFC 7591: client_secret_basic, client_secret_post, private_key_jwt,
	// tls_client_auth, self_signed_tls_client_auth or none. Default: with a
	// secret, what discovery offers, else client_secret_basic; with a key,
	// private_key_jwt; with a certificate, tls_client_auth.
	ClientAuth string `json:"client_auth,omitempty"`

	// The security profile of the client, "fapi2" (FAPI 2.0 Security Profile): what it
	// demands is switched on, what contradicts it refused. Default: none.
	Profile string `json:"profile,omitempty"`

	// How the provider answers through the browser: "query" or "form_post", or in a JWT
	// that it signs (JARM), "jwt" or "form_post.jwt". Default: query.
	ResponseMode string `json:"response_mode,omitempty"`

	// Whether authorization requests are pushed (RFC 9126): "auto" (where the
	// provider requires it), "on" or "off". Default: auto.
	PAR string `json:"par,omitempty"`

	// Sign authorization requests (RFC 9101) with the first of ClientKey.
	JAR bool `json:"jar,omitempty"`

	// Ask for tokens that are bound to a key of each session's own (DPoP, RFC 9449),
	// and refuse others.
	DPoP bool `json:"dpop,omitempty"`

	// Further parameters of every authorization request.
	Param map[string]string `json:"param,omitempty"`

	// The parameters of the endpoint `login` that are passed on to the provider.
	ParamFromRequest []string `json:"param_from_request,omitempty"`

	// The scopes to ask for. Default: openid profile email; with the preset oauth2
	// none, with github read:user and user:email.
	Scopes []string `json:"scopes,omitempty"`

	// When the userinfo endpoint is asked: "off", "on_missing_claims" or
	// "required". Default: on_missing_claims.
	UserInfo string `json:"userinfo,omitempty"`

	// The issuers whose claims count where the provider says that a claim stands
	// elsewhere (OIDC Core 5.6.2). Default: none, and nothing is fetched.
	ClaimSource []string `json:"claim_source,omitempty"`

	// Claims under names of our own.
	Claim []ClaimMapping `json:"claim,omitempty"`

	// The claim that upstream applications get as the user. Default: sub.
	// Who somebody is to us remains issuer and sub.
	UserClaim string `json:"user_claim,omitempty"`

	// The algorithm that userinfo answers are signed with, if the client is
	// registered for that, by the name of OIDC Dynamic Client Registration 2:
	// RS256, ES256, ... Default: answers are JSON, and signed ones are refused.
	UserInfoSignedResponseAlg string `json:"userinfo_signed_response_alg,omitempty"`

	// The algorithm that introspection answers are signed with, if the client is
	// registered for that (RFC 9701 6). Default: answers are JSON, and signed ones
	// are refused.
	IntrospectionSignedResponseAlg string `json:"introspection_signed_response_alg,omitempty"`

	// How long after a sign-in or a refresh the next refresh is due, if the access
	// token does not expire earlier. Default: when the access token expires.
	RefreshInterval caddy.Duration `json:"refresh_interval,omitempty"`

	NetworkConfig

	// Believe every e-mail address, whatever email_verified says.
	InsecureUnverifiedEmail bool `json:"insecure_unverified_email,omitempty"`
}

// NetworkConfig says how a provider is reached, and where.
type NetworkConfig struct {
	// "off" if the provider publishes no metadata. Default: it is asked for them.
	Discovery string `json:"discovery,omitempty"`

	// Addresses that win over what discovery says, by their names in RFC 8414
	// without _endpoint: authorization, token, jwks, userinfo, end_session,
	// revocation, introspection, pushed_authorization_request. "off" is one that is
	// not used although the provider has it.
	Endpoint map[string]string `json:"endpoint,omitempty"`

	// Whose certificates the provider may show. Default: the system's authorities.
	TLSTrustPool json.RawMessage `json:"tls_trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// The proxy that every call to the provider goes through. Default: what the
	// environment says.
	ForwardProxyURL string `json:"forward_proxy_url,omitempty"`

	// The origin at which the provider is called, https://host[:port], where that
	// is not the issuer's. Default: the issuer's.
	Reach string `json:"reach,omitempty"`

	// Do not verify the provider's TLS certificate.
	InsecureSkipTLSVerify bool `json:"insecure_skip_tls_verify,omitempty"`
}

// ClientKeyConfig is one private key of the client.
type ClientKeyConfig struct {
	// A PEM or JWK file, read again at each use.
	File string `json:"file"`
	// The key's id. Default: that of the JWK, else the thumbprint (RFC 7638).
	KeyID string `json:"kid,omitempty"`
}

// ClientCertificateConfig is the client's certificate. Its files are read again
// for each connection.
type ClientCertificateConfig struct {
	// A PEM file with the certificate, and those between it and its authority.
	Certificate string `json:"certificate"`
	// A PEM file with its private key.
	Key string `json:"key"`
}

// ClaimMapping gives a claim a name that rules and headers use.
type ClaimMapping struct {
	// The name, as rules and headers use it.
	Name string `json:"name"`
	// Where it stands in the ID token or the userinfo answer: a member's name,
	// or a dotted path (realm_access.roles).
	From string `json:"from"`
}

// SessionConfig says what a browser remembers, where, and for how long.
type SessionConfig struct {
	// Where sessions live: "cookie" (sealed, in the browser), "memory" (in this
	// process), or a module that keeps them for several servers. Default: cookie.
	Store json.RawMessage `json:"store,omitempty" caddy:"namespace=gatehouse.session_stores inline_key=backend"`

	// What several servers have in common beside sessions in cookies: sign-outs,
	// refreshes, what is used once. Default: nothing; a store that is a module
	// brings its own.
	Shared json.RawMessage `json:"shared,omitempty" caddy:"namespace=gatehouse.session_stores inline_key=backend"`

	// The keys that seal cookies, 32 bytes or more each, in base64; white space
	// parts several in one value. The first seals, all open. A {file.*} placeholder
	// is read again, so a changed file is followed without a reload.
	// Default: keys make themselves, in Caddy's storage.
	Keys []string `json:"keys,omitempty"`

	// The longest that a session lives, however much it is used. Default: 12h.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	// How long a session lives without a request; 0 is off. Default: off.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// The name of the cookies, without prefix. Default: gatehouse.
	CookieName string `json:"cookie_name,omitempty"`

	// The domain whose hosts share the session. Default: this host only.
	CookieDomain string `json:"cookie_domain,omitempty"`

	// The SameSite attribute: "lax", "strict" or "none". Default: lax.
	CookieSameSite string `json:"cookie_same_site,omitempty"`

	// Whether the cookie outlives the browser: "on" gives it a Max-Age of what
	// is left of the lifetime. Default: on.
	CookiePersist string `json:"cookie_persist,omitempty"`

	// Let sessions travel over plain http from elsewhere than loopback.
	InsecureHTTP bool `json:"insecure_http,omitempty"`
}

// Rule is one line, or one block, of allow or deny.
type Rule struct {
	// On which requests the rule counts. Default: all.
	Match caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=http.matchers"`
	// Claim names and the values that fit: values of one claim are
	// alternatives, all claims of one rule must fit. "user", "email_domain" and
	// "provider" are known names.
	Claims map[string][]string `json:"claims,omitempty"`
	// A CEL expression over `claims`, instead of Claims.
	Expression string `json:"expression,omitempty"`
	// Anyone who can sign in, instead of Claims (allow only).
	Any bool `json:"any,omitempty"`
}

// Requirement asks more of a session than that there is one. Exactly one of ACR
// and MaxAge is set.
type Requirement struct {
	// On which requests it counts. Default: all.
	Match caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=http.matchers"`
	// How the person has signed in (acr): any of these.
	ACR []string `json:"acr,omitempty"`
	// How long ago the person has signed in at the provider (auth_time), at most.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
}

// HeaderConfig sends one claim to the upstream.
type HeaderConfig struct {
	// The header's name.
	Name string `json:"name"`
	// The claim's name, or "user", "email_domain" or "provider", as in rules.
	Claim string `json:"claim"`
}

// ForwardConfig sends one token of the session to the upstream.
type ForwardConfig struct {
	// Which one: "access_token", "id_token", or "assertion", a short one of ours.
	Token string `json:"token"`
	// The header's name; in Authorization the token stands behind its scheme.
	// Default: X-Forwarded-Access-Token, X-Forwarded-Id-Token, X-Gatehouse-Assertion.
	Header string `json:"header,omitempty"`
}

// PagesConfig changes how our pages look.
type PagesConfig struct {
	// A folder with templates of the same names as ours, used instead of them.
	Root string `json:"root,omitempty"`
	// The name of the site, shown as the pages' heading. Default: the host.
	Name string `json:"name,omitempty"`
	// The address of a logo: a path of this site, or an https URL.
	Logo string `json:"logo,omitempty"`
	// The accent color, in hexadecimal: rgb or rrggbb (# begins a comment in a
	// Caddyfile, so it may be left out).
	Color string `json:"color,omitempty"`
}

// BearerConfig says which access tokens a site takes (RFC 6750, RFC 9068).
type BearerConfig struct {
	// The names of this site of which a token must be for one (aud). Needed.
	Audience []string `json:"audience,omitempty"`
	// The claim that says whom a token is for. Default: aud.
	AudienceClaim string `json:"audience_claim,omitempty"`
	// Further issuers, at which nobody signs in here.
	Issuer []*BearerIssuerConfig `json:"issuer,omitempty"`
	// The scopes that every token must have. Default: none.
	Scopes []string `json:"scopes,omitempty"`
	// The algorithms that tokens may be signed with. Default: those of ID tokens.
	Alg []string `json:"alg,omitempty"`
	// Take JWTs whose typ does not say that they are access tokens.
	AnyType bool `json:"any_type,omitempty"`
	// Ask the provider about tokens that are no JWTs (RFC 7662).
	Introspect bool `json:"introspect,omitempty"`
	// Take tokens only, no sessions.
	Only bool `json:"only,omitempty"`
	// Take only tokens that are bound to a key or a certificate.
	RequireBound bool `json:"require_bound,omitempty"`
	// Ask for a nonce of ours in DPoP proofs.
	DPoPNonce bool `json:"dpop_nonce,omitempty"`
}

// BearerIssuerConfig is a further issuer of access tokens: its keys are all that is
// asked of it.
type BearerIssuerConfig struct {
	// The issuer identifier, as its tokens have it (iss).
	Issuer string `json:"issuer"`

	NetworkConfig
}

// GateConfig is what one `gatehouse` directive says.
type GateConfig struct {
	// The requests that need a session. All the same, every request is cleaned
	// of identity headers, and our endpoints are served. Default: all.
	Match caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// The names of the providers that may sign people in here.
	// Default: all that the app has.
	Providers []string `json:"providers,omitempty"`

	// A provider of this site alone, instead of Providers.
	Provider *ProviderConfig `json:"provider,omitempty"`

	// The session settings of this site, where the app has none.
	Session *SessionConfig `json:"session,omitempty"`

	// Where our endpoints are. Default: /oauth2.
	BasePath string `json:"base_path,omitempty"`

	// The origin that browsers see, https://host[:port]. It wins over anything
	// that the request says. Default: scheme and host of the request.
	PublicURL string `json:"public_url,omitempty"`

	// Further origins that a return URL may lead to, and that another proxy may ask
	// about where public_url is another. https://*.example.com stands for all hosts
	// below that domain. Default: this site.
	ReturnTo []string `json:"return_to,omitempty"`

	// Where a browser goes when it has signed out. Default: a page of ours.
	PostLogout string `json:"post_logout,omitempty"`

	// Further origins whose pages may send unsafe requests and open WebSockets.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	// Who may pass; any rule that fits suffices. Default: anyone signed in.
	Allow []Rule `json:"allow,omitempty"`

	// Who may not pass; it wins over Allow.
	Deny []Rule `json:"deny,omitempty"`

	// How strong and how recent a sign-in has to be; all that count must hold.
	// Default: any.
	Require []Requirement `json:"require,omitempty"`

	// Paths that need no sign-in, as Caddy's path matcher reads them.
	Public []string `json:"public,omitempty"`

	// The access tokens that count here instead of a session. Default: none.
	Bearer *BearerConfig `json:"bearer,omitempty"`

	// The file of the users that get access tokens for a name and a password, at the
	// endpoint `token`: a line each, with name, hash and groups, followed without a
	// reload. Default: there are none.
	Users string `json:"users,omitempty"`

	// What happens to a CORS preflight, which brings no credentials: "pass" (on,
	// without identity) or "reject" (it is judged as any request). Default: reject.
	Preflight string `json:"preflight,omitempty"`

	// What happens to a request without a session: "login" (navigations sign
	// in, all else gets 401), "reject" (401) or "pass" (on, without identity).
	// Default: login.
	Unauthenticated string `json:"unauthenticated,omitempty"`

	// Let through, and log, who would have been refused by the rules.
	ReportOnly bool `json:"report_only,omitempty"`

	// Which identity headers the upstream gets: "forwarded", "remote" or "off".
	// Default: forwarded.
	Headers string `json:"headers,omitempty"`

	// Further identity headers.
	Header []HeaderConfig `json:"header,omitempty"`

	// Tokens that the upstream gets, on requests that need a sign-in. Default: none.
	Forward []ForwardConfig `json:"forward,omitempty"`

	// Answer only proxies that ask, at the endpoint `auth`, and tell them the tokens of
	// Forward. Browsers must not reach such a site.
	AnswerTokens bool `json:"answer_tokens,omitempty"`

	// Whether answers to somebody signed in are made private to their browser:
	// "on" or "off". Default: on.
	PrivateResponses string `json:"private_responses,omitempty"`

	// What happens to a request that outlives its session or token (WebSockets, event
	// streams, long downloads): "cut" or "keep". Default: cut.
	Streams string `json:"streams,omitempty"`

	// The size in bytes up to which a form, sent when its session is over, is sent
	// on after the same person has signed in again; 0 is off. Default: off.
	PreservePost int64 `json:"preserve_post,omitempty"`

	// Who writes error answers: "page" (we do) or "pass" (Caddy's
	// handle_errors). Default: page.
	Errors string `json:"errors,omitempty"`

	// How our pages look.
	Pages *PagesConfig `json:"pages,omitempty"`
}
