package authflow

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// ErrClientAssertion means that bytes are no assertion that proves a client.
var ErrClientAssertion = errors.New("no client assertion")

// clusterAPI begins the name that a Kubernetes cluster calls its own API by, in the
// tokens that are for it.
const clusterAPI = "https://kubernetes.default.svc"

// ClientAssertion is an assertion of who this client is that somebody else has issued,
// whom the provider trusts (RFC 7521 4.2): the platform that a workload runs on. It
// prints as its expiry.
type ClientAssertion struct {
	token   secret.String
	expires time.Time
}

// ParseClientAssertion reads a JWT (RFC 7523 2.2), with white space around it. What it
// says is the provider's to judge, and so is its signature; but it has to say when it
// expires (RFC 7523 3 (4)), and must not be for the API of a cluster, which takes tokens
// for its own address or for their issuer: whoever got such a token could use the
// cluster. Anything else is [ErrClientAssertion].
func ParseClientAssertion(data []byte) (ClientAssertion, error) {
	token := strings.TrimSpace(string(data))
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ClientAssertion{}, fmt.Errorf("%w: not a signed JWT", ErrClientAssertion)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ClientAssertion{}, fmt.Errorf("%w: not a signed JWT", ErrClientAssertion)
	}
	claims, err := DecodeClaims(payload)
	if err != nil {
		return ClientAssertion{}, fmt.Errorf("%w: %w", ErrClientAssertion, err)
	}
	expires, err := claims.Time("exp")
	if err != nil {
		return ClientAssertion{}, fmt.Errorf("%w: exp: %w", ErrClientAssertion, err)
	}
	audiences, err := claims.strings("aud")
	if err != nil {
		return ClientAssertion{}, fmt.Errorf("%w: aud: %w", ErrClientAssertion, err)
	}
	for _, audience := range audiences {
		if strings.HasPrefix(audience, clusterAPI) || audience == claims["iss"] {
			return ClientAssertion{}, fmt.Errorf("%w: it is for the cluster's own API (aud %.64q), and no provider's business: "+
				"have the platform issue one for the provider", ErrClientAssertion, audience)
		}
	}
	return ClientAssertion{token: secret.New(token), expires: expires}, nil
}

// String says when the assertion expires, and never shows it.
func (a ClientAssertion) String() string {
	return "client assertion until " + a.expires.UTC().Format(time.RFC3339)
}

// GoString is String: %#v does not show the assertion either.
func (a ClientAssertion) GoString() string { return a.String() }

// issuedAssertion is the assertion of one request, as the platform issues it now. One
// that has expired is not sent: the provider would say no more than that the client is
// wrong.
func (c *Client) issuedAssertion() (url.Values, error) {
	assertion, err := c.cfg.ClientAssertion()
	if err != nil {
		return nil, NewError(ReasonClientAssertion, fmt.Errorf("read the client assertion: %w", err))
	}
	if !c.cfg.Now().Before(assertion.expires) {
		return nil, NewError(ReasonClientAssertion, fmt.Errorf("the %s has expired, and nobody has renewed it", assertion))
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion.token.Reveal()}}, nil
}

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
	}, c.cfg.clientKeyAlgs(meta.ClientAuthAlgs))
	if err != nil {
		return nil, NewError(ReasonClientKey, err)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}, nil
}
