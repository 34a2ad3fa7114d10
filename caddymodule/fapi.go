package caddymodule

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// fapi2Ciphers are the suites of TLS 1.2 that BCP 195 recommends (RFC 9325 4.2, FAPI
// 2.0 5.2.1). TLS 1.3 has none that it advises against.
var fapi2Ciphers = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
}

// checkProfile holds a provider's words to its profile before anything is read from
// files or variables: a contradiction is an error of the Caddyfile's line.
func (c *ProviderConfig) checkProfile() error {
	if c.Profile == "" {
		return nil
	}
	if c.InsecureSkipTLSVerify {
		return errors.New("profile fapi2: insecure_skip_tls_verify: certificates are verified (FAPI 2.0 5.2.1)")
	}
	config := authflow.Config{
		Profile: c.Profile, Issuer: standIn(cmp.Or(c.Issuer, presets[c.Preset].issuer), ""), Reach: standIn(c.Reach, ""),
		ClientAuth: c.ClientAuth, PAR: c.PAR,
		NoDiscovery: c.Discovery == "off", Endpoints: c.Endpoint, UserInfoAlg: c.UserInfoSignedResponseAlg,
	}
	c.declareCredentials(&config)
	return config.CheckProfile()
}

// checkCertificate holds the client's certificate to the profile.
func (c *ProviderConfig) checkCertificate(pair *tls.Certificate) error {
	return authflow.Config{Profile: c.Profile}.CheckProfileKey(pair.Leaf.PublicKey)
}

// checkProfiles holds the sessions of a gate to the profiles of its providers.
func (g *Gate) checkProfiles() error {
	for _, p := range g.providers {
		if p.profile != "" && g.sessionConfig.InsecureHTTP {
			return fmt.Errorf("session: insecure_http: provider %s has profile %s, whose clients speak https alone (FAPI 2.0 5.2.1)", p.name, p.profile)
		}
	}
	return nil
}
