package caddymodule

import (
	"encoding/json"
	"errors"
	flags "flag"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is the module admin.api.gatehouse: what the commands `keys` and `sessions` ask for.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes implements caddy.AdminRouter.
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: rotateRoute, Handler: caddy.AdminHandlerFunc(a.rotate)},
		{Pattern: endSessionsRoute, Handler: caddy.AdminHandlerFunc(a.endSessions)},
	}
}

// adminError is an answer of Caddy's admin endpoint.
func adminError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// adminOff is what to do where the running server cannot be asked.
const adminOff = "the running server can be asked at Caddy's admin endpoint alone. " +
	"With \"admin off\", give it a socket that only its user can reach (admin unix//run/gatehouse/admin.sock)"

// askServer makes a POST request to the admin endpoint of the running server, for one of
// our commands. The caller closes the body of the response.
func askServer(fl caddycmd.Flags, route string, header http.Header, body io.Reader) (*http.Response, error) {
	address, err := adminAddress(fl)
	if err != nil {
		return nil, err
	}
	response, err := caddycmd.AdminAPIRequest(address, http.MethodPost, route, header, body)
	if err != nil {
		return nil, fmt.Errorf("asking the running server at %s: %w\n%s", address, err, adminOff)
	}
	return response, nil
}

// adminFlags are the flags by which [adminAddress] finds the admin endpoint.
func adminFlags(command string) *flags.FlagSet {
	set := flags.NewFlagSet(command, flags.ExitOnError)
	set.String("address", "", "The address of the admin endpoint")
	set.String("config", "", "A configuration that says where the admin endpoint is")
	set.String("adapter", "", "The adapter of the configuration")
	return set
}

// adminAddress finds the admin endpoint of the running server.
func adminAddress(fl caddycmd.Flags) (string, error) {
	var config []byte
	file, adapter := fl.String("config"), fl.String("adapter")
	if file != "" {
		var err error
		if config, _, _, err = caddycmd.LoadConfig(file, adapter); err != nil {
			return "", err
		}
		var parsed struct {
			Admin struct {
				Disabled bool `json:"disabled"`
			} `json:"admin"`
		}
		if err := json.Unmarshal(config, &parsed); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if parsed.Admin.Disabled && fl.String("address") == "" {
			return "", errors.New(adminOff)
		}
	}
	return caddycmd.DetermineAdminAPIAddress(fl.String("address"), config, file, adapter)
}

// Interface guards.
var _ caddy.AdminRouter = (*adminAPI)(nil)
