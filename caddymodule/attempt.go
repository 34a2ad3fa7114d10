package caddymodule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// keepAttempt puts a login attempt into a cookie of its own, named after its state. With
// formPost the answer comes as a POST from the provider's site, to which browsers bring
// no other cookie: so the attempt carries what the callback needs of those. If a form
// waits for the sign-in, the attempt carries its handle.
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

// takeAttempt finds the attempt that a state belongs to, in this browser, and uses it up
// whatever comes of it (RFC 9700 4.7.1). An attempt that was used before is returned with
// the error, since it says where the browser wanted to go. If it cannot be told whether
// the attempt was used, its cookie stays, and the callback can be tried again.
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
	switch {
	case sealedElsewhere(err):
		return nil, keysNotShared(err)
	case errors.Is(err, session.ErrUnavailable):
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
	err = g.state.UseOnce(r.Context(), usedAttempt, state, attempt.Expires())
	switch {
	case errors.Is(err, session.ErrUnavailable):
		return nil, sessionProblem(err)
	case err != nil:
		return attempt, authflow.NewError(authflow.ReasonStateUsed, err)
	}
	return attempt, nil
}

// carried is what an attempt carries for its callback. If the answer comes as a POST from
// the provider's site (response_mode form_post), the browser brings the attempt's cookie
// and no other, so the attempt says what those hold.
type carried struct {
	session  session.ID // to be ended by the new sign-in (SEC-100); zero = none
	finished int64      // when it last finished one, in Unix seconds; 0 = never
	form     []byte     // the handle of a form that waits for the sign-in; nil = none
}

// carriedBytes is the length of an encoded carried.
const carriedBytes = len(session.ID{}) + 8

// carry encodes what the callback will need of this browser's cookies: one byte with the
// length, then the session and the time of [carried].
func (g *Gate) carry(r *http.Request, v *visit) []byte {
	var c carried
	if live, err := v.load(r); err == nil {
		c.session = live.Session().ID
	}
	if mark, err := g.finishedBefore(r, v); err == nil && len(mark.At) > 0 {
		c.finished = mark.At[len(mark.At)-1]
	}
	encoded := append([]byte{byte(carriedBytes)}, c.session[:]...)
	return binary.BigEndian.AppendUint64(encoded, uint64(c.finished))
}

// carriesForm is a bit of the first byte, which holds the length of what is carried: the
// handle of a form follows.
const carriesForm = 0x80

// takeCarried keeps in the visit what an opened attempt carries, and returns the rest.
func (v *visit) takeCarried(opened []byte) ([]byte, error) {
	wrong := fmt.Errorf("%w: it carries something else", authflow.ErrAttemptMalformed)
	if len(opened) == 0 {
		return nil, wrong
	}
	size, hasForm := int(opened[0]&^carriesForm), opened[0]&carriesForm != 0
	rest := opened[1:]
	if size != 0 && size != carriedBytes || len(rest) < size {
		return nil, wrong
	}
	if size > 0 {
		copy(v.carried.session[:], rest)
		v.carried.finished = int64(binary.BigEndian.Uint64(rest[len(session.ID{}):]))
		rest = rest[size:]
	}
	if hasForm {
		if len(rest) < formHandleBytes {
			return nil, wrong
		}
		v.carried.form, rest = rest[:formHandleBytes:formHandleBytes], rest[formHandleBytes:]
	}
	return rest, nil
}

// endCarried ends the session that the browser had when it began, as
// [session.Manager.Create] does with one that it brings.
func (g *Gate) endCarried(r *http.Request, v *visit) error {
	if v.carried.session == (session.ID{}) {
		return nil
	}
	return g.sessions.End(r.Context(), session.ByID(v.carried.session, time.Time{}))
}
