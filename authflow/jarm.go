package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// The values of [Config.ResponseMode] besides "". The last two are those of JWT
// Secured Authorization Response Mode (JARM): the answer is a JWT that the provider has
// signed, so that whoever it passes on its way can change nothing in it.
const (
	// FormPost is the body of a POST (OAuth 2.0 Form Post Response Mode).
	FormPost = "form_post"
	// QueryJWT is a JWT in the query of a GET (JARM 2.3.1, 2.3.4).
	QueryJWT = "jwt"
	// FormPostJWT is a JWT in the body of a POST (JARM 2.3.3).
	FormPostJWT = "form_post.jwt"
)

// jwtMode tells whether answers are to be JWTs.
func (cfg Config) jwtMode() bool { return strings.HasSuffix(cfg.ResponseMode, "jwt") }

// openJWT puts the claims of a response that is a JWT in the place of its
// parameters (JARM 2.1) and returns the JWT, "" if the response is none. Nobody has
// verified it: its state tells which attempt, and so which provider, it is an answer
// to, and checkJWT the rest (JARM 2.4). If other parameters of a response
// stand beside it, it is refused: it would not be clear which of them count.
func openJWT(values url.Values) (string, url.Values, error) {
	if !values.Has("response") {
		return "", values, nil
	}
	for _, name := range responseParameters {
		if name != "response" && values.Has(name) {
			return "", nil, fmt.Errorf("response, and %s beside it", name)
		}
	}
	raw := values.Get("response")
	_, claims, err := decodeJWS(raw)
	if err != nil {
		return "", nil, err
	}
	inside := url.Values{"response": values["response"]}
	for _, name := range responseParameters {
		text, err := claims.String(name)
		switch {
		case errors.Is(err, ErrClaimAbsent):
		case err != nil:
			return "", nil, err
		default:
			inside.Set(name, text)
		}
	}
	return raw, inside, nil
}

// checkJWT holds a response to JARM 2.4, whose numbers stand beside the checks. (1),
// encryption, is not supported; (2), the state, and (3), the issuer, are done by now.
func (c *Client) checkJWT(ctx context.Context, meta *metadata, raw string) error {
	algs := c.responseAlgs(meta)
	claims, err := decodeToken(raw, algs)
	if err != nil {
		return err
	}
	if err := cmp.Or(
		checkAudience(claims, c.cfg.ClientID, nil),            // (4)
		checkExpiry(claims, c.cfg.Now().Add(-c.cfg.Leeway)),   // (5)
		checkNotBefore(claims, c.cfg.Now().Add(c.cfg.Leeway)), // RFC 7519 4.1.5
	); err != nil {
		return err
	}
	_, err = c.verifySignature(ctx, raw, algs) // (6)
	return err
}

// responseAlgs are the algorithms that a response may be signed with, chosen as those
// of ID tokens are (JARM 3: RS256, unless the client is registered for another).
func (c *Client) responseAlgs(meta *metadata) []jose.SignatureAlgorithm {
	return c.cfg.chosenAlgs(meta.ResponseAlgs)
}

// asResponse makes what is wrong with the response, which a browser brings and anybody
// may have made, that browser's fault.
func asResponse(err error) error { return reclassify(err, BadRequest, "") }

// validateResponseMode refuses a mode that does not exist, or that the provider could
// not answer by.
func (cfg Config) validateResponseMode() error {
	modes := []string{FormPost, QueryJWT, FormPostJWT}
	switch {
	case cfg.ResponseMode != "" && !slices.Contains(modes, cfg.ResponseMode):
		return fmt.Errorf("response_mode: %q is neither empty nor one of %s", cfg.ResponseMode, strings.Join(modes, ", "))
	case cfg.jwtMode() && cfg.isPlain():
		return fmt.Errorf("response_mode %s: a provider that is plain OAuth 2.0 has no keys to sign its answers with", cfg.ResponseMode)
	}
	return nil
}
