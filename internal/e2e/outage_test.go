package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// P01: the provider is down at start, comes up, and goes away again: the server starts, sign-ins answer 503 and then
// work, and who is signed in never notices.
func TestProviderIsAway(t *testing.T) {
	for name, fault := range map[string]func(*testop.Provider){
		"refuses":      (*testop.Provider).Down,
		"answers HTML": faulty(testop.Fault{Status: 200, Body: "<html>maintenance</html>"}),
		"answers 500":  faulty(testop.Fault{Status: 500}),
		"hangs":        faulty(testop.Fault{Hang: true}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
			fault(s.OP)
			s.Caddy = StartCaddy(t, s.fill(strings.Replace(oneSite, "\treverse_proxy", "\thandle /elsewhere {\n\t\trespond elsewhere\n\t}\n\treverse_proxy", 1)))

			b := NewBrowser(t)
			page := b.Step(s.HTTP() + "/")
			if page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" {
				t.Fatalf("a sign-in without provider: %d %v", page.Status, page.Header)
			}
			if strings.Contains(page.Header.Get("Set-Cookie"), "gatehouse") {
				t.Errorf("a cookie was set: %s", page.Header.Get("Set-Cookie"))
			}
			seen(t, b.Navigate(s.HTTP()+"/public/x"))

			s.OP.Behave()
			if name == "refuses" {
				s.OP.Up(t)
			}
			// P01 wants five seconds, which authflow's own tests hold by a clock that nobody else slows down.
			if !eventually(20*time.Second, func() bool { return b.Step(s.HTTP()+"/").Status == http.StatusSeeOther }) {
				t.Fatal("the provider is back, and sign-ins do not work")
			}
			seen(t, b.Navigate(s.HTTP()+"/"))

			fault(s.OP)
			for range 5 {
				if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice" {
					t.Error("who is signed in notices")
				}
			}
		})
	}
}

func faulty(fault testop.Fault) func(*testop.Provider) {
	return func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Discovery: fault, testop.JWKS: fault, testop.Token: fault, testop.UserInfo: fault}
		})
	}
}

// P14: twenty reloads, some with changed scopes and lifetimes, and a restart of the process: nobody is signed out, a
// sign-in that is under way finishes, and no goroutine is left over.
func TestReloadsAndRestart(t *testing.T) {
	caddyfile := func(i int) string {
		return fmt.Sprintf(`{
	gatehouse {
		provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			scopes        openid profile email %s
			user_claim    preferred_username
		}
		session {
			lifetime %dh
		}
	}
}
http://localhost:{$PORT} {
	header X-Round %d
	gatehouse
	reverse_proxy {$APP} {
		transport http {
			keepalive off # Caddy itself leaves an idle connection to the upstream at each reload
		}
	}
}
`, []string{"", "groups"}[i/2%2], 12+i/4, i)
	}
	s := StartSite(t, caddyfile(0))
	b, late := NewBrowser(t), NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	underWay := late.Step(s.HTTP() + "/late").Header.Get("Location")
	before := s.goroutines()
	for i := 1; i <= 20; i++ {
		s.Reload(s.fill(caddyfile(i)))
		page := b.Navigate(s.HTTP() + "/")
		if seen(t, page).Header.Get("X-Forwarded-User") != "alice" || len(page.Hops) != 1 {
			t.Fatalf("signed out by reload %d", i)
		}
	}
	if !eventually(20*time.Second, func() bool { return s.goroutines() <= before+2 }) {
		t.Errorf("%d goroutines before 20 reloads, %d after (%d discoveries):\n%s", before, s.goroutines(), s.OP.Calls(testop.Discovery), s.goroutineProfile())
	}
	s.Restart(s.fill(caddyfile(20)))
	page := b.Navigate(s.HTTP() + "/")
	if seen(t, page).Header.Get("X-Forwarded-User") != "alice" || len(page.Hops) != 1 {
		t.Fatal("signed out by the restart")
	}
	if got := seen(t, late.Navigate(underWay)); got.URI != "/late" {
		t.Errorf("the sign-in that was under way arrived at %s", got.URI)
	}
	if calls := s.OP.Calls(testop.Authorization); calls != 2 {
		t.Errorf("%d sign-ins, want 2", calls)
	}
}

// SEC-101, SEC-102: a session that was ended stays ended after a restart, also for a copy of its cookie.
func TestSignOutOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/")
	copied := b.Twin()
	b.Follow(page, "/oauth2/logout")
	s.Restart(s.fill(oneSite))
	wantReason(t, copied.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, ""), http.StatusUnauthorized, "session_ended")
}

