package authflow_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// elsewhere are the members of a token that say where a claim stands (OIDC Core 5.6.2).
func elsewhere(claim string, source map[string]any) testop.Edit {
	return testop.Edit{
		claim:            testop.Absent,
		"_claim_names":   map[string]any{claim: "src1"},
		"_claim_sources": map[string]any{"src1": source},
	}
}

// sourcedRP is a relying party that believes a second provider, and one that it does not know.
func sourcedRP(t *testing.T) (s rp, bank, stranger *testop.Provider) {
	t.Helper()
	bank, stranger = testop.Start(t), testop.Start(t)
	bank.Set(func(b *testop.Behaviour) { // a claims provider signs nobody in
		b.Discovery = testop.Edit{"authorization_endpoint": testop.Absent, "token_endpoint": testop.Absent}
	})
	s = newRP(t, func(cfg *authflow.Config) { cfg.ClaimSources = []string{bank.Issuer()} })
	s.needed = []string{"groups"}
	return s, bank, stranger
}

func signed(t *testing.T, p *testop.Provider, alg string, change testop.Edit) string {
	t.Helper()
	claims := map[string]any{"iss": p.Issuer(), "groups": []string{"vip"}, "exp": time.Now().Add(time.Hour).Unix(), "email": "eve@example.com", "admin": true}
	for name, value := range change {
		claims[name] = value
		if value == any(nil) {
			delete(claims, name)
		}
	}
	compact, err := p.SignAs(alg, claims, nil)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// TestClaimSources: OIDC Core 5.6.2. What is refused leaves the claim unlearned, and the person signed in.
func TestClaimSources(t *testing.T) {
	vip := []any{"vip"}
	type edit = testop.Edit
	tests := map[string]struct {
		source func(s rp, bank, stranger *testop.Provider) map[string]any
		want   any
	}{
		"aggregated": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "ES256", nil)}
		}, vip},
		"aggregated, without exp and for this client": {func(s rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"exp": nil, "aud": s.p.ClientID})}
		}, vip},
		"the sub of another name space is no concern": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"sub": "customer-7"})}
		}, vip},
		"signed by who is not named": {func(_ rp, _, stranger *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, stranger, "RS256", nil)}
		}, nil},
		"signed by a stranger in the name of one": {func(_ rp, bank, stranger *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, stranger, "ES256", edit{"iss": bank.Issuer()})}
		}, nil},
		"the provider itself is not named": {func(s rp, _, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, s.p, "RS256", nil)}
		}, nil},
		"without iss": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"iss": nil})}
		}, nil},
		"not signed": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "none", nil)}
		}, nil},
		"signed by a secret": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "HS256", nil)}
		}, nil},
		"expired": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"exp": time.Now().Add(-10 * time.Minute).Unix()})}
		}, nil},
		"for another client": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"aud": "another"})}
		}, nil},
		"of the future": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"nbf": time.Now().Add(time.Hour).Unix()})}
		}, nil},
		"claim not in it": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"JWT": signed(t, bank, "RS256", edit{"groups": nil})}
		}, nil},
		"distributed, a token of more than 64 KB": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			bank.Set(func(b *testop.Behaviour) {
				b.ClaimsBody = signed(t, bank, "RS256", edit{"pad": strings.Repeat("x", 64<<10)})
			})
			return map[string]any{"endpoint": bank.URL(testop.Claims)}
		}, nil},
		"no JWT": {func(rp, *testop.Provider, *testop.Provider) map[string]any {
			return map[string]any{"JWT": "groups"}
		}, nil},
		"neither JWT nor endpoint": {func(rp, *testop.Provider, *testop.Provider) map[string]any {
			return map[string]any{"shape": "unknown"}
		}, nil},
		"distributed": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			bank.Set(func(b *testop.Behaviour) { b.ClaimsBody = signed(t, bank, "RS256", nil) + "\n" })
			return map[string]any{"endpoint": bank.URL(testop.Claims), "access_token": "for-the-bank"}
		}, vip},
		"SSRF: an address of a stranger": {func(_ rp, bank, stranger *testop.Provider) map[string]any {
			stranger.Set(func(b *testop.Behaviour) { b.ClaimsBody = signed(t, bank, "RS256", nil) })
			return map[string]any{"endpoint": stranger.URL(testop.Claims)}
		}, nil},
		"SSRF: an address that only looks like it": {func(_ rp, bank, stranger *testop.Provider) map[string]any {
			return map[string]any{"endpoint": strings.Replace(stranger.URL(testop.Claims), "http://", bank.Issuer()+"@", 1)}
		}, nil},
		"SSRF: credentials in the address": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			bank.Set(func(b *testop.Behaviour) { b.ClaimsBody = signed(t, bank, "RS256", nil) })
			return map[string]any{"endpoint": strings.Replace(bank.URL(testop.Claims), "http://", "http://a:b@", 1)}
		}, nil},
		"SSRF: a redirect to a stranger": {func(_ rp, bank, stranger *testop.Provider) map[string]any {
			stranger.Set(func(b *testop.Behaviour) { b.ClaimsBody = signed(t, bank, "RS256", nil) })
			bank.Set(func(b *testop.Behaviour) {
				b.Faults = map[string]testop.Fault{testop.Claims: {Status: 302, Header: http.Header{"Location": {stranger.URL(testop.Claims)}}}}
			})
			return map[string]any{"endpoint": bank.URL(testop.Claims)}
		}, nil},
		"distributed, 2 MB": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			bank.Set(func(b *testop.Behaviour) { b.ClaimsBody = strings.Repeat(" ", 2<<20) + signed(t, bank, "RS256", nil) })
			return map[string]any{"endpoint": bank.URL(testop.Claims)}
		}, nil},
		"distributed, refused": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			return map[string]any{"endpoint": bank.URL(testop.Claims)}
		}, nil},
		"distributed, away": {func(_ rp, bank, _ *testop.Provider) map[string]any {
			bank.Down()
			return map[string]any{"endpoint": bank.URL(testop.Claims)}
		}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, bank, stranger := sourcedRP(t)
			source := test.source(s, bank, stranger)
			s.p.Set(func(b *testop.Behaviour) { b.IDToken = elsewhere("groups", source) })
			grant := s.mustLogin("alice")
			if got := grant.Claims["groups"]; !reflect.DeepEqual(got, test.want) {
				t.Errorf("groups are %v, want %v", got, test.want)
			}
			if !grant.Claims.StandsElsewhere("groups") {
				t.Error("nothing says that there is more to know")
			}
			if email, _ := grant.Claims.String("email"); email != "alice@example.com" || grant.Subject != "sub-alice" || grant.Claims["admin"] != nil {
				t.Errorf("a source spoke of more than it was named for: %s, %s", email, grant.Subject)
			}
			if trace := stranger.Trace(); len(trace) != 0 {
				t.Errorf("a stranger was asked: %v", trace)
			}
			for _, request := range bank.Requests(testop.Claims) {
				if got := request.Header.Get("Authorization"); got != "" && got != "Bearer for-the-bank" {
					t.Errorf("the source was shown %q", got)
				}
			}
		})
	}
}

