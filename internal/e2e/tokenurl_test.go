package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
)

// tokenURLSite is two sites without a provider, whose users stand in a file.
const tokenURLSite = `http://localhost:{$PORT} {
	@read path /read/*
	gatehouse {
		users USERS
		forward assertion
		forward access_token
		allow any
		deny user mallory
	}
	gatehouse @read {
		users USERS
		allow scope reader
	}
	reverse_proxy APP
}
http://wiki.localhost:{$PORT} {
	gatehouse {
		users USERS
	}
	reverse_proxy APP
}
`

// hashPassword is `gatehouse hash-password`, as cheap as it can be.
func hashPassword(t *testing.T, password string, options ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"hash-password", "--plaintext", password}, options...)...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME="+t.TempDir())
	stdin, err := cmd.StdinPipe() // while it is open, that process lives
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// writeUsers replaces a users file in one step.
func writeUsers(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// form is the body of a token request, by grant_type=password.
func passwordForm(name, password string, more ...string) url.Values {
	values := url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}
	for i := 0; i+1 < len(more); i += 2 {
		values.Add(more[i], more[i+1])
	}
	return values
}

// postForm sends a form to an endpoint, as a program does.
func postForm(t *testing.T, endpoint string, form url.Values, header http.Header) *Page {
	t.Helper()
	return postBody(t, endpoint, form.Encode(), "application/x-www-form-urlencoded", header)
}

func postBody(t *testing.T, endpoint, body, contentType string, header http.Header) *Page {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for name, values := range header {
		r.Header[name] = values
	}
	return NewBrowser(t).Do(r)
}

// tokenOf is the token that a name and a password get.
func tokenOf(t *testing.T, origin, name, password string, more ...string) string {
	t.Helper()
	page := postForm(t, origin+"/oauth2/token", passwordForm(name, password, more...), nil)
	var answer struct {
		Token string `json:"access_token"`
	}
	if page.Status != http.StatusOK || json.Unmarshal([]byte(page.Body), &answer) != nil || answer.Token == "" {
		t.Fatalf("no token for %s: %d %s", name, page.Status, page.Body)
	}
	return answer.Token
}

func startTokenURLSite(t *testing.T) (c *Caddy, users, lines string) {
	t.Helper()
	users = filepath.Join(t.TempDir(), "users")
	lines = "# who may have tokens\n\nada " + hashPassword(t, "correct horse", "--bcrypt-cost", "4") + " ops reader # of the team\n" +
		"bob\t" + hashPassword(t, "staple", "--algorithm", "argon2id", "--argon2id-memory", "64") + "\n"
	writeUsers(t, users, lines)
	app := StartApplication(t)
	return StartCaddy(t, strings.NewReplacer("USERS", users, "APP", strings.TrimPrefix(app.URL, "http://")).Replace(tokenURLSite)), users, lines
}

// RFC 6749 4.3, 5.1, RFC 9068: a name and a password get a token, which the gate takes and anybody can verify.
func TestTokenURL(t *testing.T) {
	t.Parallel()
	c, _, _ := startTokenURLSite(t)
	page := postForm(t, c.HTTP()+"/oauth2/token", passwordForm("ada", "correct horse"), nil)
	var answer struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires int    `json:"expires_in"`
		Scope   string `json:"scope"`
	}
	decode(t, page.Body, &answer)
	if page.Status != http.StatusOK || answer.Type != "bearer" || answer.Expires != 1800 || answer.Scope != "ops reader" {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	if h := page.Header; h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" ||
		h.Get("Set-Cookie") != "" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("header %v", h)
	}

	var set jose.JSONWebKeySet
	decode(t, call(t, http.MethodGet, c.HTTP()+"/oauth2/jwks", nil).Body, &set)
	signed, err := jose.ParseSignedCompact(answer.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Protected
	keys := set.Key(header.KeyID)
	if len(keys) != 1 || header.ExtraHeaders[jose.HeaderType] != "at+jwt" {
		t.Fatalf("header %+v, keys %+v", header, set)
	}
	payload, err := signed.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Iss, Sub, Aud, Jti, Scope string
		ClientID                  string `json:"client_id"`
		Iat, Exp                  int64
		Groups                    []string
	}
	decode(t, string(payload), &claims)
	if claims.Iss != c.HTTP() || claims.Aud != c.HTTP() || claims.Sub != "ada" || claims.Exp-claims.Iat != 1800 || len(claims.Jti) != 22 ||
		claims.Scope != "ops reader" || claims.ClientID == "" || !slices.Equal(claims.Groups, []string{"ops", "reader"}) {
		t.Errorf("claims %s", payload)
	}

	got := seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(answer.Token)))
	for name, want := range map[string]string{"X-Forwarded-User": "ada", "X-Forwarded-Groups": "ops,reader", "X-Forwarded-Preferred-Username": "ada", "X-Forwarded-Access-Token": answer.Token} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(tokenOf(t, c.HTTP(), "bob", "staple"))))
	var who struct{ User, Sub string }
	decode(t, call(t, http.MethodGet, c.HTTP()+"/oauth2/userinfo", bearing(answer.Token)).Body, &who)
	if who.User != "ada" || who.Sub != "ada" {
		t.Errorf("userinfo %+v", who)
	}
}

