package e2e_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A reload that fails half way, when a site of it was set up already: the configuration before it goes on with all that it
// has. It hears of sign-outs elsewhere, cuts streams, follows files, refreshes, and signs people in; and nothing is left over.
func TestReloadFailsHalfWay(t *testing.T) {
	t.Parallel()
	banned := filepath.Join(t.TempDir(), "banned")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(banned, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# nobody\n")
	first, second, _ := startReplicas(t, sharing["cookie"], staff)
	good := strings.NewReplacer(
		"public /public/*", "deny user {file."+banned+"}",
		"reverse_proxy {$APP}", "reverse_proxy /quiet "+strings.TrimPrefix(StartStreams(t).URL, "http://")+`
	reverse_proxy {$APP} {
		transport http {
			keepalive off # Caddy itself leaves an idle connection to the upstream at each reload
		}
	}`).Replace(withSession(sharing["cookie"]))
	first.Reload(first.fill(good))
	first.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 2 * time.Second })

	b, leaving := NewBrowser(t), first.As(NewBrowser(t), "carol")
	seen(t, b.Navigate(first.HTTP()+"/"))
	page := leaving.Navigate(second.HTTP() + "/")
	copied := leaving.Twin()
	seen(t, first.fetch(copied))
	streamed := first.quiet(copied)

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	otherSite := func(port, gate string) string {
		return good + "http://other.localhost:" + port + " {\n\tgatehouse {\n\t\t" + gate + "\n\t}\n\treverse_proxy {$APP}\n}\n"
	}
	const noSuchFile = "allow groups {file./nonexistent/groups}"
	failing := map[string]string{
		"a gate that is not set up":    otherSite("{$PORT}", noSuchFile),
		"an expression that is none":   otherSite("{$PORT}", `allow expression "claims.x =="`),
		"a port that somebody has":     otherSite(port, "allow any"),
		"the same, with another Redis": strings.Replace(otherSite("{$PORT}", noSuchFile), "redis {$REDIS}", "redis {$REDIS} {\n\t\t\t\tprefix other:\n\t\t\t}", 1),
	}
	before := 0
	for round := range 6 {
		for name, caddyfile := range failing {
			if err := first.TryReload(first.fill(caddyfile)); err == nil {
				t.Fatalf("%s: it is loaded", name)
			}
			seen(t, b.Navigate(first.HTTP()+"/"))
		}
		if round == 0 {
			before = first.goroutines()
		}
	}
	if !eventually(20*time.Second, func() bool { return first.goroutines() <= before+3 }) {
		t.Errorf("%d goroutines after the first reloads that failed, %d after the last:\n%s", before, first.goroutines(), first.goroutineProfile())
	}

	select {
	case <-streamed:
		t.Error("a reload that failed has cut a stream")
	default:
	}
	leaving.Follow(page, "/oauth2/logout")
	if !eventually(10*time.Second, func() bool { return first.status(copied) == http.StatusUnauthorized }) {
		t.Error("the sign-out elsewhere is not heard of any more")
	}
	select {
	case <-streamed:
	case <-time.After(cutWithin):
		t.Error("the stream outlives its session")
	}
	calls := first.OP.Calls(testop.Token)
	if !eventually(20*time.Second, func() bool {
		seen(t, b.Navigate(first.HTTP()+"/"))
		return first.OP.Calls(testop.Token) > calls
	}) {
		t.Error("no refresh any more")
	}
	seen(t, first.As(NewBrowser(t), "carol").Navigate(first.HTTP()+"/"))
	write("alice\n")
	wantReason(t, b.Navigate(first.HTTP()+"/"), http.StatusForbidden, "denied")
}

// quiet opens a stream on which nothing comes, as a browser's script does. It returns what is closed when that ends.
func (s *Site) quiet(b *Browser) <-chan struct{} {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.HTTP()+"/quiet", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, cookie := range b.Jar.Get(r.URL, false, true) {
		b.addCookie(r, cookie)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatal(response, err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
	}()
	return over
}
