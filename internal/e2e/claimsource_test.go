package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// OIDC Core 5.6.2, P19: groups that stand elsewhere count if their source is named; else they are unlearned, and a door
// that they could close stays closed. The sign-in itself works.
func TestClaimSources(t *testing.T) {
	t.Parallel()
	s := StartSite(t, siteWith("lifetime 1h", "deny groups interns"))
	s.OP.Set(func(b *testop.Behaviour) {
		statement, err := s.OP.Sign(map[string]any{"iss": s.OP.Issuer(), "groups": []string{"ops"}}, nil)
		if err != nil {
			t.Error(err)
		}
		b.IDToken = testop.Edit{
			"groups": testop.Absent, "_claim_names": map[string]any{"groups": "src1"},
			"_claim_sources": map[string]any{"src1": map[string]any{"endpoint": s.OP.URL(testop.Claims)}},
		}
		b.ClaimsBody, b.UserInfo = statement, testop.Edit{"groups": testop.Absent}
	})
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
	if calls := s.OP.Calls(testop.Claims); calls != 0 {
		t.Errorf("a source that is not named was asked %d times", calls)
	}
	s.Caddy.Reload(strings.Replace(s.fill(siteWith("lifetime 1h", "deny groups interns")), "scopes", "claim_source "+s.OP.Issuer()+"\n scopes", 1))
	if got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/")); got.Header.Get("X-Forwarded-Groups") != "ops" {
		t.Errorf("the application is told of the groups %q", got.Header.Get("X-Forwarded-Groups"))
	}
	s.OP.Set(func(b *testop.Behaviour) { b.ClaimsBody = "" })
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
}

// P19: what an ID token has left out is not made known by a userinfo answer that leaves it out as well.
func TestUnlearnedClaimAfterRefresh(t *testing.T) {
	t.Parallel()
	s := StartSite(t, siteWith("lifetime 1h", "deny groups interns"), func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) {
			b.AccessTokenLifetime, b.RefreshWithoutIDToken = time.Second, true
			b.IDToken = testop.Edit{"groups": testop.Absent, "_claim_names": map[string]any{"groups": "src1"}}
			b.IDToken["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": "https://graph.microsoft.com/x"}}
			b.UserInfo = testop.Edit{"groups": testop.Absent}
		})
	})
	b := NewBrowser(t)
	wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
	if !eventually(15*time.Second, func() bool {
		wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
		return s.OP.Calls(testop.Token) > 1
	}) {
		t.Fatal("nothing was refreshed")
	}
	wantReason(t, b.Navigate(s.HTTP()+"/"), http.StatusForbidden, "denied")
}
