package authflow

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// UserInfoPolicy says when the UserInfo endpoint is asked (OIDC Core 5.3).
type UserInfoPolicy int

const (
	// UserInfoOff never asks.
	UserInfoOff UserInfoPolicy = iota
	// UserInfoOnMissingClaims asks if the ID token lacks one of
	// FinishRequest.NeededClaims and the provider has the endpoint.
	UserInfoOnMissingClaims
	// UserInfoRequired always asks; without an answer nobody signs in.
	UserInfoRequired
)

const (
	defaultLeeway = time.Minute
	// maxLeeway keeps a token that expired six minutes ago refused, as the
	// OpenID conformance suite wants it.
	maxLeeway = 5 * time.Minute
)

// Config describes one client at one provider. Issuer, ClientID and, but for a
// public client, ClientSecret are needed.
type Config struct {
	// Issuer is the issuer identifier, compared byte for byte with what the
	// provider calls itself (OIDC Discovery 4.3). It is https, or http on
	// loopback; on such an issuer, http endpoints on loopback are accepted too.
	Issuer string
	// ClientID is the client identifier (RFC 6749 2.2).
	ClientID string
	// ClientSecret returns the client secret. It is called for every token
	// request, so that a secret that was changed is followed.
	ClientSecret func() (secret.String, error)
	// ClientKeys returns the keys that this client signs with, its assertions and
	// its request objects: the first signs, the others are published (see
	// [Client.Keys]). It is called for every signature, so that a changed key is
	// followed. Default: none.
	ClientKeys func() ([]ClientKey, error)
	// ClientAssertion returns an assertion of who this client is that somebody else has
	// issued (RFC 7521 4.2); it proves the client instead of a secret, and ClientKeys
	// then sign request objects alone. It is called for every request, so that one that
	// was renewed is followed. Default: none.
	ClientAssertion func() (ClientAssertion, error)
	// MutualTLS says that Transport shows a certificate of this client (RFC 8705):
	// the endpoints are then those of mtls_endpoint_aliases, where there are some.
	MutualTLS bool
	// Profile is "", or ProfileFAPI2. Default: "".
	Profile string
	// ClientAuth is client_secret_basic, client_secret_post, private_key_jwt,
	// tls_client_auth, self_signed_tls_client_auth, or none for a public client.
	// Default: with a secret, of the first two what the provider's metadata offers,
	// else client_secret_basic; with a key, private_key_jwt; with a certificate,
	// tls_client_auth.
	ClientAuth string
	// Scopes are asked for. "openid" must be among them, and must not with
	// SubjectFrom. Default: openid, profile, email; with SubjectFrom none.
	Scopes []string
	// ResponseMode is how the answer comes back: "" for the query of a GET, FormPost
	// for the body of a POST, QueryJWT or FormPostJWT for a signed one there. An answer
	// that is not of this mode is refused as far as it is told: a signed one where none
	// was asked for, and the reverse.
	ResponseMode string
	// Parameters are further parameters of every authorization request, none of
	// those that the protocol sets. Default: none.
	Parameters map[string]string
	// ParametersFromRequest are the names of those that a browser may pass on (see
	// [Client.RequestParameters]). Default: none.
	ParametersFromRequest []string
	// PAR says when authorization requests are pushed (RFC 9126): PARAuto, PAROn or
	// PAROff. Default: PARAuto.
	PAR string
	// RequestObject signs authorization requests with the first of ClientKeys (RFC
	// 9101).
	RequestObject bool
	// DPoP asks for tokens that are bound to a key of each session's own (RFC 9449),
	// and refuses others.
	DPoP bool
	// SigningAlgs are the algorithms that an ID token, and an answer that is a JWT, may
	// be signed with, of
	// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA.
	// Default: RS256 alone, the one that a client is registered with unless it
	// says otherwise; if the provider's metadata does not offer it, those of the
	// list that it offers. Everything that a provider can do is not what it was
	// asked to do for this client (OIDC Core 3.1.3.7 (7)).
	SigningAlgs []string
	// TrustedAudiences may stand in aud besides ClientID. Default: none.
	TrustedAudiences []string
	// UserInfo says when the UserInfo endpoint is asked. Default: never.
	UserInfo UserInfoPolicy
	// UserInfoAlg is the algorithm by which UserInfo answers are signed, if this
	// client was registered for that (userinfo_signed_response_alg, OIDC Dynamic
	// Client Registration 2): one of those of SigningAlgs. An answer that is not
	// signed by it is then refused. Default: answers are JSON, and signed ones are
	// refused.
	UserInfoAlg string
	// IntrospectionAlg is the algorithm by which introspection answers are signed, if
	// this client was registered for that (introspection_signed_response_alg, RFC 9701
	// 6): one of those of SigningAlgs. An answer that is not signed by it is then
	// refused. Default: answers are JSON, and signed ones are refused.
	IntrospectionAlg string
	// KeysOnly means that this issuer's tokens are verified and nobody signs in at it:
	// of its metadata only jwks_uri is read.
	KeysOnly bool
	// SubjectFrom is the path (see [Claims.Lookup]) of what says in a UserInfo
	// answer who somebody is, a text or a whole number, at a provider that is plain
	// OAuth 2.0: it issues no ID token, and UserInfo is asked at every sign-in and
	// refresh, whatever UserInfo says. Default: the provider speaks OpenID Connect.
	SubjectFrom string
	// UserInfoEmails says that e-mail addresses stand in a list below the UserInfo
	// endpoint, each with its word whether it is the primary one and verified
	// (GitHub: /user/emails). It counts with SubjectFrom alone.
	UserInfoEmails bool
	// UserInfoGroups says that organisations and teams stand in lists below the UserInfo
	// endpoint (GitHub: /user/orgs, /user/teams); they become the claim groups, where it
	// is needed. It counts with SubjectFrom alone.
	UserInfoGroups bool
	// ClaimSources are the issuers whose claims count where the provider says that
	// a claim stands elsewhere (OIDC Core 5.6.2): aggregated ones if one of them has
	// signed them, distributed ones if they are also at the origin of one. Their
	// keys are those of their metadata. Default: none, and nothing is fetched.
	ClaimSources []string
	// NoDiscovery means that the provider publishes no metadata: nothing is known
	// of it but Endpoints.
	NoDiscovery bool
	// Endpoints are addresses that win over what discovery says, by their names in
	// RFC 8414 without _endpoint (see [EndpointNames]), or EndpointOff for one that
	// is not to be used although it is advertised. Default: none.
	Endpoints map[string]string
	// Reach is the origin at which the provider is called instead of the issuer's,
	// https://host[:port] (http on loopback). What the provider calls itself and
	// where browsers are sent stays the same. Default: the issuer's.
	Reach string
	// Transport sends the requests. Default: one of its own, with the proxy that
	// the environment names.
	Transport http.RoundTripper
	// Leeway is how far the provider's clock may be off, at most five minutes.
	// Default: one minute.
	Leeway time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets what goes wrong in the background. Default: nothing is logged.
	Logger *slog.Logger
}

