package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// What the browser keeps for us besides its session is sealed for one purpose
// each, so that none passes for another (SEC-92).
const (
	purposeAttempt    = "attempt"
	purposeHint       = "id_token_hint"
	purposeFinished   = "finished"
	purposePostLogout = "post_logout"
)

// purpose seals for this host alone.
func (v *visit) purpose(kind string) seal.Purpose {
	return seal.Purpose{Kind: kind, Scope: v.origin.hostname()}
}

// attemptPurpose seals each attempt for its own state, too: under another name it
// does not open.
func (v *visit) attemptPurpose(state string) seal.Purpose {
	return seal.Purpose{Kind: purposeAttempt, Scope: v.origin.hostname() + " " + state}
}

// seal closes a value that only its purpose opens.
func (g *Gate) seal(r *http.Request, p seal.Purpose, value []byte) (string, error) {
	ring, err := g.app.durable.keys.Ring(r.Context())
	if err != nil {
		return "", sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Seal(p, value)
}

func (g *Gate) unseal(r *http.Request, p seal.Purpose, value string) ([]byte, error) {
	ring, err := g.app.durable.keys.Ring(r.Context())
	if err != nil {
		return nil, sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Open(p, value)
}

// keepAttempt puts a login attempt into a cookie of its own, named after its state.
func (g *Gate) keepAttempt(w http.ResponseWriter, r *http.Request, v *visit, attempt *authflow.Attempt) error {
	encoded, err := attempt.MarshalBinary()
	if err != nil {
		return err
	}
	sealed, err := g.seal(r, v.attemptPurpose(attempt.State), encoded)
	if err != nil {
		return err
	}
	return g.cookies.SetAttempt(w, v.scope(), v.cookies, attempt.State, sealed, authflow.AttemptLifetime, false)
}

// takeAttempt finds the attempt that a state belongs to, in this browser, and
// uses it up whatever comes of it (OAuth 2.0 Security BCP 4.7.1). One that was
// used before is returned with the error: it says where the browser wanted to go.
func (g *Gate) takeAttempt(w http.ResponseWriter, r *http.Request, v *visit, state string) (*authflow.Attempt, error) {
	scope := v.scope()
	sealed, err := v.cookies.Attempt(scope, state)
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	if err := g.cookies.ClearAttempt(w, scope, v.cookies, state); err != nil {
		return nil, err
	}
	encoded, err := g.unseal(r, v.attemptPurpose(state), sealed)
	var unknownKey *seal.UnknownKeyError
	if errors.As(err, &unknownKey) && unknownKey.Newer {
		return nil, sessionProblem(err)
	}
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	attempt, err := authflow.ParseAttempt(state, encoded)
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	until := g.now().Add(authflow.AttemptLifetime)
	if err := g.app.durable.state.UseOnce(purposeAttempt, state, until); err != nil {
		return attempt, authflow.NewError(authflow.ReasonStateUsed, err)
	}
	return attempt, nil
}

// keepHint puts the ID token where only our own endpoints see it: a logout sends
// it to the provider (OIDC RP-Initiated Logout 2), and no other request carries
// its bytes. It is bound to its session.
func (g *Gate) keepHint(w http.ResponseWriter, r *http.Request, v *visit, s *session.Session, idToken secret.String) error {
	if idToken.Empty() {
		return nil
	}
	sealed, err := g.seal(r, v.purpose(purposeHint), []byte(s.ID.String()+" "+idToken.Reveal()))
	if err != nil {
		return err
	}
	return g.cookies.SetSmall(w, v.scope(), session.Hint, sealed, s.Expires.Sub(g.now()))
}

// hint finds the ID token of a session. Without one a logout works as well.
func (g *Gate) hint(r *http.Request, v *visit, s *session.Session) secret.String {
	sealed, err := v.cookies.Small(v.scope(), session.Hint)
	if err != nil {
		return secret.String{}
	}
	opened, err := g.unseal(r, v.purpose(purposeHint), sealed)
	if err != nil {
		return secret.String{}
	}
	id, idToken, _ := strings.Cut(string(opened), " ")
	if id != s.ID.String() {
		return secret.String{}
	}
	return secret.New(idToken)
}

// loopWindow is how close together sign-ins are that come to nothing.
const loopWindow = time.Minute

// finished is the mark of sign-ins that this browser has finished: when, and what
// it was given to keep.
type finished struct {
	At    []int64 `json:"at"`    // Unix seconds, the last ones
	Bytes int     `json:"bytes"` // of the session's Set-Cookie lines
	Lines int     `json:"lines"`
}

// keepFinished marks a finished sign-in.
func (g *Gate) keepFinished(w http.ResponseWriter, r *http.Request, v *visit) error {
	mark := g.finishedBefore(r, v)
	mark.At = append(mark.At, g.now().Unix())
	mark.At = mark.At[max(0, len(mark.At)-2):]
	mark.Bytes, mark.Lines = 0, 0
	for _, line := range w.Header()["Set-Cookie"] {
		if name, _, _ := strings.Cut(line, "="); !strings.Contains(name, "_a_") {
			mark.Bytes += len(line)
			mark.Lines++
		}
	}
	encoded, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	sealed, err := g.seal(r, v.purpose(purposeFinished), encoded)
	if err != nil {
		return err
	}
	return g.cookies.SetSmall(w, v.scope(), session.Finished, sealed, loopWindow)
}

// finishedBefore reads the mark; one that is unreadable is none.
func (g *Gate) finishedBefore(r *http.Request, v *visit) finished {
	var mark finished
	sealed, err := v.cookies.Small(v.scope(), session.Finished)
	if err != nil {
		return mark
	}
	encoded, err := v.gate.unseal(r, v.purpose(purposeFinished), sealed)
	if err != nil || json.Unmarshal(encoded, &mark) != nil {
		return finished{}
	}
	return mark
}

// looping stops a browser that has finished two sign-ins within a minute and
// comes back without a session: a third would end the same way (P10). Attempts
// that were abandoned do not count (P38).
func (g *Gate) looping(r *http.Request, v *visit) error {
	mark := g.finishedBefore(r, v)
	recent := 0
	for _, at := range mark.At {
		if age := g.now().Sub(time.Unix(at, 0)); age >= 0 && age < loopWindow {
			recent++
		}
	}
	if recent < 2 {
		return nil
	}
	_, err := v.load(r)
	if err == nil {
		return nil
	}
	return problem(authflow.BadRequest, ReasonLoginLoop,
		"You have signed in, and your browser did not bring the session back. "+g.loopCause(v, mark, err),
		fmt.Errorf("%d sign-ins within %s, then: %w (%d cookies of %d bytes were set)", recent, loopWindow, err, mark.Lines, mark.Bytes))
}

// loopCause compares what was set with what came back.
func (g *Gate) loopCause(v *visit, mark finished, err error) string {
	switch asProblem(err).Reason {
	case ReasonSessionExpired, ReasonSessionIdle:
		return "It was over at once: the clocks of this server's copies differ, or the lifetime is very short."
	case ReasonSessionUnread:
		return "It came back torn: a cookie was lost on the way, or there are two of its name. Removing this site's cookies may help."
	case ReasonSessionEnded:
		return "It was ended at once by the provider."
	}
	if domain := g.cookies.Domain; domain != "" && !strings.HasSuffix("."+v.origin.hostname(), "."+domain) {
		return "The cookies are for " + domain + ", which does not cover this host."
	}
	if mark.Bytes > 3500 {
		return "It is large, and something on the way drops large cookies."
	}
	return "It may refuse cookies of this site."
}
