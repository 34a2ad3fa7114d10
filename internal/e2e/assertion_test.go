package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// asserted is what an application reads in an assertion, after it has checked it by the keys that the site publishes.
type asserted struct {
	Iss, Aud, Sub, JTI string
	Iat, Exp           int64
	User, Email        string
	Groups             []string
	NBF                any
	kid                string
}

// readAssertion checks as an application would: by kid, ES256 alone, typ.
func readAssertion(t *testing.T, origin, compact string) asserted {
	t.Helper()
	page := NewBrowser(t).Do(get(t, origin+"/oauth2/jwks"))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(page.Body), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("%v %s", err, page.Body)
	}
	signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatalf("%v in %q", err, compact)
	}
	header := signed.Signatures[0].Protected
	keys := set.Key(header.KeyID)
	if len(keys) != 1 || !keys[0].IsPublic() || header.ExtraHeaders[jose.HeaderType] != "gatehouse+jwt" {
		t.Fatalf("header %+v, keys %s", header, page.Body)
	}
	payload, err := signed.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	a := asserted{kid: header.KeyID}
	if err := json.Unmarshal(payload, &a); err != nil {
		t.Fatalf("%v in %s", err, payload)
	}
	return a
}

func get(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An assertion says who is calling, for this site and for a minute, by a key that outlives reloads and restarts.
func TestForwardAssertion(t *testing.T) {
	t.Parallel()
	s := StartSite(t, withGate("public /public/*\n\t\tforward assertion\n\t\theader X-Subject sub\n\t\theader X-Team nbf"), func(p *testop.Provider) {
		p.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"nbf": 1} })
	})
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	tell := func() asserted {
		t.Helper()
		got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", http.Header{"X-Gatehouse-Assertion": {"forged"}, "X-GatehouseAssertion": {"forged"}}, ""))
		if len(got.Header["X-Gatehouse-Assertion"]) != 1 || len(got.Header["X-Gatehouseassertion"]) != 0 {
			t.Fatalf("%v", got.Header)
		}
		return readAssertion(t, s.HTTP(), got.Header.Get("X-Gatehouse-Assertion"))
	}
	first, second := tell(), tell()
	if first.Iss != s.HTTP() || first.Aud != s.HTTP() || first.Sub != "sub-alice" || first.Exp-first.Iat != 60 || first.NBF != nil {
		t.Errorf("%+v", first)
	}
	if first.User != "alice" || first.Email != "alice@example.com" || !slices.Equal(first.Groups, []string{"staff", "ops"}) {
		t.Errorf("%+v", first)
	}
	if len(first.JTI) < 16 || first.JTI == second.JTI {
		t.Errorf("jti %q and %q", first.JTI, second.JTI)
	}
	s.Reload(s.fill(withGate("forward assertion Authorization")))
	got := seen(t, b.Fetch(s.HTTP(), "GET", s.HTTP()+"/x", forged, ""))
	compact, isBearer := strings.CutPrefix(got.Header.Get("Authorization"), "Bearer ")
	if reloaded := readAssertion(t, s.HTTP(), compact); !isBearer || reloaded.kid != first.kid {
		t.Errorf("after a reload: %+v", reloaded)
	}
	s.Restart(s.fill(withGate("forward assertion")))
	if restarted := tell(); restarted.kid != first.kid {
		t.Errorf("after a restart: %+v", restarted)
	}
	s.Reload(s.fill(oneSite))
	if page := NewBrowser(t).Do(get(t, s.HTTP()+"/oauth2/jwks")); strings.TrimSpace(page.Body) != `{"keys":[]}` {
		t.Errorf("keys that sign nothing are published: %s", page.Body)
	}
}

// The same subject and group at another provider are somebody else's.
func TestAssertionOfSeveralProviders(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t, staff), App: StartApplication(t), t: t}
	second := testop.Start(t, staff)
	block := func(name string, op *testop.Provider) string {
		return strings.Replace(providerBlock(op), "provider {", "provider "+name+" {", 1)
	}
	s.Caddy = StartCaddy(t, s.fill(strings.Replace(withGate("forward assertion"), "{$PROVIDER}", block("company", s.OP)+"\n\t\t"+block("partner", second), 1)))
	for _, provider := range []string{"company", "partner"} {
		got := seen(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?rd=/x&provider="+provider))
		a := readAssertion(t, s.HTTP(), got.Header.Get("X-Gatehouse-Assertion"))
		if a.Sub != provider+":1" || a.User != provider+":alice" || !slices.Equal(a.Groups, []string{provider + ":staff"}) {
			t.Errorf("%s: %+v", provider, a)
		}
	}
}
