package authflow

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxJWT bounds a token before anything of it is decoded, in bytes (SEC-82).
const maxJWT = 64 << 10

// decodeToken decodes a token that nobody has verified yet: an ID token, or one
// of the given types. It accepts the compact serialization only, in canonical
// base64, with a header and a payload that every decoder reads the same way: what
// is checked below is then what go-oidc and the rest of the program see.
func decodeToken(raw string, algs []jose.SignatureAlgorithm, types ...string) (Claims, error) {
	if len(raw) > maxJWT {
		return nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("more than %d bytes", maxJWT))
	}
	header, claims, err := decodeJWS(raw)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkType(header, types), checkAlg(header, algs)); err != nil {
		return nil, err
	}
	return claims, nil
}

// decodeJWS decodes header and payload of a compact JWS, whose signature nobody has
// verified: id_token_malformed.
func decodeJWS(raw string) (header, payload Claims, err error) {
	parts := strings.SplitN(raw, ".", 4)
	// encoding/base64 skips line breaks, even when it is strict.
	if len(parts) != 3 || strings.ContainsAny(raw, "\r\n") {
		return nil, nil, NewError(ReasonIDTokenMalformed, errors.New("no compact JWS"))
	}
	if header, err = decodePart(parts[0]); err != nil {
		return nil, nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("header: %w", err))
	}
	if payload, err = decodePart(parts[1]); err != nil {
		return nil, nil, NewError(ReasonIDTokenMalformed, fmt.Errorf("payload: %w", err))
	}
	return header, payload, nil
}

// decodePart decodes the base64url of a JSON object.
func decodePart(part string) (Claims, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("base64: %w", err)
	}
	return DecodeClaims(data)
}

// checkExtensions refuses the extensions of JWS, of which we understand none (RFC 7515
// 4.1.11, RFC 7797 3).
func checkExtensions(header Claims) error {
	for _, name := range []string{"crit", "b64"} {
		if _, has := header[name]; has {
			return fmt.Errorf("the header has %s", name)
		}
	}
	return nil
}

// checkType refuses a JWT that says that it is something else than what is expected: of
// the given types, or else an ID token. So an access token (RFC 9068 2.1) or a logout
// token (RFC 8725 3.11) is not taken for one.
func checkType(header Claims, types []string) error {
	if err := checkExtensions(header); err != nil {
		return NewError(ReasonIDTokenHeader, err)
	}
	typ, err := header.String("typ")
	if errors.Is(err, ErrClaimAbsent) || err == nil && strings.EqualFold(typ, "JWT") {
		return nil
	}
	if err == nil && slices.ContainsFunc(types, func(expected string) bool { return isType(typ, expected) }) {
		return nil
	}
	return NewError(ReasonIDTokenHeader, fmt.Errorf("typ is %.64q", typ))
}

// isType compares a typ with a media type that stands here without its "application/"
// (RFC 7515 4.1.9).
func isType(typ, expected string) bool {
	return strings.TrimPrefix(strings.ToLower(typ), "application/") == expected
}

// checkAlg: OIDC Core 3.1.3.7 (7). The algorithm is one of those that this
// client expects; "none" and the symmetric ones never are (RFC 8725 3.1, 3.2).
func checkAlg(header Claims, algs []jose.SignatureAlgorithm) error {
	alg, _ := header.String("alg")
	if !slices.Contains(algs, jose.SignatureAlgorithm(alg)) {
		return NewError(ReasonAlg, fmt.Errorf("alg is %.64q, accepted are %q", alg, algs))
	}
	return nil
}

// signingAlgs are the algorithms that Config.SigningAlgs can name: asymmetric
// ones only, so that no public key can be used as a secret (RFC 8725 3.1).
var signingAlgs = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// validateSigningAlgs refuses algorithms that are not supported.
func (cfg Config) validateSigningAlgs() error {
	return checkAlgNames("signing_algs", cfg.SigningAlgs...)
}

// checkAlgNames refuses algorithms, named by an option of the configuration, that are not
// supported.
func checkAlgNames(option string, algs ...string) error {
	for _, alg := range algs {
		if !slices.Contains(signingAlgs, alg) {
			return fmt.Errorf("%s: %q is none of %s", option, alg, strings.Join(signingAlgs, ", "))
		}
	}
	return nil
}

// chosenAlgs are those of the configuration, else what of the provider's offer is
// taken.
func (cfg Config) chosenAlgs(offered []string) []jose.SignatureAlgorithm {
	names := cfg.SigningAlgs
	if len(names) == 0 {
		names = defaultAlgs(offered)
	}
	return jwsAlgs(names)
}

// defaultAlgs is the default of Config.SigningAlgs.
func defaultAlgs(offered []string) []string {
	var ours []string
	for _, alg := range signingAlgs {
		if slices.Contains(offered, alg) {
			ours = append(ours, alg)
		}
	}
	if len(ours) == 0 || slices.Contains(ours, "RS256") {
		return []string{"RS256"}
	}
	return ours
}

// jwsAlgs are algorithms as go-jose takes them.
func jwsAlgs(names []string) []jose.SignatureAlgorithm {
	algs := make([]jose.SignatureAlgorithm, len(names))
	for i, name := range names {
		algs[i] = jose.SignatureAlgorithm(name)
	}
	return algs
}