// What the token URL refuses, by the codes of RFC 6749 5.2.
func TestTokenURLRefuses(t *testing.T) {
	t.Parallel()
	c, _, _ := startTokenURLSite(t)
	good := passwordForm("ada", "correct horse")
	endpoint := c.HTTP() + "/oauth2/token"
	const formType = "application/x-www-form-urlencoded"
	without := func(name string) string {
		form := passwordForm("ada", "correct horse")
		form.Del(name)
		return form.Encode()
	}
	cross := http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
	for _, tt := range []struct {
		name, method, target, body, contentType string
		header                                  http.Header
		status                                  int
		code                                    string
	}{
		{"right", "POST", endpoint, good.Encode(), formType, nil, 200, ""},
		{"right, as FastAPI's page sends it", "POST", endpoint, passwordForm("ada", "correct horse", "client_id", "", "client_secret", "", "scope", "").Encode(), formType, http.Header{"Authorization": {"Basic Og=="}}, 200, ""},
		{"right, with a charset", "POST", endpoint, good.Encode(), formType + "; charset=utf-8", nil, 200, ""},
		{"right, and a client that nobody knows", "POST", endpoint, good.Encode(), formType, http.Header{"Authorization": {"Basic YXBwOnNlY3JldA=="}}, 200, ""},
		{"wrong password", "POST", endpoint, passwordForm("ada", "wrong").Encode(), formType, nil, 400, "invalid_grant"},
		{"unknown name", "POST", endpoint, passwordForm("eve", "correct horse").Encode(), formType, nil, 400, "invalid_grant"},
		{"the password in place of the name", "POST", endpoint, passwordForm("hunter2", "x").Encode(), formType, nil, 400, "invalid_grant"},
		{"password of another", "POST", endpoint, passwordForm("ada", "staple").Encode(), formType, nil, 400, "invalid_grant"},
		{"name in other letters", "POST", endpoint, passwordForm("Ada", "correct horse").Encode(), formType, nil, 400, "invalid_grant"},
		{"name with white space", "POST", endpoint, passwordForm("ada ", "correct horse").Encode(), formType, nil, 400, "invalid_grant"},
		{"the hash as password", "POST", endpoint, passwordForm("ada", "$2a$04$").Encode(), formType, nil, 400, "invalid_grant"},
		{"no grant_type", "POST", endpoint, without("grant_type"), formType, nil, 400, "invalid_request"},
		{"no username", "POST", endpoint, without("username"), formType, nil, 400, "invalid_request"},
		{"no password", "POST", endpoint, without("password"), formType, nil, 400, "invalid_request"},
		{"empty password", "POST", endpoint, passwordForm("ada", "").Encode(), formType, nil, 400, "invalid_request"},
		{"RFC 6749 3.2 username twice", "POST", endpoint, good.Encode() + "&username=eve", formType, nil, 400, "invalid_request"},
		{"RFC 6749 3.2 an unknown parameter twice", "POST", endpoint, good.Encode() + "&x=1&x=2", formType, nil, 400, "invalid_request"},
		{"another grant", "POST", endpoint, "grant_type=client_credentials", formType, nil, 400, "unsupported_grant_type"},
		{"a scope that is no group of the user", "POST", endpoint, passwordForm("ada", "correct horse", "scope", "ops admin").Encode(), formType, nil, 400, "invalid_scope"},
		{"a scope that is none", "POST", endpoint, passwordForm("ada", "correct horse", "scope", `"ops"`).Encode(), formType, nil, 400, "invalid_scope"},
		{"JSON", "POST", endpoint, `{"grant_type":"password","username":"ada","password":"correct horse"}`, "application/json", nil, 400, "invalid_request"},
		{"no Content-Type", "POST", endpoint, good.Encode(), "", nil, 400, "invalid_request"},
		{"in the address", "POST", endpoint + "?" + good.Encode(), "", formType, nil, 400, "invalid_request"},
		{"half in the address", "POST", endpoint + "?username=ada", good.Encode(), formType, nil, 400, "invalid_request"},
		{"huge", "POST", endpoint, good.Encode() + "&x=" + strings.Repeat("x", 32<<10), formType, nil, 400, "invalid_request"},
		{"from another site", "POST", endpoint, good.Encode(), formType, cross, 403, "cross_origin"},
		{"GET", "GET", endpoint, "", "", nil, 405, ""},
		{"a preflight", "OPTIONS", endpoint, "", "", cross, 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.target, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			for name, values := range tt.header {
				r.Header[name] = values
			}
			page := NewBrowser(t).Do(r)
			if page.Status != tt.status || reason(page) != tt.code || page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %q (%s), want %d %q:\n%s", page.Status, reason(page), page.Header.Get("Cache-Control"), tt.status, tt.code, page.Body)
			}
			if strings.Contains(page.Body, "horse") || tt.status != 200 && strings.Contains(page.Body, "access_token") {
				t.Errorf("the answer says too much: %s", page.Body)
			}
		})
	}
	for _, text := range []string{`"reason":"password_refused"`, "user unknown", "user ada"} {
		if !strings.Contains(c.Logs(), text) {
			t.Errorf("the log does not hold %q", text)
		}
	}
	for _, secret := range []string{"correct horse", "correct+horse", "staple", "hunter2", "$2a$"} {
		if strings.Contains(c.Logs(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// A token of the token URL is for the site that gave it, as long as it was not ended.
func TestOwnTokens(t *testing.T) {
	t.Parallel()
	c, _, _ := startTokenURLSite(t)
	good := tokenOf(t, c.HTTP(), "ada", "correct horse")
	narrow := tokenOf(t, c.HTTP(), "ada", "correct horse", "scope", "ops")
	wiki := "http://wiki.localhost:" + c.Port
	parts := strings.Split(good, ".")
	edited := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2]
	}
	assertion := seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(good))).Header.Get("X-Gatehouse-Assertion")
	flipped := []byte(good)
	if at := &flipped[len(good)-10]; *at == 'A' {
		*at = 'B'
	} else {
		*at = 'A'
	}
	var header map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	decode(t, string(raw), &header)
	for _, tt := range []struct {
		name, target string
		header       http.Header
		status       int
		reason       string
		says         string
	}{
		{"right", c.HTTP() + "/x", bearing(good), 200, "", ""},
		{"with the scope of a rule", c.HTTP() + "/read/x", bearing(good), 200, "", ""},
		{"without the scope of a rule", c.HTTP() + "/read/x", bearing(narrow), 403, "denied", `error="insufficient_scope", scope="reader"`},
		{"SEC-83 of another site of the same users and keys", wiki + "/x", bearing(good), 401, "id_token_iss_mismatch", `error="invalid_token"`},
		{"signature", c.HTTP() + "/x", bearing(string(flipped)), 401, "signature_invalid", `error="invalid_token"`},
		{"alg none", c.HTTP() + "/x", bearing(edited(`{"typ":"at+jwt","alg":"none"}`)), 401, "alg_refused", `error="invalid_token"`},
		{"alg HS256", c.HTTP() + "/x", bearing(edited(`{"typ":"at+jwt","alg":"HS256","kid":"` + header["kid"].(string) + `"}`)), 401, "alg_refused", `error="invalid_token"`},
		{"a key that it brings", c.HTTP() + "/x", bearing(edited(`{"typ":"at+jwt","alg":"ES256","jwk":{}}`)), 401, "key_unknown", `error="invalid_token"`},
		{"RFC 8725 3.11 an assertion of the same key", c.HTTP() + "/x", bearing(assertion), 401, "header_refused", `error="invalid_token"`},
		{"any text", c.HTTP() + "/x", bearing("x"), 401, "access_token_malformed", `error="invalid_token"`},
		{"shown as if it was bound", c.HTTP() + "/x", http.Header{"Authorization": {"DPoP " + good}}, 401, "token_binding_refused", `error="invalid_token"`},
		{"none", c.HTTP() + "/x", nil, 401, "no_session", "Bearer "},
		{"a person without token", c.HTTP() + "/x", asking, 401, "no_session", "Bearer "},
		{"there is no sign-in", c.HTTP() + "/oauth2/login", asking, 404, "", ""},
		{"there is no callback", c.HTTP() + "/oauth2/callback?code=x&state=y", asking, 404, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := call(t, http.MethodGet, tt.target, tt.header)
			if page.Status != tt.status || tt.status != 200 && reason(page) != tt.reason {
				t.Errorf("%d %q, want %d %q:\n%s", page.Status, reason(page), tt.status, tt.reason, page.Body)
			}
			if says := page.Header.Get("WWW-Authenticate"); !strings.Contains(says, tt.says) || page.Header.Get("Location") != "" || page.Header.Get("Set-Cookie") != "" {
				t.Errorf("challenge %q, header %v", says, page.Header)
			}
		})
	}

	t.Run("revoked", func(t *testing.T) {
		revoke := func(token string) *Page {
			return postForm(t, c.HTTP()+"/oauth2/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}}, nil)
		}
		for _, token := range []string{"x", string(flipped), narrow, narrow} { // RFC 7009 2.2: no error
			if page := revoke(token); page.Status != http.StatusOK || page.Body != "" {
				t.Errorf("%d %s", page.Status, page.Body)
			}
		}
		wantReason(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(narrow)), 401, "session_ended")
		seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(good)))
		if page := postForm(t, c.HTTP()+"/oauth2/revoke", url.Values{}, nil); page.Status != 400 || reason(page) != "invalid_request" {
			t.Errorf("no token: %d %s", page.Status, page.Body)
		}
		if page := call(t, http.MethodGet, c.HTTP()+"/oauth2/revoke?token="+good, nil); page.Status != 405 {
			t.Errorf("GET: %d", page.Status)
		}
		c.Restart(readCaddyfile(t, c))
		wantReason(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(narrow)), 401, "session_ended")
		seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(good)))
	})
}

