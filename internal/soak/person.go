package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// person is somebody with a browser, who is signed in or not and knows it.
type person struct {
	*world
	options
	name   string
	random *rand.Rand

	browser *browser  // nil = signed out
	since   time.Time // when the sign-in began
	leaving bool      // a sign-out was asked for, and nobody has said yes
	ghosts  []ghost
	barred  time.Time // until then a logout token of the subject would end a new session too
}

// ghost is a copy of the cookies of a session that has ended.
type ghost struct {
	browser *browser
	ended   time.Time
	within  time.Duration // how long after it a replica may not know
	how     string
}

// subject is who the provider says it is.
func (p *person) subject() string { return "sub-" + p.name }

// step does one thing.
func (p *person) step() {
	p.book.add("steps")
	time.Sleep(time.Duration(10+p.random.IntN(200)) * time.Millisecond)
	i, what := p.random.IntN(len(p.gates)), p.random.IntN(100)
	switch {
	case what < 5:
		p.stranger(i)
	case what < 25 && len(p.ghosts) > 0:
		p.haunt(i, p.ghosts[p.random.IntN(len(p.ghosts))])
	case p.browser == nil:
		p.signIn(i)
	case p.leaving, what < 26:
		p.endedByProvider(i)
	case what < 27:
		p.signOut(i)
	case what < 42:
		p.burst(2 + p.random.IntN(8))
	case what < 60:
		p.live(i, p.browser.send(p.book.Now, navigate, p.at(i)))
	default:
		p.live(i, p.browser.send(p.book.Now, fetch, p.at(i)))
	}
}

// at is a page of a gate.
func (p *person) at(i int) string { return "http://localhost:" + p.gates[i].port + "/x" }

// signIn begins with an empty browser. It may fail while anything is wrong.
func (p *person) signIn(i int) {
	b, began := newBrowser(), p.book.Now()
	if began.Before(p.barred) {
		return
	}
	b.set("127.0.0.1", "testop_user", p.name)
	a := b.open(p.book.Now, p.at(i))
	switch {
	case a.err == nil && a.status == http.StatusOK && a.body == p.name:
		p.book.add("sign-ins")
		p.browser, p.since, p.leaving = b, began, false
	case a.err == nil && a.status == http.StatusOK:
		p.book.violation("gate %d: %s signs in and is %q", i, p.name, a.body)
	case p.excused(i, a, providerDown, providerSlow, providerBroken):
		p.book.add("sign-ins that a fault stopped")
	default:
		p.book.violation("gate %d: %s cannot sign in, and nothing is wrong: %s", i, p.name, a)
	}
}

// burst is a page with scripts: parallel requests at both gates, with one jar.
func (p *person) burst(n int) {
	gates := make([]int, n)
	for k := range gates {
		gates[k] = p.random.IntN(len(p.gates))
	}
	answers := make([]answer, n)
	var all sync.WaitGroup
	for k, i := range gates {
		all.Go(func() { answers[k] = p.browser.send(p.book.Now, fetch, p.at(i)) })
	}
	all.Wait()
	p.book.add("bursts")
	for k, a := range answers {
		if p.browser != nil {
			p.live(gates[k], a)
		}
	}
}

// live judges an answer to somebody who is signed in.
func (p *person) live(i int, a answer) {
	p.book.add("requests with a session")
	switch {
	case a.err == nil && a.status == http.StatusOK && a.body == p.name:
	case a.err == nil && a.status == http.StatusOK:
		p.book.violation("gate %d: %s is taken for %q", i, p.name, a.body)
	case a.err == nil && (a.status == http.StatusUnauthorized || a.status/100 == 3):
		if p.book.lostInFlight(p.subject(), p.since, p.recovery) {
			p.book.add(lost)
		} else {
			p.book.violation("gate %d: the session of %s, %s old, is gone: %s", i, p.name, a.from.Sub(p.since).Round(time.Millisecond), a)
		}
		p.browser = nil
	case p.excused(i, a):
		p.book.add(refused + a.kind())
	default:
		p.book.violation("gate %d: %s is refused, and nothing is wrong: %s", i, p.name, a)
	}
}

