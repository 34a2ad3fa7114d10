package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// What the harness promises, without the gate.

func TestCaddyStartsReloadsRestarts(t *testing.T) {
	t.Parallel()
	c := StartCaddy(t, "http://localhost:{$PORT} {\n\trespond \"one {$WORD}\"\n}", "WORD=word")
	b := NewBrowser(t)
	if p := b.Navigate(c.HTTP()); p.Status != http.StatusOK || p.Body != "one word" {
		t.Fatalf("got %d %q", p.Status, p.Body)
	}
	c.Reload("http://localhost:{$PORT} {\n\trespond two\n}")
	if p := b.Navigate(c.HTTP()); p.Body != "two" {
		t.Errorf("after the reload: %q", p.Body)
	}
	if err := c.TryReload("http://localhost:{$PORT} {\n\tno_such_directive\n}"); err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Errorf("a Caddyfile that is wrong was loaded: %v", err)
	}
	marker := filepath.Join(c.Storage(), "marker")
	if err := os.MkdirAll(c.Storage(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Restart("{\n\tdebug\n}\nhttp://localhost:{$PORT} {\n\trespond three\n}")
	if p := b.Navigate(c.HTTP()); p.Body != "three" {
		t.Errorf("after the restart: %q", p.Body)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("the storage did not stay: %v", err)
	}
	c.WaitLog("serving initial configuration")
	c.Stop()
	if _, err := http.Get(c.HTTP()); err == nil {
		t.Error("Caddy answers after Stop")
	}
}

func TestCaddyRefuses(t *testing.T) {
	t.Parallel()
	if logs := CaddyFails(t, "http://localhost:{$PORT} {\n\tno_such_directive\n}"); !strings.Contains(logs, "no_such_directive") {
		t.Errorf("Caddy said %q", logs)
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	c := StartCaddy(t, `https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	header Set-Cookie "__Host-a=1; Secure; Path=/"
	respond "{http.request.proto} {http.request.header.Cookie}"
}`)
	b := NewBrowser(t)
	b.Navigate(c.HTTPS("app.example.test"))
	if p := b.Navigate(c.HTTPS("app.example.test")); p.Body != "HTTP/2.0 __Host-a=1" {
		t.Errorf("got %q", p.Body)
	}
}

func TestBrowserSendsWhatABrowserSends(t *testing.T) {
	t.Parallel()
	c := StartCaddy(t, `https://app.example.test:{$PORT}, https://wiki.example.test:{$PORT}, https://app.other.test:{$PORT} {
	tls {$CERT} {$KEY}
	handle /set {
		header +Set-Cookie "lax=1; Secure; Path=/; SameSite=Lax"
		header +Set-Cookie "strict=1; Secure; Path=/; SameSite=Strict"
		header +Set-Cookie "none=1; Secure; Path=/; SameSite=None"
		respond "<form action=/echo method=post><input type=hidden name=h value=1><button name=b value=x>go</button><button name=b value=y>no</button></form>"
	}
	redir /bounce https://app.example.test:{$PORT}/echo
	respond "{http.request.header.Sec-Fetch-Site} {http.request.header.Sec-Fetch-Mode} {http.request.header.Sec-Fetch-Dest} {http.request.header.Origin} {http.request.header.Cookie} {http.request.body}"
}`)
	b := NewBrowser(t)
	home, sibling, stranger := c.HTTPS("app.example.test"), c.HTTPS("wiki.example.test"), c.HTTPS("app.other.test")
	page := b.Navigate(home + "/set")
	tests := []struct {
		name string
		got  *Page
		want string
	}{
		{"typed", b.Navigate(home + "/echo"), "none navigate document  lax=1; strict=1; none=1 "},
		{"link of the page", b.Follow(page, "/echo"), "same-origin navigate document  lax=1; strict=1; none=1 "},
		{"link of a sibling", b.Follow(b.Navigate(sibling), home+"/echo"), "same-site navigate document  lax=1; strict=1; none=1 "},
		{"link of a stranger", b.Follow(b.Navigate(stranger), home+"/echo"), "cross-site navigate document  lax=1; none=1 "},
		{"redirect by a stranger", b.Follow(page, stranger+"/bounce"), "cross-site navigate document  lax=1; none=1 "},
		{"form of the page", b.Submit(page, "echo", map[string]string{"f": "2"}), "same-origin navigate document " + home + " lax=1; strict=1; none=1 b=x&f=2&h=1"},
		{"form of a stranger", b.Post(stranger, home+"/echo", url.Values{"f": {"2"}}), "cross-site navigate document " + stranger + " none=1 f=2"},
		{"script of the page", b.Fetch(home, http.MethodGet, home+"/echo", nil, ""), "same-origin cors empty  lax=1; strict=1; none=1 "},
		{"script of a stranger", b.Fetch(stranger, http.MethodPost, home+"/echo", nil, "x"), "cross-site cors empty " + stranger + " none=1 x"},
	}
	for _, tt := range tests {
		if tt.got.Body != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, tt.got.Body, tt.want)
		}
	}
	if p := b.Follow(page, stranger+"/bounce"); len(p.Hops) != 2 || p.Hops[0].Status != http.StatusFound {
		t.Errorf("hops: %v", p.Hops)
	}
}