func readCaddyfile(t *testing.T, c *Caddy) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The users file is followed without a reload: who is gone has no token, nor who is in other groups now; what is wrong
// in it changes nothing, and is logged.
func TestUsersFileIsFollowed(t *testing.T) {
	t.Parallel()
	c, users, lines := startTokenURLSite(t)
	ada, bob := tokenOf(t, c.HTTP(), "ada", "correct horse"), tokenOf(t, c.HTTP(), "bob", "staple")
	writeUsers(t, users, strings.Replace(lines, " reader #", " #", 1))
	wantReason(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(ada)), 401, "session_ended")
	seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(bob)))
	if got := seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(tokenOf(t, c.HTTP(), "ada", "correct horse")))); got.Header.Get("X-Forwarded-Groups") != "ops" {
		t.Errorf("groups %q", got.Header.Get("X-Forwarded-Groups"))
	}
	if err := os.WriteFile(users, []byte("bob\n"), 0o600); err != nil { // in place, and wrong
		t.Fatal(err)
	}
	seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(bob)))
	c.WaitLog("the users file cannot be used any more")
	c.WaitLog(users + ":1: user bob has no hash")
	if err := os.Remove(users); err != nil {
		t.Fatal(err)
	}
	seen(t, call(t, http.MethodGet, c.HTTP()+"/x", bearing(bob)))
	writeUsers(t, users, "# nobody\n")
	if !eventually(10*time.Second, func() bool { return call(t, http.MethodGet, c.HTTP()+"/x", bearing(bob)).Status == 401 }) {
		t.Error("who is gone still has a token")
	}
	if page := postForm(t, c.HTTP()+"/oauth2/token", passwordForm("bob", "staple"), nil); reason(page) != "invalid_grant" {
		t.Errorf("who is gone: %d %s", page.Status, page.Body)
	}
}

