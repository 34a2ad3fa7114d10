package authflow

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/oauth2"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// The methods of client authentication (OIDC Core 9, RFC 7591 2).
const (
	// ClientSecretBasic sends id and secret in the Authorization header,
	// form-encoded (RFC 6749 2.3.1).
	ClientSecretBasic = "client_secret_basic"
	// ClientSecretPost sends id and secret in the body.
	ClientSecretPost = "client_secret_post"
	// ClientAuthNone sends the id alone, in the body: a public client.
	ClientAuthNone = "none"
)

// clientAuth is how one token request authenticates this client. The style is
// never left to x/oauth2 to find out, which would send a code or a refresh token
// a second time (SEC-71).
type clientAuth struct {
	style  oauth2.AuthStyle
	secret secret.String
}

// clientAuth returns the configured method, else the one that the provider takes
// (OIDC Discovery 3: if it names none, client_secret_basic).
func (c *Client) clientAuth(meta *metadata) (clientAuth, error) {
	method := c.cfg.ClientAuth
	if method == "" {
		method = discoveredMethod(meta.ClientAuthMethods)
	}
	switch method {
	case ClientAuthNone:
		return clientAuth{style: oauth2.AuthStyleInParams}, nil
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
