package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const matched = `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	@early gatehouse groups staff
	header @early X-Early 1
	gatehouse {
		public /public/*
	}
	@staff gatehouse groups staff
	handle @staff {
		respond staff
	}
	@sealed gatehouse {
		team red
		email_domain example.com
	}
	handle @sealed {
		respond sealed
	}
	@in gatehouse
	handle @in {
		respond in
	}
	respond nobody
}
`

// The matcher knows whom the gate has let pass, and nobody before it has run.
func TestMatcher(t *testing.T) {
	t.Parallel()
	s := StartSite(t, matched, func(p *testop.Provider) {
		p.Users = []testop.User{
			{Subject: "1", Name: "bob", Email: "bob@example.com", EmailVerified: new(true), Extra: map[string]any{"team": "red"}},
			{Subject: "2", Name: "carol", Email: "carol@example.com", EmailVerified: new(false), Extra: map[string]any{"team": "red"}},
			{Subject: "3", Name: "dave"},
		}
	})
	for name, want := range map[string]string{"alice": "staff", "bob": "sealed", "carol": "in", "dave": "in"} {
		b := s.As(NewBrowser(t), name)
		for _, path := range []string{"/", "/public/x"} {
			page := b.Navigate(s.HTTP() + path)
			if page.Status != http.StatusOK || page.Body != want {
				t.Errorf("%s at %s: %d %q, want %s", name, path, page.Status, page.Body, want)
			}
			if page.Header.Get("X-Early") != "" {
				t.Errorf("%s was known before the gate has run", name)
			}
		}
	}
	if page := NewBrowser(t).Navigate(s.HTTP() + "/public/x"); page.Body != "nobody" {
		t.Errorf("without a session: %q", page.Body)
	}
	s.WaitLog("before any gatehouse directive has run")
}

// A claim that a matcher begins to read is learned, as one of a rule is.
func TestMatcherOfANewClaim(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.ReplaceAll(matched, "@staff gatehouse groups staff", "@staff gatehouse acr none"))
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	s.Reload(s.fill(strings.ReplaceAll(matched, "@staff gatehouse groups staff", "@staff gatehouse name alice")))
	if page := b.Navigate(s.HTTP() + "/"); page.Body != "staff" {
		t.Errorf("after the reload: %d %q", page.Status, page.Body)
	}
}

// With several providers a group of one is not that of another.
func TestMatcherOfSeveralProviders(t *testing.T) {
	t.Parallel()
	second := strings.Replace(matched, "{$PROVIDER}", "{$PROVIDER}\n\t\tprovider other {\n\t\t\tissuer https://other.example.com\n\t\t\tclient_id x\n\t\t\tclient_auth none\n\t\t}", 1)
	s := StartSite(t, second)
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/oauth2/login?provider=default&rd=/")
	if page := b.Navigate(s.HTTP() + "/"); page.Status != http.StatusInternalServerError {
		t.Errorf("whose groups they are is not said: %d %q", page.Status, page.Body)
	}
	s.Reload(s.fill(strings.Replace(strings.Replace(second, "@staff gatehouse groups staff", "@staff gatehouse groups default:staff", 1),
		"team red", "provider default\n\t\tteam red", 1)))
	if page := b.Navigate(s.HTTP() + "/"); page.Body != "staff" {
		t.Errorf("its own provider's groups: %d %q", page.Status, page.Body)
	}
}

// A gate's own matchers cannot ask who is signed in: nobody is, before it has decided, and a matcher of nobody would
// open the site, or deny nobody. The request is refused. An inner gate knows whom the outer one has let pass.
func TestMatcherDecidesForNoGateWhoPassesIt(t *testing.T) {
	t.Parallel()
	for name, gate := range map[string]string{
		"directive": "gatehouse @staff",
		"not":       "@others not gatehouse groups staff\n\tgatehouse @others",
		"deny":      "gatehouse {\n\t\tdeny @staff preferred_username alice\n\t}",
		"allow":     "gatehouse {\n\t\tallow @staff preferred_username bob\n\t}",
		"require":   "gatehouse {\n\t\trequire @staff max_age 1h\n\t}",
	} {
		t.Run(name, func(t *testing.T) {
			s := StartSite(t, strings.Replace(matchedGate, "GATE", gate, 1))
			b := NewBrowser(t)
			wantReason(t, b.Navigate(s.HTTP()+"/oauth2/login?rd=/x"), http.StatusInternalServerError, "matcher_failed")
			s.WaitLog("before any gatehouse directive has let the request pass")
		})
	}
	s := StartSite(t, strings.Replace(matchedGate, "GATE", "gatehouse {\n\t\terrors pass\n\t\tunauthenticated reject\n\t}\n\tgatehouse @staff {\n\t\tdeny preferred_username alice\n\t}", 1))
	if page := NewBrowser(t).Navigate(s.HTTP() + "/x"); page.Body != "error for nobody" {
		t.Errorf("handle_errors: %d %q", page.Status, page.Body)
	}
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/oauth2/login?rd=/x")
	if page := b.Navigate(s.HTTP() + "/x"); page.Status != http.StatusForbidden {
		t.Errorf("the inner gate: %d %q", page.Status, page.Body)
	}
	b = s.As(NewBrowser(t), "dave")
	b.Navigate(s.HTTP() + "/oauth2/login?rd=/x")
	if page := b.Navigate(s.HTTP() + "/x"); page.Body != "passed" {
		t.Errorf("the inner gate, somebody else: %d %q", page.Status, page.Body)
	}
}

const matchedGate = `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	@staff gatehouse groups staff
	GATE
	respond passed
	handle_errors {
		@in gatehouse
		respond @in "error for somebody"
		respond "error for nobody"
	}
}
`
