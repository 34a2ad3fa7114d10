package authflow_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const redirectURI = "https://app.example.com/oauth2/callback"

// rp is a relying party with one client at one provider.
type rp struct {
	t       testing.TB
	p       *testop.Provider
	client  *authflow.Client
	network http.RoundTripper // nil: the default
	needed  []string          // FinishRequest.NeededClaims
}

// newRP starts a provider and a client for it.
func newRP(t testing.TB, options ...func(*authflow.Config)) rp {
	t.Helper()
	p := testop.Start(t)
	return rp{t: t, p: p, client: newClient(t, p, options...)}
}

// newMemoryRP is newRP without a socket, for a synctest bubble.
func newMemoryRP(t testing.TB, options ...func(*authflow.Config)) rp {
	t.Helper()
	p := testop.New()
	t.Cleanup(func() { time.Sleep(time.Minute) }) // what runs in the background ends by itself
	overMemory := func(cfg *authflow.Config) { cfg.Transport = p.Transport() }
	return rp{t: t, p: p, client: newClient(t, p, append(options, overMemory)...), network: p.Transport()}
}

func newClient(t testing.TB, p *testop.Provider, options ...func(*authflow.Config)) *authflow.Client {
	t.Helper()
	cfg := authflow.Config{
		Issuer: p.Issuer(), ClientID: p.ClientID,
		ClientSecret: func() (secret.String, error) { return secret.New(p.ClientSecret), nil },
		Scopes:       []string{"openid", "profile", "email", "groups"},
	}
	for _, option := range options {
		option(&cfg)
	}
	client, err := authflow.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// begin begins an attempt and takes the browser to the provider and back: it
// returns the request of the callback.
func (s rp) begin(user string) (*authflow.Attempt, *http.Request, error) {
	s.t.Helper()
	attempt, location, err := s.client.Begin(s.t.Context(), authflow.AuthorizationRequest{
		Provider: "idp", RedirectURI: redirectURI, ReturnTo: "/there?a=b", LoginHint: user,
	})
	if err != nil {
		return nil, nil, err
	}
	browser := http.Client{Transport: s.network, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := browser.Get(location)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusFound {
		s.t.Fatalf("the provider did not accept the authorization request: status %d", response.StatusCode)
	}
	return attempt, httptest.NewRequest(http.MethodGet, response.Header.Get("Location"), nil), nil
}

// answered begins as alice, and returns what the provider has answered.
func (s rp) answered(t *testing.T) (*authflow.Attempt, authflow.AuthorizationResponse) {
	t.Helper()
	attempt, callback, err := s.begin("alice")
	if err != nil {
		t.Fatal(err)
	}
	response, err := authflow.ParseAuthorizationResponse(callback)
	if err != nil {
		t.Fatal(err)
	}
	return attempt, response
}

// login signs a user in. The attempt goes through its encoding, as it does in a
// cookie.
func (s rp) login(user string) (*authflow.Grant, error) {
	s.t.Helper()
	attempt, callback, err := s.begin(user)
	if err != nil {
		return nil, err
	}
	data, err := attempt.MarshalBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	if attempt, err = authflow.ParseAttempt(attempt.State, data); err != nil {
		s.t.Fatal(err)
	}
	response, err := authflow.ParseAuthorizationResponse(callback)
	if err != nil {
		return nil, err
	}
	return s.client.Finish(s.t.Context(), s.finish(attempt, response))
}

// finish is the request with which a response is finished.
func (s rp) finish(attempt *authflow.Attempt, response authflow.AuthorizationResponse) authflow.FinishRequest {
	return authflow.FinishRequest{Attempt: attempt, Response: response, RedirectURI: redirectURI, NeededClaims: s.needed}
}

// mustLogin is a login that must work.
func (s rp) mustLogin(user string) *authflow.Grant {
	s.t.Helper()
	grant, err := s.login(user)
	if err != nil {
		s.t.Fatal(err)
	}
	return grant
}

// wantError compares an error by its reason, and by what follows from it.
func wantError(t testing.TB, err error, reason authflow.Reason, kind authflow.Kind) {
	t.Helper()
	e, ok := errors.AsType[*authflow.Error](err)
	if !ok {
		t.Fatalf("error %v, want one with reason %s", err, reason)
	}
	if e.Reason != reason || e.Kind != kind {
		t.Errorf("reason %s, kind %d (%v), want %s, kind %d", e.Reason, e.Kind, e, reason, kind)
	}
	if e.Public == "" {
		t.Error("no sentence for the person")
	}
	if (e.RetryAfter != 0) != (kind == authflow.Unavailable) {
		t.Errorf("RetryAfter is %s with kind %d", e.RetryAfter, kind)
	}
}

func TestLogin(t *testing.T) {
	s := newRP(t)
	before := time.Now()
	grant := s.mustLogin("bob")
	if grant.Issuer != s.p.Issuer() || grant.ClientID != s.p.ClientID || grant.Subject != "sub-bob" {
		t.Errorf("grant for %q at %q as %q", grant.Subject, grant.Issuer, grant.ClientID)
	}
	if email, _ := grant.Claims.String("email"); email != "bob@example.com" {
		t.Errorf("email is %q", email)
	}
	if grant.SessionID == "" || grant.Nonce == "" || grant.AuthTime.IsZero() || grant.IDTokenIssued.IsZero() {
		t.Errorf("grant lacks something: %+v", grant)
	}
	if grant.AccessToken.Empty() || grant.RefreshToken.Empty() || grant.IDToken.Empty() || grant.TokenType != "Bearer" {
		t.Errorf("grant lacks a token: %+v", grant)
	}
	if d := grant.AccessExpiry.Sub(before); d < 59*time.Minute || d > 61*time.Minute {
		t.Errorf("access token expires in %s, want an hour", d)
	}
	if printed := fmt.Sprintf("%+v %#v", grant, *grant); strings.Contains(printed, grant.AccessToken.Reveal()) {
		t.Error("a printed grant shows its tokens")
	}
	for endpoint, want := range map[string]int{testop.Discovery: 1, testop.Token: 1, testop.JWKS: 1, testop.UserInfo: 0} {
		if got := s.p.Calls(endpoint); got != want {
			t.Errorf("%d calls to %s, want %d", got, endpoint, want)
		}
	}
	s.p.Set(func(b *testop.Behaviour) { b.IDToken = testop.Edit{"acr": "phr"} })
	if grant := s.mustLogin("carol"); grant.ACR != "phr" {
		t.Errorf("acr is %q", grant.ACR)
	}
	for endpoint, want := range map[string]int{testop.Discovery: 1, testop.Token: 2, testop.JWKS: 1} {
		if got := s.p.Calls(endpoint); got != want {
			t.Errorf("after two logins: %d calls to %s, want %d", got, endpoint, want)
		}
	}
}

// TestAuthorizationRequest: RFC 6749 4.1.1, OIDC Core 3.1.2.1, RFC 7636 4.3.
func TestAuthorizationRequest(t *testing.T) {
	p := testop.Start(t)
	p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"authorization_endpoint": p.URL(testop.Authorization) + "?tenant=a&client_id=evil&scope=all&prompt=none"}
	})
	client := newClient(t, p, func(cfg *authflow.Config) { cfg.ResponseMode = "form_post" })
	attempt, location, err := client.Begin(t.Context(), authflow.AuthorizationRequest{
		Provider: "idp", RedirectURI: redirectURI, ReturnTo: "/there", Prompt: "login", LoginHint: "a&client_id=evil",
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for name, want := range map[string]string{
		"tenant": "a", "client_id": p.ClientID, "scope": "openid profile email groups", "response_type": "code",
		"response_mode": "form_post", "redirect_uri": redirectURI, "state": attempt.State, "nonce": attempt.Nonce(),
		"code_challenge_method": "S256", "prompt": "login", "login_hint": "a&client_id=evil",
	} {
		if got := query[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q once", name, got, want)
		}
	}
	// SEC-64: what the URL shows is not what the token request needs.
	data, err := attempt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	key := data[len(data)-32:]
	if strings.Contains(location, base64.RawURLEncoding.EncodeToString(key)) || query.Get("code_challenge") == query.Get("nonce") {
		t.Error("the URL shows a secret of the attempt")
	}

	_, location, err = client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
	if err != nil || strings.Contains(location, "prompt") || strings.Contains(location, "login_hint") {
		t.Errorf("%s, %v: a parameter of ours that is empty", location, err)
	}

	for _, uri := range []string{"", "/oauth2/callback", "https://app.example.com/callback#x", "https://app.example.com/#", "::"} {
		_, _, err := client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: uri})
		wantError(t, err, authflow.ReasonRedirectURI, authflow.Internal)
	}
}

