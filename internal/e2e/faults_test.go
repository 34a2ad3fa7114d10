package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// supersededFiles are what the storage has of sessions whose browser has shown a newer cookie.
func (c *Caddy) supersededFiles() []string {
	c.t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Storage(), "gatehouse", "superseded", "*-*-*-*"))
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// SEC-101: a copy of a cookie from before a refresh is dead a minute later, also after a crash, and where the provider would
// take its refresh token again. Within the minute it passes, as it would have without the crash, and refreshes nothing.
func TestOldCookieAfterACrash(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	s.OP.Set(func(b *testop.Behaviour) { b.NoRefreshRotation, b.AccessTokenLifetime = true, 2*time.Second })
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	old := b.Twin()
	shown := func() bool {
		seen(t, b.Navigate(s.HTTP()+"/"))
		return len(s.supersededFiles()) == 1
	}
	if !eventually(20*time.Second, shown) {
		t.Fatalf("the storage has %v", s.supersededFiles())
	}
	s.Kill()
	s.Restart(s.fill(oneSite))
	calls := s.OP.Calls(testop.Token)
	for range 3 {
		page := old.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, "")
		if page.Status != http.StatusOK || len(page.Header.Values("Set-Cookie")) > 0 || s.OP.Calls(testop.Token) != calls {
			t.Errorf("within its minute: %d %s, %d refreshes", page.Status, reason(page), s.OP.Calls(testop.Token)-calls)
		}
	}
	s.Kill()
	if len(s.supersededFiles()) != 1 {
		t.Fatalf("the storage has %v", s.supersededFiles())
	}
	mark := s.supersededFiles()[0] // until-session-generation-made
	made := time.Now().Add(-time.Minute).Unix()
	if err := os.Rename(mark, fmt.Sprintf("%s-%012d", mark[:strings.LastIndex(mark, "-")], made)); err != nil {
		t.Fatal(err)
	}
	s.Restart(s.fill(oneSite))
	if page := old.Fetch(s.HTTP(), http.MethodGet, s.HTTP()+"/", nil, ""); page.Status != http.StatusUnauthorized {
		t.Errorf("the old cookie counts again: %d %s", page.Status, reason(page))
	}
	if page := b.Navigate(s.HTTP() + "/"); len(page.Hops) != 1 || seen(t, page).Header.Get("X-Forwarded-User") != "alice" {
		t.Error("the crash signed out")
	}
}

// Two gates that nobody can pass both are said at the start, and not first when somebody asks for a page.
func TestGatesThatContradict(t *testing.T) {
	t.Parallel()
	const says = "nobody can pass two gatehouse directives"
	op := testop.Start(t)
	for name, tt := range map[string]struct {
		outer, inner string
		said         bool
	}{
		"other issuers":                {"", "https://other.example.com /admin/*", true},
		"the same issuer":              {"", "", false},
		"outer has a matcher":          {"/a/*", "https://other.example.com /admin/*", false},
		"outer leaves the path public": {"public /admin/*", "https://other.example.com /admin/*", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := func(words string) string {
				client := "\n\t\tclient_id app\n\t\tclient_secret x\n"
				switch {
				case words == "":
					return "\tgatehouse\n"
				case strings.HasPrefix(words, "https"):
					issuer, matcher, _ := strings.Cut(words, " ")
					return "\tgatehouse " + matcher + " " + issuer + " {" + client + "\t}\n"
				case strings.HasPrefix(words, "/"):
					return "\tgatehouse " + words + "\n"
				}
				return "\tgatehouse {\n\t\t" + words + "\n\t}\n"
			}
			s := &Site{OP: op, App: StartApplication(t), t: t}
			s.Caddy = StartCaddy(t, s.fill("{\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\nhttp://localhost:{$PORT} {\n\troute {\n"+gate(tt.outer)+gate(tt.inner)+"\treverse_proxy {$APP}\n\t}\n}\n"))
			if tt.said {
				s.WaitLog(says)
			} else if strings.Contains(s.Logs(), says) {
				t.Error("it is said")
			}
		})
	}
}
