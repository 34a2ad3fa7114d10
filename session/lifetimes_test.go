package session

import (
	"testing"
	"testing/synctest"
	"time"
)

// Of processes that share, one may have a longer lifetime than the one that is told of a logout: what that ends stays ended for as
// long as any session of theirs could last, in every process and in the shared memory.
func TestRevocationOutlastsAShorterLifetime(t *testing.T) {
	lasting := func(d time.Duration) func(*Config) { return func(c *Config) { c.Lifetime = d } }
	for name, silent := range map[string]bool{"pushed": false, "the push is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, 0, false)
				short, long := r.add(t, nil, lasting(time.Hour)), r.add(t, nil, lasting(24*time.Hour))
				bySubject, bySID, bySession := newBrowser(t, app), newBrowser(t, app), newBrowser(t, app)
				for i, b := range []*browser{bySubject, bySID, bySession} {
					s := fresh()
					s.Subject, s.IdPSession = string(rune('a'+i)), string(rune('A'+i))
					live := long.signIn(b, s)
					time.Sleep(10 * time.Minute)
					until := time.Now().Add(100 * time.Minute) // as who is told counts: its lifetime, and half an hour
					target := []Target{BySubject(s.Issuer, s.Subject, time.Now(), until), ByIdPSession(s.Issuer, s.IdPSession, until), BySession(live)}[i]
					long.mustLoad(b)
					short.state.feed().start()
					r.shared.set(func(m *memory) { m.silent = silent })
					if err := short.End(t.Context(), target); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5 * time.Second)
				for _, b := range []*browser{bySubject, bySID, bySession} {
					long.wantErr(b, ErrRevoked)
				}
				time.Sleep(3 * time.Hour)
				for _, b := range []*browser{bySubject, bySID, bySession} {
					long.wantErr(b, ErrRevoked)
				}
				kept := map[revoked]time.Time{}
				r.shared.set(func(m *memory) {
					for _, rev := range m.revoked {
						kept[rev.of] = latest(kept[rev.of], rev.until)
					}
					if told := len(m.revoked); told != 5 {
						t.Errorf("the memory was told %d times, want once of each, and once more of what it was to keep too short", told)
					}
				})
				for of, until := range kept {
					if time.Until(until) < 19*time.Hour {
						t.Errorf("kind %d is kept until %v", of.kind, until)
					}
				}
			})
		})
	}
}

// What a process reads from its journal it keeps as long, and for the next start too.
func TestJournalOutlastsAShorterLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(journal)
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		start := func(lifetime time.Duration) *gate {
			return newGate(t, func(c *Config) {
				c.State, c.Lifetime, c.Now, c.Keys = NewState(j, time.Now), lifetime, time.Now, keys
			})
		}
		b, s := newBrowser(t, app), fresh()
		start(24*time.Hour).signIn(b, s)
		if err := start(time.Hour).End(t.Context(), BySubject(s.Issuer, s.Subject, time.Now(), time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		again := start(24 * time.Hour)
		again.wantErr(b, ErrRevoked)
		time.Sleep(3 * time.Hour)
		again.wantErr(b, ErrRevoked)
		start(24*time.Hour).wantErr(b, ErrRevoked)
		if kept := j.kept(); kept != 2 {
			t.Errorf("the journal has %d entries, want one, and one that lasts longer", kept)
		}
	})
}
