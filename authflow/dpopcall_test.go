package authflow_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// dpop is a client that wants bound tokens, at a provider that binds them and looks
// at every proof (see testop).
func dpop(t testing.TB, options ...func(*authflow.Config)) rp {
	t.Helper()
	on := func(cfg *authflow.Config) { cfg.DPoP, cfg.UserInfo = true, authflow.UserInfoRequired }
	s := newRP(t, append([]func(*authflow.Config){on}, options...)...)
	s.p.Set(func(b *testop.Behaviour) { b.DPoP, b.DPoPBoundCode = true, true })
	return s
}

// proofs are the claims of all proofs that an endpoint got.
func (s rp) proofs(endpoint string) (claims []map[string]any) {
	s.t.Helper()
	for _, request := range s.p.Requests(endpoint) {
		_, c := decodeJWT(s.t, request.Header.Get("DPoP"))
		claims = append(claims, c)
	}
	return claims
}

// TestDPoP: RFC 9449 5, 7, 10. Sign-in, userinfo and refresh, each with a proof of
// one key, which the provider checks.
func TestDPoP(t *testing.T) {
	s := dpop(t)
	first := s.mustLogin("bob")
	if first.TokenType != authflow.TokenTypeDPoP || first.DPoPKey.Empty() {
		t.Fatalf("token type %s, key %v", first.TokenType, !first.DPoPKey.Empty())
	}
	key, err := authflow.ParseDPoPKey(first.DPoPKey)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.client.Refresh(t.Context(), request(first))
	if err != nil {
		t.Fatal(err)
	}
	for _, grant := range []*authflow.Grant{first, second} {
		if bound := s.p.Key(grant.AccessToken.Reveal()); bound != key.Thumbprint() || grant.DPoPKey.Reveal() != first.DPoPKey.Reveal() {
			t.Errorf("bound to %s, the session's key is %s", bound, key.Thumbprint())
		}
	}
	if jkt := s.p.Requests(testop.Authorization)[0].Form.Get("dpop_jkt"); jkt != key.Thumbprint() {
		t.Errorf("RFC 9449 10: dpop_jkt is %q", jkt)
	}
	if token, info := s.p.Calls(testop.Token), s.p.Calls(testop.UserInfo); token != 2 || info != 2 {
		t.Errorf("%d token and %d userinfo requests, want 2 and 2: nobody asked for a nonce", token, info)
	}
	other := s.mustLogin("carol")
	if other.DPoPKey.Reveal() == first.DPoPKey.Reveal() {
		t.Error("two sessions share a key")
	}
	stolen := request(second)
	stolen.DPoPKey = other.DPoPKey
	_, err = s.client.Refresh(t.Context(), stolen)
	wantError(t, err, authflow.ReasonRefreshRefused, authflow.NoLogin)
}

// A client without DPoP sends nothing of it, and takes no bound token.
func TestDPoPOff(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
	grant := s.mustLogin("bob")
	if grant.TokenType != authflow.TokenTypeBearer || !grant.DPoPKey.Empty() {
		t.Errorf("token type %s, key %v", grant.TokenType, !grant.DPoPKey.Empty())
	}
	for _, endpoint := range []string{testop.Authorization, testop.Token, testop.UserInfo} {
		if request := s.p.Requests(endpoint)[0]; request.Header.Get("DPoP") != "" || request.Form.Has("dpop_jkt") {
			t.Errorf("%s: %v %v", endpoint, request.Header, request.Form)
		}
	}
	s.p.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "DPoP"} })
	_, err := s.login("bob")
	wantError(t, err, authflow.ReasonTokenType, authflow.Provider)
}

