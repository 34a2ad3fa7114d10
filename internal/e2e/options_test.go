package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// withGate is one site whose gate has the given lines.
func withGate(lines string) string {
	return strings.Replace(oneSite, "public /public/*", lines, 1)
}

func TestUnauthenticated(t *testing.T) {
	t.Parallel()
	for word, status := range map[string]int{"login": http.StatusSeeOther, "reject": http.StatusUnauthorized, "pass": http.StatusOK} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, withGate("unauthenticated "+word+"\n\t\tallow groups staff"), staff)
			b := NewBrowser(t)
			page := b.Step(s.HTTP() + "/x")
			if page.Status != status {
				t.Fatalf("a navigation without session: %d %s", page.Status, reason(page))
			}
			if word == "pass" {
				if who := identityOf(seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", spoofed, ""))); len(who) != 0 {
					t.Errorf("nobody is told as %v", who)
				}
			}
			if got := seen(t, b.Navigate(s.HTTP()+"/oauth2/login?rd=/x")); got.Header.Get("X-Forwarded-User") != "alice" {
				t.Errorf("signed in: %v", identityOf(got))
			}
			// A session that is there is judged as ever.
			carol := s.As(NewBrowser(t), "carol")
			wantReason(t, carol.Navigate(s.HTTP()+"/oauth2/login?rd=/x"), http.StatusForbidden, "denied")
		})
	}
}

func TestReportOnly(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("report_only\n\t\tdeny groups staff"), staff)
	b := NewBrowser(t)
	if got := seen(t, b.Navigate(s.HTTP()+"/x")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("told: %v", identityOf(got))
	}
	s.WaitLog("would have been denied")
	if page := NewBrowser(t).Step(s.HTTP() + "/x"); page.Status != http.StatusSeeOther {
		t.Errorf("without session: %d", page.Status)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]map[string]string{
		"headers forwarded":                  {"X-Forwarded-User": "alice", "X-Forwarded-Groups": "staff", "X-Forwarded-Email": "alice@example.com"},
		"headers remote":                     {"Remote-User": "alice", "Remote-Groups": "staff", "Remote-Email": "alice@example.com", "Remote-Name": "alice"},
		"headers off":                        {},
		"headers off\n\t\theader X-Team sub": {"X-Team": "1"},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			yes := true
			s := StartSite(t, withGate(word), func(p *testop.Provider) {
				p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}, Email: "alice@example.com", EmailVerified: &yes}
			})
			b := NewBrowser(t)
			b.Navigate(s.HTTP() + "/")
			forged := spoofed.Clone()
			forged.Set("X-Team", "forged")
			if word == "headers off" || strings.HasPrefix(word, "headers r") || strings.HasPrefix(word, "headers f") {
				forged.Del("X-Team")
			}
			got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", forged, ""))
			for _, name := range []string{
				"X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Email", "Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name", "X-Team",
			} {
				if got.Header.Get(name) != want[name] {
					t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want[name])
				}
			}
		})
	}
}

