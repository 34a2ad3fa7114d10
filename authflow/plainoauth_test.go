package authflow_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// newPlainRP is a relying party at a provider that is plain OAuth 2.0.
func newPlainRP(t *testing.T, options ...func(*authflow.Config)) rp {
	t.Helper()
	return newPlainRPAt(t, testop.Start(t), options...)
}

func newPlainRPAt(t *testing.T, p *testop.Provider, options ...func(*authflow.Config)) rp {
	t.Helper()
	p.Set(func(b *testop.Behaviour) { b.PlainOAuth = true })
	plain := func(cfg *authflow.Config) {
		cfg.SubjectFrom, cfg.UserInfoEmails, cfg.NoDiscovery = "id", true, true
		cfg.Scopes, cfg.ClientAuth = []string{"read:user"}, authflow.ClientSecretPost
		cfg.Endpoints = map[string]string{
			"authorization": p.URL(testop.Authorization), "token": p.URL(testop.Token), "userinfo": p.URL(testop.UserInfo),
		}
	}
	client := newClient(t, p, append([]func(*authflow.Config){plain}, options...)...)
	return rp{t: t, p: p, client: client, needed: []string{"email", "email_verified"}}
}

func TestPlainOAuth(t *testing.T) {
	s := newPlainRP(t)
	grant := s.mustLogin("bob")
	if want := strconv.FormatUint(testop.NumericID("sub-bob"), 10); grant.Subject != want || grant.Claims["sub"] != want {
		t.Errorf("subject %q, sub %v, want %s", grant.Subject, grant.Claims["sub"], want)
	}
	if grant.Claims["login"] != "bob" || grant.Claims["email"] != "bob@example.com" || grant.Claims["email_verified"] != true {
		t.Errorf("claims %v", grant.Claims)
	}
	if !grant.IDToken.Empty() || grant.SignedClaims != nil || grant.Nonce != "" || grant.SessionID != "" || !grant.IDTokenIssued.IsZero() {
		t.Errorf("something that only an ID token could say: %+v", grant)
	}
	request := s.p.Requests(testop.Authorization)[0].Form
	if request.Has("nonce") || request.Get("scope") != "read:user" || request.Get("code_challenge") == "" || request.Get("state") == "" {
		t.Errorf("authorization request %v", request)
	}
	if got := strings.Join(s.p.Trace(), " "); got != "authorization token userinfo userinfo/emails" {
		t.Errorf("asked: %s", got)
	}
	if accept := s.p.Requests(testop.Token)[0].Header.Get("Accept"); accept != "application/json" {
		t.Errorf("token request accepts %q: GitHub would answer with a form", accept)
	}
}

func TestPlainOAuthSubject(t *testing.T) {
	const missing, malformed, ok = authflow.ReasonSubMissing, authflow.ReasonSubMalformed, authflow.Reason("")
	for name, test := range map[string]struct {
		id      string // as JSON
		subject string
		reason  authflow.Reason
	}{
		"number":                       {`1000`, "1000", ok},
		"text":                         {`"u-1000"`, "u-1000", ok},
		"beyond the digits of a float": {`9007199254740993`, "9007199254740993", ok},
		"negative":                     {`-7`, "-7", ok},
		"another spelling of 1000":     {`1e3`, "", malformed},
		"a fraction of nothing":        {`1000.0`, "", malformed},
		"minus zero":                   {`-0`, "", malformed},
		"empty":                        {`""`, "", missing},
		"null":                         {`null`, "", malformed},
		"true":                         {`true`, "", malformed},
		"an object":                    {`{"id":1}`, "", malformed},
		"a list":                       {`[1000]`, "", malformed},
		"256 characters":               {`"` + strings.Repeat("a", 256) + `"`, "", malformed},
		"a line break":                 {`"1\n2"`, "", malformed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPlainRP(t)
			s.p.Set(func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"id": json.RawMessage(test.id)} })
			grant, err := s.login("alice")
			if test.reason != ok {
				wantError(t, err, test.reason, authflow.Provider)
			} else if err != nil || grant.Subject != test.subject {
				t.Errorf("subject %v, %v", grant, err)
			}
		})
	}
}

