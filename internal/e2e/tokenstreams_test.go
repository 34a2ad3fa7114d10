package e2e_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// startTokenStreamSite is a gate in front of streams, for tokens of the provider and of its own users.
func startTokenStreamSite(t *testing.T) (s *Site, users string) {
	t.Helper()
	users = filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+" ops\n")
	return startStreamSite(t, "idle_timeout off", `users `+users+`
		bearer {
			audience `+api+`
			introspect
		}
		allow any`), users
}

// bearing opens streams with an access token.
func (s *Site) bearing(t *testing.T, token string) *streamer {
	t.Helper()
	return &streamer{t: t, at: s.HTTPS("app.example.test"), port: s.Port, b: NewBrowser(t), header: bearing(token)}
}

// A stream that an access token has opened ends when that expires, as its next use would be refused: within the leeway of
// a minute, which the times of a provider have.
func TestTokenStreamsAreCutAtTheEnd(t *testing.T) {
	t.Parallel()
	s, _ := startTokenStreamSite(t)
	soon := testop.Edit{"exp": time.Now().Add(10*time.Second - time.Minute).Unix()}
	lasting := s.bearing(t, s.OP.Issue(aliceToken(nil))).open()
	opaque := aliceToken(soon)
	opaque.Opaque = true
	jwts, introspected := s.bearing(t, s.OP.Issue(aliceToken(soon))).open(), s.bearing(t, s.OP.Issue(opaque)).open()
	wantCut(t, jwts)
	wantCut(t, introspected)
	s.WaitLog("cut, since its access token is over")
	for name, stream := range lasting {
		if !stream.flows() {
			t.Errorf("%s: cut, and its token counts", name)
		}
	}
}

// Streams of a token of our own end when it is revoked, and when its user's line changes; those of another go on.
func TestOwnTokenStreamsAreCut(t *testing.T) {
	t.Parallel()
	s, users := startTokenStreamSite(t)
	origin := s.HTTPS("app.example.test")
	first, second := tokenOf(t, origin, "ada", "correct horse"), tokenOf(t, origin, "ada", "correct horse")
	streams, others := s.bearing(t, first).open(), s.bearing(t, second).open()
	if page := postForm(t, origin+"/oauth2/revoke", url.Values{"token": {first}}, nil); page.Status != http.StatusOK {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	wantCut(t, streams)
	for name, stream := range others {
		if !stream.flows() {
			t.Errorf("%s: cut with another token", name)
		}
	}
	writeUsers(t, users, "# nobody\n")
	wantCut(t, others)
}
