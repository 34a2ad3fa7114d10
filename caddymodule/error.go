package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// Reason codes of the gate itself. Those of the protocol are authflow's; page,
// JSON body and log line carry the same code.
const (
	ReasonNoSession        authflow.Reason = "no_session"
	ReasonSessionExpired   authflow.Reason = "session_expired"
	ReasonSessionIdle      authflow.Reason = "session_idle"
	ReasonSessionEnded     authflow.Reason = "session_ended"
	ReasonSessionUnread    authflow.Reason = "session_unreadable"
	ReasonSessionTooLarge  authflow.Reason = "session_too_large"
	ReasonOtherProvider    authflow.Reason = "other_provider"
	ReasonClaimsChanged    authflow.Reason = "claims_changed"
	ReasonAccessExpired    authflow.Reason = "access_token_expired"
	ReasonClaimUnsafe      authflow.Reason = "claim_unsafe"
	ReasonStoreUnavailable authflow.Reason = "store_unavailable"
	ReasonKeysNotShared    authflow.Reason = "keys_not_shared"
	ReasonDenied           authflow.Reason = "denied"
	ReasonUserMissing      authflow.Reason = "user_missing"
	ReasonEmailUnverified  authflow.Reason = "email_unverified"
	ReasonCrossOrigin      authflow.Reason = "cross_origin"
	ReasonNotHTTPS         authflow.Reason = "not_https"
	ReasonHostInvalid      authflow.Reason = "host_invalid"
	ReasonPathRefused      authflow.Reason = "path_refused"
	ReasonGateConflict     authflow.Reason = "gate_conflict"
	ReasonLoginLoop        authflow.Reason = "login_loop"
	ReasonReturnRefused    authflow.Reason = "return_url_refused"
	ReasonUnknownProvider  authflow.Reason = "unknown_provider"
	ReasonACRRequired      authflow.Reason = "acr_required"
	ReasonAuthTooOld       authflow.Reason = "auth_too_old"
	ReasonTokenMalformed   authflow.Reason = "token_malformed"
	ReasonScope            authflow.Reason = "insufficient_scope"
	ReasonPasswordRefused  authflow.Reason = "password_refused"
	ReasonTooManyAttempts  authflow.Reason = "too_many_attempts"
	ReasonPasswordsBusy    authflow.Reason = "password_checks_busy"
	ReasonAskedUnknown     authflow.Reason = "original_request_unknown"
	ReasonMatcherFailed    authflow.Reason = "matcher_failed"
	ReasonMethodRefused    authflow.Reason = "method_refused"
	ReasonNoTransport      authflow.Reason = "dpop_transport_missing"
	ReasonLogoutMismatch   authflow.Reason = "logout_mismatch"
	ReasonInternal         authflow.Reason = "internal"
)

// outcome is what a Kind of error becomes.
type outcome struct {
	status int
	level  zapcore.Level
}

// outcomes is the only table from a Kind to an HTTP status and a log level. A
// Kind that is not in it is an internal error.
var outcomes = map[authflow.Kind]outcome{
	authflow.Internal:    {http.StatusInternalServerError, zapcore.ErrorLevel},
	authflow.NoLogin:     {http.StatusUnauthorized, zapcore.DebugLevel},
	authflow.BadRequest:  {http.StatusBadRequest, zapcore.InfoLevel},
	authflow.Denied:      {http.StatusForbidden, zapcore.InfoLevel},
	authflow.Provider:    {http.StatusBadGateway, zapcore.ErrorLevel},
	authflow.Unavailable: {http.StatusServiceUnavailable, zapcore.ErrorLevel},
}

// problem makes an error of the gate.
func problem(kind authflow.Kind, reason authflow.Reason, public string, err error) *authflow.Error {
	return &authflow.Error{Kind: kind, Reason: reason, Public: public, Err: err}
}

// retrySoon says of an error of Kind Unavailable when to try again.
func retrySoon(p *authflow.Error) *authflow.Error {
	p.RetryAfter = 5 * time.Second
	return p
}

// unknownProvider refuses a request that names a provider which this site has not.
func unknownProvider(err error) *authflow.Error {
	return problem(authflow.BadRequest, ReasonUnknownProvider, "This site knows no such provider.", err)
}

// returnRefused refuses an address to return to.
func returnRefused(err error) *authflow.Error {
	return problem(authflow.BadRequest, ReasonReturnRefused, "The address to return to is not one of this site.", err)
}

// claimUnsafe refuses what a provider told and HTTP cannot carry as it is.
func claimUnsafe(err error) *authflow.Error {
	return problem(authflow.Provider, ReasonClaimUnsafe, "The provider told something of you that cannot be passed on.", err)
}

// notHTTPS refuses what must not travel in the clear.
func notHTTPS(public string) *authflow.Error {
	return problem(authflow.Internal, ReasonNotHTTPS, public,
		errors.New("the request came over plain http from elsewhere than loopback: set public_url, or let Caddy trust the proxy in front (servers { trusted_proxies ... })"))
}

