package caddymodule

import (
	"encoding/json"
	"errors"
	flags "flag"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddy.RegisterModule(adminAPI{})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "keys",
		Usage: "rotate [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Has the running server seal sessions with a new key from now on",
		Long: `
Asks the running server, at its admin endpoint, to make a new key that seals
sessions from now on. It signs nobody out: the keys before it open what they
have sealed until the longest session is over. Without this command there is
a new key every 30 days.

The endpoint is found as by "reload": --address, or what the configuration
says, or the default address.
`,
		Flags: adminFlags("keys"),
		Func:  cmdKeys,
	})
}

// rotateRoute is where the admin endpoint rotates keys.
const rotateRoute = "/gatehouse/keys/rotate"

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

// rotated is the answer to a rotation.
type rotated struct {
	Keys []string `json:"keys"` // the IDs of the new keys, one for each storage
}

// rotate rotates the keys of every storage that this process uses, which is one as
// a rule.
func (adminAPI) rotate(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s", r.Method)}
	}
	var answer rotated
	var failed error
	durablePool.Range(func(_, value any) bool {
		id, err := value.(*durable).keys.Rotate(r.Context())
		answer.Keys, failed = append(answer.Keys, id), errors.Join(failed, err)
		return true
	})
	if failed != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: failed}
	}
	if len(answer.Keys) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no site of this configuration has a gatehouse")}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

// adminOff is what to do where nobody can be asked.
const adminOff = "keys are rotated by the running server, and it can be asked at Caddy's admin endpoint alone. " +
	"With \"admin off\", give it a socket that only its user can reach (admin unix//run/gatehouse/admin.sock), " +
	"or leave it to the schedule: there is a new key every 30 days"

// cmdKeys is the command `keys`.
func cmdKeys(fl caddycmd.Flags) (int, error) {
	if fl.NArg() != 1 || fl.Arg(0) != "rotate" {
		return caddy.ExitCodeFailedStartup, errors.New("the command is: keys rotate")
	}
	address, err := adminAddress(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	response, err := caddycmd.AdminAPIRequest(address, http.MethodPost, rotateRoute, nil, nil)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("asking the running server at %s: %w\n%s", address, err, adminOff)
	}
	defer response.Body.Close()
	var answer rotated
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("the answer of the running server: %w", err)
	}
	for _, id := range answer.Keys {
		fmt.Println("sealing with key", id)
	}
	return caddy.ExitCodeSuccess, nil
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