// Fetch Metadata 2: nothing is sent to an origin that is not potentially trustworthy; localhost is.
func TestBrowserOverPlainHTTP(t *testing.T) {
	t.Parallel()
	c := StartCaddy(t, "http://:{$PORT} {\n\trespond \"[{http.request.header.Sec-Fetch-Mode}]\"\n}")
	b := NewBrowser(t)
	if got := b.Navigate("http://app.example.test:" + c.Port).Body; got != "[]" {
		t.Errorf("elsewhere: %q", got)
	}
	if got := b.Navigate(c.HTTP()).Body; got != "[navigate]" {
		t.Errorf("localhost: %q", got)
	}
}

// RFC 6265bis 4.1.3 and 5.7: what the jar takes and gives back.
func TestJar(t *testing.T) {
	tests := []struct {
		name, from, cookie, to string
		want                   bool
	}{
		{"Secure over https", "https://a.test/", "x=1; Secure", "https://a.test/", true},
		{"Secure stays off plain http", "https://a.test/", "x=1; Secure", "http://a.test/", false},
		{"Secure from plain http", "http://a.test/", "x=1; Secure", "https://a.test/", false},
		{"Secure on plain localhost", "http://localhost:8080/", "x=1; Secure", "http://localhost:8080/", true},
		{"another port is the same host", "http://localhost:1/", "x=1", "http://localhost:2/", true},
		{"__Host- in order", "https://a.test/", "__Host-x=1; Secure; Path=/", "https://a.test/p", true},
		{"__Host- without Secure", "https://a.test/", "__Host-x=1; Path=/", "https://a.test/", false},
		{"__Host- with Domain", "https://a.test/", "__Host-x=1; Secure; Path=/; Domain=a.test", "https://a.test/", false},
		{"__Host- with a path", "https://a.test/p/q", "__Host-x=1; Secure", "https://a.test/p/q", false},
		{"__Secure- without Secure", "https://a.test/", "__Secure-x=1", "https://a.test/", false},
		{"host only", "https://a.b.test/", "x=1", "https://c.a.b.test/", false},
		{"Domain of the parent", "https://a.b.test/", "x=1; Domain=b.test", "https://c.b.test/", true},
		{"Domain of a stranger", "https://a.b.test/", "x=1; Domain=c.test", "https://c.test/", false},
		{"Domain that is a public suffix", "https://a.co.uk/", "x=1; Domain=co.uk", "https://b.co.uk/", false},
		{"Path below", "https://a.test/", "x=1; Path=/p", "https://a.test/p/q", true},
		{"Path beside", "https://a.test/", "x=1; Path=/p", "https://a.test/pq", false},
		{"over already", "https://a.test/", "x=1; Max-Age=0", "https://a.test/", false},
		{"too large", "https://a.test/", "x=" + strings.Repeat("1", 4096), "https://a.test/", false},
		{"SameSite=None without Secure", "https://a.test/", "x=1; SameSite=None", "https://a.test/", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, errFrom := url.Parse(tt.from)
			to, errTo := url.Parse(tt.to)
			if errFrom != nil || errTo != nil {
				t.Fatal(errFrom, errTo)
			}
			j := &Jar{}
			j.Set(from, http.Header{"Set-Cookie": {tt.cookie}})
			if got := len(j.Get(to, false, true)) == 1; got != tt.want {
				t.Errorf("sent back: %v, refused: %q", got, j.Refused())
			}
		})
	}
}

func TestJarDeletesByNameDomainAndPath(t *testing.T) {
	j, u := &Jar{}, &url.URL{Scheme: "https", Host: "a.b.test", Path: "/"}
	j.Set(u, http.Header{"Set-Cookie": {"x=1; Path=/; Domain=b.test", "y=1; Path=/"}})
	j.Set(u, http.Header{"Set-Cookie": {"x=; Path=/; Max-Age=0", "y=; Path=/; Max-Age=0"}})
	if got := j.Names("a.b.test"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("left: %q; a cookie is cleared only by its own Domain (SEC-103)", got)
	}
}

