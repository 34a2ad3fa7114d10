package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	flags "flag"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "sessions",
		Usage: "end --issuer <URL> --sub <subject>|--sid <session> [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Has the running server end somebody's sessions",
		Long: `
Asks the running server, at its admin endpoint, to end all sessions of somebody
(--sub, as the line "signed in" of the log has the subject), or those that began
in one session at the provider (--sid). It ends them at all sites of that server,
and for good, with their streams and all copies of their cookies. It does not keep
anybody from signing in again: that is for the provider, or for deny.

The endpoint is found as by "reload": --address, or what the configuration
says, or the default address.
`,
		Flags: func() *flags.FlagSet {
			set := adminFlags("sessions")
			set.String("issuer", "", "The issuer at which somebody has signed in, as the configuration has it")
			set.String("sub", "", "The subject whose sessions end")
			set.String("sid", "", "The session at the provider")
			return set
		}(),
		Func: cmdSessions,
	})
}

// endSessionsRoute is where the admin endpoint ends sessions.
const endSessionsRoute = "/gatehouse/sessions/end"

// maxRevocation is how large a request to end sessions may be, in bytes.
const maxRevocation = 4 << 10

// revocation says whose sessions are to end, in the words of a logout token (OIDC
// Back-Channel Logout 2.4): all of a subject up to now, or those of one session at
// the provider.
type revocation struct {
	Issuer    string `json:"issuer"`
	Subject   string `json:"sub,omitempty"`
	SessionID string `json:"sid,omitempty"`
}

// endSessions ends sessions. 204 if they are over, also if there were none: what
// browsers hold is not known here.
func (adminAPI) endSessions(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("method %s; sessions are ended by POST", r.Method))
	}
	wanted, err := parseRevocation(r)
	if err != nil {
		return err
	}
	// The configuration that runs, not one that is being loaded.
	running, err := caddy.ActiveContext().AppIfConfigured("gatehouse")
	if err != nil {
		return adminError(http.StatusNotFound, errors.New("no site of the configuration signs anybody in"))
	}
	if err := running.(*App).revoke(r.Context(), wanted); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// parseRevocation reads a request, which is JSON, so that no page of another site can
// have a browser send it unasked. What it does not understand it refuses: nobody is to
// believe that sessions are over which are not.
func parseRevocation(r *http.Request) (revocation, error) {
	var wanted revocation
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return wanted, adminError(http.StatusUnsupportedMediaType, errors.New("Content-Type is not application/json"))
	}
	body := json.NewDecoder(io.LimitReader(r.Body, maxRevocation))
	body.DisallowUnknownFields()
	if err := body.Decode(&wanted); err != nil {
		return wanted, adminError(http.StatusBadRequest, fmt.Errorf("not an object of issuer and sub or sid: %w", err))
	}
	if _, err := body.Token(); !errors.Is(err, io.EOF) {
		return wanted, adminError(http.StatusBadRequest, errors.New("something follows the object"))
	}
	if wanted.Issuer == "" || (wanted.Subject == "") == (wanted.SessionID == "") {
		return wanted, adminError(http.StatusBadRequest, errors.New("issuer is needed, and either sub or sid"))
	}
	return wanted, nil
}

// recordIssuer records where people sign in.
func (a *App) recordIssuer(p *provider) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issuers[p.client.Issuer()] = struct{}{}
}

// revoke ends sessions at all sites of this configuration. An issuer that none of them
// has is an error: it is misspelt, and nothing would end.
func (a *App) revoke(ctx context.Context, wanted revocation) error {
	a.mu.Lock()
	_, known := a.issuers[wanted.Issuer]
	managers := make([]*session.Manager, 0, len(a.managers))
	for _, manager := range a.managers {
		managers = append(managers, manager)
	}
	a.mu.Unlock()
	if !known {
		return adminError(http.StatusNotFound, fmt.Errorf("nobody signs in at %.256q here; the issuer is written as in the configuration", wanted.Issuer))
	}
	at := a.now()
	until := at.Add(a.durable.keys.LongestLifetime() + logoutSlack)
	target := session.BySubject(wanted.Issuer, wanted.Subject, at, until)
	if wanted.SessionID != "" {
		target = session.ByIdPSession(wanted.Issuer, wanted.SessionID, until)
	}
	var errs []error
	for _, manager := range managers {
		errs = append(errs, manager.End(context.WithoutCancel(ctx), target)) // all of it, whoever hangs up
	}
	if err := errors.Join(errs...); err != nil {
		return adminError(http.StatusServiceUnavailable, fmt.Errorf("the sessions are over in this process, but that may not last, or not reach others: try again: %w", err))
	}
	a.logger.Info("sessions ended by an administrator",
		zap.String("issuer", wanted.Issuer), zap.String("subject", wanted.Subject), zap.String("sid", wanted.SessionID))
	return nil
}

// cmdSessions is the command `sessions`.
func cmdSessions(fl caddycmd.Flags) (int, error) {
	if fl.NArg() != 1 || fl.Arg(0) != "end" {
		return caddy.ExitCodeFailedStartup, errors.New("the command is: sessions end --issuer <URL> --sub <subject>, or --sid <session> instead of --sub")
	}
	target := revocation{Issuer: fl.String("issuer"), Subject: fl.String("sub"), SessionID: fl.String("sid")}
	body, err := json.Marshal(target)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	response, err := askServer(fl, endSessionsRoute, header, bytes.NewReader(body))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	response.Body.Close()
	fmt.Printf("whatever sessions %s had at %s are over\n", cmp.Or(target.Subject, target.SessionID), target.Issuer)
	return caddy.ExitCodeSuccess, nil
}
