package authflow_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// request is what a session made from the grant would ask.
func request(grant *authflow.Grant) authflow.RefreshRequest {
	return authflow.RefreshRequest{
		Issuer: grant.Issuer, Subject: grant.Subject, Nonce: grant.Nonce, AuthTime: grant.AuthTime,
		RefreshToken: grant.RefreshToken, DPoPKey: grant.DPoPKey,
	}
}

func TestRefresh(t *testing.T) {
	s := newRP(t)
	first := s.mustLogin("bob")
	second, err := s.client.Refresh(t.Context(), request(first))
	if err != nil {
		t.Fatal(err)
	}
	if second.Issuer != first.Issuer || second.Subject != first.Subject || second.ClientID != first.ClientID ||
		second.Nonce != first.Nonce || !second.AuthTime.Equal(first.AuthTime) {
		t.Errorf("the refreshed grant is about somebody else: %+v, was %+v", second, first)
	}
	if second.RefreshToken.Reveal() == first.RefreshToken.Reveal() || second.AccessToken.Reveal() == first.AccessToken.Reveal() {
		t.Error("tokens are the old ones")
	}
	if email, _ := second.Claims.String("email"); email != "bob@example.com" {
		t.Errorf("email is %q", email)
	}
	if _, err := s.client.Refresh(t.Context(), request(second)); err != nil {
		t.Errorf("second refresh: %v", err)
	}
	if calls := s.p.Calls(testop.Token); calls != 3 {
		t.Errorf("%d token requests, want 3", calls)
	}
}

// TestRefreshKeeps: what a refresh does not bring anew stays (RFC 6749 6, P32).
func TestRefreshKeeps(t *testing.T) {
	tests := map[string]struct {
		misbehave func(*testop.Behaviour)
		policy    authflow.UserInfoPolicy
		needed    []string
		same      bool // the refresh token
		claims    bool // there are new ones
		userinfo  int  // calls
	}{
		"no rotation":               {misbehave: func(b *testop.Behaviour) { b.NoRefreshRotation = true }, same: true, claims: true},
		"P32 no ID token":           {misbehave: func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true }},
		"no ID token, userinfo":     {misbehave: func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true }, policy: authflow.UserInfoRequired, claims: true, userinfo: 1},
		"no ID token, email needed": {misbehave: func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true }, policy: authflow.UserInfoOnMissingClaims, needed: []string{"email"}, claims: true, userinfo: 1},
		"no ID token, none needed":  {misbehave: func(b *testop.Behaviour) { b.RefreshWithoutIDToken = true }, policy: authflow.UserInfoOnMissingClaims},
		"no nonce":                  {misbehave: func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"nonce": testop.Absent} }, claims: true},
		"no auth_time":              {misbehave: func(b *testop.Behaviour) { b.RefreshedIDToken = testop.Edit{"auth_time": testop.Absent} }, claims: true},
		"P05 userinfo is away": {
			misbehave: func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.UserInfo: {Status: 503}} },
			policy:    authflow.UserInfoRequired, userinfo: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t)
			first := s.mustLogin("bob")
			client := newClient(t, s.p, func(cfg *authflow.Config) { cfg.UserInfo = test.policy })
			s.p.Set(test.misbehave)
			req := request(first)
			req.NeededClaims = test.needed
			second, err := client.Refresh(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if second.RefreshToken.Empty() || (second.RefreshToken.Reveal() == first.RefreshToken.Reveal()) != test.same {
				t.Errorf("the refresh token is the old one: %t, want %t", !test.same, test.same)
			}
			if (second.Claims != nil) != test.claims {
				t.Errorf("claims are %v", second.Claims)
			}
			if !second.AuthTime.Equal(first.AuthTime) || second.Nonce != first.Nonce || second.Subject != first.Subject {
				t.Error("auth_time, nonce or sub are lost")
			}
			if calls := s.p.Calls(testop.UserInfo); calls != test.userinfo {
				t.Errorf("%d calls to userinfo, want %d", calls, test.userinfo)
			}
		})
	}
}

// TestRefreshLearnsNoAuthTime: what the login did not say is not compared.
func TestRefreshLearnsNoAuthTime(t *testing.T) {
	s := newRP(t)
	s.p.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"auth_time": testop.Absent} })
	first := s.mustLogin("bob")
	s.p.Behave()
	second, err := s.client.Refresh(t.Context(), request(first))
	if err != nil {
		t.Fatal(err)
	}
	if !first.AuthTime.IsZero() || !second.AuthTime.IsZero() {
		t.Errorf("auth_time %s, then %s", first.AuthTime, second.AuthTime)
	}
}

