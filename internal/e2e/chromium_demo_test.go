package e2e_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Demo is cmd/demo as its users start it: a process of its own.
type Demo struct {
	Site, Issuer string

	ports []string
	stdin io.Closer
	logs  testop.Output
	done  chan error // how it ended
}

// StartDemo builds cmd/demo, runs it on free ports and returns when the gate answers. The test's end stops it, and
// checks that it has left neither a file nor a listener.
func StartDemo(t *testing.T) *Demo {
	t.Helper()
	dir := t.TempDir()
	binary, home, temporary := filepath.Join(dir, "demo"), filepath.Join(dir, "home"), filepath.Join(dir, "tmp")
	for _, folder := range []string{home, temporary} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/demo").CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	gate, provider, application := freePort(t), freePort(t), freePort(t)
	d := &Demo{
		Site: "http://localhost:" + gate, Issuer: "http://127.0.0.1:" + provider,
		ports: []string{gate, provider, application}, done: make(chan error, 1),
	}
	// The shell ends the demo when the test does, however that ends: the test holds the other end of its input.
	cmd := exec.Command("sh", "-c", `"$@" & cat >/dev/null; kill -TERM $!; wait $!`, "sh",
		binary, "-port", gate, "-provider-port", provider, "-application-port", application)
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+temporary, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	cmd.Stdout, cmd.Stderr = &d.logs, &d.logs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.stdin = stdin
	go func() { d.done <- cmd.Wait() }()
	t.Cleanup(func() { d.stop(t, home, temporary) })
	client := &http.Client{Timeout: time.Second}
	if !eventually(30*time.Second, func() bool {
		res, err := client.Get(d.Site + "/oauth2/ping")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}) {
		t.Fatal("the demo does not start")
	}
	return d
}

// stop ends the demo and looks at what it has left.
func (d *Demo) stop(t *testing.T, folders ...string) {
	d.stdin.Close()
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the demo does not stop")
	}
	for _, folder := range folders {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left behind in %s: %v %v", folder, left, err)
		}
	}
	for _, port := range d.ports {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Errorf("somebody still listens: %v", err)
			continue
		}
		l.Close()
	}
	if t.Failed() {
		t.Logf("the demo said:\n%s", d.logs.String())
	}
}

// Picture takes three screenshots of what a tab shows: as it is, at a phone's width, and dark. None may scroll sideways.
func Picture(t *testing.T, tab context.Context, name string) {
	t.Helper()
	shoot := func(name string) {
		t.Helper()
		if wide := Ask(t, tab, chromedp.Evaluate[int]("document.documentElement.scrollWidth - document.documentElement.clientWidth")); wide > 0 {
			t.Errorf("%s: the page is %d pixels wider than the window", name, wide)
		}
		Screenshot(t, tab, name)
	}
	prefer := func(scheme string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			return err
		})
	}
	shoot(name)
	Do(t, tab, chromedp.EmulateViewport(390, 844))
	shoot(name + "-phone")
	Do(t, tab, chromedp.EmulateViewport(1000, 760), prefer("dark"))
	shoot(name + "-dark")
	Do(t, tab, prefer("light"))
}

// see waits until a tab shows an element, and returns the page's text.
func see(t *testing.T, tab context.Context, xpath string) string {
	t.Helper()
	Do(t, tab, chromedp.WaitVisible(xpath))
	return Ask(t, tab, chromedp.Text(chromedp.CSS("main")))
}

// click clicks what has a text.
func click(t *testing.T, tab context.Context, text string) {
	t.Helper()
	Do(t, tab, chromedp.Click(`//*[self::a or self::button][normalize-space(.)="`+text+`"]`))
}

// follow goes to an address as a link on the tab's page would.
func follow(t *testing.T, tab context.Context, address string) {
	t.Helper()
	Ask(t, tab, chromedp.Evaluate[string](`location.href = "`+address+`"`))
}

// wantStatus compares the status that the tab's page came with.
func wantStatus(t *testing.T, tab context.Context, want int) {
	t.Helper()
	if got := Ask(t, tab, chromedp.Evaluate[int](`performance.getEntriesByType("navigation")[0].responseStatus`)); got != want {
		t.Errorf("the page came with %d, want %d", got, want)
	}
}

// cookies are those that the browser keeps for a site and its endpoints, by name.
func cookies(t *testing.T, tab context.Context, site string) map[string]*network.Cookie {
	t.Helper()
	limited, cancel := context.WithTimeout(tab, 10*time.Second)
	defer cancel()
	kept, err := chromedp.Call(limited, network.GetCookies, network.GetCookiesParams{URLs: []string{site + "/", site + "/oauth2/x"}})
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*network.Cookie)
	for _, c := range kept.Cookies {
		byName[c.Name] = c
	}
	return byName
}

