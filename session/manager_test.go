package session

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// stores are the stores that a manager's behaviour is tested over.
var stores = map[string]func(*Config){
	"cookie": func(*Config) {},
	"memory": func(c *Config) { c.Store = NewMemoryStore(c.Now) },
}

func overStores(t *testing.T, test func(t *testing.T, store func(*Config))) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) { test(t, store) })
	}
}

func TestSignInAndLoad(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g, b := newGate(t, store), newBrowser(t, app)
		g.wantErr(b, ErrNone)
		given := alice()
		given.ID, given.Generation, given.Host = ID{1}, 77, "evil.example.com"
		given.Created, given.Expires = epoch.Add(-time.Hour), epoch.Add(1000*time.Hour)
		before := given.Clone()
		created := g.signIn(b, given).Session()
		if !reflect.DeepEqual(given, before) {
			t.Error("Create changed the session that it was given")
		}
		if created.ID == given.ID || created.Generation != 1 || created.Host != app.Host ||
			!created.Created.Equal(epoch) || !created.Sealed.Equal(epoch) || !created.Expires.Equal(epoch.Add(12*time.Hour)) {
			t.Errorf("created %+v", created)
		}
		loaded := g.mustLoad(b)
		if !reflect.DeepEqual(loaded.Session(), created) {
			t.Errorf("loaded  %+v\ncreated %+v", loaded.Session(), created)
		}
		g.deliver(b, loaded)
		if len(b.last) != 0 {
			t.Errorf("a browser that has everything gets %v", b.last)
		}
		if again := g.mustLoad(b); again.Session() != loaded.Session() {
			t.Error("an opened cookie is opened again")
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	large := alice()
	large.Claims["large"] = noise(6000)
	tests := []struct {
		name   string
		change func(*Config)
		s      *Session
		scope  Scope
		want   error
	}{
		{"no issuer", nil, &Session{Subject: "alice"}, app, ErrIncomplete},
		{"no subject", nil, &Session{Issuer: "https://id.example.com"}, app, ErrIncomplete},
		{"a host that is not below the domain", func(c *Config) { c.Cookie.Domain = "example.com" }, alice(), Scope{Host: "app.example.org", Secure: true}, ErrCookie},
		{"a host that only ends like the domain", func(c *Config) { c.Cookie.Domain = "example.com" }, alice(), Scope{Host: "myexample.com", Secure: true}, ErrCookie},
		{"too large for two cookies (P08)", nil, large, app, ErrTooLarge},
		{"a little too large for two cookies", func(c *Config) { c.Cookie.Domain = app.Host }, func() *Session {
			s := alice()
			s.Claims["large"] = noise(4270)
			return s
		}(), app, ErrTooLarge},
		{"a claim that cannot be stored", nil, &Session{Issuer: "i", Subject: "s", Claims: map[string]any{"x": 1}}, app, ErrEncoding},
		{"no keys", func(c *Config) { c.Keys.(*testKeys).err = errOutage }, alice(), app, ErrUnavailable},
		{"no store", func(c *Config) { c.Store = &fragile{Store: CookieStore(), saveErr: errOutage} }, alice(), app, ErrUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.change == nil {
				test.change = func(*Config) {}
			}
			g, answer := newGate(t, test.change), httptest.NewRecorder()
			live, err := g.Create(t.Context(), answer, Cookies{}, test.scope, test.s)
			if live != nil || !errors.Is(err, test.want) || len(answer.Header()) != 0 {
				t.Errorf("%v, %v, %v; want %v and no cookie", live, err, answer.Header(), test.want)
			}
		})
	}
	t.Run("what is too large for cookies fits into memory", func(t *testing.T) {
		g, b := newGate(t, stores["memory"]), newBrowser(t, app)
		g.signIn(b, large)
		if g.mustLoad(b); len(b.header()) > 300 {
			t.Errorf("%d bytes of cookies", len(b.header()))
		}
	})
}