// A users file that is wrong is an error at the start, with file and line, and quotes no hash.
func TestUsersFileRefused(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "# a\nada $2a$04$nothash\n")
	logs := CaddyFails(t, "http://localhost:{$PORT} {\n\tgatehouse {\n\t\tusers "+users+"\n\t}\n}")
	if !strings.Contains(logs, users+":2: user ada: the second word is not a bcrypt or argon2id hash") || strings.Contains(logs, "nothash") {
		t.Errorf("Caddy said %s", logs)
	}
	logs = CaddyFails(t, "http://localhost:{$PORT} {\n\tgatehouse {\n\t\tusers "+users+".none\n\t}\n}")
	if !strings.Contains(logs, users+".none") {
		t.Errorf("Caddy said %s", logs)
	}
}

// SEC-110: passwords cannot be tried without end, by one address or for one name; and who has the right one gets in, from another
// address, while a name is under attack.
func TestTokenURLAttempts(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+"\n")
	c := StartCaddy(t, `{
	`+trustLoopback+`
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		users `+users+`
	}
	respond ok
}`)
	try := func(address, name, password string) *Page {
		return postForm(t, c.HTTPS("app.example.test")+"/oauth2/token", passwordForm(name, password), http.Header{"X-Forwarded-For": {address}})
	}
	limited := func(address, name string) int {
		for n := range 100 {
			if page := try(address, name, "wrong"); page.Status == http.StatusTooManyRequests {
				if reason(page) != "slow_down" || page.Header.Get("Retry-After") == "" || page.Header.Get("Retry-After") == "0" {
					t.Errorf("%v %s", page.Header, page.Body)
				}
				return n
			} else if page.Status != http.StatusBadRequest {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
		}
		return 100
	}
	if n := limited("192.0.2.1", "eve"); n < 10 || n > 20 {
		t.Errorf("one address tried %d times", n)
	}
	if page := try("192.0.2.1", "ada", "correct horse"); page.Status != http.StatusTooManyRequests {
		t.Errorf("the address may try another name: %d", page.Status)
	}
	for i := range 12 { // until the name is used up
		limited(fmt.Sprintf("198.51.100.%d", i), "ada")
	}
	if n := limited("203.0.113.1", "ada"); n < 3 || n > 5 {
		t.Errorf("a name under attack was tried %d times from one more address", n)
	}
	for range 20 { // what is right costs nothing
		if page := try("203.0.113.2", "ada", "correct horse"); page.Status != http.StatusOK {
			t.Fatalf("the owner of a name that is under attack got %d %s", page.Status, page.Body)
		}
	}
	// Two addresses that share a bucket are limited together, as happens to a few in ten thousand: then another one.
	network := 0
	for ; network < 3 && try(fmt.Sprintf("2001:db8:%d::1", network), "ada", "wrong").Status != http.StatusBadRequest; network++ {
	}
	if network == 3 {
		t.Fatal("no address of another network may try")
	}
	limited(fmt.Sprintf("2001:db8:%d::2", network), "ada")
	if page := try(fmt.Sprintf("2001:db8:%d::ffff", network), "ada", "correct horse"); page.Status != http.StatusTooManyRequests {
		t.Errorf("an address of the same network: %d", page.Status)
	}
}

