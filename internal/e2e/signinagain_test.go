package e2e_test

import (
	"strings"
	"testing"
	"time"
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
			again := NewBrowser(t)
			arrive(again)
			s.wantAlive("signed in again", again, true)
			s.wantAlive("signed in before", before, false)
		})
	}
}