func TestPlainOAuthRefuses(t *testing.T) {
	fault := func(endpoint string, f testop.Fault) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{endpoint: f} }
	}
	for name, test := range map[string]struct {
		set    func(*testop.Behaviour)
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"no subject":                  {func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"id": testop.Absent, "sub": "alice"} }, authflow.ReasonSubMissing, authflow.Provider},
		"userinfo 200 with an error":  {func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"error": "invalid_token"} }, authflow.ReasonUserInfo, authflow.Provider},
		"userinfo 401":                {fault(testop.UserInfo, testop.Fault{Status: 401}), authflow.ReasonUserInfo, authflow.Provider},
		"userinfo away":               {fault(testop.UserInfo, testop.Fault{Abort: true}), authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"token 200 with an error":     {func(b *testop.Behaviour) { b.CodeError = "bad_verification_code" }, authflow.ReasonCodeRefused, authflow.BadRequest},
		"token 200, client is wrong":  {func(b *testop.Behaviour) { b.CodeError = "incorrect_client_credentials" }, authflow.ReasonTokenEndpoint, authflow.Provider},
		"token answers with a form":   {fault(testop.Token, testop.Fault{Status: 200, Body: "access_token=a&token_type=bearer"}), authflow.ReasonTokenEndpoint, authflow.Provider},
		"token of an unknown type":    {func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"token_type": "mac"} }, authflow.ReasonTokenType, authflow.Provider},
		"RFC 9207 iss of another":     {func(b *testop.Behaviour) { b.AuthorizationResponse = testop.Edit{"iss": "https://evil.example"} }, authflow.ReasonIssMismatch, authflow.BadRequest},
		"PKCE is not left out":        {func(b *testop.Behaviour) { b.CodeError = "invalid_grant" }, authflow.ReasonCodeRefused, authflow.BadRequest},
		"userinfo is a list":          {func(b *testop.Behaviour) { b.UserInfoBody = `[{"id":1}]` }, authflow.ReasonUserInfo, authflow.Provider},
		"two subjects in one answer":  {func(b *testop.Behaviour) { b.UserInfoBody = `{"id":1,"ID":2}` }, authflow.ReasonUserInfo, authflow.Provider},
		"a JWT where JSON was agreed": {func(b *testop.Behaviour) { b.UserInfoAlg = "RS256" }, authflow.ReasonUserInfoJWT, authflow.Provider},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPlainRP(t)
			s.p.Set(test.set)
			_, err := s.login("alice")
			wantError(t, err, test.reason, test.kind)
		})
	}
}

// RFC 6749 5.1: what was not asked for is not looked at, neither where it is malformed nor where it speaks of somebody else.
func TestPlainOAuthIgnoresIDToken(t *testing.T) {
	for name, idToken := range map[string]any{"of another": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.", "no string": 7} {
		t.Run(name, func(t *testing.T) {
			s := newPlainRP(t)
			s.p.Set(func(b *testop.Behaviour) {
				b.TokenResponse = testop.Edit{"id_token": idToken, "token_type": testop.Absent}
			})
			if grant := s.mustLogin("alice"); !grant.IDToken.Empty() || grant.Subject != strconv.FormatUint(testop.NumericID("sub-alice"), 10) {
				t.Errorf("grant %+v", grant)
			}
		})
	}
}

// Claims of the sign-in, and what userinfo says of addresses, do not come from an answer that nobody signs.
func TestPlainOAuthClaims(t *testing.T) {
	s := newPlainRP(t)
	s.p.Set(func(b *testop.Behaviour) {
		b.UserInfo = testop.Edit{"acr": "high", "auth_time": 1, "sid": "x", "sub": "eve", "email": "ceo@example.com", "email_verified": true}
	})
	grant := s.mustLogin("alice")
	if grant.ACR != "" || !grant.AuthTime.IsZero() || grant.SessionID != "" || grant.Claims["acr"] != nil || grant.Claims["sub"] == "eve" {
		t.Errorf("grant %+v", grant)
	}
	if grant.Claims["email"] != "alice@example.com" {
		t.Errorf("e-mail %v", grant.Claims["email"])
	}
	for name, test := range map[string]struct {
		body            string
		email, verified any
		elsewhere       bool
	}{
		"not verified":                 {`[{"email":"a@example.com","primary":true,"verified":false}]`, "a@example.com", false, false},
		"verified is no word":          {`[{"email":"a@example.com","primary":true,"verified":"true"}]`, "a@example.com", false, false},
		"verified, and not primary":    {`[{"email":"a@example.com","primary":false,"verified":true}]`, nil, nil, false},
		"none":                         {`[]`, nil, nil, false},
		"no list":                      {`{"message":"Not Found"}`, nil, nil, true},
		"a list that closes too early": {`[],"id":[]`, nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			s.p.Set(func(b *testop.Behaviour) { b.EmailsBody = test.body })
			grant := s.mustLogin("alice")
			if grant.Claims["email"] != test.email || grant.Claims["email_verified"] != test.verified || grant.Claims.StandsElsewhere("email") != test.elsewhere {
				t.Errorf("claims %v", grant.Claims)
			}
		})
	}
}

