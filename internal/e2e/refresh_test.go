package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// shortTokens has access tokens that are due after a moment.
func shortTokens(p *testop.Provider) {
	p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = time.Second })
}

var stores = map[string]string{
	"cookie": oneSite,
	"memory": strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tstore memory\n\t\t}\n", 1),
}

// P04: a hundred parallel requests when the access token is due are one refresh; nobody is signed out, although the
// provider rotates refresh tokens and revokes the family at reuse, and nobody waits longer than the provider does.
func TestRefreshOnce(t *testing.T) {
	for store, caddyfile := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			refreshOnce(t, StartSite(t, caddyfile))
		})
	}
}

// refreshOnce sends a hundred requests of one browser at once to processes that share sessions, when its token is due: in
// rounds, until one was in time, and then once more with what that round has given.
func refreshOnce(t *testing.T, sites ...*Site) {
	t.Helper()
	const (
		call    = 300 * time.Millisecond // of the provider, for a refresh
		slack   = 100 * time.Millisecond // on top of it, for every answer
		rounds  = 6
		expires = 2 * time.Second
		long    = 12 * time.Second // the hundred requests of a round take less
	)
	op := sites[0].OP
	next := func(life time.Duration, call time.Duration) {
		op.Set(func(b *testop.Behaviour) {
			b.AccessTokenLifetime, b.Faults = life, map[string]testop.Fault{testop.Token: {Delay: call}}
		})
	}
	var b *Browser
	// A machine that has other work keeps requests waiting, and the test's own clients. So the best of a few rounds counts,
	// and what a hundred take for which nothing is due, in the best, is allowed on top. What a gate waits for too long, it
	// waits for in every round.
	late, usual := time.Hour, time.Hour
	for round := 1; ; round++ {
		next(expires, 0)
		b = NewBrowser(t)
		for _, s := range sites {
			seen(t, b.Navigate(s.HTTP()+"/"))
		}
		next(long, call)
		time.Sleep(expires + 100*time.Millisecond) // the token's life, which only passes
		last := refreshedAtOnce(t, b, sites)
		late = min(late, last.Sub(op.Answered(testop.Token)))
		start := time.Now()
		usual = min(usual, hundredRequests(t, b, sites).Sub(start))
		t.Logf("round %d: the last of a hundred answers came %s after the provider's at best; without a refresh it takes %s", round, late, usual)
		if late <= slack+usual {
			break
		}
		if round == rounds {
			t.Errorf("in none of %d rounds every answer came within %s after the provider's", rounds, slack)
			break
		}
	}
	next(time.Hour, 0)
	time.Sleep(long + 100*time.Millisecond)
	refreshedAtOnce(t, b, sites)
	if op.Reuses() != 0 {
		t.Errorf("a spent refresh token was used %d times", op.Reuses())
	}
}

// refreshedAtOnce are a hundred requests of a browser whose token is due, with one call at the token endpoint. It returns
// when the last answer came.
func refreshedAtOnce(t *testing.T, b *Browser, sites []*Site) time.Time {
	t.Helper()
	op := sites[0].OP
	before := op.Calls(testop.Token)
	last := hundredRequests(t, b, sites)
	if calls := op.Calls(testop.Token) - before; calls != 1 {
		t.Errorf("%d calls at the token endpoint, want 1", calls)
	}
	seen(t, sites[len(sites)-1].fetch(b)) // takes the new cookie
	return last
}

// hundredRequests are a hundred at once, to all sites in turn, each on a connection of its own. All pass. It returns when
// the last answer came.
func hundredRequests(t *testing.T, b *Browser, sites []*Site) time.Time {
	t.Helper()
	var answered [100]time.Time
	var wg sync.WaitGroup
	for i := range answered {
		twin, s := b.Twin(), sites[i%len(sites)]
		wg.Go(func() {
			page := s.fetch(twin)
			answered[i] = time.Now()
			if page.Status != http.StatusOK {
				t.Errorf("%d %s", page.Status, reason(page))
			}
		})
	}
	wg.Wait()
	return slices.MaxFunc(answered[:], time.Time.Compare)
}

// waitReason makes requests until one is refused as it should be: one that would wait long for a refresh does not.
func (s *Site) waitReason(b *Browser, status int, code string) {
	s.t.Helper()
	var page *Page
	eventually(10*time.Second, func() bool {
		page = b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
		return page.Status == status
	})
	wantReason(s.t, page, status, code)
}

// P05: a refresh that fails for now leaves the session; invalid_grant ends it at once, with every copy of its cookie.
func TestRefreshFails(t *testing.T) {
	t.Parallel()
	for store, caddyfile := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, caddyfile, shortTokens)
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			for _, fault := range []testop.Fault{{Status: 500}, {Status: 429}, {Abort: true}} {
				s.OP.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: fault} })
				time.Sleep(1100 * time.Millisecond)
				if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Status != http.StatusOK {
					t.Errorf("%+v: %d %s", fault, page.Status, reason(page))
				}
			}
			s.OP.Set(func(b *testop.Behaviour) { b.Faults = nil; b.RefreshError = "invalid_grant" })
			copied := b.Twin()
			ended := eventually(15*time.Second, func() bool {
				return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status == http.StatusUnauthorized
			})
			if !ended {
				t.Fatal("invalid_grant does not end the session")
			}
			code := "session_ended"
			if store == "memory" {
				code = "session_unreadable" // it is gone
			}
			wantReason(t, copied.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, code)
			s.OP.Behave()
			seen(t, b.Navigate(s.HTTP()+"/"))
		})
	}
}

