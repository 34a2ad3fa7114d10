package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// mediaTypeClaims asks for the JWT of a claims endpoint. OIDC Core 5.6.2 gives it
// no media type, so any will do: what comes is verified as a JWT.
const mediaTypeClaims = mediaTypeJWT + ", */*;q=0.1"

// claimNames and claimSources are the members that say that a claim stands
// elsewhere, and where (OIDC Core 5.6.2).
const (
	claimNames   = "_claim_names"
	claimSources = "_claim_sources"
)

// addSources makes the clients at Config.ClaimSources. They keep the keys of
// those issuers and nothing else, and their calls go the way of all calls.
func (c *Client) addSources() {
	c.sources = make(map[string]*Client)
	for _, issuer := range c.cfg.ClaimSources {
		if issuer == c.cfg.Issuer {
			c.sources[issuer] = c
			continue
		}
		c.sources[issuer] = newClient(Config{
			Issuer: issuer, KeysOnly: true, Reach: c.cfg.Reach,
			Leeway: c.cfg.Leeway, Now: c.cfg.Now, Logger: c.cfg.Logger,
		}, c.http)
	}
}

// validateClaimSources refuses issuers that could not be one.
func (cfg Config) validateClaimSources() error {
	for i, issuer := range cfg.ClaimSources {
		if err := checkURL(issuer, true); err != nil {
			return fmt.Errorf("claim_source: %w", err)
		}
		if strings.Contains(issuer, "?") { // OIDC Discovery 2
			return fmt.Errorf("claim_source: %q has a query", issuer)
		}
		if slices.Contains(cfg.ClaimSources[:i], issuer) {
			return fmt.Errorf("claim_source: %q is given twice", issuer)
		}
	}
	return nil
}

// withSources adds to claims those of the needed ones that stand elsewhere:
// aggregated claims are a JWT of another issuer beside them, distributed ones are
// one at an address (OIDC Core 5.6.2). A source that is not in Config.ClaimSources
// is never asked and never believed. What cannot be learned is logged and stays
// away, and _claim_names goes on saying that there is more to know.
func (c *Client) withSources(ctx context.Context, claims Claims, needed []string) Claims {
	if len(c.sources) == 0 {
		return claims
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout) // all sources together
	defer cancel()
	elsewhere := claims.elsewhere(needed)
	sources, _ := claims[claimSources].(map[string]any)
	names := make([]string, 0, len(elsewhere))
	for name := range elsewhere {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		source, _ := sources[name].(map[string]any)
		statement, err := c.askSource(ctx, source)
		if err != nil {
			c.cfg.Logger.Warn("claims of another source cannot be learned", "issuer", c.cfg.Issuer,
				"claims", fmt.Sprintf("%.256q", elsewhere[name]), "error", err)
			continue
		}
		// Of what the source says, only what it was named for.
		told := Claims{}
		for _, claim := range elsewhere[name] {
			if value, ok := statement[claim]; ok {
				told[claim] = value
			}
		}
		claims = mergeClaims(claims, told)
	}
	return claims
}

// elsewhere returns which claims stand elsewhere that are needed and not here, by
// the name of their source. sub is never one of them: who somebody is, the
// provider says itself.
func (c Claims) elsewhere(needed []string) map[string][]string {
	bySource := make(map[string][]string)
	names, _ := c[claimNames].(map[string]any)
	for claim, source := range names {
		source, ok := source.(string)
		if _, here := c[claim]; !ok || here || claim == "sub" {
			continue
		}
		if slices.ContainsFunc(needed, func(path string) bool { return path == claim || strings.HasPrefix(path, claim+".") }) {
			bySource[source] = append(bySource[source], claim)
		}
	}
	return bySource
}

// StandsElsewhere tells whether the provider has a claim and says that it stands
// elsewhere (OIDC Core 5.6.2), for a path as in [Claims.Lookup].
func (c Claims) StandsElsewhere(path string) bool {
	names, _ := c[claimNames].(map[string]any)
	for claim := range names {
		if path == claim || strings.HasPrefix(path, claim+".") {
			return true
		}
	}
	return false
}

// askSource returns what a member of _claim_sources says, verified.
func (c *Client) askSource(ctx context.Context, source map[string]any) (Claims, error) {
	if jwt, ok := source["JWT"].(string); ok {
		return c.verifySource(ctx, jwt)
	}
	address, ok := source["endpoint"].(string)
	if !ok {
		return nil, errors.New("the source has neither a JWT nor an endpoint")
	}
	token, _ := source["access_token"].(string)
	// SEC-113: the address is what a token says. It is asked only at the origin of
	// an issuer that was named.
	known := slices.ContainsFunc(c.cfg.ClaimSources, func(issuer string) bool {
		return originOfText(issuer) == originOfText(address) && c.sources[issuer].cfg.checkEndpoint(address) == nil
	})
	if !known {
		return nil, fmt.Errorf("endpoint %.256q is at no claim_source", address)
	}
	authorization := ""
	if token != "" { // RFC 6750 2.1
		authorization = TokenTypeBearer + " " + token
	}
	body, err := get(ctx, c.http, address, authorization, mediaTypeClaims)
	if err != nil {
		return nil, fmt.Errorf("claims endpoint: %w", err)
	}
	return c.verifySource(ctx, strings.TrimSpace(string(body)))
}

// verifySource returns the claims of a source's JWT: from an issuer that was named
// and signed by its keys, for this client if it says for whom, and not expired.
// Its sub, if it has one, is the person's name there and no concern of ours (OIDC
// Core 5.6.2).
func (c *Client) verifySource(ctx context.Context, raw string) (Claims, error) {
	algs := jwsAlgs(signingAlgs)
	claims, err := decodeToken(raw, algs)
	if err != nil {
		return nil, err
	}
	issuer, _ := claims.String("iss")
	source, named := c.sources[issuer]
	if !named {
		return nil, fmt.Errorf("iss %.256q is no claim_source", issuer)
	}
	if err := source.checkSignature(ctx, raw, algs); err != nil {
		return nil, err
	}
	var audience error
	if _, ok := claims["aud"]; ok {
		audience = checkAudience(claims, c.cfg.ClientID, c.cfg.TrustedAudiences)
	}
	if err := cmp.Or(audience, c.checkLifetime(claims)); err != nil {
		return nil, err
	}
	return claims, nil
}

// checkLifetime holds exp and nbf of a JWT that need not have them (RFC 7519
// 4.1.4, 4.1.5).
func (c *Client) checkLifetime(claims Claims) error {
	now, leeway := c.cfg.Now(), c.cfg.Leeway
	expiry := checkExpiry(claims, now.Add(-leeway))
	if ReasonOf(expiry) == ReasonExpMissing {
		expiry = nil
	}
	return cmp.Or(expiry, checkNotBefore(claims, now.Add(leeway)))
}