// TestFinishRefuses holds every check of a login against the misbehaviour that
// it is for.
func TestFinishRefuses(t *testing.T) {
	type edit = testop.Edit
	idToken := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.IDToken = e } }
	header := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.IDTokenHeader = e } }
	inResponse := func(e edit) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.AuthorizationResponse = e }
	}
	inTokens := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.TokenResponse = e } }
	payload := func(raw string) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.IDTokenPayload = testop.Member(raw) }
	}
	alg := func(name string) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.Alg = name } }
	text := func(f func(string) string) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.IDTokenText = f }
	}
	s := newRP(t)
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	tests := map[string]struct {
		misbehave func(*testop.Behaviour)
		reason    authflow.Reason
		kind      authflow.Kind
	}{
		// Authorization response.
		"SEC-66 state twice":              {func(b *testop.Behaviour) { b.TwiceInResponse = "state" }, authflow.ReasonDuplicateParameter, authflow.BadRequest},
		"SEC-66 code twice":               {func(b *testop.Behaviour) { b.TwiceInResponse = "code" }, authflow.ReasonDuplicateParameter, authflow.BadRequest},
		"SEC-66 iss twice":                {func(b *testop.Behaviour) { b.TwiceInResponse = "iss" }, authflow.ReasonDuplicateParameter, authflow.BadRequest},
		"state altered":                   {inResponse(edit{"state": testop.Append("A")}), authflow.ReasonStateUnknown, authflow.BadRequest},
		"state removed":                   {inResponse(edit{"state": testop.Absent}), authflow.ReasonStateUnknown, authflow.BadRequest},
		"RFC 9207 2.4 iss of another":     {inResponse(edit{"iss": testop.Append("1")}), authflow.ReasonIssMismatch, authflow.BadRequest},
		"RFC 9207 2.4 iss removed":        {inResponse(edit{"iss": testop.Absent}), authflow.ReasonIssMissing, authflow.BadRequest},
		"RFC 9207 2.4 mix-up by an error": {inResponse(edit{"iss": "https://evil.example", "error": "access_denied"}), authflow.ReasonIssMismatch, authflow.BadRequest},
		"error=access_denied":             {func(b *testop.Behaviour) { b.AuthorizationError = "access_denied" }, authflow.ReasonProviderDenied, authflow.Denied},
		"error=login_required":            {func(b *testop.Behaviour) { b.AuthorizationError = "login_required" }, authflow.ReasonProviderError, authflow.Provider},
		"error beside a code":             {inResponse(edit{"error": "invalid_scope"}), authflow.ReasonProviderError, authflow.Provider},
		"error=temporarily_unavailable":   {func(b *testop.Behaviour) { b.AuthorizationError = "temporarily_unavailable" }, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"code removed":                    {inResponse(edit{"code": testop.Absent}), authflow.ReasonCodeMissing, authflow.BadRequest},
		// Token endpoint.
		"code of another":                    {inResponse(edit{"code": "stolen"}), authflow.ReasonCodeRefused, authflow.BadRequest},
		"token endpoint: invalid_client":     {func(b *testop.Behaviour) { b.CodeError = "invalid_client" }, authflow.ReasonTokenEndpoint, authflow.Provider},
		"token endpoint: wants another auth": {func(b *testop.Behaviour) { b.OnlyClientAuth = "client_secret_post" }, authflow.ReasonTokenEndpoint, authflow.Provider},
		"token_type mac":                     {inTokens(edit{"token_type": "mac"}), authflow.ReasonTokenType, authflow.Provider},
		"access_token removed":               {inTokens(edit{"access_token": testop.Absent}), authflow.ReasonTokenEndpoint, authflow.Provider},
		"expires_in is no number":            {inTokens(edit{"expires_in": []int{1}}), authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-88 expires_in 1e300":            {inTokens(edit{"expires_in": json.Number("1e300")}), authflow.ReasonTokenEndpoint, authflow.Provider},
		"id_token removed":                   {func(b *testop.Behaviour) { b.NoIDToken = true }, authflow.ReasonIDTokenMissing, authflow.Provider},
		"id_token empty":                     {inTokens(edit{"id_token": ""}), authflow.ReasonIDTokenMissing, authflow.Provider},
		"id_token is a number":               {inTokens(edit{"id_token": 1}), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"id_token is null":                   {inTokens(edit{"id_token": nil}), authflow.ReasonIDTokenMissing, authflow.Provider},
		"id_token besides ID_TOKEN":          {inTokens(edit{"ID_TOKEN": "x"}), authflow.ReasonTokenEndpoint, authflow.Provider},
		// Form of the ID token.
		"SEC-82 many dots":          {text(func(string) string { return strings.Repeat(".", 1<<19) }), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"SEC-82 too long":           {text(func(s string) string { return s + strings.Repeat("A", 64<<10) }), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"SEC-81 five parts, a JWE":  {text(func(s string) string { return s + ".e.f" }), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"SEC-81 JSON serialization": {text(jsonSerialization), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"white space around":        {text(func(s string) string { return " " + s }), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"white space inside":        {text(func(s string) string { return strings.Replace(s, ".", ".\n", 1) }), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"payload not canonical":     {notCanonical, authflow.ReasonIDTokenMalformed, authflow.Provider},
		"iss twice":                 {payload(`"iss":"https://evil.example"`), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"sub and SUB":               {payload(`"SUB":"eve"`), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"sub and ſub":               {payload(`"ſub":"eve"`), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"member twice further down": {payload(`"a":{"roles":[],"roles":["admin"]}`), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"payload is an array":       {func(b *testop.Behaviour) { b.IDTokenPayload = func([]byte) []byte { return []byte("[]") } }, authflow.ReasonIDTokenMalformed, authflow.Provider},
		"payload goes on":           {func(b *testop.Behaviour) { b.IDTokenPayload = func(p []byte) []byte { return append(p, "{}"...) } }, authflow.ReasonIDTokenMalformed, authflow.Provider},
		"only ISS and AUD":          {func(b *testop.Behaviour) { b.IDTokenPayload = upperCase }, authflow.ReasonIDTokenIssuer, authflow.Provider},
		"header kid is a number":    {header(edit{"kid": 7}), authflow.ReasonIDTokenMalformed, authflow.Provider},
		"SEC-81 typ at+jwt":         {header(edit{"typ": "at+jwt"}), authflow.ReasonIDTokenHeader, authflow.Provider},
		"BCL 4.1 typ logout+jwt":    {header(edit{"typ": "logout+jwt"}), authflow.ReasonIDTokenHeader, authflow.Provider},
		"typ is a number":           {header(edit{"typ": 1}), authflow.ReasonIDTokenHeader, authflow.Provider},
		"SEC-81 unknown crit":       {header(edit{"crit": []string{"exp"}}), authflow.ReasonIDTokenHeader, authflow.Provider},
		"RFC 7797 b64":              {header(edit{"b64": true}), authflow.ReasonIDTokenHeader, authflow.Provider},
		// Signature.
		"SEC-81 alg none":                   {alg("none"), authflow.ReasonAlg, authflow.Provider},
		"SEC-81 alg None":                   {alg("None"), authflow.ReasonAlg, authflow.Provider},
		"SEC-81 alg nOnE":                   {alg("nOnE"), authflow.ReasonAlg, authflow.Provider},
		"SEC-81 HS256 by the client secret": {alg("HS256"), authflow.ReasonAlg, authflow.Provider},
		"SEC-81 HS256 by the public key":    {func(b *testop.Behaviour) { b.Alg, b.HMACKey = "HS256", s.p.PublicKeyPEM() }, authflow.ReasonAlg, authflow.Provider},
		"PS256, only on offer":              {onlyOffered("PS256"), authflow.ReasonAlg, authflow.Provider},
		"ES256, only on offer":              {onlyOffered("ES256"), authflow.ReasonAlg, authflow.Provider},
		"signature altered":                 {func(b *testop.Behaviour) { b.CorruptSignature = true }, authflow.ReasonSignature, authflow.Provider},
		"signed by somebody else":           {func(b *testop.Behaviour) { b.WrongKey = true }, authflow.ReasonSignature, authflow.Provider},
		"kid unknown":                       {header(edit{"kid": "../../etc/passwd"}), authflow.ReasonKeyUnknown, authflow.Provider},
		"kid of a key of another kind":      {header(edit{"kid": "ec-1"}), authflow.ReasonKeyUnknown, authflow.Provider},
		// Claims, OIDC Core 3.1.3.7.
		"(2) iss + 1":                  {idToken(edit{"iss": testop.Append("1")}), authflow.ReasonIDTokenIssuer, authflow.Provider},
		"(2) iss + /":                  {idToken(edit{"iss": testop.Append("/")}), authflow.ReasonIDTokenIssuer, authflow.Provider},
		"(2) iss absent":               {idToken(edit{"iss": testop.Absent}), authflow.ReasonIDTokenIssuer, authflow.Provider},
		"(2) iss null":                 {idToken(edit{"iss": nil}), authflow.ReasonIDTokenIssuer, authflow.Provider},
		"(2) iss an array":             {idToken(edit{"iss": []string{"x"}}), authflow.ReasonClaimMalformed, authflow.Provider},
		"2 sub absent":                 {idToken(edit{"sub": testop.Absent}), authflow.ReasonSubMissing, authflow.Provider},
		"2 sub empty":                  {idToken(edit{"sub": ""}), authflow.ReasonSubMissing, authflow.Provider},
		"2 sub null":                   {idToken(edit{"sub": nil}), authflow.ReasonClaimMalformed, authflow.Provider},
		"2 sub a number":               {idToken(edit{"sub": 7}), authflow.ReasonClaimMalformed, authflow.Provider},
		"2 sub of 256 characters":      {idToken(edit{"sub": strings.Repeat("a", 256)}), authflow.ReasonSubMalformed, authflow.Provider},
		"2 sub with a line break":      {idToken(edit{"sub": "a\nb"}), authflow.ReasonSubMalformed, authflow.Provider},
		"2 sub not ASCII":              {idToken(edit{"sub": "аlice"}), authflow.ReasonSubMalformed, authflow.Provider},
		"SEC-80 (3) aud + 1":           {idToken(edit{"aud": testop.Append("1")}), authflow.ReasonAudMismatch, authflow.Provider},
		"SEC-80 (3) aud absent":        {idToken(edit{"aud": testop.Absent}), authflow.ReasonAudMismatch, authflow.Provider},
		"SEC-80 (3) aud empty":         {idToken(edit{"aud": []string{}}), authflow.ReasonAudMismatch, authflow.Provider},
		"SEC-80 (3) aud null":          {idToken(edit{"aud": nil}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-80 (3) aud a number":      {idToken(edit{"aud": 1}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-80 (3) aud an object":     {idToken(edit{"aud": map[string]any{"client": true}}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-80 (3) aud nested":        {idToken(edit{"aud": []any{[]string{"client"}}}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-80 (3) a second aud":      {idToken(edit{"aud": []string{"client", "client1"}}), authflow.ReasonAudUntrusted, authflow.Provider},
		"(3) a second aud with azp":    {idToken(edit{"aud": []string{"client", "evil"}, "azp": "client"}), authflow.ReasonAudUntrusted, authflow.Provider},
		"P18 aud account":              {idToken(edit{"aud": "account"}), authflow.ReasonAudMismatch, authflow.Provider},
		"(5) azp of another":           {idToken(edit{"azp": "evil"}), authflow.ReasonAzpMismatch, authflow.Provider},
		"(5) azp null":                 {idToken(edit{"azp": nil}), authflow.ReasonClaimMalformed, authflow.Provider},
		"(9) exp absent":               {idToken(edit{"exp": testop.Absent}), authflow.ReasonExpMissing, authflow.Provider},
		"(9) exp six minutes ago":      {idToken(edit{"exp": ago(6 * time.Minute)}), authflow.ReasonTokenExpired, authflow.Provider},
		"P33 (9) exp 70 s ago":         {idToken(edit{"exp": ago(70 * time.Second)}), authflow.ReasonTokenExpired, authflow.Provider},
		"SEC-88 (9) exp 1e300":         {idToken(edit{"exp": json.Number("1e300")}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-88 (9) exp negative":      {idToken(edit{"exp": -1}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-88 (9) exp after 9999":    {idToken(edit{"exp": int64(253402300800)}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-88 (9) exp a fraction":    {idToken(edit{"exp": json.Number("4000000000.5")}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-88 (9) exp in quotes":     {idToken(edit{"exp": "4000000000"}), authflow.ReasonClaimMalformed, authflow.Provider},
		"(10) iat absent":              {idToken(edit{"iat": testop.Absent}), authflow.ReasonIatMissing, authflow.Provider},
		"(10) iat null":                {idToken(edit{"iat": nil}), authflow.ReasonClaimMalformed, authflow.Provider},
		"P33 (10) iat 70 s ahead":      {idToken(edit{"iat": ago(-70 * time.Second)}), authflow.ReasonClockSkew, authflow.Provider},
		"(10) iat of an hour ago":      {idToken(edit{"iat": ago(time.Hour)}), authflow.ReasonTokenStale, authflow.Provider},
		"P33 nbf 70 s ahead":           {idToken(edit{"nbf": ago(-70 * time.Second)}), authflow.ReasonClockSkew, authflow.Provider},
		"nbf 1e300":                    {idToken(edit{"nbf": json.Number("1e300")}), authflow.ReasonClaimMalformed, authflow.Provider},
		"SEC-62 (11) nonce + 1":        {idToken(edit{"nonce": testop.Append("1")}), authflow.ReasonNonce, authflow.Provider},
		"SEC-62 (11) nonce absent":     {idToken(edit{"nonce": testop.Absent}), authflow.ReasonNonce, authflow.Provider},
		"SEC-62 (11) nonce empty":      {idToken(edit{"nonce": ""}), authflow.ReasonNonce, authflow.Provider},
		"SEC-62 (11) nonce null":       {idToken(edit{"nonce": nil}), authflow.ReasonNonce, authflow.Provider},
		"SEC-62 (11) nonce an array":   {idToken(edit{"nonce": []string{"x"}}), authflow.ReasonClaimMalformed, authflow.Provider},
		"3.1.3.8 at_hash of another":   {idToken(edit{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), authflow.ReasonAtHash, authflow.Provider},
		"3.1.3.8 at_hash empty":        {idToken(edit{"at_hash": ""}), authflow.ReasonAtHash, authflow.Provider},
		"3.1.3.8 at_hash null":         {idToken(edit{"at_hash": nil}), authflow.ReasonAtHash, authflow.Provider},
		"3.1.3.8 another access token": {inTokens(edit{"access_token": "injected"}), authflow.ReasonAtHash, authflow.Provider},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// Each has a client of its own: one row must not use up another's
			// forced fetches of keys.
			s := rp{t: t, p: s.p, client: newClient(t, s.p, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })}
			s.p.Behave()
			s.p.Set(test.misbehave)
			calls := s.p.Calls(testop.UserInfo)
			_, err := s.login("alice")
			wantError(t, err, test.reason, test.kind)
			if s.p.Calls(testop.UserInfo) != calls {
				t.Error("userinfo was asked with a token that was not checked")
			}
		})
	}
}

func jsonSerialization(compact string) string {
	parts := strings.Split(compact, ".")
	return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
}

// notCanonical sets a bit of the payload's base64 that stands for nothing. go-jose
// verifies such a token, since it encodes the payload anew.
func notCanonical(b *testop.Behaviour) {
	b.IDTokenPayload = func(payload []byte) []byte {
		for len(payload)%3 != 1 {
			payload = append(payload, ' ')
		}
		return payload
	}
	b.IDTokenText = func(compact string) string {
		parts := strings.Split(compact, ".")
		last := len(parts[1]) - 1
		parts[1] = parts[1][:last] + string(parts[1][last]+1) // A, Q, g or w, which says two bits and has room for six
		return strings.Join(parts, ".")
	}
}

// onlyOffered signs by an algorithm that the provider is able to, as its metadata
// says, but was not asked to use.
func onlyOffered(alg string) func(*testop.Behaviour) {
	return func(b *testop.Behaviour) {
		b.Alg = alg
		b.Discovery = testop.Edit{"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "PS256"}}
	}
}

// upperCase makes a payload that go-oidc alone would take for right.
func upperCase(payload []byte) []byte {
	return []byte(strings.NewReplacer(`"iss"`, `"ISS"`, `"aud"`, `"AUD"`).Replace(string(payload)))
}

// TestFinishAccepts holds the checks against what is unusual and right.
func TestFinishAccepts(t *testing.T) {
	type edit = testop.Edit
	now := time.Now()
	tests := map[string]struct {
		unusual func(*testop.Behaviour)
		option  func(*authflow.Config)
	}{
		"aud as an array":  {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"aud": []string{"client"}} }},
		"azp is us":        {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"azp": "client"} }},
		"P33 exp 50 s ago": {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"exp": now.Add(-50 * time.Second).Unix()} }},
		"P33 iat and nbf 50 s ahead": {unusual: func(b *testop.Behaviour) {
			b.IDToken = edit{"iat": now.Add(50 * time.Second).Unix(), "nbf": now.Add(50 * time.Second).Unix()}
		}},
		"SEC-88 exp in 9999": {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"exp": int64(253402300799)} }},
		"sub of 255 characters, with all that is printable at its ends": {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"sub": " " + strings.Repeat("x", 253) + "~"} }},
		"no at_hash": {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"at_hash": testop.Absent} }},
		"no typ":     {unusual: func(b *testop.Behaviour) { b.IDTokenHeader = edit{"typ": testop.Absent} }},
		"typ jwt":    {unusual: func(b *testop.Behaviour) { b.IDTokenHeader = edit{"typ": "jwt"} }},
		"SEC-81 jku and x5u ignored": {unusual: func(b *testop.Behaviour) {
			b.IDTokenHeader = edit{"jku": "https://evil.example/", "x5u": "https://evil.example/"}
		}},
		"no kid in token":             {unusual: func(b *testop.Behaviour) { b.IDTokenHeader = edit{"kid": testop.Absent} }},
		"no kid in token and JWKS":    {unusual: func(b *testop.Behaviour) { b.NoKeyIDs = true }},
		"strange members in the JWKS": {unusual: func(b *testop.Behaviour) { b.StrangeKeys = true }},
		"decoys with the same kid":    {unusual: func(b *testop.Behaviour) { b.DecoyKeys = true }},
		"token_type bEARER":           {unusual: func(b *testop.Behaviour) { b.TokenResponse = edit{"token_type": "bEARER"} }},
		"no token_type":               {unusual: func(b *testop.Behaviour) { b.TokenResponse = edit{"token_type": testop.Absent} }},
		"no expires_in":               {unusual: func(b *testop.Behaviour) { b.TokenResponse = edit{"expires_in": testop.Absent} }},
		"no refresh token":            {unusual: func(b *testop.Behaviour) { b.NoRefreshToken = true }},
		"no iss, nor promised": {unusual: func(b *testop.Behaviour) {
			b.AuthorizationResponse = edit{"iss": testop.Absent}
			b.Discovery = edit{"authorization_response_iss_parameter_supported": false}
		}},
		"sid, acr, auth_time strange": {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"sid": 7, "acr": nil, "auth_time": "today"} }},
		"keys change before signing":  {unusual: func(b *testop.Behaviour) { b.RotateOnSign = true }},
		"a trusted second aud":        {unusual: func(b *testop.Behaviour) { b.IDToken = edit{"aud": []string{"client", "api"}} }, option: func(cfg *authflow.Config) { cfg.TrustedAudiences = []string{"api"} }},
		"ES256 where configured":      {unusual: func(b *testop.Behaviour) { b.Alg = "ES256" }, option: func(cfg *authflow.Config) { cfg.SigningAlgs = []string{"PS256", "ES256"} }},
		"EdDSA where configured":      {unusual: func(b *testop.Behaviour) { b.Alg = "EdDSA"; b.IDToken = edit{"at_hash": testop.Absent} }, option: func(cfg *authflow.Config) { cfg.SigningAlgs = []string{"EdDSA"} }},
		"PS256 if RS256 is not on offer": {
			unusual: func(b *testop.Behaviour) {
				b.Alg = "PS256"
				b.Discovery = edit{"id_token_signing_alg_values_supported": []string{"none", "HS256", "PS256", "RS384"}}
			},
			option: func(*authflow.Config) {},
		},
		"RS256 if nothing is on offer": {unusual: func(b *testop.Behaviour) { b.Discovery = edit{"id_token_signing_alg_values_supported": testop.Absent} }},
		"client_secret_basic if nothing is on offer": {unusual: func(b *testop.Behaviour) {
			b.OnlyClientAuth = "client_secret_basic"
			b.Discovery = edit{"token_endpoint_auth_methods_supported": testop.Absent}
		}},
		"client_secret_post if alone on offer": {unusual: func(b *testop.Behaviour) {
			b.OnlyClientAuth = "client_secret_post"
			b.Discovery = edit{"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "client_secret_post"}}
		}},
		"client_secret_post where configured": {unusual: func(b *testop.Behaviour) { b.OnlyClientAuth = "client_secret_post" }, option: func(cfg *authflow.Config) { cfg.ClientAuth = "client_secret_post" }},
		"a public client":                     {unusual: func(b *testop.Behaviour) { b.OnlyClientAuth = "none" }, option: func(cfg *authflow.Config) { cfg.ClientAuth, cfg.ClientSecret = "none", nil }},
	}
	p := testop.Start(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p.Behave()
			p.Set(test.unusual)
			option := test.option
			if option == nil {
				option = func(*authflow.Config) {}
			}
			if strings.HasPrefix(name, "PS256") { // testop publishes its RSA key for RS256
				p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.JWKS: jwksWithoutAlg(t, p)} })
			}
			rp{t: t, p: p, client: newClient(t, p, option)}.mustLogin("alice")
		})
	}
}

// jwksWithoutAlg makes the provider publish its keys without alg and use, which
// are optional (RFC 7517 4.2, 4.4).
func jwksWithoutAlg(t *testing.T, p *testop.Provider) testop.Fault {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(jwks(t, rp{p: p})), &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		delete(key, "alg")
		delete(key, "use")
	}
	body, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return testop.Fault{Status: http.StatusOK, Body: string(body)}
}