// Off by default, and asked for nothing that nobody reads.
func TestClaimSourcesOnlyWhereNeeded(t *testing.T) {
	s, bank, _ := sourcedRP(t)
	bank.Set(func(b *testop.Behaviour) { b.ClaimsBody = signed(t, bank, "RS256", nil) })
	s.p.Set(func(b *testop.Behaviour) {
		b.IDToken = elsewhere("groups", map[string]any{"endpoint": bank.URL(testop.Claims)})
	})
	s.needed = []string{"email"}
	s.mustLogin("alice")
	s.needed = []string{"groups"}
	s.client = newClient(t, s.p)
	s.mustLogin("alice")
	if trace := bank.Trace(); len(trace) != 0 {
		t.Errorf("asked of the source: %v", trace)
	}
}

// P31: an address and the word that it is verified come from one place.
func TestClaimSourcesDoNotVouchForOthers(t *testing.T) {
	s, bank, _ := sourcedRP(t)
	s.needed = []string{"email", "email_verified"}
	s.p.Set(func(b *testop.Behaviour) {
		b.IDToken = elsewhere("email_verified", map[string]any{"JWT": signed(t, bank, "RS256", testop.Edit{"email_verified": true})})
	})
	if got, ok := s.mustLogin("alice").Claims["email_verified"]; ok {
		t.Errorf("email_verified is %v, of another's address", got)
	}
}

// The answer of UserInfo may name sources too, and so may a refreshed ID token.
func TestClaimSourcesOfUserInfoAndRefresh(t *testing.T) {
	s, bank, _ := sourcedRP(t)
	s.client = newClient(t, s.p, func(cfg *authflow.Config) {
		cfg.ClaimSources, cfg.UserInfo = []string{bank.Issuer()}, authflow.UserInfoRequired
	})
	s.p.Set(func(b *testop.Behaviour) {
		b.ThinIDToken = true
		b.UserInfo = elsewhere("groups", map[string]any{"JWT": signed(t, bank, "RS256", nil)})
	})
	grant := s.mustLogin("alice")
	if !reflect.DeepEqual(grant.Claims["groups"], []any{"vip"}) || grant.SignedClaims["groups"] != nil {
		t.Errorf("groups are %v, of the ID token %v", grant.Claims["groups"], grant.SignedClaims["groups"])
	}
	s.p.Set(func(b *testop.Behaviour) {
		b.UserInfo = nil
		b.IDToken = elsewhere("groups", map[string]any{"JWT": signed(t, bank, "RS256", testop.Edit{"groups": []string{"gold"}})})
	})
	grant, err := s.client.Refresh(t.Context(), authflow.RefreshRequest{
		Issuer: grant.Issuer, Subject: grant.Subject, Nonce: grant.Nonce, RefreshToken: grant.RefreshToken, NeededClaims: s.needed,
	})
	if err != nil || !reflect.DeepEqual(grant.SignedClaims["groups"], []any{"gold"}) {
		t.Errorf("after a refresh: %v, %v", grant, err)
	}
}
