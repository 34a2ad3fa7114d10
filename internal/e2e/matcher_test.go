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
