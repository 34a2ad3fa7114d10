package authflow

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ProfileFAPI2, as Config.Profile, is the FAPI 2.0 Security Profile (Final):
// what it demands of clients is switched on, and a configuration
// that contradicts it is refused. The numbers in this file are its sections.
//
//   - 5.2.1: https only, of certificates that are verified.
//   - 5.3.3.1: the client proves itself by a key or a certificate, access tokens are
//     bound to that certificate or to a key of the session (DPoP), and what is known
//     of the provider is its metadata.
//   - 5.3.3.2: requests are pushed, and the response names who answers.
//   - 5.4.1: PS256, ES256 or EdDSA, by keys that are long enough.
//
// What is so without the profile as well has no line here: the code flow, S256, the
// assertion's audience, the issuer that the metadata names, aliases, rotation.
const ProfileFAPI2 = "fapi2"

// fapi2Algs are the only algorithms of the profile (5.4.1).
var fapi2Algs = []string{"PS256", "ES256", "EdDSA"}

// fapi2 tells whether the profile is on.
func (cfg Config) fapi2() bool { return cfg.Profile == ProfileFAPI2 }

// withProfile switches on what the profile demands and nothing else has decided.
func (cfg Config) withProfile() Config {
	if !cfg.fapi2() {
		return cfg
	}
	if cfg.PAR == "" || cfg.PAR == PARAuto {
		cfg.PAR = PAROn
	}
	if !cfg.MutualTLS { // 5.3.3.1: else the certificate binds tokens
		cfg.DPoP = true
	}
	if len(cfg.SigningAlgs) == 0 {
		cfg.SigningAlgs = slices.Clone(fapi2Algs)
	}
	return cfg
}

// validateProfile names the first value that contradicts the profile.
func (cfg Config) validateProfile() error {
	if cfg.Profile != "" && !cfg.fapi2() {
		return fmt.Errorf("profile: %q is not %s", cfg.Profile, ProfileFAPI2)
	}
	if err := cfg.CheckProfile(); err != nil {
		return err
	}
	if !cfg.fapi2() || cfg.ClientKeys == nil {
		return nil
	}
	keys, err := cfg.ClientKeys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := key.checkFAPI2(); err != nil {
			return err
		}
	}
	return nil
}

// CheckProfile tells what of a configuration contradicts its profile, by the words
// of the fields: what [New] would refuse, but for what stands in files. It takes a
// configuration that is not complete yet, in which an Issuer or Reach that is not
// known is empty.
func (cfg Config) CheckProfile() error {
	if !cfg.fapi2() {
		return nil
	}
	return cmp.Or(cfg.checkFAPI2Transport(), cfg.checkFAPI2Client(), cfg.checkFAPI2Endpoints(), cfg.checkFAPI2Algs())
}

// fapi2Error says what contradicts the profile, and which section of it.
func fapi2Error(section, format string, values ...any) error {
	return fmt.Errorf("profile fapi2: %s (FAPI 2.0 %s)", fmt.Sprintf(format, values...), section)
}

// checkFAPI2Transport: 5.2.1. An issuer on this machine may be http, for tests; what
// it is reached at may not be less than what it is.
func (cfg Config) checkFAPI2Transport() error {
	if cfg.Issuer != "" {
		if err := checkURL(cfg.Issuer, true); err != nil {
			return fapi2Error("5.2.1", "issuer: %s", err)
		}
	}
	if strings.HasPrefix(cfg.Reach, "http:") && !strings.HasPrefix(cfg.Issuer, "http:") {
		return fapi2Error("5.2.1", "reach %s is not https", cfg.Reach)
	}
	return nil
}