// SEC-100, SEC-101: no cookie from before a sign-in opens anything after it.
func TestFixation(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		mallory := alice()
		mallory.Subject = "mallory"
		tests := []struct {
			name string
			prep func(g *gate, planted *browser)
		}{
			{"a session of the same user", func(g *gate, b *browser) { g.signIn(b, alice()) }},
			{"a session of somebody else", func(g *gate, b *browser) { g.signIn(b, mallory) }},
			{"an idle session", func(g *gate, b *browser) { g.signIn(b, mallory); g.clock.advance(2 * time.Hour) }},
			{"an expired session", func(g *gate, b *browser) { g.signIn(b, mallory); g.clock.advance(13 * time.Hour) }},
			{"a forged cookie", func(_ *gate, b *browser) { b.cookies["__Host-gatehouse"] = "v1.forged" }},
			{"a cookie of a sibling host", func(g *gate, b *browser) {
				sibling := newBrowser(b.t, Scope{Host: "evil.example.com", Secure: true})
				g.signIn(sibling, mallory)
				b.cookies = sibling.cookies
			}},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				g := newGate(t, func(c *Config) { store(c); c.IdleTimeout = time.Hour })
				planted := newBrowser(t, app)
				test.prep(g, planted)
				victim := planted.clone()
				created := g.signIn(victim, alice())
				if got := g.mustLoad(victim).Session(); got.ID != created.Session().ID || got.Subject != "alice" {
					t.Errorf("the victim has %v of %s", got.ID, got.Subject)
				}
				if live, err := g.load(planted); err == nil {
					t.Errorf("what was planted opens the session of %s", live.Session().Subject)
				}
			})
		}
		t.Run("a superseded copy ends the session that came of it", func(t *testing.T) {
			g := newGate(t, store)
			victim := newBrowser(t, app)
			g.signIn(victim, alice())
			thief := victim.clone()
			if live, err := g.Update(t.Context(), g.mustLoad(thief), refresh("stolen")); err != nil {
				t.Fatal(err)
			} else {
				g.deliver(thief, live)
			}
			g.clock.advance(time.Hour)
			g.signIn(victim, alice())
			if _, err := g.load(thief); err == nil {
				t.Error("the thief's copy outlives the victim's next sign-in")
			}
			g.mustLoad(victim)
		})
		t.Run("a sign-in that cannot end the old one is none", func(t *testing.T) {
			j := &journal{}
			g := newGate(t, func(c *Config) { store(c); c.State = NewState(j, c.Now) })
			b := newBrowser(t, app)
			g.signIn(b, alice())
			j.appendErr = errOutage
			answer := httptest.NewRecorder()
			if _, err := g.Create(t.Context(), answer, b.cut(g.cookie), app, alice()); !errors.Is(err, ErrUnavailable) || len(answer.Header()) != 0 {
				t.Errorf("%v, %v; want ErrUnavailable and no cookie", err, answer.Header())
			}
		})
	})
}

// SEC-102: a cookie that was copied is dead when its session was ended.
func TestEnd(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, store)
		b, bystander := newBrowser(t, app), newBrowser(t, app)
		live := g.signIn(b, alice())
		g.signIn(bystander, alice())
		copied := b.clone()
		if err := g.End(t.Context(), BySession(live)); err != nil {
			t.Fatal(err)
		}
		if _, err := g.load(copied); !errors.Is(err, ErrRevoked) && !errors.Is(err, ErrNotFound) {
			t.Errorf("a copied cookie after the sign-out: %v", err)
		}
		if _, err := g.Update(t.Context(), live, refresh("late")); err == nil {
			t.Error("an ended session is refreshed")
		}
		g.mustLoad(bystander)
		if err := g.End(t.Context(), ByIdPSession("https://id.example.com", "sid-1", time.Time{})); err != nil {
			t.Fatal(err)
		}
		g.wantErr(bystander, ErrRevoked)
		g.clock.advance(11*time.Hour + 59*time.Minute)
		g.wantErr(bystander, ErrRevoked)

		g.clock.advance(time.Hour)
		again := newBrowser(t, app)
		s := alice()
		s.IDTokenIssued = g.clock.now()
		g.signIn(again, s)
		g.mustLoad(again)
		if err := g.End(t.Context(), BySubject("https://id.example.com", "alice", g.clock.now(), time.Time{})); err != nil {
			t.Fatal(err)
		}
		g.wantErr(again, ErrRevoked)
	})
}