// wantCookies holds that the browser keeps cookies of exactly these names, and shows none of them to a script.
func wantCookies(t *testing.T, tab context.Context, site string, secure bool, names ...string) {
	t.Helper()
	kept := cookies(t, tab, site)
	for _, name := range names {
		switch c := kept[name]; {
		case c == nil:
			t.Errorf("the browser keeps no cookie %s", name)
		case !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Secure != secure:
			t.Errorf("the cookie %s: HttpOnly %v, SameSite %s, Secure %v", name, c.HTTPOnly, c.SameSite, c.Secure)
		}
	}
	for name := range kept {
		if attempt := strings.Contains(name, "_a_"); !attempt && !slices.Contains(names, name) { // another tab may have begun to sign in
			t.Errorf("the browser keeps a cookie %s", name)
		}
	}
	if script := Ask(t, tab, chromedp.Evaluate[string]("document.cookie")); script != "" {
		t.Errorf("a script reads %q", script)
	}
}

// signIn fills in the demo's login form and its consent page.
func (d *Demo) signIn(t *testing.T, tab context.Context, name, password, decision string) {
	t.Helper()
	see(t, tab, `//h1[.="Sign in"]`)
	Do(t, tab,
		chromedp.SetValue(chromedp.CSS("input[name=username]"), name),
		chromedp.SendKeys(chromedp.CSS("input[name=password]"), password))
	click(t, tab, "Sign in")
	Do(t, tab, chromedp.WaitVisible(`//h1[starts-with(., "Hello")]`))
	click(t, tab, decision)
}

// The demo, in a real browser, as its README tells a visitor to try it.
func TestChromiumDemo(t *testing.T) {
	d := StartDemo(t)
	tab := StartChromium(t)
	const caller = `//*[@class="who"]`
	deep := d.Site + "/reports/a%2Fb?q=x+y%20z&n=1"

	Do(t, tab, chromedp.Navigate(deep))
	see(t, tab, `//h1[.="Sign in"]`)
	Picture(t, tab, "01-login")
	Do(t, tab, chromedp.SendKeys(chromedp.CSS("input[name=username]"), "alice"), chromedp.SendKeys(chromedp.CSS("input[name=password]"), "guess"))
	click(t, tab, "Sign in")
	see(t, tab, `//*[@role="alert"]`)
	Picture(t, tab, "02-wrong-password")
	Do(t, tab, chromedp.SendKeys(chromedp.CSS("input[name=password]"), "wonderland"))
	click(t, tab, "Sign in")
	see(t, tab, `//h1[.="Hello, Alice Archer"]`)
	Picture(t, tab, "03-consent")
	click(t, tab, "Allow")
	if text := see(t, tab, caller); !strings.Contains(text, "The caller is alice.") || strings.Contains(text, "demo=") {
		t.Errorf("the application shows\n%s", text)
	}
	if at := Ask(t, tab, chromedp.Location()); at != deep {
		t.Errorf("came back to %s, want %s", at, deep)
	}
	Picture(t, tab, "04-application")
	wantCookies(t, tab, d.Site, false, "demo", "demo_f", "demo_h")

	second := NewTab(t, tab)
	Do(t, second, chromedp.Navigate(d.Site+"/second"))
	if text := see(t, second, caller); !strings.Contains(text, "The caller is alice.") {
		t.Errorf("the second tab shows\n%s", text)
	}
	click(t, second, "My session")
	text := see(t, second, `//h1[.="Your session"]`)
	for _, want := range []string{"alice", "alice@example.com", "staff, admins"} {
		if !strings.Contains(text, want) {
			t.Errorf("the session page does not say %q:\n%s", want, text)
		}
	}
	Picture(t, second, "05-session")
	click(t, second, "Sign out")
	see(t, second, `//h1[.="Signed out"]`)
	Picture(t, second, "06-signed-out")
	wantCookies(t, second, d.Site, false)
	Do(t, second, chromedp.Navigate(d.Site+"/oauth2/session"))
	see(t, second, `//h1[.="Not signed in"]`)
	Picture(t, second, "07-session-not-signed-in")
	Do(t, second, chromedp.Navigate(d.Site+"/users/me"))
	see(t, second, `//h1[.="Sign in"]`)
	Do(t, tab, chromedp.Reload())
	see(t, tab, `//h1[.="Sign in"]`)

	d.signIn(t, tab, "carol", "christmas", "Allow")
	if text := see(t, tab, `//h1[.="No access"]`); !strings.Contains(text, "carol") {
		t.Errorf("the page does not name carol:\n%s", text)
	}
	wantStatus(t, tab, http.StatusForbidden)
	Picture(t, tab, "08-no-access")
	click(t, tab, "Use another account")
	d.signIn(t, tab, "alice", "wonderland", "Allow")
	if text := see(t, tab, caller); !strings.Contains(text, "The caller is alice.") {
		t.Errorf("another account does not help:\n%s", text)
	}
	if at := Ask(t, tab, chromedp.Location()); at != deep {
		t.Errorf("the other account came to %s, want %s", at, deep)
	}

	// The provider is another site to the browser: a link there cannot sign anybody out.
	elsewhere := func() {
		t.Helper()
		Do(t, tab, chromedp.Navigate(d.Issuer+"/signed-out"))
		follow(t, tab, d.Site+"/oauth2/logout")
		see(t, tab, `//h1[.="Sign out?"]`)
	}
	elsewhere()
	Picture(t, tab, "09-confirm")
	click(t, tab, "Stay signed in")
	see(t, tab, caller)
	elsewhere()
	click(t, tab, "Sign out")
	see(t, tab, `//h1[.="Signed out"]`)
	wantCookies(t, tab, d.Site, false)

	click(t, tab, "Sign in again")
	d.signIn(t, tab, "bob", "builder", "Deny")
	if text := see(t, tab, `//h1[.="Not signed in"]`); !strings.Contains(text, "provider_denied") {
		t.Errorf("after Deny:\n%s", text)
	}
	wantStatus(t, tab, http.StatusForbidden)
	Picture(t, tab, "10-denied-at-consent")
	wantCookies(t, tab, d.Site, false)
	Do(t, tab, chromedp.Navigate(d.Site+"/oauth2/callback?code=x&state=y"))
	if text := see(t, tab, `//h1[.="That did not work"]`); !strings.Contains(text, "state_unknown") {
		t.Errorf("a callback of no attempt:\n%s", text)
	}
	wantStatus(t, tab, http.StatusBadRequest)
	Picture(t, tab, "11-stray-callback")
	click(t, tab, "Sign in")
	see(t, tab, `//h1[.="Sign in"]`)
}