// TestAccessExpiry: RFC 6749 5.1. expires_in counts from our clock, and is not
// there, or says nothing, at many providers.
func TestAccessExpiry(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := newRP(t, func(cfg *authflow.Config) { cfg.Now = func() time.Time { return now } })
	for name, test := range map[string]struct {
		expiresIn any
		want      time.Time
	}{
		"a number":         {90, now.Add(90 * time.Second)},
		"in quotes":        {"90", now.Add(90 * time.Second)},
		"absent":           {testop.Absent, time.Time{}},
		"null":             {nil, time.Time{}},
		"zero":             {0, time.Time{}},
		"far too negative": {int64(-9223372037), time.Time{}},
		"negative":         {-5, time.Time{}},
		"an age":           {int64(1) << 60, now.Add((1<<31 - 1) * time.Second)},
	} {
		s.p.Set(func(b *testop.Behaviour) { b.TokenResponse = testop.Edit{"expires_in": test.expiresIn} })
		if got := s.mustLogin("alice").AccessExpiry; !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestFinishWrongAttempt: what a browser brings must be what it began.
func TestFinishWrongAttempt(t *testing.T) {
	now := time.Now()
	s := newRP(t, func(cfg *authflow.Config) { cfg.Now = func() time.Time { return now } })
	elsewhere := newClient(t, s.p, func(cfg *authflow.Config) { cfg.Issuer = "https://other.example" })
	otherClient := newClient(t, s.p, func(cfg *authflow.Config) { cfg.ClientID = "another" })
	tests := map[string]struct {
		client *authflow.Client
		change func(*authflow.Attempt) *authflow.Attempt
		later  time.Duration
		reason authflow.Reason
	}{
		"SEC-60 no attempt": {s.client, func(*authflow.Attempt) *authflow.Attempt { return nil }, 0, authflow.ReasonStateUnknown},
		"SEC-60 attempt of another browser": {s.client, func(*authflow.Attempt) *authflow.Attempt {
			other, _, err := s.client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
			if err != nil {
				t.Fatal(err)
			}
			return other
		}, 0, authflow.ReasonStateUnknown},
		"SEC-65 code for another provider": {elsewhere, nil, 0, authflow.ReasonAttemptMismatch},
		"code for another client":          {otherClient, nil, 0, authflow.ReasonAttemptMismatch},
		"SEC-63 ten minutes and a second":  {s.client, nil, authflow.AttemptLifetime + time.Second, authflow.ReasonAttemptExpired},
		"an attempt from the future":       {s.client, nil, -2 * time.Minute, authflow.ReasonAttemptExpired},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now = time.Now()
			attempt, response := s.answered(t)
			if test.change != nil {
				attempt = test.change(attempt)
			}
			now = now.Add(test.later)
			calls := s.p.Calls(testop.Token)
			_, err := test.client.Finish(t.Context(), s.finish(attempt, response))
			wantError(t, err, test.reason, authflow.BadRequest)
			if s.p.Calls(testop.Token) != calls {
				t.Error("the token endpoint was asked")
			}
		})
	}
}

