package e2e_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// A page that asks for more signs in once, also where people choose a provider first; and nobody can make a link that asks for
// something else.
func TestChooserAsksForMore(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	other := testop.Start(t)
	s.Caddy = StartCaddy(t, s.fill(`{
	gatehouse {
		{$PROVIDER}
		`+strings.Replace(providerBlock(other), "provider {", "provider other {", 1)+`
	}
}
http://localhost:{$PORT} {
	gatehouse {
		require /admin/* acr phr phrh
		require /admin/* max_age 10m
	}
	reverse_proxy {$APP}
}
`))
	b := NewBrowser(t)
	page := b.Navigate(s.HTTP() + "/admin/x")
	_, rest, found := strings.Cut(page.Body, `href="/oauth2/login?provider=default`)
	if page.Status != http.StatusOK || !found {
		t.Fatalf("no page to choose: %d %s", page.Status, brief(page))
	}
	rest, _, _ = strings.Cut(rest, `"`)
	link := html.UnescapeString("/oauth2/login?provider=default" + rest)
	if strings.Contains(link, "phr") || !strings.Contains(link, "step_up=v1.") {
		t.Errorf("the link: %s", link)
	}
	if got := seen(t, b.Follow(page, link)); got.URI != "/admin/x" {
		t.Errorf("came back to %s", got.URI)
	}
	asked := s.OP.Requests(testop.Authorization)
	if len(asked) != 1 || asked[0].Form.Get("acr_values") != "phr phrh" || asked[0].Form.Get("max_age") != "600" {
		t.Errorf("%d sign-ins, the last asked for %v", len(asked), asked[len(asked)-1].Form)
	}
	seen(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?provider=default&rd=/&acr_values=evil&step_up=10m+evil"))
	if form := s.OP.Requests(testop.Authorization)[1].Form; form.Has("acr_values") || form.Has("max_age") {
		t.Errorf("a link has asked for %v", form)
	}
}

// People choose by names that are theirs; and a sign-in that a portal began keeps its hint and its target, also where the issuer
// has two clients here.
func TestChooserNamesAndHint(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t, staff), App: StartApplication(t), t: t}
	other := testop.Start(t)
	block := func(name, display string, op *testop.Provider) string {
		return strings.Replace(providerBlock(op), "provider {", "provider "+name+" {\n\t\t\tdisplay_name "+display, 1)
	}
	s.Caddy = StartCaddy(t, s.fill(`{
	gatehouse {
		`+block("staff", "\"Example & Sons <staff>\"", s.OP)+`
		`+block("guests", "`Guests'`", s.OP)+`
		`+block("other", "Other", other)+`
	}
}
http://localhost:{$PORT} {
	gatehouse
	reverse_proxy {$APP}
}
`))
	b := NewBrowser(t)
	initiate := "/oauth2/login?" + url.Values{"iss": {s.OP.Issuer()}, "login_hint": {"carol"}, "target_link_uri": {s.HTTP() + "/deep?a=b"}}.Encode()
	page := b.Navigate(s.HTTP() + initiate)
	var link string
	for _, choice := range regexp.MustCompile(`<a href="([^"]*)"><bdi>([^<]*)</bdi></a>`).FindAllStringSubmatch(page.Body, -1) {
		switch html.UnescapeString(choice[2]) {
		case "Guests'":
			link = html.UnescapeString(choice[1])
		case "Example & Sons <staff>", strings.TrimPrefix(s.HTTP(), "http://"):
		default:
			t.Errorf("a choice is %q", choice[2])
		}
	}
	if page.Status != http.StatusOK || link == "" {
		t.Fatalf("no page to choose: %d %s", page.Status, brief(page))
	}
	if got := seen(t, b.Follow(page, link)); got.URI != "/deep?a=b" || got.Header.Get("X-Forwarded-User") != "guests:carol" {
		t.Errorf("%s came back to %s", got.Header.Get("X-Forwarded-User"), got.URI)
	}
	if form := s.OP.Requests(testop.Authorization)[0].Form; form.Get("login_hint") != "carol" {
		t.Errorf("the provider was asked with %v", form)
	}
	if page := b.Navigate(s.HTTP() + "/oauth2/session"); !strings.Contains(page.Body, "<dd><bdi>Guests&#39;</bdi></dd>") {
		t.Errorf("the session page: %s", brief(page))
	}
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+initiate+"&provider=other"), http.StatusBadRequest, "unknown_provider")
}