// excused tells whether a refusal is a fault's: one of that gate or of Redis, or of
// the further kinds, that touched the request or was over a moment before.
func (p *person) excused(i int, a answer, kinds ...string) bool {
	kinds = append(kinds, killGate, freezeGate, restartGate, killRedis, freezeRedis, networkSlow, networkCuts, networkSwallows)
	if a.err != nil { // a reload closes the sockets of before, with the connections that wait there
		kinds = append(kinds, reload)
	}
	return p.book.during(a.from.Add(-p.recovery), a.to, i, kinds...)
}

// stranger has no cookie.
func (p *person) stranger(i int) {
	p.book.add("requests without a session")
	if a := newBrowser().send(p.book.Now, fetch, p.at(i)); a.passes() {
		p.book.violation("gate %d: a stranger passes: %s", i, a)
	}
}

// haunt uses the cookies of a session that has ended, and keeps what is answered.
func (p *person) haunt(i int, g ghost) {
	a := g.browser.send(p.book.Now, fetch, p.at(i))
	p.book.add("requests with an ended session")
	if !a.passes() {
		return
	}
	if age := a.from.Sub(g.ended); p.book.quiet(g.ended, a.from, g.within) {
		p.book.violation("gate %d: the session of %s, %s ago %s, passes: %s", i, p.name, age.Round(time.Millisecond), g.how, a)
		return
	}
	p.book.add(early)
}

// signOut leaves by the gate's own link.
func (p *person) signOut(i int) {
	copied := p.browser.copy()
	a := p.browser.send(p.book.Now, navigate, strings.TrimSuffix(p.at(i), "x")+"oauth2/logout")
	switch {
	case a.err == nil && (a.status/100 == 3 || a.status == http.StatusOK):
		if next := a.header.Get("Location"); next != "" {
			p.browser.open(p.book.Now, next) // the provider may be down
		}
		p.end(copied, a.to, p.within, "signed out")
	case a.status == http.StatusServiceUnavailable && a.reason() == "store_unavailable" && p.excused(i, a):
		p.book.add("sign-outs that replicas learn of later")
		p.end(copied, a.to, p.within+p.recovery, "signed out without Redis")
	case p.excused(i, a):
		p.book.add("sign-outs that a fault stopped")
		p.browser, p.leaving = copied, true
	default:
		p.book.violation("gate %d: %s cannot sign out, and nothing is wrong: %s", i, p.name, a)
		p.browser, p.leaving = copied, true
	}
}

// endedByProvider is a logout token at a gate, a new one each time until one is taken.
func (p *person) endedByProvider(i int) {
	token, err := p.provider.Sign(p.provider.LogoutTokenClaims(p.subject(), "", nil), testop.Edit{"typ": "logout+jwt"})
	if err != nil {
		p.book.violation("signing a logout token: %v", err)
		return
	}
	// ID tokens are issued in whole seconds: one of the second of the logout token may be older than that.
	p.leaving, p.barred = true, p.book.Now().Truncate(time.Second).Add(time.Second)
	a := answer{from: p.book.Now()}
	a.take(p.browser.client.PostForm(strings.TrimSuffix(p.at(i), "x")+"oauth2/backchannel-logout", url.Values{"logout_token": {token}}))
	a.to = p.book.Now()
	switch {
	case a.err == nil && a.status == http.StatusOK:
		p.end(p.browser, a.to, p.within, "ended by the provider")
	case p.excused(i, a, providerDown, providerSlow, providerBroken):
		p.book.add("logout tokens that a fault stopped")
	default:
		p.book.violation("gate %d: a logout token is refused, and nothing is wrong: %s", i, a)
	}
}

// end makes a ghost of a session; the last five of each person are kept.
func (p *person) end(b *browser, at time.Time, within time.Duration, how string) {
	p.book.add("logouts: " + how)
	p.ghosts = append(p.ghosts, ghost{b, at, within, how})
	p.ghosts = slices.Delete(p.ghosts, 0, max(len(p.ghosts)-5, 0))
	p.browser, p.leaving = nil, false
}

// passes tells whether the application has answered.
func (a answer) passes() bool { return a.err == nil && a.status == http.StatusOK }

// kind is what an answer counts as.
func (a answer) kind() string {
	if a.err != nil {
		return "no answer"
	}
	return fmt.Sprint(a.status)
}

// String is for a violation.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	to, _, _ := strings.Cut(a.header.Get("Location"), "?") // the rest is long and random
	return fmt.Sprintf("%d %s %s, after %s", a.status, a.reason(), to, a.to.Sub(a.from).Round(time.Millisecond))
}
