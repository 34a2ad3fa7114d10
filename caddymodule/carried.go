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

// takeCarried splits an opened attempt; what it carries is kept in the visit.
func (v *visit) takeCarried(opened []byte) ([]byte, error) {
	switch {
	case len(opened) > 0 && opened[0] == 0:
		return opened[1:], nil
	case len(opened) > carriedBytes && int(opened[0]) == carriedBytes:
		rest := opened[1:]
		copy(v.carried.session[:], rest)
		v.carried.finished = int64(binary.BigEndian.Uint64(rest[len(session.ID{}):]))
		return rest[carriedBytes:], nil
	}
	return nil, fmt.Errorf("%w: it carries something else", authflow.ErrAttemptMalformed)
}

// endCarried ends the session that the browser had when it began, as
// [session.Manager.Create] does with one that it brings.
func (g *Gate) endCarried(r *http.Request, v *visit) error {
	if v.carried.session == (session.ID{}) {
		return nil
	}
	return g.sessions.End(r.Context(), session.ByID(v.carried.session, time.Time{}))
}
