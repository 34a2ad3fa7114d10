package authflow_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// TestSignedUserInfo: OIDC Core 5.3.2, 5.3.4. A client that is registered for
// signed answers takes those that are signed as agreed, from its provider and for
// itself, and no others.
func TestSignedUserInfo(t *testing.T) {
	type edit = testop.Edit
	info := func(e edit) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.UserInfoAlg, b.UserInfo = "RS256", e }
	}
	tests := map[string]struct {
		misbehave func(*testop.Behaviour)
		reason    authflow.Reason // "" = signed in
		kind      authflow.Kind
	}{
		"oidcc-client-test-userinfo-signed": {info(nil), "", 0},
		"aud a list":                        {info(edit{"aud": []string{"client"}}), "", 0},
		"rule 45 not signed":                {func(*testop.Behaviour) {}, authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 alg none":                  {func(b *testop.Behaviour) { b.UserInfoAlg = "none" }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 38 alg ES256":                 {func(b *testop.Behaviour) { b.UserInfoAlg = "ES256" }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 39 alg HS256":                 {func(b *testop.Behaviour) { b.UserInfoAlg = "HS256" }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 signature altered":         {func(b *testop.Behaviour) { b.UserInfoAlg, b.CorruptUserInfo = "RS256", true }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 iss of another":            {info(edit{"iss": testop.Append("1")}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 iss absent":                {info(edit{"iss": testop.Absent}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 aud of another":            {info(edit{"aud": "other"}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 aud absent":                {info(edit{"aud": testop.Absent}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 45 for others besides":        {info(edit{"aud": []string{"client", "other"}}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"expired":                           {info(edit{"exp": time.Now().Add(-time.Hour).Unix()}), authflow.ReasonUserInfoJWT, authflow.Provider},
		"rule 44 sub of another":            {info(edit{"sub": "sub-eve"}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"rule 44 sub absent":                {info(edit{"sub": testop.Absent}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"a body that is none":               {func(b *testop.Behaviour) { b.UserInfoBody = "a.b.c" }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"SEC-113 2 MB": {func(b *testop.Behaviour) {
			b.UserInfoAlg, b.Faults = "RS256", map[string]testop.Fault{testop.UserInfo: {Pad: 2 << 20}}
		}, authflow.ReasonUserInfoJWT, authflow.Provider},
		"status 503": {func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.UserInfo: {Status: 503}}
		}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) {
				cfg.UserInfo, cfg.UserInfoAlg = authflow.UserInfoRequired, "RS256"
			})
			s.p.Set(test.misbehave)
			s.p.Set(func(b *testop.Behaviour) { b.ThinIDToken = true })
			grant, err := s.login("bob")
			if test.reason != "" {
				wantError(t, err, test.reason, test.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if email, _ := grant.Claims.String("email"); email != "bob@example.com" {
				t.Errorf("email is %q", email)
			}
		})
	}
}

// TestSignedUserInfoMediaType: OIDC Core 5.3.2. A JWT is one that says so.
func TestSignedUserInfoMediaType(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) {
		cfg.UserInfo, cfg.UserInfoAlg = authflow.UserInfoRequired, "RS256"
	})
	signed, err := s.p.Sign(map[string]any{"iss": s.p.Issuer(), "aud": s.p.ClientID, "sub": s.p.User.Subject}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for mediaType, reason := range map[string]authflow.Reason{
		"application/jwt": "", "application/jwt;charset=UTF-8": "",
		"text/plain": authflow.ReasonUserInfoJWT, "application/json": authflow.ReasonUserInfoJWT,
	} {
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.UserInfo: {
				Status: http.StatusOK, Header: http.Header{"Content-Type": {mediaType}}, Body: signed,
			}}
		})
		if _, err := s.login("alice"); authflow.ReasonOf(err) != reason {
			t.Errorf("%s: %v", mediaType, err)
		}
	}
}
