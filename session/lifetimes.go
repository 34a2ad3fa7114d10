package session

import "time"

// outlastSlack is how much longer than any session a revocation is kept: a sign-in that was
// under way when something was revoked ends later.
const outlastSlack = 30 * time.Minute

// lasting notes that there are sessions of a lifetime. What was revoked before lasts as
// long from then on: a reload may bring a lifetime that the process did not know.
func (r *revocations) lasting(lifetime time.Duration, now time.Time) {
	for {
		longest := r.longest.Load()
		if int64(lifetime) <= longest {
			return
		}
		if r.longest.CompareAndSwap(longest, int64(lifetime)) {
			break
		}
	}
	for _, n := range r.entries.all(now) {
		r.keepLonger(n, now)
	}
}

// outlasting returns a revocation that was made elsewhere, by who may know of shorter
// lifetimes only, for as long as the sessions of this process last that it ends. One of a
// single session has that session's own end.
func (r *revocations) outlasting(rev Revocation) (lasts Revocation, longer bool) {
	end := rev.at.Add(time.Duration(r.longest.Load()))
	if rev.of.kind == revokesSession || !rev.until.Before(end) {
		return rev, false
	}
	rev.until = end.Add(outlastSlack)
	return rev, true
}

// keepLonger makes a revocation last as long as the sessions that it ends: here at once, and
// in a while in the journal that has it, and in the shared memory. Nobody waits for that.
func (r *revocations) keepLonger(n noted, now time.Time) {
	rev, longer := r.outlasting(n.Revocation)
	if !longer {
		return
	}
	known := r.remember(noted{Revocation: rev}, now)
	if !known.shared {
		r.untold.Store(true)
	}
	if !known.kept && r.journal != nil && (n.kept || r.feed == nil) {
		r.unkept.add(rev, r.journal)
	}
}