// {http.auth.user.*} are what other directives, the access log and expressions know of the user; nothing in them is
// expanded again (SEC-27).
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	log
	gatehouse {
		public /public/*
		header X-Name name
	}
	@staff expression `+"`'staff' in {http.auth.user.groups}`"+`
	request_header @staff X-Is-Staff yes
	request_header X-Id {http.auth.user.id}
	request_header X-Groups {http.auth.user.groups}
	request_header X-Claim {http.auth.user.claims.name}
	request_header X-Email <{http.auth.user.email}>
	reverse_proxy {$APP}
}
`, func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff", "ops"}, Email: "a@example.com"}
		p.Users = []testop.User{{Subject: "2", Name: "{env.HOME}"}}
	})
	b := NewBrowser(t)
	if got := seen(t, b.Navigate(s.HTTP()+"/public/x")); got.Header.Get("X-Is-Staff") != "" || got.Header.Get("X-Id") != "" {
		t.Errorf("nobody: %v", got.Header)
	}
	got := seen(t, b.Navigate(s.HTTP()+"/"))
	for name, want := range map[string]string{"X-Is-Staff": "yes", "X-Id": "alice", "X-Groups": "staff,ops", "X-Claim": "alice", "X-Email": "<>"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	s.WaitLog(`"user_id":"alice"`)
	other := s.As(NewBrowser(t), "{env.HOME}")
	got = seen(t, other.Navigate(s.HTTP()+"/"))
	for _, name := range []string{"X-Id", "X-Claim", "X-Name", "X-Forwarded-User"} {
		if got.Header.Get(name) != "{env.HOME}" {
			t.Errorf("%s: %q", name, got.Header.Get(name))
		}
	}
}

// `errors pass` leaves refusals to handle_errors, with their status and headers.
func TestErrorsPass(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		errors pass
		allow groups staff
	}
	reverse_proxy {$APP}
	handle_errors {
		respond "custom {err.status_code}: {err.message}"
	}
}
`, staff)
	b := s.As(NewBrowser(t), "carol")
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/", nil, "")
	if page.Status != http.StatusUnauthorized || page.Body != "custom 401: no_session" || page.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%d %v %s", page.Status, page.Header, page.Body)
	}
	page = b.Navigate(s.HTTP() + "/")
	if page.Status != http.StatusForbidden || page.Body != "custom 403: denied" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
}

func TestReturnAndLogoutTargets(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("return_to https://other.example.com\n\t\tpost_logout https://www.example.com/bye\n\t\tbase_path /.auth"))
	b := NewBrowser(t)
	page := b.Step(s.HTTP() + "/.auth/login?rd=" + url.QueryEscape("https://other.example.com/x"))
	callback := b.Step(page.Header.Get("Location")).Header.Get("Location")
	if !strings.HasPrefix(callback, s.HTTP()+"/.auth/callback") {
		t.Fatalf("callback: %s", callback)
	}
	if got := b.Step(callback).Header.Get("Location"); got != "https://other.example.com/x" {
		t.Errorf("came back to %s", got)
	}
	if page := b.Navigate(s.HTTP() + "/oauth2/logout"); seen(t, page).URI != "/oauth2/logout" {
		t.Error("/oauth2 is still ours")
	}

	at := &Page{URL: b.parse(s.HTTP() + "/")}
	signedOut := func(link string) *Page {
		b.Navigate(s.HTTP() + "/")
		page := b.navigate(at.URL, http.MethodGet, b.parse(s.HTTP()+link), "", 0)
		if page.Header.Get("Clear-Site-Data") != `"cache"` {
			t.Errorf("Clear-Site-Data: %s", page.Header.Get("Clear-Site-Data"))
		}
		return b.Step(b.Step(page.Header.Get("Location")).Header.Get("Location"))
	}
	if got := signedOut("/.auth/logout").Header.Get("Location"); got != "https://www.example.com/bye" {
		t.Errorf("after the sign-out: %s", got)
	}
	if got := signedOut("/.auth/logout?rd=/goodbye").Header.Get("Location"); got != "/goodbye" {
		t.Errorf("after the sign-out with rd: %s", got)
	}
	// The landing page takes a wrong state, and none (OIDC RP-Initiated Logout 3).
	for _, query := range []string{"", "?state=", "?state=wrong", "?state=" + strings.Repeat("x", 9000)} {
		if page := b.Step(s.HTTP() + "/.auth/signed-out" + query); page.Header.Get("Location") != "https://www.example.com/bye" {
			t.Errorf("landing page %.20s: %d", query, page.Status)
		}
	}
	if got := signedOut("/.auth/logout?rd=https://evil.example/").Header.Get("Location"); got != "https://www.example.com/bye" {
		t.Errorf("after the sign-out with rd to elsewhere: %s", got)
	}
}

func TestTrustedOrigins(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("trusted_origins https://friend.example.com"))
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	cookie := b.Jar.Cookie("gatehouse")
	for sender, status := range map[string]int{"https://friend.example.com": http.StatusOK, "https://enemy.example.com": http.StatusForbidden} {
		r, err := http.NewRequest(http.MethodPost, s.HTTP()+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(cookie)
		r.Header.Set("Origin", sender)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if page := NewBrowser(t).Do(r); page.Status != status {
			t.Errorf("%s: %d", sender, page.Status)
		}
	}
}

// Several providers: a page to choose, prefixed users and groups, and the chosen one is asked.
func TestSeveralProviders(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t, staff), App: StartApplication(t), t: t}
	second := testop.Start(t, func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}, Extra: map[string]any{"org": "evil"}}
	})
	block := func(name string, op *testop.Provider) string {
		return strings.Replace(providerBlock(op), "provider {", "provider "+name+" {", 1)
	}
	s.Caddy = StartCaddy(t, s.fill(`{
	gatehouse {
		`+block("company", s.OP)+`
		`+block("partner", second)+`
	}
}
http://localhost:{$PORT} {
	gatehouse {
		allow groups company:staff
		allow {
			provider partner
			org good
		}
	}
	gatehouse /partner/* partner
	reverse_proxy {$APP}
}
`))
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/deep?x=1")
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "company") || !strings.Contains(page.Body, "partner") {
		t.Fatalf("no page to choose: %d %s", page.Status, brief(page))
	}
	got := seen(t, b.Follow(page, "/oauth2/login?provider=company&rd=%2Fdeep%3Fx%3D1"))
	if got.Header.Get("X-Forwarded-User") != "company:alice" || got.Header.Get("X-Forwarded-Groups") != "company:staff" || got.URI != "/deep?x=1" {
		t.Errorf("told: %v at %s", identityOf(got), got.URI)
	}
	// The same name and group at the other provider are somebody else.
	other := NewBrowser(t)
	wantReason(t, other.Navigate(s.HTTP()+"/oauth2/login?provider=partner&rd=/x"), http.StatusForbidden, "denied")
	// An area of one provider takes nobody of the other, and asks the right one.
	page = b.Step(s.HTTP() + "/partner/x")
	if !strings.HasPrefix(page.Header.Get("Location"), second.Issuer()) {
		t.Errorf("the area asks %d %s", page.Status, page.Header.Get("Location"))
	}
}

// SEC-93: userinfo tells the site's own scripts what the upstream is told: no token, and nothing to another site.
func TestUserinfoEndpoint(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("header X-Team team"), func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Groups: []string{"staff"}, Email: "a@example.com", Extra: map[string]any{"team": "red", "secret": "x"}}
	})
	b := NewBrowser(t)
	wantReason(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/oauth2/userinfo", nil, ""), http.StatusUnauthorized, "no_session")
	b.Navigate(s.HTTP() + "/")
	page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/oauth2/userinfo", nil, "")
	var body struct {
		User, Email, Sub, Provider string
		Groups                     []string
		Claims                     map[string]any
	}
	if err := json.Unmarshal([]byte(page.Body), &body); err != nil || page.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	if body.User != "alice" || body.Sub != "1" || len(body.Groups) != 1 || body.Email != "" || body.Claims["team"] != "red" || body.Claims["secret"] != nil || body.Claims["email"] != nil {
		t.Errorf("%s", page.Body)
	}
	for _, word := range []string{"token", "eyJ", "nonce"} {
		if strings.Contains(page.Body, word) {
			t.Errorf("it holds %q: %s", word, page.Body)
		}
	}
	if page := b.Fetch("https://evil.example", "GET", s.HTTP()+"/oauth2/userinfo", nil, ""); page.Status == http.StatusOK {
		t.Errorf("another site reads it: %d", page.Status)
	}
	page = b.Navigate(s.HTTP() + "/oauth2/session")
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "alice") || !strings.Contains(page.Body, "staff") {
		t.Errorf("the session page: %d %s", page.Status, brief(page))
	}
	if page := NewBrowser(t).Navigate(s.HTTP() + "/oauth2/session"); !strings.Contains(page.Body, "Nobody is signed in") {
		t.Errorf("the session page without session: %d %s", page.Status, brief(page))
	}
}

// Claims under names of our own, nested ones, and those that only userinfo has.
func TestClaims(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.NewReplacer(
		"user_claim    preferred_username", "user_claim preferred_username\n\t\t\tclaim roles from realm_access.roles\n\t\t\tclaim team from https://example.com/team",
		"public /public/*", "allow roles admin\n\t\theader X-Team team\n\t\theader X-Roles roles",
	).Replace(strings.Replace(oneSite, "{$PROVIDER}", `provider {
			issuer        {$ISSUER}
			client_id     {$CLIENT_ID}
			client_secret {$CLIENT_SECRET}
			user_claim    preferred_username
		}`, 1)), func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Extra: map[string]any{
			"realm_access": map[string]any{"roles": []string{"admin", "a,b"}}, "https://example.com/team": "red",
		}}
		p.Set(func(b *testop.Behaviour) { b.ThinIDToken = true })
	})
	b := NewBrowser(t)
	got := seen(t, b.Navigate(s.HTTP()+"/"))
	if got.Header.Get("X-Team") != "red" || got.Header.Get("X-Roles") != "admin,a%2Cb" {
		t.Errorf("told: %v", got.Header)
	}
	if s.OP.Calls(testop.UserInfo) != 1 {
		t.Errorf("userinfo was asked %d times", s.OP.Calls(testop.UserInfo))
	}
}

// A later gate that does not match a request leaves what the outermost has told.
func TestLaterGateThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t, func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "two:root", Groups: []string{"two:admins"}}
	}), App: StartApplication(t), t: t}
	s.Caddy = StartCaddy(t, s.fill(strings.Replace(twoProviders, "client_id x\n\t\t\tclient_secret x",
		"client_id {$CLIENT_ID}\n\t\t\tclient_secret {$CLIENT_SECRET}\n\t\t\tscopes openid profile groups\n\t\t\tuser_claim preferred_username", 1)+`
http://localhost:{$PORT} {
	gatehouse
	gatehouse /area/* one {
		header X-Team sub
	}
	reverse_proxy {$APP}
}
`))
	b := NewBrowser(t)
	for _, path := range []string{"/", "/area/x"} {
		got := seen(t, b.Navigate(s.HTTP()+"/oauth2/login?provider=one&rd="+path))
		who := identityOf(got)
		if who["xforwardeduser"] != "one:two:root" || who["xforwardedgroups"] != "one:two:admins" {
			t.Errorf("%s: told %v", path, who)
		}
		if (got.Header.Get("X-Team") != "") != (path != "/") {
			t.Errorf("%s: X-Team %q", path, got.Header.Get("X-Team"))
		}
	}
}

// An address that does not fit into an attempt is shortened, and signs in all the same.
func TestLongAddress(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	for _, length := range []int{1000, 2400, 3000, 6000, 12000} {
		page := NewBrowser(t).Navigate(s.HTTP() + "/dashboard?q=" + strings.Repeat("x", length))
		if got := seen(t, page); !strings.HasPrefix(got.URI, "/dashboard") {
			t.Errorf("%d: came back to %.40s", length, got.URI)
		}
	}
}

// P36: neither code nor token stands in any log, the access log included, at the finest level.
func TestLogsHoldNoSecret(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(strings.Replace(oneSite, "{\n", "{\n\tdebug\n", 1), "\tgatehouse {\n\t\tpublic", "\tlog\n\tgatehouse {\n\t\tpublic", 1), shortTokens)
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/")
	cookie := b.Jar.Cookie("gatehouse").Value
	if !eventually(20*time.Second, func() bool {
		b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "")
		return s.OP.Calls(testop.Token) > 1
	}) {
		t.Fatal("no refresh")
	}
	s.OP.Set(func(b *testop.Behaviour) { b.CodeError = "invalid_grant" })
	other := NewBrowser(t)
	other.Navigate(s.HTTP() + "/")
	b.Follow(page, "/oauth2/logout")
	logs := s.Logs()
	secrets := map[string]string{"the client secret": s.OP.ClientSecret, "the session cookie": cookie}
	for _, request := range s.OP.Requests(testop.Token) {
		for _, name := range []string{"code", "code_verifier", "refresh_token"} {
			if value := request.Form.Get(name); value != "" {
				secrets["a "+name] = value
			}
		}
	}
	for _, request := range s.OP.Requests(testop.EndSession) {
		secrets["the ID token"] = request.Form.Get("id_token_hint")
	}
	if secrets["the ID token"] == "" || secrets["a code"] == "" || secrets["a refresh_token"] == "" {
		t.Fatal("nothing to look for")
	}
	for name, value := range secrets {
		if strings.Contains(logs, value) {
			t.Errorf("%s stands in the log", name)
		}
	}
}

// A session cookie never leaves on an answer that others may store.
func TestCookieOnAPublicAnswer(t *testing.T) {
	t.Parallel()
	op := testop.Start(t, func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = 4 * time.Second })
	})
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte("asset"))
	}))
	t.Cleanup(public.Close)
	s := &Site{OP: op, App: public, t: t}
	s.Caddy = StartCaddy(t, s.fill(withGate("private_responses off\n\t\tpublic /static/*")))
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	if page := b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""); page.Header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("private_responses off: %s", page.Header.Get("Cache-Control"))
	}
	time.Sleep(4100 * time.Millisecond)
	twin := b.Twin()
	b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, "") // refreshes
	for _, path := range []string{"/x", "/static/x"} {
		page := twin.Twin().Fetch(s.HTTP(), "GET", s.HTTP()+path, nil, "")
		if page.Header.Get("Set-Cookie") != "" && strings.Contains(page.Header.Get("Cache-Control"), "public") {
			t.Errorf("%s: %v", path, page.Header)
		}
	}
}

// A browser that looks ahead at the sign-out link has not been asked to sign out.
func TestPrefetchedSignOut(t *testing.T) {
	t.Parallel()
	s := StartSite(t, oneSite)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	r := prefetch(t, s.HTTP()+"/oauth2/logout")
	if page := b.Do(r); page.Status != http.StatusOK || !strings.Contains(page.Body, "Sign out?") {
		t.Errorf("%d %s", page.Status, page.Header.Get("Location"))
	}
	seen(t, b.Navigate(s.HTTP()+"/"))
}

// What basic_auth before the gate says of the user is not what the gate says.
func TestBasicAuthBefore(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	log
	basic_auth {
		bob $2a$10$5vtj6Qm7P1nWmvzg5KXG2.UM2pFvGD04QP8bqpvM9tj8a/nrU3jhG
	}
	gatehouse
	request_header X-Id {http.auth.user.id}
	reverse_proxy {$APP}
}
`)
	b := NewBrowser(t)
	var page *Page
	for address := s.HTTP() + "/"; ; address = page.Header.Get("Location") {
		r := subresource(t, address, "navigate", "document")
		if strings.HasPrefix(address, s.HTTP()) {
			r.SetBasicAuth("bob", "hiccup")
		}
		if page = b.Do(r); page.Status != http.StatusSeeOther && page.Status != http.StatusFound {
			break
		}
		if !strings.HasPrefix(page.Header.Get("Location"), "http") {
			page.Header.Set("Location", s.HTTP()+page.Header.Get("Location"))
		}
	}
	got := seen(t, page)
	if got.Header.Get("X-Forwarded-User") != "alice" || got.Header.Get("X-Id") != "alice" {
		t.Errorf("X-Forwarded-User %q, X-Id %q", got.Header.Get("X-Forwarded-User"), got.Header.Get("X-Id"))
	}
	s.WaitLog(`"user_id":"alice"`)
}

// Known names that are no claims of the provider reach the upstream, too.
func TestHeadersOfKnownNames(t *testing.T) {
	t.Parallel()
	yes := true
	s := StartSite(t, withGate("header X-Provider provider\n\t\theader X-Domain email_domain\n\t\theader X-Whom user"), func(p *testop.Provider) {
		p.User = testop.User{Subject: "1", Name: "alice", Email: "alice@example.com", EmailVerified: &yes}
	})
	got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/"))
	for name, want := range map[string]string{"X-Provider": "default", "X-Domain": "example.com", "X-Whom": "alice"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q", name, got.Header.Get(name))
		}
	}
}

// A health check without a Host header gets through where nobody needs to sign in.
func TestNoHost(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(secureSite, "https://app.example.test:{$PORT}", "https://:{$PORT}", 1), staff)
	for path, status := range map[string]int{"/public/x": http.StatusOK, "/oauth2/ping": http.StatusOK, "/x": http.StatusBadRequest} {
		page := raw(t, s, "GET "+path+" HTTP/1.0\r\n\r\n")
		if page == nil || page.Status != status {
			t.Errorf("%s: %v", path, page)
		}
	}
}

// Values of rules may come from the environment.
func TestRuleFromTheEnvironment(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t, staff), App: StartApplication(t), t: t}
	s.Caddy = StartCaddy(t, s.fill(withGate("deny groups {env.BLOCKED_GROUP}")), "BLOCKED_GROUP=staff")
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
}

// Cookie options are what the browser is told.
func TestCookieOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ option, name, has, lacks string }{
		{"lifetime 1h", "__Host-gatehouse", "; Max-Age=3600; HttpOnly; Secure; SameSite=Lax", "Domain"},
		{"cookie_name sso", "__Host-sso", "; Path=/", "Domain"},
		{"cookie_same_site strict", "__Host-gatehouse", "SameSite=Strict", "Domain"},
		{"cookie_same_site none", "__Host-gatehouse", "SameSite=None", "Domain"},
		{"cookie_persist off", "__Host-gatehouse", "HttpOnly", "Max-Age"},
		{"cookie_domain example.test", "__Secure-gatehouse", "; Domain=example.test", "__Host-gatehouse="},
	} {
		t.Run(tt.option, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, strings.NewReplacer("{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\t"+tt.option+"\n\t\t}\n",
				"http://localhost:{$PORT} {", "https://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}").Replace(oneSite))
			b := NewBrowser(t)
			page := b.Navigate(s.HTTPS("app.example.test") + "/")
			if strings.HasSuffix(tt.option, "strict") {
				// The cookie stays out of the navigation that the provider began: a page begins a new one.
				if !strings.Contains(page.Body, `content="0;url=/"`) {
					t.Fatalf("the callback does not go on by a page:\n%s", brief(page))
				}
				next := b.Follow(page, "/")
				next.Hops = page.Hops
				page = next
			}
			seen(t, page)
			var line string
			for _, hop := range page.Hops {
				for _, set := range hop.Header["Set-Cookie"] {
					if strings.HasPrefix(set, tt.name+"=") {
						line = set
					}
				}
			}
			if !strings.Contains(line, tt.has) || strings.Contains(line, tt.lacks) {
				t.Errorf("Set-Cookie: %q", line)
			}
			if refused := b.Jar.Refused(); len(refused) != 0 {
				t.Errorf("the browser refuses %v", refused)
			}
		})
	}
}

// A strict cookie: links of other sites find the session all the same, without a sign-in each, whichever gate protects
// what they lead to.
func TestStrictCookieAndLinksOfOthers(t *testing.T) {
	t.Parallel()
	const strict = "\n\t\tsession {\n\t\t\tcookie_same_site strict\n\t\t}\n"
	https := strings.Replace(oneSite, "http://localhost:{$PORT} {", "https://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}", 1)
	for name, config := range map[string]string{
		"one gate":      strings.Replace(https, "{$PROVIDER}\n", "{$PROVIDER}\n"+strict, 1),
		"a second gate": strings.Replace(https, "\t\tpublic /public/*\n\t}\n", "\t\tpublic /wanted"+strict+"\t}\n\tgatehouse /wanted\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := StartSite(t, config)
			b := NewBrowser(t)
			at := s.HTTPS("app.example.test")
			seen(t, b.Follow(b.Navigate(at+"/"), "/"))
			elsewhere := &Page{URL: b.parse("https://mail.example/")}
			for range 5 {
				page := b.Follow(elsewhere, at+"/wanted?x=1")
				if page.Status != http.StatusUnauthorized || !strings.Contains(page.Body, `content="0;url=/wanted?x=1"`) {
					t.Fatalf("%d %s", page.Status, brief(page))
				}
				if got := seen(t, b.Follow(page, "/wanted?x=1")); got.Header.Get("X-Forwarded-User") != "alice" {
					t.Errorf("told: %v", identityOf(got))
				}
			}
			if calls := s.OP.Calls(testop.Authorization); calls != 1 {
				t.Errorf("%d sign-ins", calls)
			}
		})
	}
}

// A second host of one cookie domain is signed in with the first.
func TestCookieDomainIsShared(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
		session {
			cookie_domain example.test
		}
	}
}
https://wiki.example.test:{$PORT}, https://app.example.test:{$PORT}, https://other.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse
	reverse_proxy {$APP}
}
`)
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTPS("wiki.example.test")+"/"))
	page := b.Navigate(s.HTTPS("app.example.test") + "/")
	if seen(t, page); len(page.Hops) != 1 {
		t.Errorf("%d hops", len(page.Hops))
	}
	copied := b.Twin()
	b.Follow(page, "/oauth2/logout")
	for _, client := range []*Browser{b, copied} {
		if page := client.Step(s.HTTPS("wiki.example.test") + "/"); page.Status != http.StatusSeeOther {
			t.Errorf("after the sign-out at the other host: %d", page.Status)
		}
	}
}