func TestEndBrought(t *testing.T) {
	for name, change := range map[string]func(*browser, *gate){
		"good":  func(*browser, *gate) {},
		"idle":  func(_ *browser, g *gate) { g.clock.advance(2 * time.Hour) },
		"none":  func(b *browser, _ *gate) { clear(b.cookies) },
		"trash": func(b *browser, _ *gate) { b.cookies["__Host-gatehouse"] = "trash" },
	} {
		t.Run(name, func(t *testing.T) {
			g, b := newGate(t, func(c *Config) { c.IdleTimeout = time.Hour }), newBrowser(t, app)
			g.signIn(b, alice())
			copied := b.clone()
			change(b, g)
			if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); err != nil {
				t.Fatal(err)
			}
			want := error(nil)
			if name == "good" || name == "idle" {
				want = ErrRevoked
			}
			g.wantErr(copied, want)
		})
	}
	store := &fragile{Store: NewMemoryStore(newClock().now)}
	g, b := newGate(t, func(c *Config) { c.Store = store }), newBrowser(t, app)
	live := g.signIn(b, alice())
	store.set(errOutage, nil, nil)
	if err := g.EndBrought(t.Context(), b.cut(g.cookie), app); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the store is away: %v, want ErrUnavailable", err)
	}
	store.set(nil, nil, errOutage)
	if err := g.End(t.Context(), BySession(live)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the store does not delete: %v, want ErrUnavailable", err)
	}
	g.wantErr(b, ErrRevoked)
}

func TestLoadRefuses(t *testing.T) {
	other := Scope{Host: "wiki.example.com", Secure: true}
	sealed := func(g *gate, kind, host string, payload []byte) string {
		value, err := g.keys.ring.Seal(seal.Purpose{Kind: kind, Scope: host}, payload)
		if err != nil {
			g.t.Fatal(err)
		}
		return value
	}
	encoded := func(g *gate, change func(*Session)) []byte {
		s := alice()
		s.ID, s.Generation, s.Host = NewID(), 1, app.Host
		s.Created, s.Sealed, s.Expires = g.clock.now(), g.clock.now(), g.clock.now().Add(time.Hour)
		change(s)
		data, err := s.MarshalBinary()
		if err != nil {
			g.t.Fatal(err)
		}
		return data
	}
	tests := []struct {
		name  string
		value func(g *gate) string
		want  error
	}{
		{"sealed as it should be", func(g *gate) string { return sealed(g, "session", app.Host, encoded(g, func(*Session) {})) }, nil},
		{"sealed as a last use (SEC-92)", func(g *gate) string { return sealed(g, useKind, app.Host, encoded(g, func(*Session) {})) }, seal.ErrForged},
		{"sealed as an attempt (SEC-92)", func(g *gate) string { return sealed(g, "attempt", app.Host, encoded(g, func(*Session) {})) }, seal.ErrForged},
		{"of another host (P28)", func(g *gate) string { return sealed(g, "session", other.Host, encoded(g, func(*Session) {})) }, seal.ErrForged},
		{"sealed for this host, made for another", func(g *gate) string {
			return sealed(g, "session", app.Host, encoded(g, func(s *Session) { s.Host = other.Host }))
		}, ErrUnreadable},
		{"of another version", func(g *gate) string { return sealed(g, "session", app.Host, []byte{9, 1, 1}) }, ErrEncoding},
		{"a handle of another store", func(g *gate) string { return sealed(g, "session", app.Host, make([]byte, 48)) }, ErrEncoding},
		{"expired", func(g *gate) string {
			return sealed(g, "session", app.Host, encoded(g, func(s *Session) { s.Expires = g.clock.now() }))
		}, ErrExpired},
		{"without an end", func(g *gate) string {
			return sealed(g, "session", app.Host, encoded(g, func(s *Session) { s.Expires = time.Time{} }))
		}, ErrExpired},
		{"made under a longer lifetime", func(g *gate) string {
			return sealed(g, "session", app.Host, encoded(g, func(s *Session) { s.Created = g.clock.now().Add(-12 * time.Hour) }))
		}, ErrExpired},
		{"trash", func(*gate) string { return "trash" }, seal.ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, b := newGate(t), newBrowser(t, app)
			b.cookies["__Host-gatehouse"] = test.value(g)
			g.wantErr(b, test.want)
			if errors.Is(test.want, ErrExpired) || test.want == nil {
				return
			}
			g.wantErr(b, ErrUnreadable)
			g.wantErr(b, test.want) // and again, out of whatever was cached
		})
	}
}