// Client is one client at one provider. It keeps what the provider publishes
// and nothing about anyone who signs in (SEC-61); it is safe for concurrent use.
type Client struct {
	cfg       Config
	http      *http.Client
	discovery remote[metadata]
	keys      remote[[]publicKey]
	// nonces are those of the token and the PAR endpoint, resourceNonces those of
	// UserInfo (RFC 9449 9).
	nonces, resourceNonces Nonces
	introspections         introspections
	sources                map[string]*Client // by the issuers of Config.ClaimSources
}

// New checks a configuration and returns the client for it. It does not touch
// the network: a provider that is away stops nobody from starting (P01).
func New(cfg Config) (*Client, error) {
	cfg = withDefaults(cfg)
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("provider %q: %w", cfg.Issuer, err)
	}
	c := newClient(cfg, newHTTPClient(cfg))
	c.addSources()
	return c, nil
}

// newClient makes a client of a configuration that was checked. What the issuer publishes
// is fetched when it is needed.
func newClient(cfg Config, calls *http.Client) *Client {
	c := &Client{cfg: cfg, http: calls}
	c.introspections.running = make(chan struct{}, introspectionsAtOnce)
	c.discovery = remote[metadata]{
		fetch: c.fetchMetadata, now: cfg.Now, maxAge: metadataMaxAge,
		bucket: bucket{size: 1, interval: doubtInterval},
	}
	c.keys = remote[[]publicKey]{
		fetch: c.fetchKeys, now: cfg.Now, maxAge: keysMaxAge,
		bucket: bucket{size: renewBurst, interval: renewInterval},
	}
	return c
}

