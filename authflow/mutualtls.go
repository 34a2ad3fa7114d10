package authflow

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// useAliases puts the endpoints for clients with a certificate in the place of the
// others (RFC 8705 5), if this client has one.
func (m *metadata) useAliases(mutualTLS bool) error {
	if !mutualTLS || len(m.Aliases) == 0 {
		return nil
	}
	var aliases metadata
	if err := json.Unmarshal(m.Aliases, &aliases); err != nil {
		return fmt.Errorf("decode mtls_endpoint_aliases: %w", err)
	}
	m.TokenEndpoint = cmp.Or(aliases.TokenEndpoint, m.TokenEndpoint)
	for _, endpoint := range []struct {
		address *optional
		alias   optional
	}{
		{&m.UserInfoEndpoint, aliases.UserInfoEndpoint},
		{&m.PAREndpoint, aliases.PAREndpoint},
		{&m.RevocationEndpoint, aliases.RevocationEndpoint},
		{&m.IntrospectionEndpoint, aliases.IntrospectionEndpoint},
	} {
		*endpoint.address = cmp.Or(endpoint.alias, *endpoint.address)
	}
	return nil
}