// What the demo does not have: https, a choice of providers, a provider that is away, and pages with the site's name.
func TestChromiumPages(t *testing.T) {
	s := StartSite(t, `{
	gatehouse {
		provider company {
			display_name  "Example Company, with a name that is rather long to read"
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			user_claim    preferred_username
		}
		provider partners {
			display_name  "Partners & Friends"
			issuer        https://127.0.0.1:1
			client_id     app
			client_secret secret
		}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		pages {
			name  "The Wiki of the Company"
			color 7a1f5c
		}
	}
	header /public* Content-Type text/html
	respond "<main><h1>The application</h1><p>{http.auth.user.id}</p></main>"
}
`)
	site := s.HTTPS("app.example.test")
	tab := StartChromium(t)

	Do(t, tab, chromedp.Navigate(site+"/wanted"))
	see(t, tab, `//a[.="Partners & Friends"]`)
	Picture(t, tab, "chooser")
	click(t, tab, "Example Company, with a name that is rather long to read")
	if text := Ask(t, tab, chromedp.Text(`//*[contains(text(), "company:alice")]`)); !strings.Contains(text, "The application") {
		t.Errorf("the application shows %q", text)
	}
	if at := Ask(t, tab, chromedp.Location()); at != site+"/wanted" {
		t.Errorf("came back to %s", at)
	}
	wantCookies(t, tab, site, true, "__Host-gatehouse", "__Host-gatehouse_f", "__Secure-gatehouse_h")
	Do(t, tab, chromedp.Navigate(site+"/oauth2/session"))
	see(t, tab, `//dd[starts-with(., "Example Company")]`)
	Picture(t, tab, "session-of-several")
	click(t, tab, "Sign out")
	see(t, tab, `//h1[.="Signed out"]`)
	wantCookies(t, tab, site, true)

	Do(t, tab, chromedp.Navigate(site+"/"))
	click(t, tab, "Partners & Friends")
	if text := see(t, tab, `//h1[.="Not available for the moment"]`); !strings.Contains(text, "discovery_failed") {
		t.Errorf("a provider that is away:\n%s", text)
	}
	wantStatus(t, tab, http.StatusServiceUnavailable)
	Picture(t, tab, "provider-away")
	at := Ask(t, tab, chromedp.Location())
	click(t, tab, "Try again")
	see(t, tab, `//h1[.="Not available for the moment"]`)
	if again := Ask(t, tab, chromedp.Location()); again != at {
		t.Errorf("Try again leads to %s, not to %s", again, at)
	}
}