// Up to the last moment of its ten minutes, and from the first that a clock may be behind, an attempt can be finished.
func TestFinishWithinTheLifetime(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := newRP(t, func(cfg *authflow.Config) { cfg.Now = func() time.Time { return now } })
	began := now
	for _, later := range []time.Duration{authflow.AttemptLifetime, -time.Minute} {
		now = began
		attempt, response := s.answered(t)
		now = began.Add(later)
		s.p.Set(func(b *testop.Behaviour) {
			b.IDToken = testop.Edit{"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "auth_time": now.Unix()}
		})
		if _, err := s.client.Finish(t.Context(), s.finish(attempt, response)); err != nil {
			t.Errorf("%s later: %v", later, err)
		}
	}
}

// TestFinishOtherAddress: RFC 6749 4.1.3. A response that came to another address
// than the one that was asked for is not sent on.
func TestFinishOtherAddress(t *testing.T) {
	s := newRP(t)
	attempt, response := s.answered(t)
	req := s.finish(attempt, response)
	req.RedirectURI = "https://evil.example.com/oauth2/callback"
	_, err := s.client.Finish(t.Context(), req)
	wantError(t, err, authflow.ReasonAttemptMismatch, authflow.BadRequest)
	if calls := s.p.Calls(testop.Token); calls != 0 {
		t.Error("the token endpoint was asked")
	}
}

// TestFinishOtherVerifier: RFC 7636 4.6. The code is of no use to an attempt
// with another verifier.
func TestFinishOtherVerifier(t *testing.T) {
	s := newRP(t)
	attempt, callback, err := s.begin("alice")
	if err != nil {
		t.Fatal(err)
	}
	data, err := attempt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1 // one bit of the secret
	forged, err := authflow.ParseAttempt(attempt.State, data)
	if err != nil {
		t.Fatal(err)
	}
	response, err := authflow.ParseAuthorizationResponse(callback)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client.Finish(t.Context(), s.finish(forged, response))
	wantError(t, err, authflow.ReasonCodeRefused, authflow.BadRequest)
}

// TestTokenEndpointTrouble: P05, SEC-71, SEC-113. What is temporary says so,
// nothing is sent twice, and nothing of the answer reaches the log but the error
// code.
func TestTokenEndpointTrouble(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html"}}
	plain := http.Header{"Content-Type": {"text/plain"}}
	tests := map[string]struct {
		fault  testop.Fault
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"connection cut":           {testop.Fault{Abort: true}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"status 503 with HTML":     {testop.Fault{Status: 503, Header: html, Body: "<h1>leaked</h1>"}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"status 500 invalid_grant": {testop.Fault{Status: 500, Body: `{"error":"invalid_grant"}`}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"status 429":               {testop.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"temporarily_unavailable":  {testop.Fault{Status: 400, Body: `{"error":"temporarily_unavailable"}`}, authflow.ReasonProviderUnavailable, authflow.Unavailable},
		"status 403 invalid_grant": {testop.Fault{Status: 403, Body: `{"error":"invalid_grant"}`}, authflow.ReasonCodeRefused, authflow.BadRequest},
		"status 200 invalid_grant": {testop.Fault{Status: 200, Body: `{"error":"invalid_grant"}`}, authflow.ReasonCodeRefused, authflow.BadRequest},
		"status 404":               {testop.Fault{Status: 404, Header: html, Body: "leaked"}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 redirect":         {testop.Fault{Status: 307, Header: http.Header{"Location": {"/token"}}}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 status 200 HTML":  {testop.Fault{Status: 200, Header: html, Body: "<h1>leaked</h1>"}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 array":            {testop.Fault{Status: 200, Body: `[]`}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 null":             {testop.Fault{Status: 200, Body: `null`}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 2 MB":             {testop.Fault{Pad: 2 << 20}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 a form":           {testop.Fault{Status: 200, Header: plain, Body: "access_token=leaked&token_type=bearer"}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 a JWT":            {testop.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/jwt"}}, Body: "leaked"}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"SEC-113 a form in JSON":   {testop.Fault{Status: 200, Header: plain, Body: `{"a":"&access_token=leaked&"}`}, authflow.ReasonTokenEndpoint, authflow.Provider},
		"access_token twice":       {testop.Fault{Status: 200, Body: `{"access_token":"leaked","access_token":"b"}`}, authflow.ReasonTokenEndpoint, authflow.Provider},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newRP(t)
			s.p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: test.fault} })
			_, err := s.login("alice")
			wantError(t, err, test.reason, test.kind)
			if calls := s.p.Calls(testop.Token); calls != 1 {
				t.Errorf("%d token requests for one code", calls)
			}
			if strings.Contains(err.Error(), "leaked") {
				t.Errorf("the error shows the answer: %v", err)
			}
		})
	}
	t.Run("Retry-After", func(t *testing.T) {
		s := newRP(t)
		s.p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Token: tests["status 429"].fault} })
		_, err := s.login("alice")
		if e, ok := errors.AsType[*authflow.Error](err); !ok || e.RetryAfter != 7*time.Second {
			t.Errorf("%v, want to be asked again in 7 s", err)
		}
	})
}

