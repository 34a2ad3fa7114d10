package caddymodule

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// carried is what a browser held when it began a sign-in whose answer comes as a
// POST of another site (response_mode form_post): to that it brings the attempt
// and nothing else, so the attempt carries what the callback has to know.
type carried struct {
	session  session.ID // to be ended by the new sign-in (SEC-100); zero = none
	finished int64      // when it last finished one, in Unix seconds; 0 = never
	form     []byte     // the handle of a form that waits for the sign-in; nil = none
}

// carriedBytes is the length of an encoded carried.
const carriedBytes = len(session.ID{}) + 8

// carry encodes what this browser holds, behind its length.
func (g *Gate) carry(r *http.Request, v *visit) []byte {
	var c carried
	if live, err := v.load(r); err == nil {
		c.session = live.Session().ID
	}
	if at := g.finishedBefore(r, v).At; len(at) > 0 {
		c.finished = at[len(at)-1]
	}
	encoded := append([]byte{byte(carriedBytes)}, c.session[:]...)
	return binary.BigEndian.AppendUint64(encoded, uint64(c.finished))
}

// carriesForm is set in the first byte, the length, if the handle of a form
// follows.
const carriesForm = 0x80

// takeCarried splits an opened attempt; what it carries is kept in the visit.
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
