// Command gatehouse is Caddy with its standard modules and the sign-in gate: the binary that xcaddy.json describes.
package main

import (
	_ "time/tzdata" // a container without zone files still writes its logs in the zone it is told

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-auth/gatehouse/caddymodule"
)

func main() {
	caddycmd.Main()
}