// TestRefreshRefuses tells what ends a session (NoLogin) from what does not.
func TestRefreshRefuses(t *testing.T) {
	type edit = testop.Edit
	idToken := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.RefreshedIDToken = e } }
	token := func(f testop.Fault) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: f} }
	}
	tests := map[string]struct {
		misbehave func(*testop.Behaviour)
		reason    authflow.Reason
		kind      authflow.Kind
	}{
		"P05 invalid_grant":        {func(b *testop.Behaviour) { b.RefreshError = "invalid_grant" }, authflow.ReasonRefreshRefused, authflow.NoLogin},
		"P05 invalid_client":       {func(b *testop.Behaviour) { b.RefreshError = "invalid_client" }, authflow.ReasonTokenEndpoint, authflow.Provider},
		"P05 status 500":           {token(testop.Fault{Status: 500}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"P05 status 429":           {token(testop.Fault{Status: 429}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"P05 connection cut":       {token(testop.Fault{Abort: true}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"P05 status 200 with HTML": {token(testop.Fault{Status: 200, Body: "<h1>"}), authflow.ReasonTokenEndpoint, authflow.Provider},
		"P05 a new key cannot be fetched": {func(b *testop.Behaviour) {
			b.RotateOnSign, b.Faults = true, map[string]testop.Fault{testop.JWKS: {Status: 503}}
		}, authflow.ReasonKeysUnavailable, authflow.Unavailable},
		"SEC-70 signature altered":       {func(b *testop.Behaviour) { b.CorruptSignature = true }, authflow.ReasonSignature, authflow.NoLogin},
		"SEC-70 alg none":                {func(b *testop.Behaviour) { b.Alg = "none" }, authflow.ReasonAlg, authflow.NoLogin},
		"SEC-70 iss + 1":                 {idToken(edit{"iss": testop.Append("1")}), authflow.ReasonIDTokenIssuer, authflow.NoLogin},
		"SEC-70 sub + 1":                 {idToken(edit{"sub": testop.Append("1")}), authflow.ReasonRefreshSubject, authflow.NoLogin},
		"SEC-70 another subject":         {func(b *testop.Behaviour) { b.RefreshedSubject = "sub-eve" }, authflow.ReasonRefreshSubject, authflow.NoLogin},
		"SEC-70 aud of another":          {idToken(edit{"aud": "evil"}), authflow.ReasonAudMismatch, authflow.NoLogin},
		"OIDC Core 12.2 azp of another":  {idToken(edit{"azp": "evil"}), authflow.ReasonAzpMismatch, authflow.NoLogin},
		"OIDC Core 12.2 iat absent":      {idToken(edit{"iat": testop.Absent}), authflow.ReasonIatMissing, authflow.NoLogin},
		"OIDC Core 12.2 old ID token":    {idToken(edit{"iat": time.Now().Add(-time.Hour).Unix()}), authflow.ReasonTokenStale, authflow.NoLogin},
		"OIDC Core 12.2 another nonce":   {idToken(edit{"nonce": testop.Append("1")}), authflow.ReasonNonce, authflow.NoLogin},
		"OIDC Core 12.2 nonce null":      {idToken(edit{"nonce": nil}), authflow.ReasonNonce, authflow.NoLogin},
		"OIDC Core 12.2 other auth_time": {idToken(edit{"auth_time": 1000000000}), authflow.ReasonRefreshAuthTime, authflow.NoLogin},
		"3.1.3.8 at_hash of another":     {idToken(edit{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), authflow.ReasonAtHash, authflow.NoLogin},
		"5.3.2 userinfo of another":      {func(b *testop.Behaviour) { b.UserInfo = edit{"sub": "sub-eve"} }, authflow.ReasonUserInfoSubject, authflow.NoLogin},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
			first := s.mustLogin("bob")
			s.p.Set(test.misbehave)
			_, err := s.client.Refresh(t.Context(), request(first))
			wantError(t, err, test.reason, test.kind)
			if calls := s.p.Calls(testop.Token); calls != 2 { // SEC-71
				t.Errorf("%d token requests for one code and one refresh token", calls)
			}
		})
	}
}

// TestRefreshAsksNothing: sessions that this client cannot refresh.
func TestRefreshAsksNothing(t *testing.T) {
	s := newRP(t)
	first := s.mustLogin("bob")

	other := request(first)
	other.Issuer = "https://other.example"
	_, err := s.client.Refresh(t.Context(), other)
	wantError(t, err, authflow.ReasonRefreshIssuer, authflow.NoLogin)

	none := request(first)
	none.RefreshToken = secret.String{}
	_, err = s.client.Refresh(t.Context(), none)
	wantError(t, err, authflow.ReasonRefreshRefused, authflow.NoLogin)

	// A refresh token is not used up by a process that cannot verify what comes
	// of it.
	fresh := newClient(t, s.p)
	s.p.Set(func(b *testop.Behaviour) {
		b.Faults = map[string]testop.Fault{testop.JWKS: {Status: http.StatusBadGateway}}
	})
	_, err = fresh.Refresh(t.Context(), request(first))
	wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)
	if calls := s.p.Calls(testop.Token); calls != 1 {
		t.Errorf("%d token requests, want the one of the login", calls)
	}
}