// P28: a cookie opens at the site that it was made at; the cache of opened
// cookies does not carry it to another.
func TestOneSitesCookieAtAnother(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, store)
		wiki := newBrowser(t, Scope{Host: "wiki.example.com", Secure: true})
		g.signIn(wiki, alice())
		g.mustLoad(wiki)
		admin := wiki.clone()
		admin.scope.Host = "admin.example.com"
		g.wantErr(admin, ErrUnreadable)
	})
	t.Run("within a domain", func(t *testing.T) {
		g := newGate(t, func(c *Config) { c.Cookie.Domain = "example.com" })
		wiki := newBrowser(t, Scope{Host: "wiki.example.com", Secure: true})
		g.signIn(wiki, alice())
		admin := wiki.clone()
		admin.scope.Host = "admin.example.com"
		g.mustLoad(admin)
	})
}

// SEC-85: what was opened once is judged again each time.
func TestCachedCookieIsJudged(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		t.Run("expiry", func(t *testing.T) {
			g, b := newGate(t, store), newBrowser(t, app)
			g.signIn(b, alice())
			g.clock.advance(12*time.Hour - time.Second)
			g.mustLoad(b)
			g.clock.advance(time.Second)
			if _, err := g.load(b); !errors.Is(err, ErrExpired) && !errors.Is(err, ErrNotFound) {
				t.Errorf("after its lifetime: %v", err)
			}
		})
		t.Run("key retired (P29)", func(t *testing.T) {
			g, b := newGate(t, store), newBrowser(t, app)
			g.signIn(b, alice())
			g.mustLoad(b)
			g.keys.ring = newRing(t, g.clock.now())
			g.wantErr(b, ErrUnreadable)
			if g.keys.refreshes != 0 {
				t.Error("a retired key made the storage to be read again")
			}
		})
		t.Run("revocation", func(t *testing.T) {
			g, b := newGate(t, store), newBrowser(t, app)
			g.signIn(b, alice())
			g.mustLoad(b)
			if err := g.End(t.Context(), BySubject("https://id.example.com", "alice", epoch, time.Time{})); err != nil {
				t.Fatal(err)
			}
			g.wantErr(b, ErrRevoked)
		})
	})
}

func TestUnknownNewerKey(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	g.signIn(b, alice())
	theirs, ours := g.keys.ring, newRing(t, epoch.Add(-2*time.Hour))

	g.keys.ring = ours
	var unknown *seal.UnknownKeyError
	_, err := g.load(b)
	if !errors.As(err, &unknown) || !unknown.Newer || errors.Is(err, ErrUnreadable) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a cookie of another ring: %v, want an unknown key that is newer", err)
	}
	if g.keys.refreshes != 1 {
		t.Errorf("the storage was read %d times", g.keys.refreshes)
	}
	g.keys.refreshed = theirs // another replica's key arrived
	g.mustLoad(b)
}

