package authflow_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// TestRevoke: RFC 7009 2.1. The refresh token, and with it the grant, is over.
func TestRevoke(t *testing.T) {
	s := newRP(t)
	grant := s.mustLogin("bob")
	if err := s.client.Revoke(t.Context(), authflow.RevokeRequest{RefreshToken: grant.RefreshToken, AccessToken: grant.AccessToken}); err != nil {
		t.Fatal(err)
	}
	requests := s.p.Requests(testop.Revocation)
	if len(requests) != 1 {
		t.Fatalf("%d calls, want one", len(requests))
	}
	form := requests[0].PostForm
	if form.Get("token") != grant.RefreshToken.Reveal() || form.Get("token_type_hint") != "refresh_token" {
		t.Errorf("sent %v", form)
	}
	if _, _, basic := (&http.Request{Header: requests[0].Header}).BasicAuth(); !basic {
		t.Error("the client did not authenticate as it does for tokens")
	}
	_, err := s.client.Refresh(t.Context(), request(grant))
	wantError(t, err, authflow.ReasonRefreshRefused, authflow.NoLogin)
}

// TestRevokeSends: which token, and whether any call is made at all (a call that
// the flow does not need fails the conformance suite).
func TestRevokeSends(t *testing.T) {
	refresh, access := secret.New("rt"), secret.New("at")
	off := func(cfg *authflow.Config) { cfg.Endpoints = map[string]string{"revocation": authflow.EndpointOff} }
	for name, test := range map[string]struct {
		req       authflow.RevokeRequest
		misbehave func(*testop.Behaviour)
		options   []func(*authflow.Config)
		want      string // the token that is sent
	}{
		"refresh token alone":     {req: authflow.RevokeRequest{RefreshToken: refresh}, want: "rt"},
		"both":                    {req: authflow.RevokeRequest{RefreshToken: refresh, AccessToken: access}, want: "rt"},
		"access token alone":      {req: authflow.RevokeRequest{AccessToken: access}, want: "at"},
		"no token":                {},
		"2.4 not in the metadata": {req: authflow.RevokeRequest{RefreshToken: refresh}, misbehave: func(b *testop.Behaviour) { b.Discovery = testop.Edit{"revocation_endpoint": testop.Absent} }},
		"switched off by hand":    {req: authflow.RevokeRequest{RefreshToken: refresh}, options: []func(*authflow.Config){off}},
		"client_secret_post":      {req: authflow.RevokeRequest{RefreshToken: refresh}, options: []func(*authflow.Config){func(cfg *authflow.Config) { cfg.ClientAuth = authflow.ClientSecretPost }}, want: "rt"},
		"2.2 the body is ignored": {req: authflow.RevokeRequest{RefreshToken: refresh}, misbehave: revocation(testop.Fault{Status: 200, Body: "<h1>done</h1>"}), want: "rt"},
		"2.2 also if it is a JWT": {req: authflow.RevokeRequest{RefreshToken: refresh}, misbehave: revocation(testop.Fault{Status: 200, Body: "x", Header: http.Header{"Content-Type": {"application/jwt"}}}), want: "rt"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, test.options...)
			if test.misbehave != nil {
				s.p.Set(test.misbehave)
			}
			if err := s.client.Revoke(t.Context(), test.req); err != nil {
				t.Fatal(err)
			}
			requests := s.p.Requests(testop.Revocation)
			switch {
			case test.want == "" && len(requests) > 0:
				t.Errorf("%d calls, want none", len(requests))
			case test.want != "" && (len(requests) != 1 || requests[0].PostForm.Get("token") != test.want):
				t.Errorf("calls: %v, want one with %s", requests, test.want)
			}
		})
	}
}

func revocation(fault testop.Fault) func(*testop.Behaviour) {
	return func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Revocation: fault} }
}

// TestRevokeFails: RFC 7009 2.2.1. A body of the provider's reaches nobody as it
// is.
func TestRevokeFails(t *testing.T) {
	body, err := json.Marshal(map[string]string{"error": "unsupported_token_type"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		fault  testop.Fault
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"unsupported_token_type": {testop.Fault{Status: 400, Body: string(body), Header: http.Header{"Content-Type": {"application/json"}}}, authflow.ReasonRevocation, authflow.Provider},
		"status 404 with HTML":   {testop.Fault{Status: 404, Body: "<h1>"}, authflow.ReasonRevocation, authflow.Provider},
		"a redirect":             {testop.Fault{Status: 302, Header: http.Header{"Location": {"https://evil.example/"}}}, authflow.ReasonRevocation, authflow.Provider},
		"2.2.1 status 503":       {testop.Fault{Status: 503}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"connection cut":         {testop.Fault{Abort: true}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t)
			s.p.Set(revocation(test.fault))
			wantError(t, s.client.Revoke(t.Context(), authflow.RevokeRequest{RefreshToken: secret.New("rt")}), test.reason, test.kind)
			if calls := s.p.Calls(testop.Revocation); calls != 1 {
				t.Errorf("%d calls, want one", calls)
			}
		})
	}
	s := newRP(t)
	s.p.Down()
	wantError(t, s.client.Revoke(t.Context(), authflow.RevokeRequest{RefreshToken: secret.New("rt")}), authflow.ReasonDiscovery, authflow.Unavailable)
}

// TestRevokeWithACertificate: RFC 8705 5, the address for clients with one.
func TestRevokeWithACertificate(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.ClientSecret, cfg.MutualTLS = nil, true })
	s.p.Set(revocation(testop.Fault{Status: 200}))
	s.p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"mtls_endpoint_aliases": map[string]string{"revocation_endpoint": s.p.URL(testop.Revocation) + "?alias"}}
	})
	if err := s.client.Revoke(t.Context(), authflow.RevokeRequest{RefreshToken: secret.New("rt")}); err != nil {
		t.Fatal(err)
	}
	requests := s.p.Requests(testop.Revocation)
	if len(requests) != 1 || requests[0].URL.RawQuery != "alias" || requests[0].PostForm.Get("client_id") != s.p.ClientID {
		t.Errorf("calls: %v", requests)
	}
}