// TestDPoPNonce: RFC 9449 8, 9. Every server asks for its nonce once, and then has
// it in each proof; what is good once is made anew for the second request.
func TestDPoPNonce(t *testing.T) {
	client := must(authflow.ParseClientKey(pkcs8(newEd()), ""))
	s := keyed(t, []authflow.ClientKey{client}, func(cfg *authflow.Config) {
		cfg.DPoP, cfg.PAR, cfg.UserInfo = true, authflow.PAROn, authflow.UserInfoRequired
	})
	s.p.Set(func(b *testop.Behaviour) {
		b.DPoP, b.DPoPBoundCode, b.DPoPNonceOnce, b.DPoPScheme = true, true, true, "dPoP"
	})
	grant := s.mustLogin("bob")
	want := func(push, token, info int) {
		t.Helper()
		for endpoint, n := range map[string]int{testop.Push: push, testop.Token: token, testop.UserInfo: info} {
			if calls := s.p.Calls(endpoint); calls != n {
				t.Errorf("%d requests to %s, want %d", calls, endpoint, n)
			}
		}
	}
	want(2, 1, 2) // the token endpoint gets the nonce that came with the pushed request's answer
	grant, err := s.client.Refresh(t.Context(), request(grant))
	if err != nil {
		t.Fatal(err)
	}
	want(2, 2, 3) // those of the answers with status 200 before
	s.p.RotateNonces()
	if _, err = s.client.Refresh(t.Context(), request(grant)); err != nil {
		t.Fatal(err)
	}
	want(2, 4, 5)
	seen := map[any]bool{}
	for _, endpoint := range []string{testop.Push, testop.Token, testop.UserInfo} {
		for i, request := range s.p.Requests(endpoint) {
			ids := []any{s.proofs(endpoint)[i]["jti"]}
			if assertion := request.PostForm.Get("client_assertion"); assertion != "" {
				_, claims := decodeJWT(t, assertion)
				ids = append(ids, claims["jti"])
			} else if endpoint != testop.UserInfo {
				t.Errorf("no assertion at %s", endpoint)
			}
			for _, id := range ids {
				if seen[id] {
					t.Errorf("%s: a jti was there before", endpoint)
				}
				seen[id] = true
			}
		}
	}
	if request := s.p.Requests(testop.Push)[1]; request.PostForm.Has("dpop_jkt") {
		t.Error("RFC 9449 10.1: the proof says it, and dpop_jkt besides")
	}
}

// TestDPoPRefuses: what a provider may do wrong, and that nothing is asked more
// often than once again.
func TestDPoPRefuses(t *testing.T) {
	pushed := func(cfg *authflow.Config) { cfg.PAR = authflow.PAROn }
	for name, test := range map[string]struct {
		option    func(*authflow.Config)
		misbehave func(*testop.Behaviour)
		reason    authflow.Reason // "" = the sign-in works
		kind      authflow.Kind
		push      int
		token     int
		info      int
	}{
		"5 downgrade to Bearer": {nil, func(b *testop.Behaviour) { b.DPoPDowngrade = true }, authflow.ReasonDPoPDowngrade, authflow.Provider, 0, 1, 0},
		"5 downgrade, no type":  {nil, func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": testop.Absent} }, authflow.ReasonDPoPDowngrade, authflow.Provider, 0, 1, 0},
		"5 downgrade, bEARER":   {nil, func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "bEARER"} }, authflow.ReasonDPoPDowngrade, authflow.Provider, 0, 1, 0},
		"another token type":    {nil, func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "mac"} }, authflow.ReasonTokenType, authflow.Provider, 0, 1, 0},
		"token type dPOP":       {nil, func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "dPOP"} }, "", 0, 0, 1, 1},
		"5.1 no ES256":          {nil, func(b *testop.Behaviour) { b.Discovery = supports("RS256", "EdDSA") }, authflow.ReasonDPoPUnsupported, authflow.Internal, 0, 0, 0},
		"5.1 no algorithm":      {nil, func(b *testop.Behaviour) { b.Discovery = supports() }, authflow.ReasonDPoPUnsupported, authflow.Internal, 0, 0, 0},
		"5.1 does not say": {nil, func(b *testop.Behaviour) {
			b.Discovery = testop.Edit{"dpop_signing_alg_values_supported": testop.Absent}
		}, "", 0, 0, 1, 1},
		"8 another nonce for ever":  {nil, func(b *testop.Behaviour) { b.DPoPNonceLoop = true }, authflow.ReasonTokenEndpoint, authflow.Provider, 0, 2, 0},
		"8 for ever at PAR":         {pushed, func(b *testop.Behaviour) { b.DPoPNonceLoop = true }, authflow.ReasonPARRefused, authflow.Provider, 2, 0, 0},
		"8 the wrong nonce":         {nil, nonceHeader("another"), authflow.ReasonTokenEndpoint, authflow.Provider, 0, 2, 0},
		"8 asks and gives none":     {nil, nonceHeader(), authflow.ReasonTokenEndpoint, authflow.Provider, 0, 1, 0},
		"8.1 a nonce of 2000 bytes": {nil, nonceHeader(strings.Repeat("n", 2000)), authflow.ReasonTokenEndpoint, authflow.Provider, 0, 1, 0},
		"8.1 a nonce with a quote":  {nil, nonceHeader(`a"b`), authflow.ReasonTokenEndpoint, authflow.Provider, 0, 1, 0},
		"8.1 two nonces":            {nil, nonceHeader("a", "b"), authflow.ReasonTokenEndpoint, authflow.Provider, 0, 1, 0},
		"the code by dpop_jkt":      {nil, func(*testop.Behaviour) {}, "", 0, 0, 1, 1},
		"10.1 the code by PAR":      {pushed, func(*testop.Behaviour) {}, "", 0, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var options []func(*authflow.Config)
			if test.option != nil {
				options = append(options, test.option)
			}
			s := dpop(t, options...)
			s.p.Set(test.misbehave)
			grant, err := s.login("bob")
			if test.reason != "" {
				wantError(t, err, test.reason, test.kind)
			} else if err != nil || grant.TokenType != authflow.TokenTypeDPoP {
				t.Errorf("%+v, %v", grant, err)
			}
			for endpoint, want := range map[string]int{testop.Push: test.push, testop.Token: test.token, testop.UserInfo: test.info} {
				if calls := s.p.Calls(endpoint); calls != want {
					t.Errorf("%d requests to %s, want %d", calls, endpoint, want)
				}
			}
		})
	}
}