// withDefaults fills in what is not set and copies what the caller could change.
func withDefaults(cfg Config) Config {
	if cfg.Scopes == nil && !cfg.isPlain() {
		cfg.Scopes = []string{"openid", "profile", "email"}
	}
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	cfg.SigningAlgs = slices.Clone(cfg.SigningAlgs)
	cfg.TrustedAudiences = slices.Clone(cfg.TrustedAudiences)
	cfg.Endpoints = maps.Clone(cfg.Endpoints)
	cfg.ClaimSources = slices.Clone(cfg.ClaimSources)
	cfg.ClientAuth = cfg.defaultClientAuth()
	cfg.Parameters = maps.Clone(cfg.Parameters)
	cfg.ParametersFromRequest = slices.Clone(cfg.ParametersFromRequest)
	return cfg.withProfile()
}

// Check tells what [New] would refuse in a configuration, and makes nothing.
func (cfg Config) Check() error { return withDefaults(cfg).validate() }

// validate names the first value that cannot be right.
func (cfg Config) validate() error {
	for _, check := range []func() error{
		cfg.validateIssuer, cfg.validateProfile, cfg.validateClientAuth, cfg.validateScopes, cfg.validateSigningAlgs,
		cfg.validateRequest, cfg.validateEndpoints, cfg.validateReach, cfg.validateUserInfo, cfg.validateIntrospectionAlg,
		cfg.validateMaxAge, cfg.validateClaimSources, cfg.validateLeeway,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (cfg Config) validateIssuer() error {
	if err := checkURL(cfg.Issuer, true); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if strings.Contains(cfg.Issuer, "?") { // OIDC Discovery 2
		return errors.New("issuer: has a query")
	}
	if issuer, _, isMetadata := strings.Cut(cfg.Issuer, "/.well-known/"); isMetadata {
		return fmt.Errorf("issuer: %q is where the metadata stands; the issuer is the value of issuer in it, most often %q", cfg.Issuer, issuer)
	}
	if cfg.ClientID == "" {
		return errors.New("client_id: missing")
	}
	return nil
}

func (cfg Config) validateLeeway() error {
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		return fmt.Errorf("leeway: %s is not between 0 and %s", cfg.Leeway, maxLeeway)
	}
	return nil
}

// Issuer returns Config.Issuer.
func (c *Client) Issuer() string { return c.cfg.Issuer }

// ClientID returns Config.ClientID.
func (c *Client) ClientID() string { return c.cfg.ClientID }

// FormPost tells whether the answers come as the POST of another site, to which a
// browser brings no cookie but those that are SameSite=None.
func (c *Client) FormPost() bool { return strings.HasPrefix(c.cfg.ResponseMode, FormPost) }

// DPoP tells whether tokens are bound to a key of each session's own, as
// Config.DPoP or the profile wants it.
func (c *Client) DPoP() bool { return c.cfg.DPoP }

// algs returns the algorithms that an ID token may be signed with.
func (c *Client) algs(meta *metadata) []jose.SignatureAlgorithm {
	return c.cfg.chosenAlgs(meta.SigningAlgs)
}

// validateScopes wants openid where there are ID tokens, and not where there are
// none.
func (cfg Config) validateScopes() error {
	for _, scope := range cfg.Scopes {
		if name, _, several := strings.Cut(scope, ","); several && name == "openid" {
			return fmt.Errorf("scopes: %q: scopes are separated by spaces alone", scope)
		}
		if !IsScope(scope) {
			return fmt.Errorf("scopes: %q is none", scope)
		}
	}
	switch openid := slices.Contains(cfg.Scopes, "openid"); {
	case openid && cfg.isPlain():
		return errors.New("scopes: openid, but the provider is said to issue no ID tokens")
	case !openid && !cfg.isPlain():
		return errors.New("scopes: openid is missing; add it, unless the provider issues no ID tokens (preset oauth2)")
	case cfg.isPlain() && cfg.UserInfoAlg != "":
		return errors.New("userinfo_signed_response_alg: a provider that is plain OAuth 2.0 has no keys")
	}
	return nil
}
