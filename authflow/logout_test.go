package authflow_test

import (
	"net/url"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// TestEndSessionURL: OIDC RP-Initiated Logout 2.
func TestEndSessionURL(t *testing.T) {
	s := newRP(t)
	s.p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"end_session_endpoint": s.p.URL(testop.EndSession) + "?tenant=a&state=theirs"}
	})
	address, err := s.client.EndSessionURL(t.Context(), authflow.EndSessionRequest{
		IDTokenHint: secret.New("a.b.c"), PostLogoutRedirectURI: "https://app.example.com/oauth2/signed-out", State: "x&y",
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"tenant": "a", "client_id": s.p.ClientID, "id_token_hint": "a.b.c", "state": "x&y",
		"post_logout_redirect_uri": "https://app.example.com/oauth2/signed-out",
	} {
		if got := u.Query()[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q once", name, got, want)
		}
	}
}

func TestEndSessionURLRefuses(t *testing.T) {
	s := newRP(t)
	s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{"end_session_endpoint": testop.Absent} })
	_, err := s.client.EndSessionURL(t.Context(), authflow.EndSessionRequest{})
	wantError(t, err, authflow.ReasonNoEndSession, authflow.Provider)

	away := newClient(t, s.p)
	s.p.Down()
	_, err = away.EndSessionURL(t.Context(), authflow.EndSessionRequest{})
	wantError(t, err, authflow.ReasonDiscovery, authflow.Unavailable)
}
