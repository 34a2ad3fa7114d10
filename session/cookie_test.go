package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAttributes(t *testing.T) {
	plain := Scope{Host: "localhost"}
	domain := CookieConfig{Domain: "example.com", SameSite: http.SameSiteStrictMode, Persist: true}
	none := CookieConfig{SameSite: http.SameSiteNoneMode}
	set := map[string]func(w http.ResponseWriter, c CookieConfig, s Scope) error{
		"session": func(w http.ResponseWriter, c CookieConfig, s Scope) error {
			return c.setSession(w, s, Cookies{}, "value", time.Hour)
		},
		"attempt": func(w http.ResponseWriter, c CookieConfig, s Scope) error {
			return c.SetAttempt(w, s, Cookies{}, "st", "value", time.Minute, false)
		},
		"post attempt": func(w http.ResponseWriter, c CookieConfig, s Scope) error {
			return c.SetAttempt(w, s, Cookies{}, "st", "value", time.Minute, true)
		},
		"finished": func(w http.ResponseWriter, c CookieConfig, s Scope) error {
			return c.SetSmall(w, s, Finished, "value", time.Minute)
		},
		"hint": func(w http.ResponseWriter, c CookieConfig, s Scope) error {
			return c.SetSmall(w, s, Hint, "value", time.Minute)
		},
	}
	tests := []struct {
		what   string
		config CookieConfig
		scope  Scope
		want   string
	}{
		{"session", CookieConfig{}, app, "__Host-gatehouse=value; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"session", CookieConfig{Persist: true}, app, "__Host-gatehouse=value; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		{"session", CookieConfig{}, plain, "gatehouse=value; Path=/; HttpOnly; SameSite=Lax"},
		{"session", domain, app, "__Secure-gatehouse=value; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=Strict"},
		{"session", domain, Scope{Host: "example.com"}, "gatehouse=value; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=Strict"},
		{"session", none, app, "__Host-gatehouse=value; Path=/; HttpOnly; Secure; SameSite=None"},
		{"session", none, plain, "gatehouse=value; Path=/; HttpOnly"},
		{"attempt", CookieConfig{}, app, "__Host-gatehouse_a_st=value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{"attempt", domain, app, "__Host-gatehouse_a_st=value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{"attempt", none, app, "__Host-gatehouse_a_st=value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None"},
		{"post attempt", CookieConfig{}, app, "__Host-gatehouse_a_st=p.value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None"},
		{"post attempt", CookieConfig{}, plain, "gatehouse_a_st=p.value; Path=/; Max-Age=60; HttpOnly"},
		{"finished", domain, app, "__Host-gatehouse_f=value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{"hint", CookieConfig{}, app, "__Secure-gatehouse_h=value; Path=/oauth2/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{"hint", domain, Scope{Host: app.Host, Secure: true, BasePath: "/app/o"}, "__Secure-gatehouse_h=value; Path=/app/o/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			answer := httptest.NewRecorder()
			if err := set[test.what](answer, test.config, test.scope); err != nil {
				t.Fatal(err)
			}
			if got := answer.Header()["Set-Cookie"]; len(got) != 1 || got[0] != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// SEC-103: a cookie goes only if it is cleared as it was set.
func TestClearedAsSet(t *testing.T) {
	for name, config := range map[string]CookieConfig{
		"default": {}, "domain": {Domain: "example.com", Persist: true},
		"strict": {SameSite: http.SameSiteStrictMode}, "none": {SameSite: http.SameSiteNoneMode},
	} {
		for _, scope := range []Scope{app, {Host: "app.example.com"}, {Host: "app.example.com", Secure: true, BasePath: "/x"}} {
			t.Run(name, func(t *testing.T) {
				g := newGate(t, func(c *Config) { c.Cookie = config; c.IdleTimeout = time.Hour })
				b := newBrowser(t, scope)
				set := httptest.NewRecorder()
				large := alice()
				large.Claims["large"] = noise(3000) // two cookies
				live, err := g.Create(t.Context(), set, Cookies{}, scope, large)
				if err != nil {
					t.Fatal(err)
				}
				g.clock.advance(10 * time.Minute)
				for _, err := range []error{
					g.Deliver(set, live, scope),
					config.SetAttempt(set, scope, Cookies{}, "st1", "v", time.Minute, false),
					config.SetAttempt(set, scope, Cookies{}, "st2", "v", time.Minute, true),
					config.SetSmall(set, scope, Finished, "v", time.Minute),
					config.SetSmall(set, scope, Hint, "v", time.Minute),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				b.receive(set)
				brought, kept := b.cut(config), b.last
				if len(kept) != 7 {
					t.Fatalf("%d cookies set, want 7", len(kept))
				}
				cleared := httptest.NewRecorder()
				for _, err := range []error{
					g.Clear(cleared, brought, scope),
					config.ClearAttempt(cleared, scope, brought, "st1"),
					config.ClearAttempt(cleared, scope, brought, "st2"),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				b.receive(cleared)
				if len(b.cookies) != 0 {
					t.Errorf("not cleared: %v", b.cookies)
				}
				for _, gone := range b.last {
					if gone.MaxAge >= 0 || gone.Expires.IsZero() || gone.Expires.After(epoch) { // RFC 6265 5.2.1, for those that never learned Max-Age
						t.Errorf("%s does not go: %s", gone.Name, gone.Raw)
					}
				}
				attributes := func(c *http.Cookie) string {
					return fmt.Sprint(c.Path, c.Domain, c.Secure, c.HttpOnly, c.SameSite, c.Partitioned)
				}
				for _, c := range kept {
					for _, gone := range b.last {
						if c.Name == gone.Name && attributes(c) != attributes(gone) {
							t.Errorf("set with   %s\ncleared with %s", c.Raw, gone.Raw)
						}
					}
				}
			})
		}
	}
}

func TestClearLeavesWhatWasNotBrought(t *testing.T) {
	g := newGate(t)
	cookies := g.cookie.Cut(http.Header{"Cookie": {"gatehouse=planted; __Secure-gatehouse=foreign; __Host-other=x; __Host-gatehouse_a_s=x"}})
	answer := httptest.NewRecorder()
	if err := g.Clear(answer, cookies, app); err != nil {
		t.Fatal(err)
	}
	if got := answer.Header()["Set-Cookie"]; got != nil {
		t.Errorf("cleared %q", got)
	}
	answer = httptest.NewRecorder()
	if err := g.cookie.ClearAttempt(answer, app, cookies, "another"); err != nil || answer.Header()["Set-Cookie"] != nil {
		t.Error("cleared an attempt that was not brought")
	}
}

func TestOneLineForOneCookie(t *testing.T) {
	answer := httptest.NewRecorder()
	answer.Header().Add("Set-Cookie", "__Host-gatehouse_fx=the application's")
	config := CookieConfig{}
	for _, err := range []error{
		config.SetSmall(answer, app, Finished, "1", time.Minute),
		config.SetSmall(answer, app, Hint, "h", time.Minute),
		config.SetSmall(answer, app, Finished, "2", time.Minute),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	lines := answer.Header()["Set-Cookie"]
	if len(lines) != 3 || !strings.Contains(lines[0], "fx=") || !strings.Contains(lines[1], "_h=h") || !strings.Contains(lines[2], "_f=2") {
		t.Errorf("%q", lines)
	}
}

// P08, P37: from one byte to more than fits, the cookies hold what was put in, or
// say loudly that they cannot.
func TestParts(t *testing.T) {
	config := CookieConfig{Persist: true}
	largest := 0
	b := newBrowser(t, app)
	for size := 1; size < 20_000; size++ {
		if size > 4300 && size < 7600 {
			size += 90
		}
		value := strings.Repeat("v", size)
		answer := httptest.NewRecorder()
		err := config.setSession(answer, app, b.cut(config), value, 400*24*time.Hour)
		if errors.Is(err, ErrTooLarge) {
			if len(answer.Header()) != 0 {
				t.Fatal("a session that is too large sets cookies")
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b.receive(answer)
		if got, err := b.cut(config).session(app); err != nil || got != value {
			t.Fatalf("%d bytes: read %d bytes, %v", size, len(got), err)
		}
		if count := len(b.cookies); (size < 4000 && count != 1) || (size > 4050 && count != 2) {
			t.Fatalf("%d bytes in %d cookies", size, count)
		}
		largest = size
	}
	if largest < 7900 {
		t.Errorf("at most %d bytes fit", largest)
	}
	small := httptest.NewRecorder()
	if err := config.setSession(small, app, b.cut(config), "v1.small", time.Hour); err != nil {
		t.Fatal(err)
	}
	b.receive(small)
	if len(b.cookies) != 1 {
		t.Errorf("a second cookie that is not needed stays: %v", b.cookies)
	}
}

// P37: whatever happens to the two cookies, it is a session or no session.
func TestTornParts(t *testing.T) {
	g := newGate(t)
	large := alice()
	large.Claims["large"] = noise(3000)
	one, two := newBrowser(t, app), newBrowser(t, app)
	g.signIn(one, large)
	large.Claims["large"] = noise(3000)
	g.signIn(two, large)
	small := newBrowser(t, app)
	g.signIn(small, alice())
	const first, second = "__Host-gatehouse", "__Host-gatehouse_2"
	tests := []struct {
		name  string
		parts map[string]string
		want  error
	}{
		{"both", map[string]string{first: one.cookies[first], second: one.cookies[second]}, nil},
		{"the second is missing", map[string]string{first: one.cookies[first]}, ErrUnreadable},
		{"the first is missing", map[string]string{second: one.cookies[second]}, ErrNone},
		{"swapped", map[string]string{first: one.cookies[second], second: one.cookies[first]}, ErrUnreadable},
		{"of two sessions", map[string]string{first: one.cookies[first], second: two.cookies[second]}, ErrUnreadable},
		{"the second cut off", map[string]string{first: one.cookies[first], second: one.cookies[second][1:]}, ErrUnreadable},
		{"the first cut off", map[string]string{first: one.cookies[first][:100], second: one.cookies[second]}, ErrUnreadable},
		{"joined in one", map[string]string{first: strings.TrimPrefix(one.cookies[first], twoParts) + one.cookies[second]}, nil},
		{"a second one left over from before", map[string]string{first: small.cookies[first], second: one.cookies[second]}, nil},
		{"another count of parts", map[string]string{first: "99999999." + one.cookies[first], second: one.cookies[second]}, ErrUnreadable}, // SEC-104
		{"empty", map[string]string{first: ""}, ErrUnreadable},
		{"only the mark", map[string]string{first: twoParts, second: ""}, ErrUnreadable},
		{"a foreign cookie of this name", map[string]string{first: "eyJhbGciOiJub25lIn0.e30."}, ErrUnreadable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBrowser(t, app)
			b.cookies = test.parts
			g.t = t
			if _, err := g.load(b); !errors.Is(err, test.want) || (errors.Is(err, ErrNone) && test.want != ErrNone) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	for _, name := range []string{first, second} {
		t.Run(name+" twice", func(t *testing.T) {
			header := one.header() + "; " + name + "=" + one.cookies[name]
			_, err := g.Load(t.Context(), g.cookie.Cut(http.Header{"Cookie": {header}}), app)
			if !errors.Is(err, ErrUnreadable) || !errors.Is(err, ErrDuplicate) {
				t.Errorf("%v, want ErrUnreadable and ErrDuplicate", err)
			}
		})
	}
}

func TestCookieConfigRefuses(t *testing.T) {
	for name, config := range map[string]CookieConfig{
		"name with a space": {Name: "a b"}, "name with =": {Name: "a="}, "name with ;": {Name: "a;"},
		"prefix in the name": {Name: "__Host-gate"}, "other prefix in the name": {Name: "__Secure-gate"},
		"domain with a dot before": {Domain: ".example.com"}, "domain in capitals": {Domain: "Example.com"},
		"domain with a port": {Domain: "example.com:8443"}, "domain with an attribute": {Domain: "example.com; Path=/x"},
		"SameSite of no meaning": {SameSite: 17}, "SameSite default": {SameSite: http.SameSiteDefaultMode},
	} {
		if _, err := NewManager(Config{Keys: &testKeys{}, Cookie: config}); !errors.Is(err, ErrCookie) {
			t.Errorf("%s: %v, want ErrCookie", name, err)
		}
	}
	big := strings.Repeat("x", 5000)
	if err := (CookieConfig{}).SetSmall(httptest.NewRecorder(), app, Hint, big, time.Minute); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a hint of 5000 bytes: %v, want ErrTooLarge", err)
	}
	if err := (CookieConfig{}).SetSmall(httptest.NewRecorder(), app, Hint, "a;b", time.Minute); !errors.Is(err, ErrCookie) {
		t.Errorf("a value that ends the cookie: %v, want ErrCookie", err)
	}
}

// P03: attempts neither pile up nor lose the newest.
func TestAttempts(t *testing.T) {
	for name, size := range map[string]int{"small ones": 40, "the usual": 280, "large ones": 1500} {
		t.Run(name, func(t *testing.T) {
			config := CookieConfig{}
			b := newBrowser(t, app)
			for i := range 50 {
				state, sealed := fmt.Sprintf("%07d-x", i), strings.Repeat("s", size)
				answer := httptest.NewRecorder()
				if err := config.SetAttempt(answer, app, b.cut(config), state, sealed, 10*time.Minute, i%2 == 0); err != nil {
					t.Fatal(err)
				}
				b.receive(answer)
				if got, err := b.cut(config).Attempt(app, state); err != nil || got != sealed {
					t.Fatalf("attempt %d: %q, %v", i, got, err)
				}
				if len(b.cookies) > 12 || len(b.header()) > 4096 {
					t.Fatalf("%d attempts, %d bytes", len(b.cookies), len(b.header()))
				}
				if i > 0 && len(b.cookies) < 2 {
					t.Fatalf("attempt %d displaced one that it had room beside", i)
				}
			}
			for i := 50 - len(b.cookies); i < 50; i++ { // those that stay are the newest
				if _, err := b.cut(config).Attempt(app, fmt.Sprintf("%07d-x", i)); err != nil {
					t.Errorf("attempt %d is gone: %v", i, err)
				}
			}
		})
	}
}

func TestAttemptRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		state, sealed string
		want          error
	}{
		"no state":                       {"", "v", ErrCookie},
		"a state that is no cookie name": {"a;b", "v", ErrCookie},
		"a state that adds an attribute": {"a=b", "v", ErrCookie},
		"a state of 129 bytes":           {strings.Repeat("a", 129), "v", ErrCookie},
		"an attempt of 4096 bytes":       {"a", strings.Repeat("v", 4096), ErrTooLarge},
	} {
		answer := httptest.NewRecorder()
		if err := (CookieConfig{}).SetAttempt(answer, app, Cookies{}, test.state, test.sealed, time.Minute, false); !errors.Is(err, test.want) || len(answer.Header()) != 0 {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestAttemptSetTwiceIsOne(t *testing.T) {
	config, b := CookieConfig{}, newBrowser(t, app)
	for range 2 {
		answer := httptest.NewRecorder()
		if err := config.SetAttempt(answer, app, b.cut(config), "a", strings.Repeat("v", 3000), time.Minute, false); err != nil {
			t.Fatal(err)
		}
		b.receive(answer)
	}
	if len(b.cookies) != 1 {
		t.Errorf("%v", b.cookies)
	}
}

// A name that cannot be ours, planted among the oldest, stops no sign-in.
func TestOddAttemptNames(t *testing.T) {
	header := "__Host-gatehouse_a_!\"(),=x; __Host-gatehouse_a_=x; "
	for i := range 13 {
		header += fmt.Sprintf("__Host-gatehouse_a_%04d=x; ", i)
	}
	answer := httptest.NewRecorder()
	brought := CookieConfig{}.Cut(http.Header{"Cookie": {header}})
	if err := (CookieConfig{}).SetAttempt(answer, app, brought, "9999", "v", time.Minute, false); err != nil {
		t.Error(err)
	}
	if lines := answer.Header()["Set-Cookie"]; len(lines) != 3 {
		t.Errorf("%q", lines)
	}
}

// A request that brings thousands of attempts does not get thousands cleared.
func TestEvictionIsBounded(t *testing.T) {
	var header strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&header, "__Host-gatehouse_a_%04d=x; ", i)
	}
	answer := httptest.NewRecorder()
	brought := CookieConfig{}.Cut(http.Header{"Cookie": {header.String() + "__Host-gatehouse_a_a b=x"}})
	if err := (CookieConfig{}).SetAttempt(answer, app, brought, "9999", "v", time.Minute, false); err != nil {
		t.Fatal(err)
	}
	if got := len(answer.Header()["Set-Cookie"]); got != maxEvictions+1 {
		t.Errorf("%d cookies set, want %d", got, maxEvictions+1)
	}
}

// A small cookie goes with the attributes that it was set with.
func TestClearSmall(t *testing.T) {
	set, cleared := httptest.NewRecorder(), httptest.NewRecorder()
	config := CookieConfig{}
	if err := errors.Join(config.SetSmall(set, app, Form, "v", time.Minute), config.ClearSmall(cleared, app, Form)); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, app)
	b.receive(set)
	if b.receive(cleared); len(b.last) != 1 || len(b.cookies) != 0 {
		t.Errorf("cleared by %v, left: %v", b.last, b.cookies)
	}
}