// P30: an outage ends no session.
func TestOutage(t *testing.T) {
	clock := newClock()
	store := &fragile{Store: NewMemoryStore(clock.now)}
	g, b := newGate(t, func(c *Config) { c.Store = store }), newBrowser(t, app)
	live := g.signIn(b, alice())
	store.set(errOutage, errOutage, errOutage)
	g.wantErr(b, ErrUnavailable)
	g.wantErr(b, errOutage)
	if _, err := g.Update(t.Context(), live, refresh("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Update: %v, want ErrUnavailable", err)
	}
	store.set(nil, nil, nil)
	g.mustLoad(b)
	g.keys.err = errOutage
	g.wantErr(b, ErrUnavailable)
	g.keys.err = nil
	g.mustLoad(b)
}

// P14: a reload makes a new manager over the same state, a restart without state
// keeps the cookies.
func TestReload(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		first := newGate(t, store)
		b := newBrowser(t, app)
		live := first.signIn(b, alice())
		for range 20 {
			m, err := NewManager(Config{
				Store: first.store, Keys: first.keys, State: first.state, Cookie: first.cookie,
				Lifetime: first.lifetime, Now: first.now,
			})
			if err != nil {
				t.Fatal(err)
			}
			next := &gate{m, t, first.clock, first.keys}
			next.visit(b)
		}
		if err := first.End(t.Context(), BySession(live)); err != nil { // the old one still works
			t.Fatal(err)
		}
		if _, err := first.load(b); err == nil {
			t.Error("a session ended by the old manager lives")
		}
	})
}

// P39: idle, lifetime and the tokens' lifetime are three things.
func TestIdle(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		newIdleGate := func(t *testing.T) (*gate, *browser) {
			g := newGate(t, func(c *Config) { store(c); c.IdleTimeout = 30 * time.Minute })
			b := newBrowser(t, app)
			g.signIn(b, alice())
			return g, b
		}
		t.Run("active every 10 minutes: 12 hours", func(t *testing.T) {
			g, b := newIdleGate(t)
			for i := range 71 {
				g.clock.advance(10 * time.Minute)
				g.visit(b)
				if age := b.ages["__Host-gatehouse_u"]; age != 0 && age != int((12*time.Hour-time.Duration(i+1)*10*time.Minute).Seconds()) {
					t.Fatalf("Max-Age %d after %d visits", age, i+1)
				}
			}
			g.clock.advance(10*time.Minute - time.Second)
			g.mustLoad(b)
			g.clock.advance(time.Second)
			if _, err := g.load(b); err == nil {
				t.Error("alive after 12 hours")
			}
		})
		t.Run("its cookie outlives the session", func(t *testing.T) {
			g, b := newIdleGate(t)
			g.clock.advance(20*time.Minute + 300*time.Millisecond)
			g.visit(b)
			left := 12*time.Hour - 20*time.Minute - 300*time.Millisecond
			if age, set := b.ages["__Host-gatehouse_u"]; set && time.Duration(age)*time.Second < left {
				t.Errorf("Max-Age %d, and the session has %s left", age, left)
			}
		})
		t.Run("never used again", func(t *testing.T) {
			g, b := newIdleGate(t)
			g.clock.advance(30*time.Minute - time.Second)
			if _, err := g.load(b.clone()); err != nil {
				t.Error(err)
			}
		})
		t.Run("idle", func(t *testing.T) {
			g, b := newIdleGate(t)
			g.clock.advance(20 * time.Minute)
			g.visit(b)
			g.clock.advance(29 * time.Minute)
			g.visit(b)
			g.clock.advance(30 * time.Minute)
			g.wantErr(b, ErrIdle)
			g.clock.advance(-time.Hour) // a clock that goes back does not end it
			g.mustLoad(b)
		})
		t.Run("a use is noted once in a sixteenth", func(t *testing.T) {
			g, b := newIdleGate(t)
			g.clock.advance(112 * time.Second)
			g.visit(b)
			if len(b.last) != 0 {
				t.Errorf("noted after 112 seconds: %v", b.last)
			}
			g.clock.advance(time.Second)
			g.visit(b)
			if g.server == nil && (len(b.last) != 1 || b.last[0].Name != "__Host-gatehouse_u") {
				t.Errorf("not noted after 113 seconds: %v", b.last)
			}
			if g.server != nil && len(b.last) != 0 {
				t.Errorf("what the store keeps is in a cookie: %v", b.last)
			}
			g.visit(b)
			if len(b.last) != 0 {
				t.Errorf("noted twice: %v", b.last)
			}
		})
		t.Run("a refresh is a use", func(t *testing.T) {
			g, b := newIdleGate(t)
			g.clock.advance(29 * time.Minute)
			live, err := g.Update(t.Context(), g.mustLoad(b), refresh("x"))
			if err != nil {
				t.Fatal(err)
			}
			g.deliver(b, live)
			delete(b.cookies, "__Host-gatehouse_u")
			g.clock.advance(29 * time.Minute)
			g.mustLoad(b)
		})
		t.Run("off", func(t *testing.T) {
			g, b := newGate(t, store), newBrowser(t, app)
			g.signIn(b, alice())
			g.clock.advance(11 * time.Hour)
			g.visit(b)
			if len(b.last) != 0 {
				t.Errorf("%v", b.last)
			}
		})
	})
}

