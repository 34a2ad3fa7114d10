package session

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal is one that a test reads and breaks.
type journal struct {
	mu        sync.Mutex
	entries   [][]byte
	listErr   error
	appendErr error

	superseded    []Superseded
	supersededErr error

	lists int
	hang  chan struct{} // List waits for it
}

func (j *journal) Append(ctx context.Context, r Revocation) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.appendErr != nil {
		return j.appendErr
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	data, err := r.MarshalBinary()
	j.entries = append(j.entries, data)
	return err
}

func (j *journal) List(ctx context.Context) ([]Revocation, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lists++
	if j.hang != nil {
		j.mu.Unlock()
		select {
		case <-j.hang:
		case <-ctx.Done():
		}
		j.mu.Lock()
	}
	if j.listErr != nil {
		return nil, j.listErr
	}
	var all []Revocation
	for _, data := range j.entries {
		r, err := DecodeRevocation(data)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (j *journal) Supersede(_ context.Context, s Superseded, earlier *Superseded) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.appendErr != nil {
		return j.appendErr
	}
	j.superseded = slices.DeleteFunc(j.superseded, func(old Superseded) bool { return earlier != nil && old == *earlier })
	j.superseded = append(j.superseded, s)
	return nil
}

func (j *journal) Superseded(context.Context) ([]Superseded, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.superseded), j.supersededErr
}

// kept is how many revocations the journal has.
func (j *journal) kept() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)
}

func (j *journal) setListErr(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.listErr = err
}

func TestRevocations(t *testing.T) {
	s := alice()
	s.ID, s.Created, s.Expires = NewID(), epoch.Add(5*time.Second), epoch.Add(12*time.Hour)
	live := &Live{version: &version{session: s}}
	other := &Live{version: &version{session: &Session{ID: NewID(), Expires: s.Expires}}}
	noSid, noToken := s.Clone(), s.Clone()
	noSid.IdPSession = ""
	noToken.IDTokenIssued = time.Time{}
	issuer, until := s.Issuer, epoch.Add(12*time.Hour)
	tests := []struct {
		name   string
		target Target
		s      *Session
		want   error
	}{
		{"this session", BySession(live), s, ErrRevoked},
		{"another session", BySession(other), s, nil},
		{"its sid", ByIdPSession(issuer, "sid-1", until), s, ErrRevoked},
		{"another sid", ByIdPSession(issuer, "sid-2", until), s, nil},
		{"the sid of another issuer", ByIdPSession("https://evil.example.com", "sid-1", until), s, nil},
		{"bytes moved between issuer and sid", ByIdPSession(issuer+"s", "id-1", until), s, nil},
		{"no sid on either side is no match", ByIdPSession(issuer, "", until), noSid, nil},
		{"its subject, later than its ID token", BySubject(issuer, "alice", epoch.Add(time.Second), until), s, ErrRevoked},
		{"its subject, in the second of its ID token", BySubject(issuer, "alice", epoch, until), s, ErrRevoked},
		{"its subject, earlier: a new sign-in lives", BySubject(issuer, "alice", epoch.Add(-time.Second), until), s, nil},
		{"its subject, without an ID token, later than the sign-in", BySubject(issuer, "alice", epoch.Add(5*time.Second), until), noToken, ErrRevoked},
		{"its subject, without an ID token, earlier than the sign-in", BySubject(issuer, "alice", epoch.Add(4*time.Second), until), noToken, nil},
		{"the subject of another issuer", BySubject("https://evil.example.com", "alice", until, until), s, nil},
		{"another subject", BySubject(issuer, "bob", until, until), s, nil},
		{"a subject that is called as the sid", BySubject(issuer, "sid-1", until, until), s, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// In the process that was told, and in one that reads the journal.
			j := &journal{}
			g := newGate(t, func(c *Config) { c.State = NewState(j, nil) })
			if err := g.End(t.Context(), test.target); err != nil {
				t.Fatal(err)
			}
			restarted := newRevocations(j, newSuccession())
			for where, r := range map[string]*revocations{"here": g.state.revoked, "after a restart": restarted} {
				if err := r.check(t.Context(), test.s, epoch.Add(time.Minute)); !errors.Is(err, test.want) {
					t.Errorf("%s: %v, want %v", where, err, test.want)
				}
			}
		})
	}
}

