// Package gatehouse is a Caddy module that signs people in with OpenID Connect.
//
// Importing it, as xcaddy does, registers the module; the package holds nothing else:
//
//	xcaddy build --with github.com/gatehouse-auth/gatehouse
//
// What stands where: caddymodule is the glue to Caddy and the grammar of the Caddyfile, authflow the protocol,
// session what a browser remembers. Imports point down, and rules_test.go holds that and the other rules of the house.
package gatehouse

import _ "github.com/gatehouse-auth/gatehouse/caddymodule" // registers the app, the handler and the directive