// P05: an answer of the token endpoint that speaks of the client or the network, not of the grant, ends no session.
func TestRefreshIsAnsweredByNobody(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html"}}
	for name, behave := range map[string]func(*testop.Behaviour){
		"invalid_client":      func(b *testop.Behaviour) { b.RefreshError = "invalid_client" },
		"unauthorized_client": func(b *testop.Behaviour) { b.RefreshError = "unauthorized_client" },
		"404 page": func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Token: {Status: 404, Header: html, Body: "<p>gone"}}
		},
		"403 page": func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Token: {Status: 403, Header: html, Body: "<p>blocked"}}
		},
		"200 page": func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Token: {Status: 200, Header: html, Body: "<p>welcome"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, oneSite, shortTokens)
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			s.OP.Set(behave)
			time.Sleep(1100 * time.Millisecond)
			for range 3 {
				if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Status != http.StatusOK {
					t.Fatalf("%d %s", page.Status, reason(page))
				}
			}
		})
	}
}

// P13-like for requests: a provider that hangs holds up nobody who is signed in for longer than a moment.
func TestRefreshHangs(t *testing.T) {
	s := StartSite(t, oneSite, shortTokens)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.OP.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: {Hang: true}} })
	time.Sleep(1100 * time.Millisecond)
	for range 3 {
		start := time.Now()
		if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Status != http.StatusOK {
			t.Fatalf("%d %s", page.Status, reason(page))
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("a request waited %s", took)
		}
	}
}

// A refresh reaches the browser whatever becomes of the request that caused it: else the browser would be left with a
// generation that counts no more.
func TestRefreshIsDeliveredWithARefusal(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(oneSite, "public /public/*", "deny /forbidden user alice", 1), shortTokens)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	before := b.Jar.Cookie("gatehouse").Value
	time.Sleep(1100 * time.Millisecond)
	delivered := eventually(10*time.Second, func() bool { // a slow refresh is delivered with a later answer
		wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/forbidden", nil, ""), http.StatusForbidden, "denied")
		return b.Jar.Cookie("gatehouse").Value != before
	})
	if !delivered {
		t.Error("the refreshed session was not delivered")
	}
}

// P34, P31: without an ID token at refresh userinfo alone speaks: what it does not tell any more is gone, and an address
// that it tells is not vouched for by what was said of another.
func TestRefreshByUserinfoAlone(t *testing.T) {
	t.Parallel()
	yes := true
	s := StartSite(t, strings.Replace(oneSite, "public /public/*", "allow groups staff", 1), func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}, Email: "alice@example.com", EmailVerified: &yes}
		p.Set(func(b *testop.Behaviour) {
			b.AccessTokenLifetime, b.ThinIDToken, b.RefreshWithoutIDToken = 2*time.Second, true, true
		})
	})
	b := NewBrowser(t)
	if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-Email") != "alice@example.com" {
		t.Errorf("signed in: %v", identityOf(got))
	}
	s.OP.Set(func(b *testop.Behaviour) {
		b.UserInfo = testop.Edit{"email": "ceo@example.com", "email_verified": testop.Absent}
	})
	time.Sleep(2100 * time.Millisecond)
	var got Seen
	gone := eventually(10*time.Second, func() bool {
		got = seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
		return got.Header.Get("X-Forwarded-Email") == ""
	})
	if !gone {
		t.Errorf("vouched for: %v", identityOf(got))
	}
	s.OP.Set(func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"groups": testop.Absent} })
	time.Sleep(2100 * time.Millisecond)
	s.waitReason(b, http.StatusForbidden, "denied")
}

// What a refresh cannot bring is not asked for again and again.
func TestRefreshThatBringsNothing(t *testing.T) {
	options := func(p *testop.Provider) { p.Set(func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true }) }
	noUserinfo := strings.Replace(oneSite, "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			userinfo      off
		}`, 1)
	s := StartSite(t, noUserinfo, options)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.Reload(s.fill(strings.Replace(noUserinfo, "public /public/*", "header X-Team team", 1)))
	before := s.OP.Calls(testop.Token)
	for range 10 {
		wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "claims_changed")
	}
	if calls := s.OP.Calls(testop.Token) - before; calls != 1 {
		t.Errorf("%d refreshes", calls)
	}
	seen(t, b.Navigate(s.HTTP()+"/"))
}

// A configuration that reads the user or a claim from elsewhere is seen by sessions that live.
func TestConfigurationReadsOtherwise(t *testing.T) {
	t.Parallel()
	with := func(provider, gate string) string {
		return strings.NewReplacer("{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			scopes        openid profile email groups
			`+provider+`
		}`, "public /public/*", gate).Replace(oneSite)
	}
	s := StartSite(t, with("user_claim sub", "allow groups staff"), func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}, Extra: map[string]any{"upn": "alice@corp", "roles": []string{"none"}}}
	})
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.Reload(s.fill(with("user_claim upn", "allow groups staff")))
	if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-User") != "alice@corp" {
		t.Errorf("user: %v", identityOf(got))
	}
	s.Reload(s.fill(with("claim groups from roles", "allow groups staff")))
	wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
}