// A second revocation never takes back what the first one ended.
func TestRevocationsMerge(t *testing.T) {
	late, soon := epoch.Add(time.Hour), epoch.Add(time.Second)
	for name, second := range map[string]Target{
		"with an earlier not-before": BySubject("https://id.example.com", "alice", epoch.Add(-time.Hour), late),
		"with an earlier end":        BySubject("https://id.example.com", "alice", epoch, soon),
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal{}
			g := newGate(t, func(c *Config) { c.State = NewState(j, nil) })
			if err := g.state.revoked.check(t.Context(), alice(), epoch); err != nil { // reads the journal
				t.Fatal(err)
			}
			for _, target := range []Target{BySubject("https://id.example.com", "alice", epoch, late), second} {
				if err := g.End(t.Context(), target); err != nil {
					t.Fatal(err)
				}
			}
			for where, r := range map[string]*revocations{"here": g.state.revoked, "after a restart": newRevocations(j, newSuccession())} {
				if err := r.check(t.Context(), alice(), epoch.Add(time.Minute)); !errors.Is(err, ErrRevoked) {
					t.Errorf("%s: %v, want ErrRevoked", where, err)
				}
			}
		})
	}
}

// Whoever holds a dead cookie can sign out with it again and again; the journal
// does not grow.
func TestRevokedAgainIsNotJournaledAgain(t *testing.T) {
	j := &journal{}
	g := newGate(t, func(c *Config) { c.State = NewState(j, nil) })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	j.appendErr = errOutage
	if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
	j.appendErr = nil
	for range 10 {
		if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.entries) != 1 {
		t.Errorf("%d entries after one failure and ten sign-outs, want 1", len(j.entries))
	}
	r := newRevocations(j, newSuccession())
	if err := r.check(t.Context(), live.Session(), epoch); !errors.Is(err, ErrRevoked) {
		t.Fatal(err)
	}
	again := Revocation{of: ofSessionID(live.Session().ID), at: epoch, until: live.Session().Expires}
	if err := r.add(t.Context(), again, epoch); err != nil || len(j.entries) != 1 {
		t.Errorf("%v, %d entries after a restart", err, len(j.entries))
	}
	again.until = again.until.Add(time.Hour)
	if err := r.add(t.Context(), again, epoch); err != nil || len(j.entries) != 2 {
		t.Errorf("%v, %d entries: one that says more is not kept", err, len(j.entries))
	}
	for _, target := range []Target{ // one that says less in one thing, and more in another
		BySubject("iss", "sub", epoch, epoch.Add(2*time.Hour)),
		BySubject("iss", "sub", epoch.Add(time.Minute), epoch.Add(time.Hour)),
	} {
		if err := g.End(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.entries) != 4 {
		t.Errorf("%d entries, want 4", len(j.entries))
	}
}

// While the journal takes one revocation, another that says more may fail.
func TestKeptIsWhatTheJournalHas(t *testing.T) {
	r := newRevocations(nil, newSuccession())
	less := Revocation{of: ofSessionID(ID{1}), at: epoch, until: epoch.Add(time.Hour)}
	more := less
	more.until = epoch.Add(2 * time.Hour)
	for i, step := range []struct {
		n    noted
		kept bool
	}{{noted{less, false, false}, false}, {noted{more, false, false}, false}, {noted{less, true, false}, false}, {noted{more, true, false}, true}, {noted{less, false, false}, true}} {
		if got := r.remember(step.n, epoch).kept; got != step.kept {
			t.Errorf("step %d: kept %v, want %v", i, got, step.kept)
		}
	}
}

// By the provider's clock, which is ahead, a session may have its ID token after
// our time of the revocation.
func TestFoldedNotBefore(t *testing.T) {
	r := newRevocations(nil, newSuccession())
	r.entries.ledger(tagOf("iss")).limit = 1
	ahead := epoch.Add(time.Minute)
	for i := range 3 {
		rev := Revocation{of: ofSubject("iss", string(rune('a'+i))), at: epoch, notBefore: ahead, until: epoch.Add(time.Hour)}
		if err := r.add(t.Context(), rev, epoch); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		s := &Session{ID: NewID(), Issuer: "iss", Subject: string(rune('a' + i)), Created: epoch.Add(time.Second), IDTokenIssued: ahead}
		if err := r.check(t.Context(), s, epoch.Add(2*time.Second)); !errors.Is(err, ErrRevoked) {
			t.Errorf("subject %s: %v, want ErrRevoked", s.Subject, err)
		}
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	r := newRevocations(nil, newSuccession())
	ofNobody := r.entries.ledger(issuerTag{})
	ofNobody.limit = 100
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	var sessions []*Session
	for i := range 1000 {
		s := alice()
		s.ID, s.Created, s.IDTokenIssued, s.Expires = NewID(), at(i), at(i), at(i).Add(12*time.Hour)
		sessions = append(sessions, s)
		if err := r.add(t.Context(), Revocation{of: ofSessionID(s.ID), at: at(i), until: s.Expires}, at(i)); err != nil {
			t.Fatal(err)
		}
	}
	now := at(2000)
	if len(ofNobody.entries) > 100 {
		t.Errorf("%d entries", len(ofNobody.entries))
	}
	for i, s := range sessions {
		if err := r.check(t.Context(), s, now); !errors.Is(err, ErrRevoked) {
			t.Errorf("the session revoked at second %d lives again: %v", i, err)
		}
	}
	bystander := alice()
	bystander.ID, bystander.Created, bystander.IDTokenIssued = NewID(), at(10), at(10)
	if err := r.check(t.Context(), bystander, now); !errors.Is(err, ErrRevoked) {
		t.Errorf("older than the floor: %v, want ErrRevoked", err)
	}
	bystander.Created = at(1500)
	if err := r.check(t.Context(), bystander, now); !errors.Is(err, ErrRevoked) {
		t.Errorf("signed in with an ID token older than the floor: %v, want ErrRevoked", err)
	}
	bystander.IDTokenIssued = at(1500)
	if err := r.check(t.Context(), bystander, now); err != nil {
		t.Errorf("newer than the floor: %v", err)
	}
	bystander.Created = at(10)
	if err := r.check(t.Context(), bystander, now); !errors.Is(err, ErrRevoked) {
		t.Errorf("the provider's clock is ahead: %v, want ErrRevoked", err)
	}
}

// A provider that ends sessions without end makes its own users sign in again, and those of no other.
func TestRevocationsAreBoundedByIssuer(t *testing.T) {
	r := newRevocations(nil, newSuccession())
	r.entries.limit = 100
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	of := func(issuer, subject string, made int) *Session {
		s := alice()
		s.ID, s.Issuer, s.Subject, s.IdPSession, s.Created, s.IDTokenIssued = NewID(), issuer, subject, subject+"'s", at(made), at(made)
		return s
	}
	end := func(rev Revocation) {
		t.Helper()
		if err := r.add(t.Context(), rev, rev.at); err != nil {
			t.Fatal(err)
		}
	}
	end(Revocation{of: ofSubject("quiet", "mallory"), at: at(0), notBefore: at(0), until: at(50_000)})
	for i := range 1000 {
		end(Revocation{of: ofSubject("noisy", strconv.Itoa(i)), at: at(i), notBefore: at(i), until: at(50_000)})
		end(Revocation{of: ofIdPSession("noisy", strconv.Itoa(i)), at: at(i), until: at(50_000)})
	}
	if size := len(r.entries.all(at(2000))); size > 101 {
		t.Errorf("%d entries", size)
	}
	for name, tt := range map[string]struct {
		session *Session
		revoked bool
	}{
		"the other issuer's user":              {of("quiet", "alice", -10), false},
		"whom the other issuer has ended":      {of("quiet", "mallory", -10), true},
		"the same issuer's user":               {of("noisy", "alice", -10), true},
		"the same issuer's user, later":        {of("noisy", "alice", 1500), false},
		"whom the same issuer has ended first": {of("noisy", "0", -10), true},
		"whom the same issuer has ended last":  {of("noisy", "999", 999), true},
	} {
		if err := r.check(t.Context(), tt.session, at(2000)); errors.Is(err, ErrRevoked) != tt.revoked || err != nil && !tt.revoked {
			t.Errorf("%s: %v, want it revoked: %v", name, err, tt.revoked)
		}
	}
}

func TestRevocationEncoding(t *testing.T) {
	for _, r := range []Revocation{
		{of: ofSessionID(NewID()), at: epoch, until: epoch.Add(time.Hour)},
		{of: ofIdPSession("iss", "sid"), at: epoch, until: epoch.Add(time.Hour)},
		{of: ofSubject("iss", "sub"), at: epoch, until: epoch.Add(time.Hour), notBefore: epoch.Add(time.Minute)},
	} {
		data, err := r.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRevocation(data)
		if err != nil || got != r || !got.Until().Equal(r.until) {
			t.Errorf("got %+v, %v; want %+v", got, err, r)
		}
		if bytes.Contains(data, []byte("sid")) || bytes.Contains(data, []byte("sub")) {
			t.Error("an encoded revocation names somebody")
		}
		broken := [][]byte{append(slices.Clone(data), 0), append([]byte{3}, data[1:]...), append([]byte{data[0] ^ 3}, data[1:]...), append([]byte{1, 0}, data[2:]...), append([]byte{1, 4}, data[2:]...)}
		for size := range data {
			broken = append(broken, data[:size])
		}
		for _, data := range broken {
			if got, err := DecodeRevocation(data); !errors.Is(err, ErrEncoding) || got != (Revocation{}) {
				t.Errorf("%x: %+v, %v; want ErrEncoding", data, got, err)
			}
		}
	}
	// An issuer where there is none, and none where there is one: two encodings would mean the same.
	withIssuer := func(of revoked, issuer issuerTag) []byte {
		data, err := (Revocation{of: of, at: epoch, until: epoch.Add(time.Hour)}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if data[0] == revocationVersion {
			return slices.Concat([]byte{revocationVersionOfIssuer, data[1]}, issuer[:], data[2:])
		}
		return slices.Concat(data[:2], issuer[:], data[2+len(issuer):])
	}
	for name, data := range map[string][]byte{
		"a session with an issuer":            withIssuer(ofSessionID(NewID()), issuerTag{1}),
		"a session with an issuer of zeros":   withIssuer(ofSessionID(NewID()), issuerTag{}),
		"a sid of an issuer that is all zero": withIssuer(ofIdPSession("iss", "sid"), issuerTag{}),
	} {
		if got, err := DecodeRevocation(data); !errors.Is(err, ErrEncoding) || got != (Revocation{}) {
			t.Errorf("%s: %+v, %v; want ErrEncoding", name, got, err)
		}
	}
	if _, err := (Revocation{of: ofSessionID(NewID()), at: epoch, until: time.Unix(-1, 0)}).MarshalBinary(); !errors.Is(err, ErrEncoding) {
		t.Errorf("until before 1970: %v, want ErrEncoding", err)
	}
}

// A revocation that was stored by an earlier version of this program still counts: its first encoding had no issuer.
func TestRevocationVector(t *testing.T) {
	const (
		first  = "01030c3de54e989fa876868b92105cf31d83d9805589429bf9427000eb3b0a46ac97a5ebdcca06e5bcdfca06e9eadcca06"
		vector = "02033d38e146cf9fbc8c0c3de54e989fa876868b92105cf31d83d9805589429bf9427000eb3b0a46ac97a5ebdcca06e5bcdfca06e9eadcca06"
	)
	data, err := hex.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := DecodeRevocation(data)
	if err != nil {
		t.Fatal(err)
	}
	all := newRevocations(nil, newSuccession())
	all.told([]Revocation{stored}, epoch)
	s := &Session{ID: NewID(), Issuer: "https://id.example.com", Subject: "alice", Created: epoch.Add(-time.Hour), IDTokenIssued: epoch.Add(-time.Hour)}
	if err := all.check(t.Context(), s, epoch); !errors.Is(err, ErrRevoked) {
		t.Errorf("of the first encoding: %v, want ErrRevoked", err)
	}
	r := Revocation{
		of: ofSubject("https://id.example.com", "alice"),
		at: epoch, until: epoch.Add(12 * time.Hour), notBefore: epoch.Add(-time.Minute),
	}
	if data, err := r.MarshalBinary(); err != nil || hex.EncodeToString(data) != vector {
		t.Errorf("encoding changed: %x, %v", data, err)
	}
}

// P30: a journal that cannot be read is not "nobody was revoked".
func TestJournalAway(t *testing.T) {
	j := &journal{listErr: errOutage}
	g := newGate(t, func(c *Config) { c.State = NewState(j, nil) })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	for range 10 {
		g.wantErr(b, ErrUnavailable)
		g.wantErr(b, errOutage)
	}
	if j.lists != 1 {
		t.Errorf("the journal was asked %d times in one second", j.lists)
	}
	j.setListErr(nil)
	g.wantErr(b, ErrUnavailable)
	g.clock.advance(time.Second)
	g.mustLoad(b)
	j.setListErr(errOutage) // once read, it is not needed any more
	g.clock.advance(time.Hour)
	g.mustLoad(b)
	if j.lists != 2 {
		t.Errorf("the journal was read %d times", j.lists)
	}

	j.appendErr = errOutage
	if err := g.End(t.Context(), BySession(live)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errOutage) {
		t.Errorf("End while the journal takes nothing: %v, want ErrUnavailable", err)
	}
	g.wantErr(b, ErrRevoked) // here it counts all the same
}

func TestCancelledRequestStillRevokes(t *testing.T) {
	j := &journal{}
	g := newGate(t, func(c *Config) { c.State = NewState(j, nil) })
	b := newBrowser(t, app)
	live := g.signIn(b, alice())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.End(ctx, BySession(live)); err != nil || len(j.entries) != 1 {
		t.Errorf("%v, %d entries", err, len(j.entries))
	}
}

func TestJournalIsReadOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{hang: make(chan struct{})}
		r := newRevocations(j, newSuccession())
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() {
				ctx := t.Context()
				if i == 0 { // the browser that came first goes away
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Second)
					defer cancel()
					if err := r.check(ctx, alice(), time.Now()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%v, want ErrUnavailable and DeadlineExceeded", err)
					}
					return
				}
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // also later than it would be tried again
				if err := r.check(ctx, alice(), time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(8 * time.Second)
		close(j.hang)
		group.Wait()
		if j.lists != 1 {
			t.Errorf("the journal was read %d times", j.lists)
		}
	})
}

type panickyJournal struct{ Journal }

func (panickyJournal) List(context.Context) ([]Revocation, error) { panic("boom") }

func TestJournalPanic(t *testing.T) {
	if err := newRevocations(panickyJournal{}, newSuccession()).check(t.Context(), alice(), epoch); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}