func supports(algs ...string) testop.Edit {
	return testop.Edit{"dpop_signing_alg_values_supported": append([]string{}, algs...)}
}

func nonceHeader(values ...string) func(*testop.Behaviour) {
	return func(b *testop.Behaviour) { b.DPoPNonces, b.DPoPNonceHeader = true, append([]string{}, values...) }
}

// TestDPoPUserInfoNonce: a resource server that asks for ever is asked twice, and
// one that refuses for another reason once (RFC 9449 7.1, 9).
func TestDPoPUserInfoNonce(t *testing.T) {
	for name, test := range map[string]struct {
		challenge string
		calls     int
	}{
		"use_dpop_nonce":              {`DPoP error="use_dpop_nonce"`, 2},
		"invalid_token":               {`DPoP error="invalid_token"`, 1},
		"use_dpop_nonce, not of DPoP": {`Bearer error="use_dpop_nonce"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := dpop(t)
			s.p.Set(func(b *testop.Behaviour) {
				b.Faults = map[string]testop.Fault{testop.UserInfo: {Status: 401, Header: http.Header{
					"Www-Authenticate": {`Basic realm="x"`, test.challenge}, "Dpop-Nonce": {"n"},
				}}}
			})
			_, err := s.login("bob")
			wantError(t, err, authflow.ReasonUserInfo, authflow.Provider)
			proofs := s.proofs(testop.UserInfo)
			if len(proofs) != test.calls || proofs[0]["nonce"] != nil || test.calls == 2 && proofs[1]["nonce"] != "n" {
				t.Errorf("proofs %v", proofs)
			}
		})
	}
}

// A session from before DPoP was switched on gets a key and bound tokens; one from
// before it was switched off goes on without; a key that is none ends it.
func TestDPoPSwitched(t *testing.T) {
	on := dpop(t)
	off := rp{t: t, p: on.p, client: newClient(t, on.p)}
	on.p.Set(func(b *testop.Behaviour) { b.DPoP, b.DPoPBoundCode = false, false })
	grant := off.mustLogin("bob")
	on.p.Set(func(b *testop.Behaviour) { b.DPoP = true })
	grant, err := on.client.Refresh(t.Context(), request(grant))
	if err != nil {
		t.Fatal(err)
	}
	key, err := authflow.ParseDPoPKey(grant.DPoPKey)
	if err != nil || on.p.Key(grant.AccessToken.Reveal()) != key.Thumbprint() || grant.TokenType != authflow.TokenTypeDPoP {
		t.Errorf("switched on: %+v, %v", grant, err)
	}
	broken := request(grant)
	broken.DPoPKey = secret.New("no scalar")
	_, err = on.client.Refresh(t.Context(), broken)
	wantError(t, err, authflow.ReasonDPoPKey, authflow.NoLogin)
	on.p.Set(func(b *testop.Behaviour) { b.DPoP = false })
	grant, err = off.client.Refresh(t.Context(), request(grant))
	if err != nil || !grant.DPoPKey.Empty() || grant.TokenType != authflow.TokenTypeBearer {
		t.Errorf("switched off: %+v, %v", grant, err)
	}
}

// A proof names the address that the provider has in public, whatever leads there
// (P16, RFC 9449 4.3 (9)): the provider knows no other.
func TestDPoPReach(t *testing.T) {
	p := testop.Start(t)
	p.Set(public)
	p.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "DPoP"} })
	back := newBackChannel(t, p)
	s := rp{t: t, p: p, network: toBackChannel{strings.TrimPrefix(back.URL, "http://")}}
	s.client = newClient(t, p, func(cfg *authflow.Config) { cfg.Issuer, cfg.Reach, cfg.DPoP = publicIssuer, back.URL, true })
	s.mustLogin("bob")
	if proof := s.proofs(testop.Token)[0]; proof["htu"] != publicIssuer+"/token" || proof["htm"] != "POST" || proof["ath"] != nil {
		t.Errorf("proof %v", proof)
	}
}
