package main

import (
	"net/url"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// scopeGroups gives the claim groups. It is no scope of OpenID Connect Core.
const scopeGroups = "groups"

// client is the gate, as it is registered with the provider. It is an op.Client.
type client struct {
	id, secret string
	site       string // origin
}

func (c *client) GetID() string                    { return c.id }
func (c *client) RedirectURIs() []string           { return c.at("/oauth2/callback") }
func (c *client) PostLogoutRedirectURIs() []string { return c.at("/oauth2/signed-out") }

// exampleSite is where Caddyfile.example serves: the demo's provider and
// application are at its addresses, so that it can be tried with them.
const exampleSite = "http://localhost:8080"

func (c *client) at(path string) []string { return []string{c.site + path, exampleSite + path} }

func (c *client) ApplicationType() op.ApplicationType {
	return op.ApplicationTypeWeb
}
func (c *client) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodBasic }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

func (c *client) GrantTypes() []oidc.GrantType        { return []oidc.GrantType{oidc.GrantTypeCode} }
func (c *client) LoginURL(id string) string           { return "/login?id=" + url.QueryEscape(id) }
func (c *client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeBearer }
func (c *client) IDTokenLifetime() time.Duration      { return tokenLifetime }
func (c *client) ClockSkew() time.Duration            { return 0 }

// DevMode lets the redirect URI be http.
func (c *client) DevMode() bool { return true }

// IDTokenUserinfoClaimsAssertion puts e-mail and groups into the ID token.
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }

func (c *client) IsScopeAllowed(scope string) bool { return scope == scopeGroups }

func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// authRequest is one sign-in on its way. It is an op.AuthRequest.
type authRequest struct {
	id       string
	asked    *oidc.AuthRequest
	created  time.Time
	subject  string // "" until the password was right
	authTime time.Time
	allowed  bool // the user agreed
}

func (r *authRequest) GetID() string          { return r.id }
func (r *authRequest) GetACR() string         { return "" }
func (r *authRequest) GetAMR() []string       { return []string{"pwd"} }
func (r *authRequest) GetAudience() []string  { return []string{r.asked.ClientID} }
func (r *authRequest) GetAuthTime() time.Time { return r.authTime }
func (r *authRequest) GetClientID() string    { return r.asked.ClientID }
func (r *authRequest) GetNonce() string       { return r.asked.Nonce }
func (r *authRequest) GetRedirectURI() string { return r.asked.RedirectURI }
func (r *authRequest) GetScopes() []string    { return r.asked.Scopes }
func (r *authRequest) GetState() string       { return r.asked.State }
func (r *authRequest) GetSubject() string     { return r.subject }
func (r *authRequest) Done() bool             { return r.allowed }
func (r *authRequest) GetResponseType() oidc.ResponseType {
	return r.asked.ResponseType
}

func (r *authRequest) GetResponseMode() oidc.ResponseMode {
	return r.asked.ResponseMode
}

func (r *authRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if r.asked.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: r.asked.CodeChallenge, Method: r.asked.CodeChallengeMethod}
}

// Interface guards.
var (
	_ op.Client      = (*client)(nil)
	_ op.AuthRequest = (*authRequest)(nil)
)
