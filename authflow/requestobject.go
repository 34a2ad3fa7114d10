package authflow

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"
)

// requestObjectLifetime is how long a signed request is good: the way of a
// browser to the provider, with room for clocks that differ.
const requestObjectLifetime = 5 * time.Minute

// withRequestObject puts the parameters of an authorization request into a signed
// request object (RFC 9101 4, OIDC Core 6.1), so that the browser can change none.
// Beside it stand those that OAuth 2.0 and OpenID Connect want outside as well,
// with the values that are inside.
func (c *Client) withRequestObject(meta *metadata, parameters map[string]string) (map[string]string, error) {
	key, err := c.signingKey()
	if err != nil {
		return nil, err
	}
	now := c.cfg.Now()
	claims := map[string]any{
		"iss": c.cfg.ClientID, "aud": c.cfg.Issuer, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(requestObjectLifetime).Unix(),
	}
	outside := make(map[string]string)
	for name, value := range parameters {
		outside[name] = "" // takes it out of the endpoint's own query
		if value != "" {
			claims[name] = requestClaim(name, value)
		}
	}
	request, err := key.sign("oauth-authz-req+jwt", claims, c.cfg.clientKeyAlgs(meta.RequestObjectAlgs))
	if err != nil {
		return nil, NewError(ReasonClientKey, err)
	}
	for _, name := range []string{"client_id", "response_type", "scope"} {
		outside[name] = parameters[name]
	}
	outside["request"] = request
	return outside, nil
}

// requestClaim is a parameter as a claim: numbers and JSON are such in there (RFC
// 9101 4, OIDC Core 6.1).
func requestClaim(name, value string) any {
	switch name {
	case "max_age":
		if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
			return seconds
		}
	case "claims":
		if json.Valid([]byte(value)) {
			return json.RawMessage(value)
		}
	}
	return value
}
