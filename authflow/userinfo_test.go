package authflow_test

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

func TestUserInfoPolicy(t *testing.T) {
	thin := func(b *testop.Behaviour) { b.ThinIDToken = true }
	noEndpoint := func(b *testop.Behaviour) {
		b.ThinIDToken = true
		b.Discovery = testop.Edit{"userinfo_endpoint": testop.Absent}
	}
	tests := map[string]struct {
		policy authflow.UserInfoPolicy
		needed []string
		set    func(*testop.Behaviour)
		calls  int
		email  any
	}{
		"off":                            {authflow.UserInfoOff, []string{"email"}, thin, 0, nil},
		"on missing claims, none needed": {authflow.UserInfoOnMissingClaims, nil, thin, 0, nil},
		"on missing claims, missing":     {authflow.UserInfoOnMissingClaims, []string{"sub", "email"}, thin, 1, "alice@example.com"},
		"on missing claims, all there":   {authflow.UserInfoOnMissingClaims, []string{"sub", "email"}, func(*testop.Behaviour) {}, 0, "alice@example.com"},
		"on missing claims, no endpoint": {authflow.UserInfoOnMissingClaims, []string{"email"}, noEndpoint, 0, nil},
		"required":                       {authflow.UserInfoRequired, nil, func(*testop.Behaviour) {}, 1, "alice@example.com"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = test.policy })
			s.needed = test.needed
			s.p.Set(test.set)
			grant := s.mustLogin("alice")
			if email := grant.Claims["email"]; email != test.email {
				t.Errorf("email is %v, want %v", email, test.email)
			}
			if calls := s.p.Calls(testop.UserInfo); calls != test.calls {
				t.Errorf("%d calls, want %d", calls, test.calls)
			}
		})
	}
}

func TestUserInfoRefuses(t *testing.T) {
	type edit = testop.Edit
	info := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.UserInfo = e } }
	body := func(s string) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.UserInfoBody = s } }
	fault := func(f testop.Fault) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.UserInfo: f} }
	}
	tests := map[string]struct {
		set    func(*testop.Behaviour)
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"5.3.2 sub of another":  {info(edit{"sub": "sub-eve"}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"5.3.2 sub absent":      {info(edit{"sub": testop.Absent}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"5.3.2 sub null":        {info(edit{"sub": nil}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"5.3.2 sub an array":    {info(edit{"sub": []string{"sub-alice"}}), authflow.ReasonUserInfoSubject, authflow.Provider},
		"5.3.2 application/jwt": {func(b *testop.Behaviour) { b.UserInfoAlg = "RS256" }, authflow.ReasonUserInfoJWT, authflow.Provider},
		"SEC-113 array":         {body(`[{"sub":"sub-alice"}]`), authflow.ReasonUserInfo, authflow.Provider},
		"SEC-113 null":          {body(`null`), authflow.ReasonUserInfo, authflow.Provider},
		"SEC-113 not JSON":      {body(`<html>`), authflow.ReasonUserInfo, authflow.Provider},
		"sub twice":             {body(`{"sub":"sub-eve","sub":"sub-alice"}`), authflow.ReasonUserInfo, authflow.Provider},
		"sub and Sub":           {body(`{"sub":"sub-alice","Sub":"sub-eve"}`), authflow.ReasonUserInfo, authflow.Provider},
		"SEC-113 2 MB":          {fault(testop.Fault{Pad: 2 << 20}), authflow.ReasonUserInfo, authflow.Provider},
		"SEC-113 redirect":      {fault(testop.Fault{Status: 302, Header: http.Header{"Location": {"/userinfo"}}}), authflow.ReasonUserInfo, authflow.Provider},
		"status 401":            {fault(testop.Fault{Status: 401}), authflow.ReasonUserInfo, authflow.Provider},
		"status 502":            {fault(testop.Fault{Status: 502}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"connection cut":        {fault(testop.Fault{Abort: true}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"no endpoint":           {func(b *testop.Behaviour) { b.Discovery = edit{"userinfo_endpoint": testop.Absent} }, authflow.ReasonUserInfoMissing, authflow.Provider},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
			s.p.Set(test.set)
			_, err := s.login("alice")
			wantError(t, err, test.reason, test.kind)
		})
	}
}

// TestUserInfoMerge: the ID token is signed and comes first.
func TestUserInfoMerge(t *testing.T) {
	type edit = testop.Edit
	none := testop.Absent
	tests := map[string]struct {
		idToken, userInfo edit
		want              map[string]any // nil: must be absent
	}{
		"UserInfo adds": {
			edit{"groups": none},
			edit{"groups": []string{"ops"}},
			map[string]any{"groups": []any{"ops"}},
		},
		"the ID token counts": {
			edit{"groups": []string{"staff"}},
			edit{"groups": []string{"admins"}},
			map[string]any{"groups": []any{"staff"}},
		},
		"claims about the login come from the ID token alone": {
			edit{"acr": none, "auth_time": none, "sid": none, "azp": none},
			edit{"acr": "phrh", "auth_time": 4000000000, "sid": "x", "azp": "evil", "amr": []string{"mfa"}},
			map[string]any{"acr": nil, "auth_time": nil, "sid": nil, "azp": nil, "amr": nil},
		},
		"P31 another address is verified": {
			edit{"email": "ceo@example.com", "email_verified": none},
			edit{"email": "eve@example.com", "email_verified": true},
			map[string]any{"email": "ceo@example.com", "email_verified": nil},
		},
		"P31 the same address is verified": {
			edit{"email": "a@example.com", "email_verified": none},
			edit{"email": "a@example.com", "email_verified": true},
			map[string]any{"email": "a@example.com", "email_verified": true},
		},
		"P31 the word comes without an address": {
			edit{"email": none, "email_verified": true},
			edit{"email": "ceo@example.com", "email_verified": none},
			map[string]any{"email": "ceo@example.com", "email_verified": nil},
		},
		"P31 an address that is none": {
			edit{"email": []string{"a"}, "email_verified": none},
			edit{"email": none, "email_verified": true},
			map[string]any{"email_verified": nil},
		},
		"P31 the ID token says no": {
			edit{"email": "a@example.com", "email_verified": false},
			edit{"email": "a@example.com", "email_verified": true},
			map[string]any{"email": "a@example.com", "email_verified": false},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
			s.p.Set(func(b *testop.Behaviour) { b.IDToken, b.UserInfo = test.idToken, test.userInfo })
			grant := s.mustLogin("alice")
			for claim, want := range test.want {
				if got := grant.Claims[claim]; !reflect.DeepEqual(got, want) {
					t.Errorf("%s is %v, want %v", claim, got, want)
				}
			}
			if grant.ACR == "phrh" {
				t.Error("acr was taken from UserInfo")
			}
		})
	}
}
