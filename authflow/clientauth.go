package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// The methods of client authentication (OIDC Core 9, RFC 7591 2, RFC 8705 2).
const (
	// ClientSecretBasic sends id and secret in the Authorization header,
	// form-encoded (RFC 6749 2.3.1).
	ClientSecretBasic = "client_secret_basic"
	// ClientSecretPost sends id and secret in the body.
	ClientSecretPost = "client_secret_post"
	// PrivateKeyJWT sends an assertion that is signed anew for each request; or, with
	// Config.ClientAssertion, one that somebody else has signed.
	PrivateKeyJWT = "private_key_jwt"
	// TLSClientAuth sends the id in the body; the certificate of the connection,
	// which an authority has signed, says the rest.
	TLSClientAuth = "tls_client_auth"
	// SelfSignedTLSClientAuth is the same with a certificate that the provider
	// knows by its key.
	SelfSignedTLSClientAuth = "self_signed_tls_client_auth"
	// ClientAuthNone sends the id alone, in the body: a public client.
	ClientAuthNone = "none"
)

// defaultClientAuth is the default of Config.ClientAuth that needs no metadata.
func (cfg Config) defaultClientAuth() string {
	switch {
	case cfg.ClientAuth != "" || cfg.ClientSecret != nil:
		return cfg.ClientAuth
	case cfg.ClientAssertion != nil, cfg.ClientKeys != nil:
		return PrivateKeyJWT
	case cfg.MutualTLS:
		return TLSClientAuth
	}
	return ""
}

// validateClientAuth wants secret, key and certificate where they are used, and a
// secret nowhere else.
func (cfg Config) validateClientAuth() error {
	if cfg.ClientAssertion != nil && (cfg.ClientSecret != nil || cfg.ClientAuth != PrivateKeyJWT) {
		return errors.New("client_assertion: it proves the client alone, without client_secret and client_auth")
	}
	switch cfg.ClientAuth {
	case "", ClientSecretBasic, ClientSecretPost:
		if cfg.ClientSecret == nil {
			return errors.New("client_secret: missing (a public client says client_auth none)")
		}
		if cfg.ClientAuth == "" && (cfg.ClientKeys != nil || cfg.MutualTLS) {
			return errors.New("client_auth: needed, since there are a client_secret and a key or certificate")
		}
		return nil
	case PrivateKeyJWT:
		if cfg.ClientKeys == nil && cfg.ClientAssertion == nil {
			return errors.New("client_key: missing for client_auth private_key_jwt")
		}
	case TLSClientAuth, SelfSignedTLSClientAuth:
		if !cfg.MutualTLS {
			return fmt.Errorf("client_certificate: missing for client_auth %s", cfg.ClientAuth)
		}
	case ClientAuthNone:
	default:
		return fmt.Errorf("client_auth: %q is not supported", cfg.ClientAuth)
	}
	if cfg.ClientSecret != nil {
		return fmt.Errorf("client_auth: %s, but there is a client_secret", cfg.ClientAuth)
	}
	return nil
}

// clientAuth is how one request authenticates this client. The style is never
// left to x/oauth2 to find out, which would send a code or a refresh token a
// second time (SEC-71).
type clientAuth struct {
	style     oauth2.AuthStyle
	secret    secret.String
	assertion url.Values // of this request alone; nil without private_key_jwt
}

// with returns a form with what proves the client in its body, but for the secret.
func (a clientAuth) with(form url.Values) url.Values {
	all := maps.Clone(form)
	maps.Copy(all, a.assertion)
	return all
}

// clientAuth returns the configured method, else the one that the provider takes
// (OIDC Discovery 3: if it names none, client_secret_basic). It is for one request.
func (c *Client) clientAuth(meta *metadata) (clientAuth, error) {
	method := c.cfg.ClientAuth
	if method == "" {
		method = discoveredMethod(meta.ClientAuthMethods)
	}
	switch method {
	case ClientAuthNone, TLSClientAuth, SelfSignedTLSClientAuth: // RFC 8705 2: client_id says who
		return clientAuth{style: oauth2.AuthStyleInParams}, nil
	case PrivateKeyJWT:
		assertion, err := c.clientAssertion(meta)
		return clientAuth{style: oauth2.AuthStyleInParams, assertion: assertion}, err
	case ClientSecretBasic:
		return c.withSecret(oauth2.AuthStyleInHeader)
	case ClientSecretPost:
		return c.withSecret(oauth2.AuthStyleInParams)
	}
	return clientAuth{}, NewError(ReasonClientAuth,
		fmt.Errorf("the provider takes %q, we have a client secret", meta.ClientAuthMethods))
}

// discoveredMethod returns the method to use a secret with, or "" if the
// provider takes none of them.
func discoveredMethod(offered []string) string {
	if len(offered) == 0 {
		return ClientSecretBasic
	}
	for _, method := range []string{ClientSecretBasic, ClientSecretPost} {
		if slices.Contains(offered, method) {
			return method
		}
	}
	return ""
}

// withSecret reads the secret anew, so that a changed file is followed.
func (c *Client) withSecret(style oauth2.AuthStyle) (clientAuth, error) {
	s, err := c.cfg.ClientSecret()
	if err != nil {
		return clientAuth{}, NewError(ReasonClientSecret, fmt.Errorf("read the client secret: %w", err))
	}
	if s.Empty() {
		return clientAuth{}, NewError(ReasonClientSecret, errors.New("the client secret is empty"))
	}
	return clientAuth{style: style, secret: s}, nil
}

// post sends a form to an endpoint beside the token endpoint, authenticated as a
// token request is (RFC 9126 2.1, RFC 7009 2.1), and returns the answer's body.
// It is a request of its own each time it is called. refused is the reason if the provider does not take it.
func (c *Client) post(ctx context.Context, client *http.Client, meta *metadata, endpoint string, form url.Values, refused Reason) ([]byte, error) {
	return c.postFor(ctx, client, meta, endpoint, "", form, refused)
}

// postFor is post for an answer of a media type, "" for any.
func (c *Client) postFor(ctx context.Context, client *http.Client, meta *metadata, endpoint, accept string, form url.Values, refused Reason) ([]byte, error) {
	auth, err := c.clientAuth(meta)
	if err != nil {
		return nil, err
	}
	form = auth.with(form)
	form.Set("client_id", c.cfg.ClientID)
	if auth.style == oauth2.AuthStyleInParams && !auth.secret.Empty() {
		form.Set("client_secret", auth.secret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, NewError(refused, fmt.Errorf("make request: %w", err))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if auth.style == oauth2.AuthStyleInHeader { // RFC 6749 2.3.1
		req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(auth.secret.Reveal()))
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, callError(err, refused)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, callError(err, refused)
	}
	if !succeeded(resp) {
		var refusal struct {
			Code        string `json:"error"`
			Description string `json:"error_description"`
		}
		_ = json.Unmarshal(body, &refusal) // an answer that is no error of OAuth has its status
		return nil, callError(newEndpointError(resp, refusal.Code, refusal.Description), refused)
	}
	return body, nil
}
