package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
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