// TestClientAuthentication: RFC 6749 2.3.1. One method at once, id and secret
// form-encoded, and the secret of the moment.
func TestClientAuthentication(t *testing.T) {
	s := newRP(t)
	s.mustLogin("alice")
	request := s.p.Requests(testop.Token)[0]
	if _, _, ok := (&http.Request{Header: request.Header}).BasicAuth(); !ok || request.PostForm.Has("client_secret") || request.PostForm.Has("client_id") {
		t.Errorf("not client_secret_basic alone: %v", request.PostForm)
	}
	if cookies := request.Header["Cookie"]; cookies != nil { // SEC-28
		t.Errorf("cookies were sent: %v", cookies)
	}

	s.client = newClient(t, s.p, func(cfg *authflow.Config) {
		cfg.ClientSecret = func() (secret.String, error) { return secret.String{}, errors.New("no such file") }
	})
	_, err := s.login("alice")
	wantError(t, err, authflow.ReasonClientSecret, authflow.Internal)
	s.client = newClient(t, s.p, func(cfg *authflow.Config) {
		cfg.ClientSecret = func() (secret.String, error) { return secret.String{}, nil }
	})
	_, err = s.login("alice")
	wantError(t, err, authflow.ReasonClientSecret, authflow.Internal)

	s.p.Set(func(b *testop.Behaviour) {
		b.Discovery = testop.Edit{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}
	})
	s.client = newClient(t, s.p)
	_, err = s.login("alice")
	wantError(t, err, authflow.ReasonClientAuth, authflow.Internal)
}

