package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

var (
	epoch     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	app       = Scope{Host: "app.example.com", Secure: true}
	errOutage = errors.New("outage")
)

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: epoch} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// testKeys is a ring that a test changes.
type testKeys struct {
	mu        sync.Mutex
	ring      *seal.Ring
	refreshed *seal.Ring // what Refresh finds
	err       error
	refreshes int
}

func (k *testKeys) Ring(context.Context) (*seal.Ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring, k.err
}

func (k *testKeys) Refresh(context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshes++
	if k.refreshed != nil {
		k.ring = k.refreshed
	}
}

func newRing(t testing.TB, created ...time.Time) *seal.Ring {
	t.Helper()
	var keys []seal.Key
	for _, at := range created {
		key, err := seal.NewKey(at)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	ring, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// browser keeps cookies as a browser does.
type browser struct {
	t       testing.TB
	scope   Scope
	cookies map[string]string
	ages    map[string]int // Max-Age
	last    []*http.Cookie // set by the last answer
}

func newBrowser(t testing.TB, scope Scope) *browser {
	return &browser{t: t, scope: scope, cookies: map[string]string{}, ages: map[string]int{}}
}

func (b *browser) clone() *browser {
	return &browser{t: b.t, scope: b.scope, cookies: maps.Clone(b.cookies), ages: maps.Clone(b.ages)}
}

func (b *browser) header() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		pairs = append(pairs, name+"="+b.cookies[name])
	}
	return strings.Join(pairs, "; ")
}

// cut is what a request of this browser brings.
func (b *browser) cut(c CookieConfig) Cookies {
	return c.Cut(http.Header{"Cookie": {b.header()}})
}

// receive takes the cookies of an answer.
func (b *browser) receive(answer *httptest.ResponseRecorder) {
	b.t.Helper()
	b.last = answer.Result().Cookies()
	for _, cookie := range b.last {
		if len(cookie.Raw) > 4096 {
			b.t.Errorf("a cookie of %d bytes: %s", len(cookie.Raw), cookie.Name)
		}
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
			continue
		}
		b.cookies[cookie.Name], b.ages[cookie.Name] = cookie.Value, cookie.MaxAge
	}
}

// gate is a manager under test with what it is made of.
type gate struct {
	*Manager
	t     testing.TB
	clock *clock
	keys  *testKeys
}

func newGate(t testing.TB, configure ...func(*Config)) *gate {
	t.Helper()
	clock := newClock()
	keys := &testKeys{ring: newRing(t, epoch.Add(-time.Hour))}
	config := Config{Keys: keys, Now: clock.now, Cookie: CookieConfig{Persist: true}}
	for _, f := range configure {
		f(&config)
	}
	m, err := NewManager(config)
	if err != nil {
		t.Fatal(err)
	}
	return &gate{m, t, clock, keys}
}

func alice() *Session {
	return &Session{
		Provider: "default", Issuer: "https://id.example.com", ClientID: "app", Subject: "alice",
		IdPSession: "sid-1", Created: epoch, IDTokenIssued: epoch, Nonce: "nonce",
		Claims:       map[string]any{"sub": "alice", "groups": []any{"ops", "dev"}, "n": json.Number("1")},
		AccessToken:  secret.New("access 1"),
		RefreshToken: secret.New("refresh 1"),
	}
}

// signIn creates a session for the browser.
func (g *gate) signIn(b *browser, s *Session) *Live {
	g.t.Helper()
	answer := httptest.NewRecorder()
	live, err := g.Create(g.t.Context(), answer, b.cut(g.cookie), b.scope, s)
	if err != nil {
		g.t.Fatalf("Create: %v", err)
	}
	b.receive(answer)
	return live
}

func (g *gate) load(b *browser) (*Live, error) {
	return g.Load(g.t.Context(), b.cut(g.cookie), b.scope)
}

func (g *gate) mustLoad(b *browser) *Live {
	g.t.Helper()
	live, err := g.load(b)
	if err != nil {
		g.t.Fatalf("Load: %v", err)
	}
	return live
}

func (g *gate) deliver(b *browser, live *Live) {
	g.t.Helper()
	answer := httptest.NewRecorder()
	if err := g.Deliver(answer, live, b.scope); err != nil {
		g.t.Fatalf("Deliver: %v", err)
	}
	b.receive(answer)
}

// visit is a whole request of somebody signed in.
func (g *gate) visit(b *browser) *Live {
	g.t.Helper()
	live := g.mustLoad(b)
	g.deliver(b, live)
	return live
}

// wantErr loads the browser's session and compares the error.
func (g *gate) wantErr(b *browser, want error) {
	g.t.Helper()
	if _, err := g.load(b); !errors.Is(err, want) {
		g.t.Errorf("Load: %v, want %v", err, want)
	}
}

// refresh is a change as a token refresh makes it.
func refresh(token string) func(context.Context, *Session) error {
	return func(_ context.Context, s *Session) error {
		s.AccessToken = secret.New(token)
		return nil
	}
}

// fragile wraps a store that fails when told to.
type fragile struct {
	Store
	mu         sync.Mutex
	loadErr    error
	saveErr    error
	deleteErr  error
	saves      int
	beforeSave func()
}

func (f *fragile) errs() (load, save, del error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loadErr, f.saveErr, f.deleteErr
}

func (f *fragile) set(load, save, del error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loadErr, f.saveErr, f.deleteErr = load, save, del
}

func (f *fragile) Load(ctx context.Context, handle []byte) ([]byte, error) {
	if err, _, _ := f.errs(); err != nil {
		return nil, err
	}
	return f.Store.Load(ctx, handle)
}

func (f *fragile) Save(ctx context.Context, r Record, handle []byte) ([]byte, error) {
	f.mu.Lock()
	f.saves++
	before := f.beforeSave
	f.beforeSave = nil
	f.mu.Unlock()
	if before != nil {
		before()
	}
	if _, err, _ := f.errs(); err != nil {
		return nil, err
	}
	return f.Store.Save(ctx, r, handle)
}

func (f *fragile) Delete(ctx context.Context, handle []byte) error {
	if _, _, err := f.errs(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, handle)
}

// noise is a text that no compressor makes smaller.
func noise(size int) string {
	text := make([]byte, size)
	_, _ = rand.Read(text)
	return string(text)
}