// SEC-70: what a refresh brings of somebody else is not used, and ends the session.
func TestRefreshOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(*testop.Behaviour){
		"another subject": func(b *testop.Behaviour) { b.RefreshedSubject = "mallory" },
		"another issuer":  func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"iss": "https://evil.example"} },
		"another client":  func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"aud": "other"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, oneSite, shortTokens)
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			s.OP.Set(behave)
			time.Sleep(1100 * time.Millisecond)
			s.waitReason(b, http.StatusUnauthorized, "session_ended")
		})
	}
}

// P34: a group that the provider takes away is gone with the next refresh, and the rules see it.
func TestRefreshedClaimsAreJudged(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(oneSite, "public /public/*", "allow groups staff", 1), shortTokens, staff)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	s.OP.Set(func(b *testop.Behaviour) {
		b.RefreshedIDToken = testop.Edit{"groups": []string{}}
		b.UserInfo = testop.Edit{"groups": []string{}}
	})
	time.Sleep(1100 * time.Millisecond)
	s.waitReason(b, http.StatusForbidden, "denied")
}

// P34, SEC-91: a refreshed ID token takes a group away also where userinfo, which would say the rest, does not answer; what only
// userinfo has told stays meanwhile (P05).
func TestRefreshedClaimsWithoutUserinfo(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.NewReplacer("public /public/*", "allow groups staff\n\t\theader X-Team team", "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			scopes        openid profile email groups
			userinfo      required
		}`).Replace(oneSite), shortTokens, func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}}
		p.Set(func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"team": "red"} })
	})
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	calls := s.OP.Calls(testop.UserInfo)
	s.OP.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.UserInfo: {Status: 503}} })
	time.Sleep(1100 * time.Millisecond)
	eventually(10*time.Second, func() bool {
		seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""))
		return s.OP.Calls(testop.UserInfo) > calls
	})
	time.Sleep(1100 * time.Millisecond)
	if got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")); got.Header.Get("X-Team") != "red" {
		t.Errorf("userinfo is away: %v", got.Header)
	}
	s.OP.Set(func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"groups": []string{}} })
	time.Sleep(1100 * time.Millisecond)
	s.waitReason(b, http.StatusForbidden, "denied")
}

// A claim that the configuration begins to read is learned by a refresh, or by signing in again, once.
func TestConfigurationReadsMore(t *testing.T) {
	t.Parallel()
	more := strings.Replace(oneSite, "public /public/*", "header X-Team team", 1)
	for name, options := range map[string][]func(*testop.Provider){
		"with a refresh token":    nil,
		"without a refresh token": {func(p *testop.Provider) { p.Set(func(b *testop.Behaviour) { b.NoRefreshToken = true }) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, oneSite, append(options, func(p *testop.Provider) {
				p.User = testop.User{Subject: "1", Name: "alice", Extra: map[string]any{"team": "red"}}
			})...)
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			s.Reload(s.fill(more))
			if name == "without a refresh token" {
				wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "claims_changed")
			}
			calls := s.OP.Calls(testop.Token)
			for range 3 {
				if got := seen(t, b.Navigate(s.HTTP()+"/")); got.Header.Get("X-Team") != "red" {
					t.Errorf("X-Team: %q", got.Header.Get("X-Team"))
				}
			}
			if again := s.OP.Calls(testop.Token) - calls; again != 1 {
				t.Errorf("it was learned %d times", again)
			}
		})
	}
}

// P39: the idle timeout and the lifetime end a session when they should, and use keeps it.
func TestIdleAndAbsoluteLifetime(t *testing.T) {
	for _, store := range []string{"cookie", "memory"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tstore "+store+"\n\t\t\tidle_timeout 5s\n\t\t\tlifetime 12s\n\t\t}\n", 1))
			b := NewBrowser(t)
			start := time.Now()
			seen(t, b.Navigate(s.HTTP()+"/"))
			idle := b.Twin()
			for time.Since(start) < 8*time.Second {
				if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Status != http.StatusOK {
					t.Fatalf("in use for %s: %d %s", time.Since(start), page.Status, reason(page))
				}
				time.Sleep(500 * time.Millisecond)
			}
			if store == "cookie" { // the last use stands in the browser that used it
				wantReason(t, idle.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "session_idle")
			}
			if !eventually(15*time.Second, func() bool { return b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "").Status == http.StatusUnauthorized }) {
				t.Error("in use for ever")
			}
			if lived := time.Since(start); lived < 10*time.Second || lived > 20*time.Second {
				t.Errorf("the session lived %s, want 12 s", lived)
			}
		})
	}
}
