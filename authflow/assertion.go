package authflow

import (
	"crypto/rand"
	"net/url"
	"time"
)

// assertionLifetime is how long a client assertion is good (FAPI 2.0 5.3.3.1
// wants it short).
const assertionLifetime = time.Minute

// assertionType is RFC 7523 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientAssertion makes the assertion of one request, and of that alone: jti
// works once (OIDC Core 9, RFC 7523 3).
func (c *Client) clientAssertion(meta *metadata) (url.Values, error) {
	if c.cfg.ClientAssertion != nil {
		return c.issuedAssertion()
	}
	key, err := c.signingKey()
	if err != nil {
		return nil, err
	}
	now := c.cfg.Now()
	assertion, err := key.sign("", map[string]any{
		"iss": c.cfg.ClientID,
		"sub": c.cfg.ClientID,
		// One string, and the issuer: an assertion for an endpoint's address could
		// be played to another provider that names it as its own (FAPI 2.0 5.3.3.1).
		"aud": c.cfg.Issuer,
		"jti": rand.Text(),
		"iat": now.Unix(),
		"exp": now.Add(assertionLifetime).Unix(),
	}, c.cfg.signingAlgs(meta.ClientAuthAlgs))
	if err != nil {
		return nil, NewError(ReasonClientKey, err)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}, nil
}
