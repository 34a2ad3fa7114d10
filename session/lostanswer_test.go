package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The answer with the refreshed cookie is lost (the browser went on before it came, or the refresh took longer than its
// request waited), and its person reads for a while: a live session is never lost. Only when the new cookie was shown
// does the old one have its last minute.
func TestAnswerWithTheNewCookieIsLost(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	g.signIn(b, alice())
	if _, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2")); err != nil {
		t.Fatal(err)
	}
	g.clock.advance(3 * time.Hour)
	live := g.mustLoad(b)
	if got := live.Session(); got.Generation != 2 || got.AccessToken.Reveal() != "access 2" {
		t.Fatalf("the old cookie gets generation %d", got.Generation)
	}
	old := b.clone()
	g.deliver(b, live)
	g.visit(b)
	g.clock.advance(59 * time.Second)
	g.mustLoad(old)
	g.clock.advance(2 * time.Second)
	g.wantErr(old, ErrSuperseded)
	g.mustLoad(b)
}

// What waits to be shown is bounded, and goes with its session.
func TestUnshownVersionsAreBounded(t *testing.T) {
	s := newSuccession()
	newer := func(i int) *version {
		return &version{session: &Session{ID: ID{1, byte(i >> 8), byte(i)}, Generation: 2, Sealed: epoch, Expires: epoch.Add(time.Hour)}}
	}
	old := func(i int) *Session { o := *newer(i).session; o.Generation = 1; return &o }
	for i := range maxUnshown {
		s.record(newer(i), epoch)
	}
	later := epoch.Add(10 * time.Minute)
	if _, err := s.current(&version{session: old(0)}, later); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	s.record(newer(maxUnshown), later)
	if _, err := s.current(&version{session: old(0)}, later.Add(59*time.Second)); err != nil {
		t.Errorf("beyond it, within a minute: %v", err)
	}
	if _, err := s.current(&version{session: old(0)}, later.Add(time.Minute)); !errors.Is(err, ErrSuperseded) {
		t.Errorf("beyond it, after a minute: %v", err)
	}
	s.record(newer(maxUnshown+1), later.Add(2*time.Minute))
	if len(s.recent) != 1 || s.unshown != 1 {
		t.Errorf("%d are kept, %d of them unshown", len(s.recent), s.unshown)
	}
	s.record(newer(maxUnshown+2), later.Add(2*time.Hour))
	if len(s.recent) != 1 || s.unshown != 1 {
		t.Errorf("after the end of the session %d are kept, %d of them unshown", len(s.recent), s.unshown)
	}
}

// A shared memory that forgot everything does not make an old copy good again: the process knows that it was superseded.
func TestSupersededWhenTheMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, false)
		g, b := r.gates[0], newBrowser(t, app)
		g.signIn(b, fresh())
		old := b.clone()
		updated, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2"))
		if err != nil {
			t.Fatal(err)
		}
		g.deliver(b, updated)
		g.visit(b)
		time.Sleep(2*grace + time.Second)
		g.wantErr(old, ErrSuperseded)
		r.shared.set(func(m *memory) { m.newest, m.blobs = map[string]uint64{}, map[string]owned{} })
		g.wantErr(old, ErrSuperseded)
		g.mustLoad(b)
	})
}
