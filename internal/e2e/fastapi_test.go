package e2e_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

const fastapi = "../../examples/fastapi"

// installPackages puts packages of Python's into a folder; the test is skipped where there is no pip.
func installPackages(t *testing.T, folder, requirements string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "python3", "-m", "pip", "--version").Run(); err != nil {
		skipWithout(t, "python3 with pip", err)
	}
	install := exec.CommandContext(t.Context(), "python3", "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--only-binary", ":all:",
		"--disable-pip-version-check", "--target", folder, "-r", requirements)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", install.Args, err, out)
	}
}

// startFastAPI installs what the example needs into a folder of its own, and runs it.
func startFastAPI(t *testing.T) (address string) {
	t.Helper()
	packages := t.TempDir()
	installPackages(t, packages, filepath.Join(fastapi, "requirements.txt"))
	port := freePort(t)
	var logs testop.Output
	cmd := exec.Command("python3", "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", port, "--app-dir", fastapi)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdout, cmd.Stderr = &logs, &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("uvicorn said:\n%s", logs.String())
		}
	})
	address = "127.0.0.1:" + port
	answers := func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	if !eventually(time.Minute, answers) {
		t.Fatalf("uvicorn does not answer:\n%s", logs.String())
	}
	return address
}

// personsToken is what a program that runs on somebody's own machine gets for them: by code and PKCE (RFC 8252), for one
// resource (RFC 8707), with the ID token that comes along.
func personsToken(t *testing.T, p *NodeProvider, client, redirect, login, resource string) (access, id string) {
	t.Helper()
	b := NewBrowser(t)
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	page := b.Navigate(p.Issuer + "/auth?" + url.Values{
		"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid read"}, "resource": {resource},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	page = b.Submit(page, "interaction", map[string]string{"login": login})
	page = b.Submit(page, "interaction", nil)
	page = postForm(t, p.Issuer+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {page.URL.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
		"resource": {resource}, "client_id": {client},
	}, nil)
	var answer struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
	}
	decode(t, page.Body, &answer)
	if answer.AccessToken == "" || answer.IDToken == "" {
		t.Fatalf("%d %s\n%s", page.Status, page.Body, p.Logs())
	}
	return answer.AccessToken, answer.IDToken
}

// The example of FastAPI: one application for programs with tokens of the token URL, programs with tokens of a provider that
// we did not write, and people with a browser, each told apart, and nobody without.
func TestFastAPI(t *testing.T) {
	t.Parallel()
	address := startFastAPI(t)
	at := "http://localhost:" + freePort(t)
	program := httptest.NewServer(http.NotFoundHandler()) // where the program waits for its code
	t.Cleanup(program.Close)
	redirect := program.URL + "/callback"
	const elsewhere = "https://other.example.test"
	p := StartNodeProvider(t, NodeConfig{
		Clients: []NodeClient{
			{ID: "app", Secret: "secret", RedirectURIs: []string{at + "/oauth2/callback"}},
			{ID: "cli", TokenEndpointAuth: "none", RedirectURIs: []string{redirect}},
			{ID: "job", Secret: "secret", RedirectURIs: []string{}, GrantTypes: []string{"client_credentials"}},
		},
		Users:     []NodeUser{{Subject: "ada", Name: "Ada"}},
		Resources: map[string]string{api: "jwt", elsewhere: "jwt"},
	})
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+" ops\n")
	start := func(name string, env ...string) {
		t.Helper()
		caddyfile, err := os.ReadFile(filepath.Join(fastapi, name))
		if err != nil {
			t.Fatal(err)
		}
		StartCaddy(t, string(caddyfile), env...)
	}
	start("Caddyfile.provider", "SITE="+at, "ISSUER="+p.Issuer, "CLIENT_ID=app", "CLIENT_SECRET=secret",
		"AUDIENCE="+api, "USERS="+users, "APP="+address)
	type user struct {
		Username string
		Groups   []string
	}
	me := func(page *Page, want user) {
		t.Helper()
		var got user
		if page.Status != http.StatusOK {
			t.Fatalf("%d %s", page.Status, brief(page))
		}
		decode(t, page.Body, &got)
		if got.Username != want.Username || !slices.Equal(got.Groups, want.Groups) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}

	alone := "http://localhost:" + freePort(t)
	start("Caddyfile", "SITE="+alone, "USERS="+users, "APP="+address)
	me(call(t, http.MethodGet, alone+"/users/me", bearing(tokenOf(t, alone, "ada", "correct horse"))), user{"ada", []string{"ops"}})

	token := tokenOf(t, at, "ada", "correct horse", "client_id", "", "client_secret", "")
	me(call(t, http.MethodGet, at+"/users/me", bearing(token)), user{"users:ada", []string{"users:ops"}})

	issued, idToken := personsToken(t, p, "cli", redirect, "ada", api)
	other, _ := personsToken(t, p, "cli", redirect, "ada", elsewhere)
	for name, header := range map[string]http.Header{
		"no token": nil, "a wrong one": bearing(token + "x"), "a wrong one of the provider's": bearing(issued + "x"), "one for another API": bearing(other),
		"an ID token": bearing(idToken), "headers of one's own": {"X-Forwarded-User": {"users:ada"}},
	} {
		page := call(t, http.MethodGet, at+"/users/me", header)
		if says := page.Header.Get("WWW-Authenticate"); page.Status != http.StatusUnauthorized || !strings.HasPrefix(says, "Bearer ") {
			t.Errorf("%s: %d %q %s", name, page.Status, says, page.Body)
		}
	}
	forged := bearing(token)
	maps.Copy(forged, http.Header{"X-Forwarded-User": {"users:root"}, "X_forwarded_user": {"users:root"}})
	me(call(t, http.MethodGet, at+"/users/me", forged), user{"users:ada", []string{"users:ops"}})

	// Who has this name at the provider is somebody else than the ada of the file.
	me(call(t, http.MethodGet, at+"/users/me", bearing(issued)), user{"default:ada", nil})
	page := postForm(t, p.Issuer+"/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"job"}, "client_secret": {"secret"}, "resource": {api}, "scope": {"read"},
	}, nil)
	var job struct {
		AccessToken string `json:"access_token"`
	}
	decode(t, page.Body, &job)
	me(call(t, http.MethodGet, at+"/users/me", bearing(job.AccessToken)), user{"default:job", nil})

	b := NewBrowser(t)
	page = b.Submit(b.Navigate(at+"/users/me"), "interaction", map[string]string{"login": "ada"})
	me(b.Submit(page, "interaction", nil), user{"default:ada", nil})
	me(callFrom(b, http.MethodGet, at+"/users/me", nil), user{"default:ada", nil})                            // the session stays
	me(callFrom(b, http.MethodGet, at+"/users/me", bearing(token)), user{"users:ada", []string{"users:ops"}}) // the token alone counts
	me(callFrom(b, http.MethodGet, at+"/users/me", bearing(job.AccessToken)), user{"default:job", nil})

	var document struct {
		Components struct {
			SecuritySchemes map[string]struct {
				Flows struct{ Password struct{ TokenURL string } }
			}
		}
	}
	decode(t, call(t, http.MethodGet, at+"/openapi.json", bearing(token)).Body, &document)
	if got := document.Components.SecuritySchemes["OAuth2PasswordBearer"].Flows.Password.TokenURL; got != "/oauth2/token" {
		t.Errorf("the application names %q", got)
	}
}
