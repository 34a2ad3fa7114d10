package authflow

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
)

// AuthorizationRequest is what the caller decides about a login. Nothing in it
// but Prompt, LoginHint, ACRValues and Parameters reaches the provider as it is, and
// none can stand for another parameter (SEC-67).
type AuthorizationRequest struct {
	// Provider is the caller's name for this client, kept in the attempt.
	Provider string
	// RedirectURI is the callback's absolute URL, exactly as it is registered
	// (RFC 9700 4.1.3).
	RedirectURI string
	// ReturnTo is where the browser goes after the login. It is kept in the
	// attempt, and the caller has checked it.
	ReturnTo string
	// Prompt and LoginHint are sent if not empty (OIDC Core 3.1.2.1).
	Prompt, LoginHint string
	// ACRValues are sent as acr_values, MaxAge, unless it is zero, as max_age, in
	// whole seconds (OIDC Core 3.1.2.1). What is asked for, here or by a parameter
	// of the configuration, Finish holds the answer to.
	ACRValues []string
	MaxAge    time.Duration
	// Parameters are what the browser may pass on, of [Client.RequestParameters].
	Parameters map[string]string
}

// Begin begins a login attempt and returns it with the URL to which the browser
// is to be sent (RFC 6749 4.1.1, OIDC Core 3.1.2.1, RFC 7636 4.3). It sends nothing
// unless the request is pushed, but waits up to three seconds for the provider's
// metadata if there is none yet. Errors: discovery_failed,
// discovery_issuer_mismatch, redirect_uri_invalid, parameter_refused if max_age is
// no number, dpop_unsupported, binding_unsupported; those of the client's keys and
// secrets; and, of a pushed request, par_unsupported, par_refused and
// provider_unavailable.
func (c *Client) Begin(ctx context.Context, req AuthorizationRequest) (*Attempt, string, error) {
	if u, err := url.Parse(req.RedirectURI); err != nil || u.Host == "" || strings.Contains(req.RedirectURI, "#") {
		return nil, "", NewError(ReasonRedirectURI, errors.New("the redirect URI is not absolute, or has a fragment"))
	}
	meta, err := c.metadata(ctx)
	if err == nil {
		err = c.cfg.checkBinding(meta)
	}
	if err != nil {
		return nil, "", err
	}
	a := newAttempt(c.cfg.Now())
	a.Provider, a.ReturnTo = req.Provider, req.ReturnTo
	a.binding = bindingOf(c.cfg.Issuer, c.cfg.ClientID, req.RedirectURI)
	var key *DPoPKey
	if c.cfg.DPoP {
		if key, err = c.attemptKey(meta, a); err != nil {
			return nil, "", err
		}
	}
	parameters := c.parameters(req.Parameters, map[string]string{
		"response_type":         "code", // RFC 9700 2.1.2: no tokens through the browser
		"response_mode":         c.cfg.ResponseMode,
		"client_id":             c.cfg.ClientID,
		"redirect_uri":          req.RedirectURI,
		"scope":                 strings.Join(c.cfg.Scopes, " "),
		"state":                 a.State,
		"nonce":                 c.nonce(a),
		"code_challenge":        a.challenge(),
		"code_challenge_method": "S256",
		"prompt":                req.Prompt,
		"login_hint":            req.LoginHint,
		"acr_values":            strings.Join(req.ACRValues, " "),
		"max_age":               seconds(req.MaxAge),
		"dpop_jkt":              c.codeKey(meta, key),
	})
	if a.required, err = requirementOf(parameters); err != nil {
		return nil, "", err
	}
	location, err := c.authorizationURL(ctx, meta, parameters, key)
	if err != nil {
		return nil, "", err
	}
	return a, location, nil
}

// nonce is that of an attempt, or "" where no ID token will bring it back.
func (c *Client) nonce(a *Attempt) string {
	if c.cfg.isPlain() {
		return ""
	}
	return a.Nonce()
}

// authorizationURL is where the browser takes an authorization request: with all
// of it, or with a signed or pushed one.
func (c *Client) authorizationURL(ctx context.Context, meta *metadata, parameters map[string]string, key *DPoPKey) (string, error) {
	var err error
	if c.cfg.RequestObject {
		if parameters, err = c.withRequestObject(meta, parameters); err != nil {
			return "", err
		}
	}
	if c.pushes(meta) {
		if parameters, err = c.push(ctx, meta, parameters, key); err != nil {
			return "", err
		}
	}
	return withParameters(meta.AuthorizationEndpoint, parameters)
}

// withParameters adds parameters to an endpoint's URL, whose own query is kept
// (RFC 6749 3.1) unless a parameter of ours has the name: none may stand there
// twice. Empty ones are left out.
func withParameters(endpoint string, parameters map[string]string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil { // discovery has refused it
		return "", NewError(ReasonDiscovery, err)
	}
	query := u.Query()
	for name, value := range parameters {
		if value == "" {
			query.Del(name)
		} else {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}
