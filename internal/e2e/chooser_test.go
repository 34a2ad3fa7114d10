package e2e_test

import (
	"html"
	"net/http"
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
