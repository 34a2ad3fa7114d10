package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
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

// rotated is the answer to a rotation.
type rotated struct {
	Keys []string `json:"keys"` // the IDs of the new keys, one for each storage
}

// rotate rotates the keys of every storage that this process uses, which is one as
// a rule.
func (adminAPI) rotate(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("method %s", r.Method))
	}
	var answer rotated
	var failed error
	durablePool.Range(func(_, value any) bool {
		id, err := value.(*durable).keys.Rotate(r.Context())
		answer.Keys, failed = append(answer.Keys, id), errors.Join(failed, err)
		return true
	})
	if failed != nil {
		return adminError(http.StatusInternalServerError, failed)
	}
	if len(answer.Keys) == 0 {
		return adminError(http.StatusNotFound, errors.New("no site of this configuration has a gatehouse"))
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

// cmdKeys is the command `keys`.
func cmdKeys(fl caddycmd.Flags) (int, error) {
	if fl.NArg() != 1 || fl.Arg(0) != "rotate" {
		return caddy.ExitCodeFailedStartup, errors.New("the command is: keys rotate")
	}
	response, err := askServer(fl, rotateRoute, nil, nil)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
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