// TestNoCookieJar: SEC-28. What the provider sets for one is not sent for
// another.
func TestNoCookieJar(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
	s.p.Set(func(b *testop.Behaviour) {
		b.Faults = map[string]testop.Fault{testop.Token: {
			Status: http.StatusBadRequest, Header: http.Header{"Set-Cookie": {"who=alice; Path=/"}}, Times: 1,
		}}
	})
	if _, err := s.login("alice"); err == nil {
		t.Fatal("the fault did not befall")
	}
	s.mustLogin("bob")
	for _, endpoint := range []string{testop.Token, testop.UserInfo, testop.JWKS} {
		for _, request := range s.p.Requests(endpoint) {
			if cookies := request.Header["Cookie"]; cookies != nil {
				t.Errorf("%s got cookies: %v", endpoint, cookies)
			}
		}
	}
}

// TestParallelLogins: SEC-61. Two hundred people sign in at once, and everybody
// is themself.
func TestParallelLogins(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
	s.p.Set(func(b *testop.Behaviour) { b.AccessTokenCarriesName = true })
	s.mustLogin("first") // a busy machine answers nobody within the time that a login waits for keys
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Go(func() {
			time.Sleep(time.Duration(i*37%11) * time.Millisecond)
			user := fmt.Sprintf("user%d", i)
			grant, err := s.login(user)
			if err != nil {
				t.Errorf("%s: %v", user, err)
				return
			}
			email, _ := grant.Claims.String("email")
			token := grant.AccessToken.Reveal()
			if grant.Subject != "sub-"+user || email != user+"@example.com" || !strings.HasPrefix(token, "at-"+user+"-") {
				t.Errorf("%s became %s, %s, %s", user, grant.Subject, email, token)
			}
		})
	}
	wait.Wait()
	for _, endpoint := range []string{testop.Discovery, testop.JWKS} {
		if calls := s.p.Calls(endpoint); calls != 1 {
			t.Errorf("%d calls to %s, want 1", calls, endpoint)
		}
	}
	if calls := s.p.Calls(testop.Token); calls != 201 {
		t.Errorf("%d token requests for 201 codes", calls)
	}
}

// TestCancelledLogin: SEC-69. A browser that goes away at any point leaves an
// error and nothing else.
func TestCancelledLogin(t *testing.T) {
	s := newRP(t, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
	for _, endpoint := range []string{testop.Discovery, testop.Token, testop.JWKS, testop.UserInfo} {
		t.Run(endpoint, func(t *testing.T) {
			s.p.Behave()
			attempt, response := s.answered(t)
			s.p.Set(func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{endpoint: {Hang: true}} })
			client := newClient(t, s.p, func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoRequired })
			ctx, cancel := context.WithCancel(t.Context())
			calls := s.p.Calls(endpoint)
			go func() {
				for s.p.Calls(endpoint) == calls {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if _, err := client.Finish(ctx, s.finish(attempt, response)); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
		})
	}
}