// checkFAPI2Client: 5.3.3.1. No secret is shared.
func (cfg Config) checkFAPI2Client() error {
	method := cfg.defaultClientAuth()
	switch {
	case cfg.ClientSecret != nil:
		return fapi2Error("5.3.3.1", "client_secret: a client proves itself by client_key or client_certificate")
	case cfg.ClientAssertion != nil:
		return fapi2Error("5.3.3.1", "client_assertion: a client proves itself by client_key or client_certificate")
	case method == "":
		return fapi2Error("5.3.3.1", "client_key or client_certificate is needed")
	case !slices.Contains([]string{PrivateKeyJWT, TLSClientAuth, SelfSignedTLSClientAuth}, method):
		return fapi2Error("5.3.3.1", "client_auth %s is none of %s, %s, %s", method, PrivateKeyJWT, TLSClientAuth, SelfSignedTLSClientAuth)
	}
	return nil
}

// checkFAPI2Endpoints: 5.3.3.1, what is known of the provider is what its metadata
// says; 5.3.3.2, requests are pushed.
func (cfg Config) checkFAPI2Endpoints() error {
	if cfg.PAR == PAROff {
		return fapi2Error("5.3.3.2", "par off: authorization requests are pushed")
	}
	if cfg.NoDiscovery {
		return fapi2Error("5.3.3.1", "discovery off: endpoints are those of the provider's metadata")
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Endpoints)) {
		address := cfg.Endpoints[name]
		if address != EndpointOff {
			return fapi2Error("5.3.3.1", "endpoint %s: endpoints are those of the provider's metadata", name)
		}
		if name == "pushed_authorization_request" {
			return fapi2Error("5.3.3.2", "endpoint %s off: authorization requests are pushed", name)
		}
	}
	return nil
}

// checkBinding: 5.3.3.1, RFC 8705 3.3. Tokens that no key of DPoP binds are bound to
// the client's certificate, as the provider says in its metadata: else they are
// anybody's who has seen one, and nothing in the token response would tell.
func (cfg Config) checkBinding(meta *metadata) error {
	if !cfg.fapi2() || cfg.DPoP || meta.BindsCertificates {
		return nil
	}
	return NewError(ReasonUnbound, errors.New("the metadata does not have tls_client_certificate_bound_access_tokens: true"))
}

// checkFAPI2Algs: 5.4.1.
func (cfg Config) checkFAPI2Algs() error {
	for _, alg := range cfg.SigningAlgs {
		if !slices.Contains(fapi2Algs, alg) {
			return fapi2Error("5.4.1", "signing_algs: %s is none of %s", alg, strings.Join(fapi2Algs, ", "))
		}
	}
	if alg := cfg.UserInfoAlg; alg != "" && !slices.Contains(fapi2Algs, alg) {
		return fapi2Error("5.4.1", "userinfo_signed_response_alg: %s is none of %s", alg, strings.Join(fapi2Algs, ", "))
	}
	return nil
}

// checkFAPI2 holds a key to the algorithms of the profile. An RSA key that names none
// signs by PS256 there; that it is long enough holds for every client key.
func (k ClientKey) checkFAPI2() error {
	if alg := k.alg(fapi2Algs); !slices.Contains(fapi2Algs, string(alg)) {
		return fapi2Error("5.4.1", "client_key %s signs by %s, which is none of %s", k.jwk.KeyID, alg, strings.Join(fapi2Algs, ", "))
	}
	return nil
}

// clientKeyAlgs are what an RSA key that names no algorithm may sign by: what the
// provider offers, or what the profile has.
func (cfg Config) clientKeyAlgs(offered []string) []string {
	if cfg.fapi2() {
		return fapi2Algs
	}
	return offered
}

// fapi2MinEC is the length in bits of the shortest elliptic curve key of the profile
// (5.4.1). Its shortest RSA key is ours, minRSA.
const fapi2MinEC = 224

// CheckProfileKey tells whether the public key of a certificate that the client shows
// is long enough for the profile.
func (cfg Config) CheckProfileKey(key crypto.PublicKey) error {
	if !cfg.fapi2() {
		return nil
	}
	bits, least := 0, 0
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits, least = key.N.BitLen(), minRSA
	case *ecdsa.PublicKey:
		bits, least = key.Curve.Params().BitSize, fapi2MinEC
	default: // Ed25519 has one length
		return nil
	}
	if bits < least {
		return fapi2Error("5.4.1", "client_certificate: a key of %d bits, at least %d are needed", bits, least)
	}
	return nil
}
