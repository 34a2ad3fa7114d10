package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

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
	mark, _ := g.finishedBefore(r, v)
	if len(mark.At) == 0 && v.carried.finished != 0 {
		mark.At = []int64{v.carried.finished}
	}
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

// finishedBefore reads the mark; one that is unreadable is none, with the reason.
func (g *Gate) finishedBefore(r *http.Request, v *visit) (mark finished, err error) {
	sealed, err := v.cookies.Small(v.scope(), session.Finished)
	if err != nil {
		return finished{}, err
	}
	encoded, err := v.gate.unseal(r, v.purpose(purposeFinished), sealed)
	if err != nil {
		return finished{}, err
	}
	if err := json.Unmarshal(encoded, &mark); err != nil {
		return finished{}, err
	}
	return mark, nil
}

// checkLoop stops a browser that has finished two sign-ins within a minute and
// comes back without a session: a third would end the same way (P10). Attempts
// that were abandoned do not count (P38). One that has just finished a sign-in at another
// server, whose keys are others, would go round between the two.
func (g *Gate) checkLoop(r *http.Request, v *visit) error {
	mark, unreadable := g.finishedBefore(r, v)
	recent := 0
	for _, at := range mark.At {
		if age := g.now().Sub(time.Unix(at, 0)); age >= 0 && age < loopWindow {
			recent++
		}
	}
	elsewhere := sealedElsewhere(unreadable)
	if recent < 2 && !elsewhere {
		return nil
	}
	_, err := v.load(r)
	switch {
	case err == nil, elsewhere && !sealedElsewhere(err):
		return nil
	case elsewhere:
		return keysNotShared(err)
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
