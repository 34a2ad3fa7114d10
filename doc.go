// Package gatehouse is a Caddy module that signs people in with OpenID Connect.
//
// Importing it, as xcaddy does, registers the module; the package holds nothing else:
//
//	xcaddy build --with github.com/gatehouse-auth/gatehouse
//
// Package caddymodule is the glue to Caddy and the grammar of the Caddyfile, authflow is the protocol, and session is
// what a browser remembers. Imports point down: rules_test.go checks that, and the other rules of CONTRIBUTING.md.
package gatehouse

import _ "github.com/gatehouse-auth/gatehouse/caddymodule" // registers the app, the handler and the directive
