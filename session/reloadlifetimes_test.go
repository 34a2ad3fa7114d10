package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A reload brings a longer lifetime, which the process did not know when somebody was signed out: what that ended stays ended for as
// long, by the process and after a restart.
func TestReloadWithALongerLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(journal)
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		load := func(state *State, lifetime time.Duration) *gate {
			return newGate(t, func(c *Config) { c.State, c.Lifetime, c.Now, c.Keys = state, lifetime, time.Now, keys })
		}
		b, s := newBrowser(t, app), fresh()
		load(NewState(j, time.Now), 24*time.Hour).signIn(b, s)
		state := NewState(j, time.Now)
		short := load(state, time.Hour)
		short.mustLoad(b) // which reads the journal
		if err := short.End(t.Context(), BySubject(s.Issuer, s.Subject, time.Now(), time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		long := load(state, 24*time.Hour)
		time.Sleep(3 * time.Hour)
		long.wantErr(b, ErrRevoked)
		if kept := j.kept(); kept != 2 {
			t.Errorf("the journal has %d entries, want one, and one that lasts longer", kept)
		}
	})
}

// The same with processes that share: the others hear of it, too.
func TestReloadWithALongerLifetimeIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 0, false)
		lasting := func(d time.Duration) func(*Config) { return func(c *Config) { c.Lifetime = d } }
		short := r.add(t, nil, lasting(time.Hour))
		s := fresh()
		short.state.feed().start()
		if err := short.End(t.Context(), BySubject(s.Issuer, s.Subject, time.Now(), time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		newGate(t, func(c *Config) { c.State, c.Lifetime, c.Now, c.Keys = short.state, 24*time.Hour, time.Now, short.keys })
		time.Sleep(5 * time.Second)
		r.shared.set(func(m *memory) {
			var until time.Time
			for _, rev := range m.revoked {
				until = latest(until, rev.until)
			}
			if time.Until(until) < 23*time.Hour {
				t.Errorf("the memory keeps it until %v", until)
			}
		})
	})
}

// A process that starts with a longer lifetime while the journal takes nothing, or is slow, keeps nobody waiting: what it is to keep
// longer counts here at once, and is written when it can be.
func TestStartWithALongerLifetimeOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(journal)
		keys := &testKeys{ring: newRing(t, time.Now().Add(-time.Hour))}
		start := func(lifetime time.Duration) *gate {
			return newGate(t, func(c *Config) { c.State, c.Lifetime, c.Now, c.Keys = NewState(j, time.Now), lifetime, time.Now, keys })
		}
		ended, staying := newBrowser(t, app), newBrowser(t, app)
		s, other := fresh(), fresh()
		other.Subject, other.IdPSession = "bob", "sid-2"
		long := start(24 * time.Hour)
		long.signIn(ended, s)
		long.signIn(staying, other)
		if err := start(time.Hour).End(t.Context(), BySubject(s.Issuer, s.Subject, time.Now(), time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		j.mu.Lock()
		j.appendErr = errOutage
		j.mu.Unlock()
		restarted := start(24 * time.Hour)
		restarted.mustLoad(staying)
		time.Sleep(3 * time.Hour)
		restarted.wantErr(ended, ErrRevoked)
		j.mu.Lock()
		j.appendErr = nil
		j.mu.Unlock()
		time.Sleep(2 * lastMarkRetry)
		if kept := j.kept(); kept != 2 {
			t.Errorf("the journal has %d entries, want one, and one that lasts longer", kept)
		}
	})
}

// slowJournal takes what it is given, and more time than there is.
type slowJournal struct {
	journal
	cancel context.CancelFunc
	taken  int
}

func (j *slowJournal) Append(context.Context, Revocation) error {
	j.taken++
	j.cancel()
	return nil
}

// However much waits to be written, the end of a process does not wait longer than it said.
func TestStopWithASlowJournal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	j := &slowJournal{cancel: cancel}
	st := NewState(j, nil)
	st.revoked.unkept.waiting = map[revoked]Revocation{}
	for i := range byte(5) {
		of := ofSessionID(ID{i})
		st.revoked.unkept.waiting[of] = Revocation{of: of}
	}
	st.AwaitUpdates(ctx)
	if j.taken != 1 {
		t.Errorf("%d were written, of which 1 was in time", j.taken)
	}
}

// The minute of an older cookie after a restart does not come again when the clock is set back to it.
func TestMinuteAfterARestartDoesNotComeAgain(t *testing.T) {
	now := time.Now()
	old := &version{session: &Session{ID: ID{1}, Generation: 2, Expires: now.Add(time.Hour)}}
	mark := Superseded{ID: ID{1}, Generation: 3, Sealed: now.Round(0), Until: now.Add(time.Hour)}
	for restored, want := range map[time.Duration]bool{0: true, -2 * grace: false} {
		s := newSuccession()
		s.restore([]Superseded{mark}, now.Add(restored))
		if _, err := s.current(old, now); !errors.Is(err, ErrSuperseded) {
			t.Fatal(err)
		}
		if got := s.heldUp(old, now); got != want {
			t.Errorf("restored %v before: %v, want %v", -restored, got, want)
		}
	}
}
