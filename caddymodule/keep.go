package caddymodule

import (
	"errors"
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
	purposeStepUp     = "step_up"
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
	ring, err := g.keys.Ring(r.Context())
	if err != nil {
		return "", sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Seal(p, value)
}

func (g *Gate) unseal(r *http.Request, p seal.Purpose, value string) ([]byte, error) {
	ring, err := g.keys.Ring(r.Context())
	if err != nil {
		return nil, sessionProblem(errors.Join(session.ErrUnavailable, err))
	}
	return ring.Open(p, value)
}

// sealStepUp is what this request asks of a session, for a link to a sign-in; "" if
// it asks for nothing. It is sealed, since what a link can ask of a provider is
// what param_from_request allows (SEC-67).
func (g *Gate) sealStepUp(r *http.Request, v *visit) (string, error) {
	if v.stepUp.acr == nil && v.stepUp.maxAge == 0 {
		return "", nil
	}
	text := v.stepUp.maxAge.String() + " " + strings.Join(v.stepUp.acr, " ")
	return g.seal(r, v.purpose(purposeStepUp), []byte(text))
}

// openStepUp reads what sealStepUp has sealed.
func (g *Gate) openStepUp(r *http.Request, v *visit, sealed string) (stepUp, error) {
	opened, err := g.unseal(r, v.purpose(purposeStepUp), sealed)
	if err != nil {
		return stepUp{}, err
	}
	age, acr, _ := strings.Cut(string(opened), " ")
	var needed stepUp
	if needed.maxAge, err = time.ParseDuration(age); acr != "" {
		needed.acr = strings.Fields(acr)
	}
	return needed, err
}

// keepAttempt puts a login attempt into a cookie of its own, named after its state.
// With formPost it is one that a POST of the provider's site brings, and carries
// what such a request does not bring. A form that waits is led to by its attempt.
func (g *Gate) keepAttempt(w http.ResponseWriter, r *http.Request, v *visit, attempt *authflow.Attempt, formPost bool, form []byte) error {
	encoded, err := attempt.MarshalBinary()
	if err != nil {
		return err
	}
	carries := []byte{0}
	if formPost {
		carries = g.carry(r, v)
	}
	if form != nil {
		carries[0] |= carriesForm
		carries = append(carries, form...)
	}
	sealed, err := g.seal(r, v.attemptPurpose(attempt.State), append(carries, encoded...))
	if err != nil {
		return err
	}
	return g.cookies.SetAttempt(w, v.scope(), v.cookies, attempt.State, sealed, authflow.AttemptLifetime, formPost)
}

// takeAttempt finds the attempt that a state belongs to, in this browser, and
// uses it up whatever comes of it (OAuth 2.0 Security BCP 4.7.1). One that was
// used before is returned with the error: it says where the browser wanted to go.
// One of which that cannot be told stays, unused: the callback can be tried again.
func (g *Gate) takeAttempt(w http.ResponseWriter, r *http.Request, v *visit, state string) (*authflow.Attempt, error) {
	sealed, err := v.cookies.Attempt(v.scope(), state)
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	attempt, err := g.useAttempt(r, v, state, sealed)
	if errors.Is(err, session.ErrUnavailable) {
		return nil, err
	}
	return attempt, errors.Join(err, g.cookies.ClearAttempt(w, v.scope(), v.cookies, state))
}

// useAttempt opens a sealed attempt and notes that it was used.
func (g *Gate) useAttempt(r *http.Request, v *visit, state, sealed string) (*authflow.Attempt, error) {
	encoded, err := g.unseal(r, v.attemptPurpose(state), sealed)
	unknownKey, isUnknownKey := errors.AsType[*seal.UnknownKeyError](err)
	switch {
	case isUnknownKey && unknownKey.Newer, errors.Is(err, session.ErrUnavailable):
		return nil, sessionProblem(err)
	case err != nil:
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	encoded, err = v.takeCarried(encoded)
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	attempt, err := authflow.ParseAttempt(state, encoded)
	if err != nil {
		return nil, authflow.NewError(authflow.ReasonStateUnknown, err)
	}
	err = g.state.UseOnce(r.Context(), purposeAttempt, state, attempt.Expires())
	switch {
	case errors.Is(err, session.ErrUnavailable):
		return nil, sessionProblem(err)
	case err != nil:
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
