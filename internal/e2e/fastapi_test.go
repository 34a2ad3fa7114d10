package e2e_test

import (
	"maps"
	"net"
	"net/http"
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

// startFastAPI installs the example into a virtual environment of its own, and runs it.
func startFastAPI(t *testing.T) (address string) {
	t.Helper()
	venv := filepath.Join(t.TempDir(), "venv")
	python := filepath.Join(venv, "bin", "python")
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		{python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "-r", filepath.Join(fastapi, "requirements.txt")},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	port := freePort(t)
	var logs logBuffer
	cmd := exec.Command(python, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", port, "--app-dir", fastapi)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
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

// The example of FastAPI: one application for programs with tokens of the token URL, programs with tokens of the provider,
// and people with a browser, each told apart, and nobody without.
func TestFastAPI(t *testing.T) {
	t.Parallel()
	address := startFastAPI(t)
	op := testop.Start(t)
	users := filepath.Join(t.TempDir(), "users")
	writeUsers(t, users, "ada "+hashPassword(t, "correct horse", "--bcrypt-cost", "4")+" ops\n")
	caddyfile, err := os.ReadFile(filepath.Join(fastapi, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	at := "http://localhost:" + port
	StartCaddy(t, string(caddyfile), "SITE="+at, "ISSUER="+op.Issuer(), "CLIENT_ID="+op.ClientID, "CLIENT_SECRET="+op.ClientSecret,
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

	token := tokenOf(t, at, "ada", "correct horse", "client_id", "", "client_secret", "")
	me(call(t, http.MethodGet, at+"/users/me", bearing(token)), user{"users:ada", []string{"users:ops"}})

	for name, header := range map[string]http.Header{
		"no token": nil, "a wrong one": bearing(token + "x"), "headers of one's own": {"X-Forwarded-User": {"users:ada"}},
	} {
		page := call(t, http.MethodGet, at+"/users/me", header)
		if says := page.Header.Get("WWW-Authenticate"); page.Status != http.StatusUnauthorized || !strings.HasPrefix(says, "Bearer ") {
			t.Errorf("%s: %d %q %s", name, page.Status, says, page.Body)
		}
	}
	forged := bearing(token)
	maps.Copy(forged, http.Header{"X-Forwarded-User": {"users:root"}, "X_forwarded_user": {"users:root"}})
	me(call(t, http.MethodGet, at+"/users/me", forged), user{"users:ada", []string{"users:ops"}})

	mine := "default:" + op.User.Subject
	issued := op.Issue(testop.AccessToken{Audience: api})
	me(call(t, http.MethodGet, at+"/users/me", bearing(issued)), user{mine, nil})
	named := op.Issue(testop.AccessToken{Audience: api, Subject: "ada"}) // who chooses this name at the provider is nobody's namesake
	me(call(t, http.MethodGet, at+"/users/me", bearing(named)), user{"default:ada", nil})

	b := NewBrowser(t)
	page := b.Navigate(at + "/users/me")
	if len(page.Hops) < 3 {
		t.Errorf("nobody was asked to sign in: %v", page.Hops)
	}
	var got user
	decode(t, page.Body, &got)
	if page.Status != http.StatusOK || got.Username != mine {
		t.Errorf("in a browser: %d %s", page.Status, page.Body)
	}
	me(callFrom(b, http.MethodGet, at+"/users/me", bearing(token)), user{"users:ada", []string{"users:ops"}}) // the token alone counts

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