// A reload in the middle of a sign-in, and of a refresh: requests of the old configuration end well.
func TestReloadWhileSigningIn(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	callback := b.Step(b.Step(s.HTTP() + "/wanted").Header.Get("Location")).Header.Get("Location")
	s.OP.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: {Delay: time.Second}} })
	done := make(chan *Page, 1)
	go func() { done <- b.Step(callback) }()
	if !eventually(20*time.Second, func() bool { return s.OP.Calls(testop.Token) == 1 }) {
		t.Fatal("the code is not exchanged")
	}
	s.Reload(s.fill(strings.Replace(oneSite, "/public/*", "/open/*", 1)))
	if page := <-done; page.Status != http.StatusSeeOther || page.Header.Get("Location") != "/wanted" {
		t.Fatalf("the sign-in ended with %d %s", page.Status, reason(page))
	}
	seen(t, b.Navigate(s.HTTP()+"/"))
	if strings.Contains(s.Logs(), "panic") {
		t.Error("something panicked")
	}
}

// A configuration that cannot mean what it says is refused, and never opens a door (SEC-11).
func TestConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	op := testop.Start(t)
	s := &Site{OP: op, App: StartApplication(t), t: t}
	for name, tt := range map[string]struct{ caddyfile, says string }{
		"secret file that is not there": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret {file./nonexistent/secret}
	}
}`, "/nonexistent/secret"},
		"secret variable that is not set": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret {env.NOT_SET_ANYWHERE}
	}
}`, "client_secret"},
		"issuer over plain http": {`http://localhost:{$PORT} {
	gatehouse http://id.example.com {
		client_id app
		client_secret x
	}
}`, "https"},
		"public issuer without rule": {`http://localhost:{$PORT} {
	gatehouse https://accounts.google.com {
		client_id app
		client_secret x
	}
}`, "allow any"},
		"cookie domain that is a public suffix": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		session {
			cookie_domain co.uk
		}
	}
}`, "public suffix"},
		"two sites that share a cookie, with other lifetimes": {`http://a.localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		session {
			cookie_domain example.com
		}
	}
}
http://b.localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		session {
			cookie_domain example.com
			lifetime 3h
		}
	}
}`, "must agree"},
		"rule on a claim of any of several providers": {`{
	gatehouse {
		provider one {
			issuer {$ISSUER}
			client_id x
			client_secret x
		}
		provider two {
			issuer https://two.example.com
			client_id x
			client_secret x
		}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		allow org admins
	}
}`, "provider <name>"},
		"two sites that share a cookie by another spelling": {`http://a.localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		session {
			cookie_domain example.com
		}
	}
}
http://b.localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		session {
			cookie_domain .Example.com
			store memory
		}
	}
}`, "must agree"},
		"deny of a group of no provider": {twoProviders + `
http://localhost:{$PORT} {
	gatehouse {
		deny groups contractors
	}
}`, "one:contractors"},
		"deny of a user of no provider, in a block": {twoProviders + `
http://localhost:{$PORT} {
	gatehouse {
		deny {
			provider one
			user mallory
		}
	}
}`, "one:mallory"},
		"rule on a provider that is none": {twoProviders + `
http://localhost:{$PORT} {
	gatehouse {
		allow provider three
	}
}`, "three"},
		"expression of any of several providers": {twoProviders + `
http://localhost:{$PORT} {
	gatehouse {
		allow expression "user == 'provider'"
	}
}`, "by provider"},
		"rule with a variable that is not set": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		deny groups {env.NOT_SET_ANYWHERE}
	}
}`, "NOT_SET_ANYWHERE"},
		"claim under a known name": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		claim user from upn
	}
}`, "known name"},
		"two headers that are one to a CGI application": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		header X_Forwarded_User name
	}
}`, "twice"},
		"a secret with braces is not shown": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret "{s3cr3t}"
	}
}`, "client_secret cannot be read"},
		"expression that does not compile": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		allow expression "claims.x =="
	}
}`, "expression"},
		"header that is none": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		header "X Y" name
	}
}`, "X Y"},
		"header that breaks the request": {`http://localhost:{$PORT} {
	gatehouse {$ISSUER} {
		client_id app
		client_secret x
		header Content-Length name
	}
}`, "Content-Length"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := CaddyFails(t, s.fill(tt.caddyfile))
			if !strings.Contains(said, tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, said)
			}
			if strings.Contains(said, "s3cr3t") {
				t.Errorf("it shows the secret:\n%s", said)
			}
		})
	}
}

const twoProviders = `{
	gatehouse {
		provider one {
			issuer {$ISSUER}
			client_id x
			client_secret x
		}
		provider two {
			issuer https://two.example.com
			client_id x
			client_secret x
		}
	}
}`