// matcherFailed refuses a request for which nobody can tell which rules count.
func matcherFailed(err error) *authflow.Error {
	if errors.Is(err, errCountless) {
		return problem(authflow.BadRequest, ReasonPathRefused, "This address can be read in too many ways.", err)
	}
	return problem(authflow.Internal, ReasonMatcherFailed, "Something went wrong here.", err)
}

// gateConflict refuses a request on which the gates of a site contradict each other.
func gateConflict(err error) *authflow.Error {
	return problem(authflow.Internal, ReasonGateConflict, "This site is not set up correctly.", err)
}

// asProblem returns the error that page, body and log are made of. An error that is not
// one of ours is internal, and its text stays in the log.
func asProblem(err error) *authflow.Error {
	if known, ok := errors.AsType[*authflow.Error](err); ok {
		return known
	}
	return problem(authflow.Internal, ReasonInternal, "Something went wrong here.", err)
}

// keysNotShared says that what a browser brought was sealed by another server just now.
func keysNotShared(err error) *authflow.Error {
	return problem(authflow.Unavailable, ReasonKeysNotShared,
		"Your sign-in was at another copy of this service, which does not share its keys with this one.", err)
}

// sealedElsewhere reports that what lives for minutes was sealed with a key that this
// server does not have, and that it cannot have retired before.
func sealedElsewhere(err error) bool {
	unknown, is := errors.AsType[*seal.UnknownKeyError](err)
	return is && unknown.MayBeNewer()
}

// sessionProblem gives an error of package session its reason and its public sentence.
func sessionProblem(err error) *authflow.Error {
	unknownKey, isUnknownKey := errors.AsType[*seal.UnknownKeyError](err)
	switch {
	case errors.Is(err, session.ErrNone):
		return problem(authflow.NoLogin, ReasonNoSession, "Please sign in.", err)
	case errors.Is(err, session.ErrExpired):
		return problem(authflow.NoLogin, ReasonSessionExpired, "Your session is over. Please sign in again.", err)
	case errors.Is(err, session.ErrIdle):
		return problem(authflow.NoLogin, ReasonSessionIdle, "You were away for a while. Please sign in again.", err)
	case errors.Is(err, session.ErrRevoked), errors.Is(err, session.ErrSuperseded):
		return problem(authflow.NoLogin, ReasonSessionEnded, "Your session was ended. Please sign in again.", err)
	case isUnknownKey && unknownKey.Newer:
		return keysNotShared(err)
	case errors.Is(err, session.ErrUnreadable), isUnknownKey:
		return problem(authflow.NoLogin, ReasonSessionUnread, "Please sign in.", err)
	case errors.Is(err, session.ErrTooLarge):
		return problem(authflow.Internal, ReasonSessionTooLarge,
			"Your account has more to remember than a cookie can hold. The operator can use a store on the server.", err)
	case errors.Is(err, session.ErrUnavailable):
		return retrySoon(problem(authflow.Unavailable, ReasonStoreUnavailable, "Sessions cannot be read at the moment. Please try again shortly.", err))
	}
	return asProblem(err)
}

// fail answers a request with an error: logged once, and shown as page or JSON,
// or left to Caddy's handle_errors.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	v.decided = true
	p := asProblem(err)
	result, known := outcomes[p.Kind]
	if !known {
		result = outcomes[authflow.Internal]
	}
	id := requestID(r)
	g.counters.refuse(p.Reason)
	if entry := g.logger.Check(result.level, "refused"); entry != nil {
		entry.Write(
			zap.String("reason", string(p.Reason)), zap.Int("status", result.status), zap.Error(p.Err),
			zap.String("request_id", id), zap.String("host", r.Host), zap.String("method", r.Method),
			zap.String("path", originalURL(r).Path),
		)
	}
	h := w.Header()
	noStore(h)
	h.Add("Vary", "Sec-Fetch-Mode, Accept")
	v.challenge(r, h, result.status, err)
	if result.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(int(max(p.RetryAfter, time.Second)/time.Second)))
	}
	if v.gate.passErrors {
		return caddyhttp.Error(result.status, errors.New(string(p.Reason))) // the rest is in the log
	}
	if wantsPage(r) && v.takesSessions() {
		return g.errorPage(w, r, v, result.status, p, id)
	}
	body := problemBody{Error: p.Reason, Message: p.Public, RequestID: id}
	if p.Kind == authflow.NoLogin && v.takesSessions() {
		body.Login = v.origin.String() + v.endpoint("login")
	}
	return writeJSON(w, result.status, body)
}

// problemBody is an error as programs get it.
type problemBody struct {
	Error     authflow.Reason `json:"error"`
	Message   string          `json:"message"`
	Login     string          `json:"login,omitempty"`
	RequestID string          `json:"request_id"`
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err = w.Write(append(encoded, '\n'))
	return err
}

// requestID is what the visitor can tell the operator, and the log holds.
func requestID(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	id, _ := repl.GetString("http.request.uuid")
	return id
}

// wantsPage reports whether a person is likely to look at the answer.
func wantsPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "document", "iframe", "frame":
		return true
	case "":
		return strings.Contains(r.Header.Get("Accept"), "text/html") && r.Header.Get("X-Requested-With") == ""
	}
	return false
}

// noStore keeps our own answers out of every cache (P27).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
}