// Replicas that share the keys take each other's tokens, and each other's revocations after a restart.
func TestTokenURLReplicas(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+"\n")
	site := "http://localhost:{$PORT} {\n\tgatehouse {\n\t\tpublic_url https://app.example.test\n\t\tusers " + users + "\n\t}\n\trespond ok\n}"
	first := StartCaddy(t, site)
	second := StartCaddy(t, site, "XDG_DATA_HOME="+filepath.Join(first.Dir, "data"))
	for _, from := range []*Caddy{first, second} {
		token := tokenOf(t, from.HTTP(), "ada", "correct horse")
		for _, at := range []*Caddy{first, second} {
			if page := call(t, http.MethodGet, at.HTTP()+"/", bearing(token)); page.Status != http.StatusOK {
				t.Errorf("%d %s", page.Status, page.Body)
			}
		}
	}
}

// Where servers share a memory, passwords are guessed no more often at two of them; while it is away, each counts for itself.
func TestTokenURLAttemptsAmongReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+"\n")
	start := func() *Caddy {
		return StartCaddy(t, `{
	`+trustLoopback+`
	gatehouse {
		session {
			keys `+configuredKey+`
			shared redis {$REDIS}
		}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		users `+users+`
	}
	respond ok
}`, "REDIS="+server.Addr)
	}
	first, second := start(), start()
	try := func(c *Caddy, address, password string) int {
		return postForm(t, c.HTTPS("app.example.test")+"/oauth2/token", passwordForm("ada", password), http.Header{"X-Forwarded-For": {address}}).Status
	}
	count := func(address string, all ...*Caddy) (wrong int) {
		for i := range 60 {
			switch status := try(all[i%len(all)], address, "wrong"); status {
			case http.StatusBadRequest:
				wrong++
			case http.StatusTooManyRequests:
			default:
				t.Fatalf("status %d", status)
			}
		}
		return wrong
	}
	if n := count("192.0.2.1", first, second); n > 10 { // within a minute; some come back later
		t.Errorf("one address tried %d times at two servers", n)
	}
	for range 15 { // what is right costs nothing, anywhere
		if status := try(first, "192.0.2.2", "correct horse"); status != http.StatusOK {
			t.Fatalf("%d", status)
		}
	}
	server.Kill()
	if n := count("192.0.2.3", second); n < 10 || n > 20 {
		t.Errorf("without the memory one address tried %d times", n)
	}
}
