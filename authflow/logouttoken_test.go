package authflow_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutToken is a logout token of the provider for alice and a session of hers,
// wrong in the given ways.
func (s rp) logoutToken(alg string, claims, header testop.Edit) string {
	s.t.Helper()
	if header == nil {
		header = testop.Edit{"typ": "logout+jwt"}
	}
	token, err := s.p.SignAs(alg, s.p.LogoutTokenClaims("sub-alice", `sid-"&{[?`, claims), header)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func TestLogoutToken(t *testing.T) {
	s := newRP(t)
	before := time.Now().Truncate(time.Second)
	token, err := s.client.LogoutToken(t.Context(), s.logoutToken("RS256", testop.Edit{"jti": "j1", "exp": before.Unix() + 3600}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if token.Issuer != s.p.Issuer() || token.Subject != "sub-alice" || token.SessionID != `sid-"&{[?` || token.ID != "j1" || token.Issued.Before(before) {
		t.Errorf("%+v", token)
	}
	// Two minutes and the leeway after its iat it is refused, whatever its exp says.
	if want := token.Issued.Add(3*time.Minute + time.Second); !token.Expires.Equal(want) {
		t.Errorf("to be remembered until %s, want %s", token.Expires, want)
	}
	soon := before.Unix() + 5
	if token, err = s.client.LogoutToken(t.Context(), s.logoutToken("RS256", testop.Edit{"exp": soon}, nil)); err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(soon, 0).Add(time.Minute + time.Second); !token.Expires.Equal(want) {
		t.Errorf("to be remembered until %s, want %s", token.Expires, want)
	}
}

// OIDC Back-Channel Logout 2.1: whether the provider's ID tokens have a sid, its metadata say. A provider that does not is one whose
// sessions may have none.
func TestLogoutTokenTellsOfSessions(t *testing.T) {
	for _, value := range []any{true, false, testop.Absent} {
		want, _ := value.(bool)
		s := newRP(t)
		s.p.Set(func(b *testop.Behaviour) {
			b.Discovery = testop.Edit{"backchannel_logout_session_supported": value}
		})
		token, err := s.client.LogoutToken(t.Context(), s.logoutToken("RS256", nil, nil))
		if err != nil || token.SessionTold != want {
			t.Errorf("%v: %+v, %v", value, token, err)
		}
	}
}

// TestLogoutTokenAccepts holds the checks against what is unusual and right.
func TestLogoutTokenAccepts(t *testing.T) {
	type edit = testop.Edit
	for name, test := range map[string]struct {
		claims, header edit
		alg            string
		algs           []string
	}{
		"sub alone":                           {claims: edit{"sid": testop.Absent}},
		"sid alone":                           {claims: edit{"sub": testop.Absent}},
		"2.4 typ absent":                      {header: edit{"typ": testop.Absent}},
		"2.4 typ JWT":                         {header: edit{"typ": "JWT"}},
		"RFC 7515 4.1.9 a whole media type":   {header: edit{"typ": "application/Logout+JWT"}},
		"2.6 further claims are ignored":      {claims: edit{"sec_event": 1, "toe": "x", "azp": "somebody"}},
		"2.6 further events are ignored":      {claims: edit{"events": map[string]any{logoutEvent: map[string]any{"a": 1}, "urn:other": 1}}},
		"aud as a list":                       {claims: edit{"aud": []string{"client"}}},
		"iat 50 s ahead":                      {claims: edit{"iat": time.Now().Add(50 * time.Second).Unix()}},
		"iat two minutes ago":                 {claims: edit{"iat": time.Now().Add(-2 * time.Minute).Unix()}},
		"ES256, where the client is to be so": {alg: "ES256", algs: []string{"ES256"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t, func(cfg *authflow.Config) { cfg.SigningAlgs = test.algs })
			alg := "RS256"
			if test.alg != "" {
				alg = test.alg
			}
			if _, err := s.client.LogoutToken(t.Context(), s.logoutToken(alg, test.claims, test.header)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLogoutTokenRefuses holds every check of OIDC Back-Channel Logout 2.6, whose
// numbers stand in the rows, against what it is for. All are errors of the request.
func TestLogoutTokenRefuses(t *testing.T) {
	type edit = testop.Edit
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	nested := json.RawMessage(`{"` + logoutEvent + `":{},"` + logoutEvent + `":{}}`)
	for name, test := range map[string]struct {
		alg            string
		claims, header edit
		reason         authflow.Reason
	}{
		"(3) alg none":                     {alg: "none", reason: authflow.ReasonAlg},
		"(3) HS256 by the client secret":   {alg: "HS256", reason: authflow.ReasonAlg},
		"(3) ES256 by a published key":     {alg: "ES256", reason: authflow.ReasonAlg},
		"(3) PS256 by a published key":     {alg: "PS256", reason: authflow.ReasonAlg},
		"(3) kid unknown":                  {header: edit{"kid": "other"}, reason: authflow.ReasonKeyUnknown},
		"typ at+jwt":                       {header: edit{"typ": "at+jwt"}, reason: authflow.ReasonIDTokenHeader},
		"typ secevent+jwt":                 {header: edit{"typ": "secevent+jwt"}, reason: authflow.ReasonIDTokenHeader},
		"crit":                             {header: edit{"crit": []string{"exp"}}, reason: authflow.ReasonIDTokenHeader},
		"(4) iss + 1":                      {claims: edit{"iss": testop.Append("1")}, reason: authflow.ReasonIDTokenIssuer},
		"(4) iss absent":                   {claims: edit{"iss": testop.Absent}, reason: authflow.ReasonIDTokenIssuer},
		"iss and ISS":                      {claims: edit{"ISS": "https://evil.example"}, reason: authflow.ReasonIDTokenMalformed},
		"an event twice":                   {claims: edit{"events": nested}, reason: authflow.ReasonIDTokenMalformed},
		"(4) aud of another client":        {claims: edit{"aud": testop.Append("1")}, reason: authflow.ReasonAudMismatch},
		"(4) aud absent":                   {claims: edit{"aud": testop.Absent}, reason: authflow.ReasonAudMismatch},
		"(4) a second aud":                 {claims: edit{"aud": []string{"client", "evil"}}, reason: authflow.ReasonAudUntrusted},
		"(4) iat absent":                   {claims: edit{"iat": testop.Absent}, reason: authflow.ReasonIatMissing},
		"SEC-107 (4) iat of four min. ago": {claims: edit{"iat": ago(4 * time.Minute)}, reason: authflow.ReasonTokenStale},
		"SEC-107 (4) iat 70 s ahead":       {claims: edit{"iat": ago(-70 * time.Second)}, reason: authflow.ReasonClockSkew},
		"(4) exp absent":                   {claims: edit{"exp": testop.Absent}, reason: authflow.ReasonExpMissing},
		"(4) exp 70 s ago":                 {claims: edit{"exp": ago(70 * time.Second)}, reason: authflow.ReasonTokenExpired},
		"SEC-88 (4) exp 1e300":             {claims: edit{"exp": json.Number("1e300")}, reason: authflow.ReasonClaimMalformed},
		"nbf 70 s ahead":                   {claims: edit{"nbf": ago(-70 * time.Second)}, reason: authflow.ReasonClockSkew},
		"(5) neither sub nor sid":          {claims: edit{"sub": testop.Absent, "sid": testop.Absent}, reason: authflow.ReasonLogoutTarget},
		"(5) sid empty, sub there":         {claims: edit{"sid": ""}, reason: authflow.ReasonLogoutTarget},
		"(5) sid null, sub there":          {claims: edit{"sid": nil}, reason: authflow.ReasonClaimMalformed},
		"(5) sub empty":                    {claims: edit{"sub": "", "sid": testop.Absent}, reason: authflow.ReasonSubMissing},
		"(5) sub null":                     {claims: edit{"sub": nil}, reason: authflow.ReasonClaimMalformed},
		"(6) no events":                    {claims: edit{"events": testop.Absent}, reason: authflow.ReasonLogoutEvent},
		"(6) another event":                {claims: edit{"events": map[string]any{logoutEvent + "1": map[string]any{}}}, reason: authflow.ReasonLogoutEvent},
		"(6) the event is a string":        {claims: edit{"events": map[string]any{logoutEvent: "x"}}, reason: authflow.ReasonLogoutEvent},
		"(6) the event is null":            {claims: edit{"events": map[string]any{logoutEvent: nil}}, reason: authflow.ReasonLogoutEvent},
		"(6) events is the event's name":   {claims: edit{"events": logoutEvent}, reason: authflow.ReasonLogoutEvent},
		"(6) events is a list":             {claims: edit{"events": []string{logoutEvent}}, reason: authflow.ReasonLogoutEvent},
		"(7) a nonce":                      {claims: edit{"nonce": "n"}, reason: authflow.ReasonLogoutNonce},
		"2.4 jti absent":                   {claims: edit{"jti": testop.Absent}, reason: authflow.ReasonTokenID},
		"2.4 jti empty":                    {claims: edit{"jti": ""}, reason: authflow.ReasonTokenID},
		"2.4 jti a number":                 {claims: edit{"jti": 7}, reason: authflow.ReasonClaimMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRP(t)
			s.p.Set(func(b *testop.Behaviour) {
				b.Discovery = testop.Edit{"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "PS256"}}
			})
			alg := "RS256"
			if test.alg != "" {
				alg = test.alg
			}
			_, err := s.client.LogoutToken(t.Context(), s.logoutToken(alg, test.claims, test.header))
			wantError(t, err, test.reason, authflow.BadRequest)
		})
	}
}

// TestLogoutTokenForms: what is no token, and tokens that were taken from
// elsewhere.
func TestLogoutTokenForms(t *testing.T) {
	s := newRP(t)
	good := s.logoutToken("RS256", nil, nil)
	refreshed, err := s.client.Refresh(t.Context(), request(s.mustLogin("alice")))
	if err != nil {
		t.Fatal(err)
	}
	withoutNonce, err := s.p.Sign(s.p.LogoutTokenClaims("sub-alice", "s", testop.Edit{"events": testop.Absent}), nil)
	if err != nil {
		t.Fatal(err)
	}
	forged := good[:len(good)-4] + strings.Repeat("A", 4)
	for name, test := range map[string]struct {
		raw    string
		reason authflow.Reason
	}{
		"empty":              {"", authflow.ReasonIDTokenMalformed},
		"one part":           {"x", authflow.ReasonIDTokenMalformed},
		"four parts":         {good + ".x", authflow.ReasonIDTokenMalformed},
		"with a line break":  {good + "\n", authflow.ReasonIDTokenMalformed},
		"JSON serialization": {jsonSerialization(good), authflow.ReasonIDTokenMalformed},
		"64 KiB":             {good + strings.Repeat("A", 64<<10), authflow.ReasonIDTokenMalformed},
		"signature altered":  {forged, authflow.ReasonSignature},
		// OIDC Back-Channel Logout 4.1.
		"an ID token":               {s.mustLogin("alice").IDToken.Reveal(), authflow.ReasonLogoutEvent},
		"a refreshed ID token":      {refreshed.IDToken.Reveal(), authflow.ReasonLogoutEvent},
		"an ID token without nonce": {withoutNonce, authflow.ReasonLogoutEvent},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.client.LogoutToken(t.Context(), test.raw)
			wantError(t, err, test.reason, authflow.BadRequest)
		})
	}
}

// TestLogoutTokenAsIDToken: the reverse (OIDC Back-Channel Logout 4.1), also for a
// token that does not say its type.
func TestLogoutTokenAsIDToken(t *testing.T) {
	for typ, reason := range map[string]authflow.Reason{"logout+jwt": authflow.ReasonIDTokenHeader, "JWT": authflow.ReasonNonce} {
		s := newRP(t)
		s.p.Set(func(b *testop.Behaviour) {
			b.TokenResponse = testop.Edit{"id_token": s.logoutToken("RS256", nil, testop.Edit{"typ": typ})}
		})
		_, err := s.login("alice")
		wantError(t, err, reason, authflow.Provider)
	}
}

// TestLogoutTokenLater: what cannot be verified now is not said to be wrong.
func TestLogoutTokenLater(t *testing.T) {
	s := newRP(t)
	token := s.logoutToken("RS256", nil, nil)
	s.p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.JWKS: {Status: 503}} })
	_, err := s.client.LogoutToken(t.Context(), token)
	wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)

	away := newClient(t, s.p)
	s.p.Down()
	_, err = away.LogoutToken(t.Context(), token)
	wantError(t, err, authflow.ReasonDiscovery, authflow.Unavailable)
}

// TestLogoutTokenIssuer: what only chooses the client is read as strictly.
func TestLogoutTokenIssuer(t *testing.T) {
	s := newRP(t)
	if issuer, err := authflow.LogoutTokenIssuer(s.logoutToken("RS256", nil, nil)); err != nil || issuer != s.p.Issuer() {
		t.Errorf("%q, %v", issuer, err)
	}
	if issuer, err := authflow.LogoutTokenIssuer(s.logoutToken("RS256", testop.Edit{"iss": testop.Absent}, nil)); err != nil || issuer != "" {
		t.Errorf("without iss: %q, %v", issuer, err)
	}
	for name, raw := range map[string]string{
		"no parts": "x", "no base64": "a.!.c", "no JSON": "a.YQ.c", "iss and ISS": s.logoutToken("RS256", testop.Edit{"ISS": "x"}, nil),
		"64 KiB": s.logoutToken("RS256", testop.Edit{"x": strings.Repeat("a", 64<<10)}, nil),
	} {
		_, err := authflow.LogoutTokenIssuer(raw)
		if authflow.ReasonOf(err) != authflow.ReasonIDTokenMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestParseLogoutRequest: OIDC Back-Channel Logout 2.5.
func TestParseLogoutRequest(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		query, contentType, body string
		want                     string
		reason                   authflow.Reason
	}{
		"right":                      {"", form, "logout_token=a.b.c", "a.b.c", ""},
		"other fields are ignored":   {"?x=1&x=2", form + "; charset=utf-8", "y=1&logout_token=a.b.c&y=2&state=z", "a.b.c", ""},
		"no token":                   {"", form, "x=1", "", authflow.ReasonLogoutRequest},
		"empty token":                {"", form, "logout_token=", "", authflow.ReasonLogoutRequest},
		"empty body":                 {"", form, "", "", authflow.ReasonLogoutRequest},
		"only in the query":          {"?logout_token=a.b.c", form, "", "", authflow.ReasonLogoutRequest},
		"twice in the body":          {"", form, "logout_token=a.b.c&logout_token=a.b.c", "", authflow.ReasonDuplicateParameter},
		"in the query and the body":  {"?logout_token=a", form, "logout_token=a.b.c", "", authflow.ReasonDuplicateParameter},
		"twice, one of them escaped": {"", form, "logout%5Ftoken=a&logout_token=a.b.c", "", authflow.ReasonDuplicateParameter},
		"query that cannot be read":  {"?logout_token=%zz", form, "logout_token=a.b.c", "", authflow.ReasonLogoutRequest},
		"body that cannot be read":   {"", form, "logout_token=a.b.c&%zz", "", authflow.ReasonLogoutRequest},
		"JSON":                       {"", "application/json", `{"logout_token":"a.b.c"}`, "", authflow.ReasonLogoutRequest},
		"no content type":            {"", "", "logout_token=a.b.c", "", authflow.ReasonLogoutRequest},
		"the token itself":           {"", "application/logout+jwt", "a.b.c", "", authflow.ReasonLogoutRequest},
		"more than 16 KiB":           {"", form, "logout_token=a.b.c&x=" + strings.Repeat("x", 16<<10), "", authflow.ReasonLogoutRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/oauth2/backchannel-logout"+test.query, strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.contentType)
			got, err := authflow.ParseLogoutRequest(r)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.reason != "" {
				wantError(t, err, test.reason, authflow.BadRequest)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestParseFrontchannelLogout: OIDC Front-Channel Logout 2.
func TestParseFrontchannelLogout(t *testing.T) {
	for query, test := range map[string]struct {
		iss, sid string
		reason   authflow.Reason
	}{
		"":                             {},
		"x=1":                          {},
		"iss=https%3A%2F%2Fa&sid=s%26": {iss: "https://a", sid: "s&"},
		"iss=&sid=":                    {},
		"iss=a":                        {reason: authflow.ReasonLogoutRequest},
		"sid=a":                        {reason: authflow.ReasonLogoutRequest},
		"iss=a&sid=":                   {reason: authflow.ReasonLogoutRequest},
		"iss=&sid=a":                   {reason: authflow.ReasonLogoutRequest},
		"iss=a&sid=b&sid=c":            {reason: authflow.ReasonDuplicateParameter},
		"iss=a&iss=a&sid=b":            {reason: authflow.ReasonDuplicateParameter},
		"iss=a&sid=%zz":                {reason: authflow.ReasonLogoutRequest},
	} {
		got, err := authflow.ParseFrontchannelLogout(httptest.NewRequest(http.MethodGet, "/oauth2/frontchannel-logout?"+query, nil))
		if got.Issuer != test.iss || got.SessionID != test.sid {
			t.Errorf("%q: %+v", query, got)
		}
		if test.reason != "" {
			wantError(t, err, test.reason, authflow.BadRequest)
		} else if err != nil {
			t.Errorf("%q: %v", query, err)
		}
	}
}