// What nobody can tell is not as it was asked for.
func TestPlainOAuthStepUp(t *testing.T) {
	s := newPlainRP(t, func(cfg *authflow.Config) { cfg.Parameters = map[string]string{"acr_values": "high"} })
	_, err := s.login("alice")
	wantError(t, err, authflow.ReasonACR, authflow.Denied)
}

func TestPlainOAuthRefresh(t *testing.T) {
	for name, test := range map[string]struct {
		set    func(*testop.Behaviour)
		reason authflow.Reason // "" = goes on
		claims bool
	}{
		"again":               {func(*testop.Behaviour) {}, "", true},
		"of another":          {func(b *testop.Behaviour) { b.RefreshedSubject = "sub-eve" }, authflow.ReasonUserInfoSubject, false},
		"of nobody":           {func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"id": testop.Absent} }, authflow.ReasonUserInfoSubject, false},
		"userinfo away":       {func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.UserInfo: {Status: 500}} }, "", false},
		"refused with 200":    {func(b *testop.Behaviour) { b.RefreshError = "bad_refresh_token" }, authflow.ReasonRefreshRefused, false},
		"refused as RFC 6749": {func(b *testop.Behaviour) { b.RefreshError = "invalid_grant" }, authflow.ReasonRefreshRefused, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPlainRP(t)
			before := s.mustLogin("alice")
			s.p.Set(test.set)
			grant, err := s.client.Refresh(t.Context(), authflow.RefreshRequest{
				Issuer: before.Issuer, Subject: before.Subject, RefreshToken: before.RefreshToken, NeededClaims: s.needed,
			})
			if test.reason != "" {
				wantError(t, err, test.reason, authflow.NoLogin)
				return
			}
			if err != nil || grant.Subject != before.Subject || (grant.Claims != nil) != test.claims || grant.RefreshToken.Empty() {
				t.Errorf("grant %+v, %v", grant, err)
			}
		})
	}
}

// Mix-up: an attempt of one provider is not finished at another, and nobody signs a logout token there.
func TestPlainOAuthMixUp(t *testing.T) {
	s, other := newPlainRP(t), newPlainRP(t)
	attempt, response := s.answered(t)
	_, err := other.client.Finish(t.Context(), other.finish(attempt, response))
	wantError(t, err, authflow.ReasonAttemptMismatch, authflow.BadRequest)
	if trace := other.p.Trace(); len(trace) != 0 {
		t.Errorf("asked: %v", trace)
	}
	token, err := s.p.Sign(map[string]any{"iss": s.p.Issuer(), "sub": "1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client.LogoutToken(t.Context(), token)
	wantError(t, err, authflow.ReasonKeyUnknown, authflow.BadRequest)
}

func TestPlainOAuthConfig(t *testing.T) {
	endpoints := map[string]string{"authorization": "https://id.example.com/a", "token": "https://id.example.com/t", "userinfo": "https://id.example.com/u"}
	for name, test := range map[string]struct {
		set  func(*authflow.Config)
		word string
	}{
		"right":            {func(*authflow.Config) {}, ""},
		"openid":           {func(c *authflow.Config) { c.Scopes = []string{"openid"} }, "scopes:"},
		"no userinfo":      {func(c *authflow.Config) { delete(c.Endpoints, "userinfo") }, "endpoint userinfo: missing"},
		"userinfo off":     {func(c *authflow.Config) { c.Endpoints["userinfo"] = "off" }, "endpoint userinfo:"},
		"signed userinfo":  {func(c *authflow.Config) { c.UserInfoAlg = "RS256" }, "userinfo_signed_response_alg:"},
		"a scope is two":   {func(c *authflow.Config) { c.Scopes = []string{"a b"} }, "scopes:"},
		"token over http":  {func(c *authflow.Config) { c.Endpoints["token"] = "http://id.example.com/t" }, "endpoint token:"},
		"without its word": {func(c *authflow.Config) { c.SubjectFrom = "" }, "scopes:"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := authflow.Config{
				Issuer: "https://id.example.com", ClientID: "app", ClientAuth: "none", SubjectFrom: "id", NoDiscovery: true,
				Scopes: []string{"read:user"}, Endpoints: map[string]string{},
			}
			for endpoint, address := range endpoints {
				cfg.Endpoints[endpoint] = address
			}
			test.set(&cfg)
			_, err := authflow.New(cfg)
			if (err == nil) != (test.word == "") || err != nil && !strings.Contains(err.Error(), `": `+test.word) {
				t.Errorf("error is %v, want one about %s", err, test.word)
			}
		})
	}
}