// What stands in the last-use cookie counts only if it is this session's.
func TestLastUseCookie(t *testing.T) {
	setup := func(t *testing.T) (*gate, *browser) {
		g := newGate(t, func(c *Config) { c.IdleTimeout = time.Hour })
		b := newBrowser(t, app)
		g.signIn(b, alice())
		return g, b
	}
	use := func(g *gate, kind string, host string, payload []byte) string {
		value, err := g.keys.ring.Seal(seal.Purpose{Kind: kind, Scope: host}, payload)
		if err != nil {
			g.t.Fatal(err)
		}
		return value
	}
	encode := func(id ID, at time.Time) []byte {
		payload, err := encodeUse(id, at)
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	later := epoch.Add(50 * time.Minute)
	const name = "__Host-gatehouse_u"
	tests := []struct {
		name  string
		value func(g *gate, id ID) string
		want  error
	}{
		{"this session's", func(g *gate, id ID) string { return use(g, useKind, app.Host, encode(id, later)) }, nil},
		{"another session's", func(g *gate, _ ID) string { return use(g, useKind, app.Host, encode(NewID(), later)) }, ErrIdle},
		{"of another host", func(g *gate, id ID) string { return use(g, useKind, "wiki.example.com", encode(id, later)) }, ErrIdle},
		{"of another kind", func(g *gate, id ID) string { return use(g, "attempt", app.Host, encode(id, later)) }, ErrIdle},
		{"trash", func(*gate, ID) string { return "trash" }, ErrIdle},
		{"twice", func(g *gate, id ID) string {
			return use(g, useKind, app.Host, encode(id, later)) + "; " + name + "=x"
		}, ErrIdle},
		{"with trailing bytes", func(g *gate, id ID) string { return use(g, useKind, app.Host, append(encode(id, later), 0)) }, ErrIdle},
		{"cut off", func(g *gate, id ID) string { return use(g, useKind, app.Host, id[:10]) }, ErrIdle},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, b := setup(t)
			live := g.mustLoad(b)
			g.clock.advance(90 * time.Minute)
			b.cookies[name] = test.value(g, live.Session().ID)
			g.wantErr(b, test.want)
		})
	}
	if _, _, err := decodeUse(bytes.Repeat([]byte{0xff}, 26)); !errors.Is(err, ErrEncoding) {
		t.Errorf("%v", err)
	}
}

// counting is a store on a server that counts what it is asked.
type counting struct {
	*MemoryStore
	loads, uses int
	useErr      error
}

func (c *counting) Load(ctx context.Context, handle []byte) ([]byte, error) {
	c.loads++
	return c.MemoryStore.Load(ctx, handle)
}

func (c *counting) Use(ctx context.Context, handle []byte, now time.Time) error {
	c.uses++
	if c.useErr != nil {
		return c.useErr
	}
	return c.MemoryStore.Use(ctx, handle, now)
}

