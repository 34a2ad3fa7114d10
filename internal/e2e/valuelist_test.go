package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A rule whose values stand in a file follows it: who is put in or taken out is judged by it at the next request, with the
// session of before and without a reload; a file that is being written changes nothing.
func TestListsAreFollowed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	staffFile, banned := filepath.Join(folder, "staff"), filepath.Join(folder, "banned")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(staffFile, "alice\n")
	write(banned, "# nobody yet\n")
	s := StartSite(t, withGate("allow user {file."+staffFile+"}\n\t\tdeny user {file."+banned+"}"), staff)
	alice := NewBrowser(t)
	seen(t, alice.Navigate(s.HTTP()+"/x"))
	carol := s.As(NewBrowser(t), "carol")
	wantReason(t, carol.Navigate(s.HTTP()+"/x"), http.StatusForbidden, "denied")

	write(staffFile, "# all of us\nalice\ncarol\n")
	seen(t, carol.Navigate(s.HTTP()+"/x"))
	write(banned, "carol\n")
	wantReason(t, carol.Navigate(s.HTTP()+"/x"), http.StatusForbidden, "denied")
	write(banned, "")
	wantReason(t, carol.Navigate(s.HTTP()+"/x"), http.StatusForbidden, "denied")
	s.WaitLog("the list of user cannot be used any more")
	seen(t, alice.Navigate(s.HTTP()+"/x"))
	write(staffFile, "carol\n")
	wantReason(t, alice.Navigate(s.HTTP()+"/x"), http.StatusForbidden, "denied")
}

// A stream ends when a list in a file changes so that its user may not pass any more: taken out of an allow or put into a deny, by
// session or access token, by the rules of any gate that the request has passed. A change that leaves its user in, and the streams of
// others, are left alone.
func TestStreamsFollowLists(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	site := startStreamSite(t, "idle_timeout off", fmt.Sprintf(`deny user {file.%s}
		bearer {
			audience %s
		}
	}
	gatehouse /sse {
		allow user {file.%s}`, write("banned", "# nobody\n"), api, write("staff", "alice\nbob\ncarol\n")))
	alice, bob, carol := site.streamer(t, "alice").open(), site.streamer(t, "bob").open(), site.streamer(t, "carol").open()
	program := site.bearing(t, site.OP.Issue(aliceToken(nil))).open()
	events := func(streams map[string]*stream) (of, others map[string]*stream) {
		of, others = map[string]*stream{}, map[string]*stream{}
		for name, s := range streams {
			if strings.HasPrefix(name, "events") {
				of[name] = s
			} else {
				others[name] = s
			}
		}
		return of, others
	}
	goOn := func(who string, streams map[string]*stream) {
		t.Helper()
		for name, stream := range streams {
			if !stream.flows() {
				t.Errorf("%s of %s: cut, and may pass", name, who)
			}
		}
	}

	write("staff", "# without bob\nalice\ncarol\n")
	bobs, bobsOthers := events(bob)
	wantCut(t, bobs)
	site.WaitLog("cut, since its user may not pass any more")
	goOn("bob", bobsOthers)
	write("banned", "alice\n")
	wantCut(t, alice)
	wantCut(t, program)
	goOn("bob", bobsOthers)
	goOn("carol", carol)
}
