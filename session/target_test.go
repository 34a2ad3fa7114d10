package session

import (
	"errors"
	"testing"
	"time"
)

// A target is remembered until the time that is given with it, and means what its name says.
func TestTargets(t *testing.T) {
	id, until, notBefore := NewID(), epoch.Add(48*time.Hour), epoch.Add(time.Minute)
	for name, tt := range map[string]struct {
		target    Target
		of        revoked
		notBefore time.Time
	}{
		"a session":                      {ByID(id, until), ofSessionID(id), time.Time{}},
		"a session at the provider":      {ByIdPSession("iss", "sid", until), ofIdPSession("iss", "sid"), time.Time{}},
		"a subject":                      {BySubject("iss", "sub", notBefore, until), ofSubject("iss", "sub"), notBefore},
		"a subject's that have no sid":   {BySubjectAlone("iss", "sub", notBefore, until), ofSubjectAlone("iss", "sub"), notBefore},
		"a session that somebody brings": {BySession(&Live{version: &version{session: &Session{ID: id, Expires: until}}}), ofSessionID(id), time.Time{}},
	} {
		if r := tt.target.revocation; r.of != tt.of || !r.until.Equal(until) || !r.notBefore.Equal(tt.notBefore) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	all := map[revoked]bool{}
	for _, of := range []revoked{ofSubject("iss", "x"), ofSubjectAlone("iss", "x"), ofIdPSession("iss", "x"), ofSubject("is", "sx"), ofSubjectAlone("other", "x")} {
		if all[of] {
			t.Errorf("%+v means two", of)
		}
		all[of] = true
	}
}

// A sign-out of a subject at a provider that tells sids for some ends those sessions that have none, begun up to then, and no
// others.
func TestEndOfSessionsWithoutSid(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, store)
		sign := func(subject, sid string, issued time.Time) *browser {
			b, s := newBrowser(t, app), alice()
			s.Subject, s.IdPSession, s.IDTokenIssued = subject, sid, issued
			g.signIn(b, s)
			return b
		}
		g.clock.advance(time.Hour)
		at := g.clock.now()
		ended, withSid, later, other := sign("alice", "", at), sign("alice", "sid-1", at), sign("alice", "", at.Add(time.Second)), sign("bob", "", at)
		if err := g.End(t.Context(), BySubjectAlone("https://id.example.com", "alice", at, time.Time{})); err != nil {
			t.Fatal(err)
		}
		g.wantErr(ended, ErrRevoked)
		for _, b := range []*browser{withSid, later, other} {
			g.mustLoad(b)
		}
	})
}

// What ends somebody's sessions is remembered as long as it was asked for.
func TestEndIsRememberedUntil(t *testing.T) {
	const iss = "https://id.example.com"
	for name, target := range map[string]func(s *Session, until time.Time) Target{
		"id":      func(s *Session, until time.Time) Target { return ByID(s.ID, until) },
		"sid":     func(s *Session, until time.Time) Target { return ByIdPSession(iss, s.IdPSession, until) },
		"subject": func(s *Session, until time.Time) Target { return BySubject(iss, s.Subject, s.IDTokenIssued, until) },
	} {
		g, b := newGate(t, func(c *Config) { c.Lifetime = time.Hour }), newBrowser(t, app)
		live := g.signIn(b, alice())
		if err := g.End(t.Context(), target(live.Session(), epoch.Add(5*time.Hour))); err != nil {
			t.Fatal(err)
		}
		longer := live.Session().Clone()
		longer.Expires = epoch.Add(6 * time.Hour)
		g.clock.advance(4 * time.Hour)
		if err := g.Check(t.Context(), longer); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s, four hours later: %v", name, err)
		}
	}
}