func TestServerStoreIsAskedForNews(t *testing.T) {
	store := &counting{}
	g := newGate(t, func(c *Config) {
		store.MemoryStore = NewMemoryStore(c.Now)
		c.Store, c.IdleTimeout = store, 16*time.Minute
	})
	b := newBrowser(t, app)
	g.signIn(b, alice())
	for range 100 {
		g.visit(b)
		g.clock.advance(time.Second)
	}
	if store.loads != 1 || store.uses != 1 {
		t.Errorf("%d loads, %d uses noted in 100 seconds; want 1 and 1", store.loads, store.uses)
	}
	live, err := g.Update(t.Context(), g.mustLoad(b), refresh("access 2"))
	if err != nil {
		t.Fatal(err)
	}
	loads := store.loads
	for range 10 {
		if got := g.mustLoad(b).Session(); got.AccessToken.Reveal() != "access 2" {
			t.Fatalf("generation %d after the update", got.Generation)
		}
	}
	if store.loads != loads+1 {
		t.Errorf("%d loads after an update, want 1", store.loads-loads)
	}
	g.clock.advance(5 * time.Minute)
	store.useErr = errOutage
	g.wantErr(b, ErrUnavailable)
	store.useErr = nil
	if err := g.End(t.Context(), BySession(live)); err != nil {
		t.Fatal(err)
	}
	g.wantErr(b, ErrNotFound)
}

// One State outlives a change of the store: what is cached of a cookie is not
// what another store says.
func TestStoreChanges(t *testing.T) {
	g, b := newGate(t), newBrowser(t, app)
	g.signIn(b, alice())
	g.mustLoad(b)
	memory, err := NewManager(Config{Store: NewMemoryStore(g.now), Keys: g.keys, State: g.state, Now: g.now})
	if err != nil {
		t.Fatal(err)
	}
	other := &gate{memory, t, g.clock, g.keys}
	other.wantErr(b, ErrUnreadable)
	other.signIn(b, alice())
	other.mustLoad(b)
	g.wantErr(b, ErrUnreadable)
}

func TestMemoryKeepsUseOverRestart(t *testing.T) {
	clock := newClock()
	old := NewMemoryStore(clock.now)
	g := newGate(t, func(c *Config) { c.Store, c.Now, c.IdleTimeout = old, clock.now, time.Hour })
	b := newBrowser(t, app)
	g.signIn(b, alice())
	clock.advance(50 * time.Minute)
	g.visit(b)
	snapshot, err := old.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	restarted := NewMemoryStore(clock.now)
	if err := restarted.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	m, err := NewManager(Config{Store: restarted, Keys: g.keys, Now: clock.now, IdleTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	g.Manager = m
	clock.advance(50 * time.Minute)
	g.mustLoad(b)
}

func TestNewManagerRefuses(t *testing.T) {
	for name, config := range map[string]Config{
		"no keys": {}, "a negative lifetime": {Keys: &testKeys{}, Lifetime: -1}, "a negative idle timeout": {Keys: &testKeys{}, IdleTimeout: -1},
	} {
		if m, err := NewManager(config); err == nil || m != nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// SEC-112: 64 requests of one browser, with refreshes and sign-ins of others.
func TestConcurrently(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g := newGate(t, func(c *Config) { store(c); c.IdleTimeout = time.Hour })
		b := newBrowser(t, app)
		g.signIn(b, alice())
		header := b.header()
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() {
				cookies := g.cookie.Cut(http.Header{"Cookie": {header}})
				live, err := g.Load(t.Context(), cookies, app)
				if err != nil {
					t.Error(err)
					return
				}
				if len(live.Session().Clone().Claims) != 3 {
					t.Error("claims are missing")
				}
				if i%4 == 0 {
					if live, err = g.Update(t.Context(), live, refresh("x")); err != nil {
						t.Error(err)
						return
					}
				}
				if i%8 == 1 {
					other := newBrowser(t, app)
					g.signIn(other, alice())
					if err := g.End(t.Context(), BySession(g.mustLoad(other))); err != nil {
						t.Error(err)
					}
				}
				g.clock.advance(time.Second)
				if err := g.Deliver(httptest.NewRecorder(), live, app); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}
