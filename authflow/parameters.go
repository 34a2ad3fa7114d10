package authflow

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// maxParameter bounds what a browser may have passed on, in bytes of one value.
const maxParameter = 512

// ownParameters are the parameters of an authorization request that nobody but
// this package sets, since the answer is judged by them: neither the
// configuration nor a browser can replace one (SEC-67). With them stand those
// that would speak for the client, or bring a whole request of somebody else's.
var ownParameters = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri",
	"client_secret", "client_assertion", "client_assertion_type", "code", "code_verifier",
	"grant_type", "iss", "dpop_jkt", "id_token_hint", "registration",
}

// objectClaims are the claims of a request object that say who made it for whom, and
// when (RFC 9101 4): as parameters they have another meaning or none, and would
// replace them. With a sub it would be a client assertion (RFC 9101 10.8).
var objectClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// validateRequest checks how authorization requests are made.
func (cfg Config) validateRequest() error {
	if err := cfg.validateResponseMode(); err != nil {
		return err
	}
	if !slices.Contains([]string{"", PARAuto, PAROn, PAROff}, cfg.PAR) {
		return fmt.Errorf("par: %q is none of %s, %s, %s", cfg.PAR, PARAuto, PAROn, PAROff)
	}
	if cfg.RequestObject && cfg.ClientKeys == nil {
		return errors.New("jar: there is no client_key to sign with")
	}
	return cfg.validateParameters()
}

// validateParameters refuses names that are not the configuration's to give.
func (cfg Config) validateParameters() error {
	names := slices.Clone(cfg.ParametersFromRequest)
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("param_from_request: %s is there twice", name)
		}
	}
	for name, value := range cfg.Parameters {
		names = append(names, name)
		if value == "" || !isPrintable(value) {
			return fmt.Errorf("param: %s is empty or has control characters", name)
		}
	}
	for _, name := range names {
		if !isNQChars(name) {
			return fmt.Errorf("param: %q is no parameter's name", name)
		}
		if slices.Contains(ownParameters, name) {
			return fmt.Errorf("param: %s is set by the protocol alone", name)
		}
		if cfg.RequestObject && slices.Contains(objectClaims, name) {
			return fmt.Errorf("param: %s is a claim of the request object that jar makes", name)
		}
	}
	return nil
}

// RequestParameters returns what of a query [Config.ParametersFromRequest] lets
// through, for [AuthorizationRequest.Parameters]; all else stays behind. A
// parameter that is there twice, longer than 512 bytes or not printable is
// parameter_refused.
func (c *Client) RequestParameters(query url.Values) (map[string]string, error) {
	passed := make(map[string]string)
	for _, name := range c.cfg.ParametersFromRequest {
		values := query[name]
		switch {
		case len(values) == 0:
			continue
		case len(values) > 1: // RFC 6749 3.1
			return nil, NewError(ReasonParameter, fmt.Errorf("%s is there twice", name))
		case len(values[0]) > maxParameter:
			return nil, NewError(ReasonParameter, fmt.Errorf("%s has %d bytes, at most %d", name, len(values[0]), maxParameter))
		case !isPrintable(values[0]):
			return nil, NewError(ReasonParameter, errors.New(name+" has control characters"))
		}
		passed[name] = values[0]
	}
	return passed, nil
}

// parameters joins the parameters of one authorization request: the
// configuration's, over them what the browser may pass on, over them ours.
func (c *Client) parameters(fromRequest, ours map[string]string) map[string]string {
	joined := make(map[string]string)
	for _, name := range ownParameters {
		joined[name] = "" // none stands in the endpoint's own query
	}
	for name, value := range c.cfg.Parameters {
		joined[name] = value
	}
	for _, name := range c.cfg.ParametersFromRequest {
		if value := fromRequest[name]; value != "" {
			joined[name] = value
		}
	}
	for name, value := range ours {
		if value != "" || joined[name] == "" {
			joined[name] = value
		}
	}
	return joined
}
