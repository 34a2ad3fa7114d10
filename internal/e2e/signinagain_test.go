package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Who signs in again within the second of a logout token of theirs is signed in: ID tokens are issued in whole seconds, and
// the first one is not later than the logout token (OIDC Back-Channel Logout 2.7), so the next second's is taken. It used to
// end at the page login_loop. What was signed in before stays dead.
func TestSignInWithinTheSecondOfALogoutToken(t *testing.T) {
	t.Parallel()
	for name, caddyfile := range map[string]string{
		"redirect": oneSite,
		"strict":   strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tcookie_same_site strict\n\t\t}\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, caddyfile)
			arrive := func(b *Browser) {
				t.Helper()
				page := b.Navigate(s.HTTP() + "/wanted")
				for range 3 { // of the strict cookie, once for each sign-in
					if strings.Contains(page.Body, "One moment") {
						page = b.Follow(page, "/wanted")
					}
				}
				if got := seen(t, page); got.URI != "/wanted" {
					t.Errorf("arrived at %s", got.URI)
				}
			}
			before := NewBrowser(t)
			arrive(before)
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // all of the second is left
			if page := tellLogout(t, s.HTTP(), signedLogout(t, s.OP, "sub-alice", "", nil)); page.Status != 200 {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			copied := before.Twin()
			arrive(NewBrowser(t))
			arrive(before) // its sign-in before was no turn of a loop
			s.wantAlive("signed in again", before, true)
			s.wantAlive("signed in before", copied, false)
		})
	}
}

// The same after an administrator has ended them, whose "up to now" is of our clock: also where the provider's clock is behind.
func TestSignInWithinTheSecondOfAnAdministrator(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	s.OP.Now = func() time.Time { return time.Now().Add(-2 * time.Second) }
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/wanted"))
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	status, answer, err := s.Caddy.ask(http.MethodPost, "/gatehouse/sessions/end", http.Header{"Content-Type": {"application/json"}},
		`{"issuer": "`+s.OP.Issuer()+`", "sub": "sub-alice"}`)
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	s.wantAlive("ended", b, false)
	seen(t, b.Navigate(s.HTTP()+"/wanted"))
	s.wantAlive("signed in again", b, true)
}

// P10: one whom the provider ends whenever they sign in is stopped all the same: its session is over, and it goes on with it.
func TestLoopOfEndedSignIns(t *testing.T) {
	t.Parallel()
	for name, caddyfile := range map[string]string{"query": oneSite, "form_post": formPostSite()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, caddyfile)
			at := s.HTTP()
			if name == "form_post" {
				at = s.HTTPS("app.example.test")
			}
			s.OP.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"sid": "the same"} })
			b := NewBrowser(t)
			if page := tellLogout(t, at, signedLogout(t, s.OP, "sub-alice", "the same", nil)); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			var page *Page
			for range 6 {
				if page = b.Navigate(at + "/"); page.Status == http.StatusBadRequest {
					break
				}
				if name == "form_post" && strings.Contains(page.Body, "callback") {
					b.Submit(page, "callback", nil)
				}
			}
			wantReason(t, page, http.StatusBadRequest, "login_loop")
		})
	}
}
