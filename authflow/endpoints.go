package authflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// EndpointOff, as a value of Config.Endpoints, switches an endpoint off although
// the provider's metadata has it.
const EndpointOff = "off"

// endpointMembers are the names of Config.Endpoints, and which member of the
// metadata each stands for (RFC 8414 2, RFC 9126 5, OIDC Discovery 3, OIDC
// RP-Initiated Logout 2.1).
var endpointMembers = map[string]string{
	"authorization":                "authorization_endpoint",
	"token":                        "token_endpoint",
	"jwks":                         "jwks_uri",
	"userinfo":                     "userinfo_endpoint",
	"end_session":                  "end_session_endpoint",
	"revocation":                   "revocation_endpoint",
	"introspection":                "introspection_endpoint",
	"pushed_authorization_request": "pushed_authorization_request_endpoint",
}

// EndpointNames returns the names that Config.Endpoints can have, sorted.
func EndpointNames() []string { return slices.Sorted(maps.Keys(endpointMembers)) }

// validateEndpoints refuses what could not work at the first login.
func (cfg Config) validateEndpoints() error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Endpoints)) {
		address := cfg.Endpoints[name]
		if _, known := endpointMembers[name]; !known {
			return fmt.Errorf("endpoint: %q is none of %s", name, strings.Join(EndpointNames(), ", "))
		}
		if address == EndpointOff {
			if slices.Contains(cfg.needed(), name) {
				return fmt.Errorf("endpoint %s: off, but nobody can sign in without it", name)
			}
			continue
		}
		if err := cfg.checkEndpoint(address); err != nil {
			return fmt.Errorf("endpoint %s: %w", name, err)
		}
	}
	for _, name := range cfg.needed() {
		if cfg.lacks(name) {
			if cfg.isPlain() {
				return fmt.Errorf("endpoint %s: missing; of a provider that is plain OAuth 2.0 nothing is discovered", name)
			}
			return fmt.Errorf("discovery: off, but there is no endpoint %s", name)
		}
	}
	if cfg.UserInfo == UserInfoRequired && cfg.lacks("userinfo") {
		return errors.New("userinfo: required, but there is no endpoint userinfo")
	}
	if cfg.PAR == PAROn && cfg.lacks("pushed_authorization_request") {
		return errors.New("par: on, but there is no endpoint pushed_authorization_request")
	}
	return nil
}

// lacks tells that there is no such endpoint, whatever the provider may say.
func (cfg Config) lacks(name string) bool {
	address := cfg.Endpoints[name]
	return address == EndpointOff || address == "" && cfg.NoDiscovery
}

// checkEndpoint is checkURL for an endpoint of this provider. On the origin that
// Config.Reach names, http on loopback is accepted too: it is our own choice.
func (cfg Config) checkEndpoint(address string) error {
	allowLoopback := strings.HasPrefix(cfg.Issuer, "http:")
	if cfg.Reach != "" && originOfText(address) == originOfText(cfg.Reach) {
		allowLoopback = true
	}
	return checkURL(address, allowLoopback)
}

// optional is the address of an endpoint that a sign-in can do without, "" if there
// is none. Whatever a provider's metadata says is taken, and judged where it is used
// ([Client.usable]): one that is malformed keeps nobody out who does not need it.
type optional string

// UnmarshalJSON implements json.Unmarshaler. What is no text is no address either.
func (o *optional) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = string(data)
	}
	*o = optional(text)
	return nil
}

// usable returns the address of an endpoint that is used now: "" if the provider has
// none, and an error of the given reason if it is none that could be called.
func (c *Client) usable(name string, o optional, reason Reason) (string, error) {
	if o == "" {
		return "", nil
	}
	if err := c.cfg.checkEndpoint(string(o)); err != nil {
		return "", NewError(reason, fmt.Errorf("%s: %w", name, err))
	}
	return string(o), nil
}

// warnOfEndpoints names those that will be of no use.
func (c *Client) warnOfEndpoints(meta *metadata) {
	for _, endpoint := range []struct {
		name    string
		address optional
	}{
		{"userinfo_endpoint", meta.UserInfoEndpoint},
		{"end_session_endpoint", meta.EndSessionEndpoint},
		{"revocation_endpoint", meta.RevocationEndpoint},
		{"introspection_endpoint", meta.IntrospectionEndpoint},
		{"pushed_authorization_request_endpoint", meta.PAREndpoint},
	} {
		if _, err := c.usable(endpoint.name, endpoint.address, ReasonDiscovery); err != nil {
			c.cfg.Logger.Warn("an endpoint of the provider's metadata cannot be used; what needs it fails", "issuer", c.cfg.Issuer, "error", err)
		}
	}
}

// ownMetadata is the metadata of a provider that is not asked for any.
func (cfg Config) ownMetadata() []byte {
	document, _ := json.Marshal(map[string]string{"issuer": cfg.Issuer}) // never fails
	return document
}

// withEndpoints puts the endpoints that were set by hand into a provider's
// metadata, and takes out what was switched off: everybody who reads the metadata
// sees them, and none goes by what was advertised.
func (cfg Config) withEndpoints(document []byte) ([]byte, error) {
	if len(cfg.Endpoints) == 0 {
		return document, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		return nil, fmt.Errorf("decode metadata: %w", err)
	}
	if members == nil {
		return nil, errors.New("decode metadata: null")
	}
	var aliases map[string]json.RawMessage // RFC 8705 5: they would win over ours
	if err := json.Unmarshal(members["mtls_endpoint_aliases"], &aliases); err != nil {
		aliases = nil
	}
	for name, address := range cfg.Endpoints {
		member := endpointMembers[name]
		same := func(other string, _ json.RawMessage) bool { return fold(other) == fold(member) } // as encoding/json compares
		maps.DeleteFunc(members, same)
		maps.DeleteFunc(aliases, same)
		if address != EndpointOff {
			members[member], _ = json.Marshal(address) // a string never fails
		}
	}
	if aliases != nil {
		members["mtls_endpoint_aliases"], _ = json.Marshal(aliases) // it was decoded
	}
	return json.Marshal(members)
}

// needed are the endpoints without which nobody can sign in.
func (cfg Config) needed() []string {
	switch {
	case cfg.KeysOnly:
		return []string{"jwks"}
	case cfg.isPlain():
		return []string{"authorization", "token", "userinfo"}
	}
	return []string{"authorization", "token", "jwks"}
}
