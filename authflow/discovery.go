package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// metadataMaxAge is how old a provider's metadata may become before a newer one
	// is fetched.
	metadataMaxAge = time.Hour
	// doubtInterval is the least time between two fetches because an address in the
	// metadata does not answer: the provider may have moved.
	doubtInterval = time.Minute
)

// metadata is what of a provider's metadata this client uses (OIDC Discovery 3,
// RFC 8414 2, RFC 9207 3, RFC 9449 5.1, OIDC RP-Initiated Logout 2.1, OIDC
// Back-Channel Logout 2.1).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	UserInfoEndpoint      optional `json:"userinfo_endpoint"`
	EndSessionEndpoint    optional `json:"end_session_endpoint"`
	RevocationEndpoint    optional `json:"revocation_endpoint"`
	IntrospectionEndpoint optional `json:"introspection_endpoint"`
	PAREndpoint           optional `json:"pushed_authorization_request_endpoint"`
	PARRequired           bool     `json:"require_pushed_authorization_requests"`
	ClientAuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
	ClientAuthAlgs        []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RequestObjectAlgs     []string `json:"request_object_signing_alg_values_supported"`
	SigningAlgs           []string `json:"id_token_signing_alg_values_supported"`
	ResponseAlgs          []string `json:"authorization_signing_alg_values_supported"`
	DPoPAlgs              []string `json:"dpop_signing_alg_values_supported"` // nil if it does not say
	ResponseIss           bool     `json:"authorization_response_iss_parameter_supported"`
	BindsCertificates     bool     `json:"tls_client_certificate_bound_access_tokens"`
	LogoutSession         bool     `json:"backchannel_logout_session_supported"`
	// Aliases has the same members again, for clients with a certificate.
	Aliases json.RawMessage `json:"mtls_endpoint_aliases"`
}

// metadata returns the provider's metadata, as it was at most metadataMaxAge ago if the
// provider is there.
func (c *Client) metadata(ctx context.Context) (*metadata, error) {
	meta, err := c.discovery.get(ctx)
	if err != nil {
		return nil, c.discoveryError(err)
	}
	return meta, nil
}

// discoveryError gives err a reason. Whatever went wrong, it is tried again.
func (c *Client) discoveryError(err error) error {
	if ReasonOf(err) == ReasonDiscoveryIssuer {
		return err
	}
	return NewError(ReasonDiscovery, err).retryAfter(c.discovery.pause())
}

// fetchMetadata fetches the provider's metadata (OIDC Discovery 4).
func (c *Client) fetchMetadata(ctx context.Context) (*metadata, error) {
	if c.cfg.NoDiscovery {
		return c.parseMetadata(c.cfg.ownMetadata())
	}
	// OIDC Discovery 4.1: a terminating "/" of the issuer is removed first.
	address := strings.TrimSuffix(c.cfg.Issuer, "/") + "/.well-known/openid-configuration"
	body, err := c.getJSON(ctx, address)
	if refusal, is := errors.AsType[*endpointError](err); is { // what else went wrong names the address itself
		err = fmt.Errorf("%s: %w", address, refusal)
	}
	if err != nil {
		c.cfg.Logger.Warn("discovery failed", "issuer", c.cfg.Issuer, "error", err)
		return nil, err
	}
	meta, err := c.parseMetadata(body)
	if err != nil {
		c.cfg.Logger.Error("the provider's metadata cannot be used", "issuer", c.cfg.Issuer, "error", err)
		return nil, err
	}
	return meta, nil
}

// parseMetadata checks what the rest of the package relies on. What was set by
// hand is in it.
func (c *Client) parseMetadata(body []byte) (*metadata, error) {
	body, err := c.cfg.withEndpoints(body)
	if err != nil {
		return nil, err
	}
	issuer := c.cfg.Issuer
	var meta metadata
	if err := json.Unmarshal(body, &meta); err != nil {
		return nil, fmt.Errorf("decode metadata: %w", err)
	}
	if c.cfg.KeysOnly { // what stands there besides need not be addresses
		meta = metadata{Issuer: meta.Issuer, JWKSURI: meta.JWKSURI, SigningAlgs: meta.SigningAlgs}
	}
	if err := meta.useAliases(c.cfg.MutualTLS); err != nil {
		return nil, err
	}
	// OIDC Discovery 4.3: the issuer MUST be identical to the one that was asked
	// for, else one provider could speak for another.
	if meta.Issuer != issuer {
		return nil, NewError(ReasonDiscoveryIssuer,
			fmt.Errorf("the provider calls itself %q, configured is %q", meta.Issuer, issuer))
	}
	for _, endpoint := range []struct {
		name, address string
		needed        bool
	}{
		{"authorization_endpoint", meta.AuthorizationEndpoint, !c.cfg.KeysOnly},
		{"token_endpoint", meta.TokenEndpoint, !c.cfg.KeysOnly},
		{"jwks_uri", meta.JWKSURI, !c.cfg.isPlain()},
		{"userinfo_endpoint", string(meta.UserInfoEndpoint), c.cfg.isPlain()},
	} {
		if !endpoint.needed {
			continue
		}
		if err := c.cfg.checkEndpoint(endpoint.address); err != nil {
			return nil, fmt.Errorf("%s: %w", endpoint.name, err)
		}
	}
	c.warnOfEndpoints(&meta)
	return &meta, nil
}