func TestChromium(t *testing.T) {
	c := StartCaddy(t, `https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	header Content-Type text/html
	header Set-Cookie "__Host-a=1; Secure; Path=/"
	respond "<title>Gate</title><h1 id=h>{http.request.header.Sec-Fetch-Mode} {http.request.header.Cookie}</h1>"
}`)
	tab := StartChromium(t)
	Do(t, tab, chromedp.Navigate(c.HTTPS("app.example.test")), chromedp.Reload())
	title, text := Ask(t, tab, chromedp.Title()), Ask(t, tab, chromedp.Text("#h"))
	if title != "Gate" || text != "navigate __Host-a=1" {
		t.Errorf("title %q, text %q", title, text)
	}
	picture, err := os.ReadFile(Screenshot(t, tab, "page"))
	if err != nil || !bytes.HasPrefix(picture, []byte("\x89PNG")) {
		t.Errorf("no picture: %v", err)
	}
}

// The Node provider signs somebody in by its two forms and answers with a code, as RFC 6749 4.1.2 and RFC 9207 say.
func TestNodeProvider(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer app.Close()
	back, bye := app.URL+"/callback", app.URL+"/bye"
	p := StartNodeProvider(t, NodeConfig{
		Clients: []NodeClient{{ID: "app", Secret: "secret", RedirectURIs: []string{back}, PostLogoutRedirectURIs: []string{bye}}},
		Users:   []NodeUser{{Subject: "ada", Name: "Ada", Email: "ada@example.test", EmailVerified: true, Groups: []string{"ops"}}},
	})
	b := NewBrowser(t)
	var discovery struct {
		Issuer                string
		AuthorizationEndpoint string `json:"authorization_endpoint"`
		TokenEndpoint         string `json:"token_endpoint"`
		UserInfoEndpoint      string `json:"userinfo_endpoint"`
		EndSessionEndpoint    string `json:"end_session_endpoint"`
	}
	decode(t, b.Navigate(p.Issuer+"/.well-known/openid-configuration").Body, &discovery)
	if discovery.Issuer != p.Issuer {
		t.Fatalf("issuer %q, want %q", discovery.Issuer, p.Issuer)
	}
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	page := b.Navigate(discovery.AuthorizationEndpoint + "?" + url.Values{
		"client_id": {"app"}, "redirect_uri": {back}, "response_type": {"code"}, "state": {"s"}, "nonce": {"n"},
		"scope": {"openid email groups"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode())
	page = b.Submit(page, "interaction", map[string]string{"login": "ada"})
	page = b.Submit(page, "interaction", nil)

	code := page.URL.Query().Get("code")
	if q := page.URL.Query(); code == "" || q.Get("state") != "s" || q.Get("iss") != p.Issuer {
		t.Fatalf("answer %s", page.URL)
	}
	var tokens struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		IDToken      string `json:"id_token"`
	}
	decode(t, clientPost(t, b, discovery.TokenEndpoint, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back}, "code_verifier": {verifier}}), &tokens)
	first := tokens.RefreshToken
	decode(t, clientPost(t, b, discovery.TokenEndpoint, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first}}), &tokens)
	if first == "" || tokens.RefreshToken == first || tokens.IDToken == "" {
		t.Errorf("refresh tokens are not rotated: %+v", tokens)
	}
	req, err := http.NewRequest(http.MethodGet, discovery.UserInfoEndpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	var user NodeUser
	decode(t, b.Do(req).Body, &user)
	if user.Subject != "ada" || user.Email != "ada@example.test" || !user.EmailVerified || !slices.Equal(user.Groups, []string{"ops"}) {
		t.Errorf("userinfo: %+v", user)
	}
	page = b.Navigate(discovery.EndSessionEndpoint + "?" + url.Values{"id_token_hint": {tokens.IDToken}, "post_logout_redirect_uri": {bye}, "state": {"z"}}.Encode())
	page = b.Submit(page, "session/end/confirm", map[string]string{"logout": "yes"})
	if got := page.URL.String(); got != bye+"?state=z" {
		t.Errorf("after logout: %s\n%s", got, page.Body)
	}
}

// clientPost is a request of the client itself, with client_secret_basic.
func clientPost(t *testing.T, b *Browser, endpoint string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("app", "secret")
	page := b.Do(req)
	if page.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", endpoint, page.Status, page.Body)
	}
	return page.Body
}

func decode(t *testing.T, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
