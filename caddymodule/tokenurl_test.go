package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
	"github.com/gatehouse-auth/gatehouse/internal/users"
	"github.com/gatehouse-auth/gatehouse/session"
)

// cheapHash is that of "password".
const cheapHash = "$2a$04$/Bf/oznOxQ1Mv2ckx5.w.uvAMZS1iHtPkFb9pWWBh4cKqFWe9Na.y"

// newTokenSite is a gate with a token URL, where alice is among the staff; BEARER stands beside `users`.
func newTokenSite(tb testing.TB, app, gate string) (site *benched, usersFile string) {
	tb.Helper()
	tb.Setenv("XDG_DATA_HOME", tb.TempDir())
	usersFile = filepath.Join(tb.TempDir(), "users")
	if err := os.WriteFile(usersFile, []byte("alice "+cheapHash+" staff\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module": "file_system", "root": %q}`, tb.TempDir())),
		AppsRaw: caddy.ModuleMap{
			"gatehouse": json.RawMessage(`{` + app + `"session": {"insecure_http": true}}`),
			"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "gatehouse", "users": "` + usersFile + `"` +
				gate + `}]}]}}}`),
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	httpApp, err := ctx.App("http")
	if err != nil {
		tb.Fatal(err)
	}
	server := httpApp.(*caddyhttp.App).Servers["s"]
	return &benched{gate: server.Routes[0].Handlers[0].(*Gate), server: server}, usersFile
}

// issue is a token of the site for alice.
func (b *benched) issue(tb testing.TB) string {
	tb.Helper()
	r := b.requests(1)[0]
	v, err := b.gate.receive(r)
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := b.gate.issueToken(r, v, b.gate.users.file.Value().Find("alice"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return answer.AccessToken
}

// bearing are so many requests with an access token.
func (b *benched) bearing(count int, token string) []*http.Request {
	all := b.requests(count)
	for _, r := range all {
		delete(r.Header, "Cookie")
		r.Header["Authorization"] = []string{"Bearer " + token}
	}
	return all
}

// run sends requests with a token, as alice or prefixed as such.
func (b *benched) run(bench *testing.B, token string) {
	bench.Helper()
	w := httptest.NewRecorder()
	var requests []*http.Request
	bench.ReportAllocs()
	bench.ResetTimer()
	for i := 0; i < bench.N; i++ {
		if len(requests) == 0 {
			bench.StopTimer()
			requests = b.bearing(min(64, bench.N-i), token)
			bench.StartTimer()
		}
		passed := false
		next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { passed = true; return nil })
		if err := b.gate.ServeHTTP(w, requests[0], next); err != nil || !passed {
			bench.Fatal(err, passed)
		}
		requests = requests[1:]
	}
}

// BenchmarkOwnToken is the whole of what the gate adds to a request with a token of its own token URL, and to one with
// a provider's where both count.
func BenchmarkOwnToken(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		site, _ := newTokenSite(b, "", "")
		site.run(b, site.issue(b))
	})
	op := testop.Start(b)
	app := fmt.Sprintf(`"providers": [{"issuer": %q, "client_id": %q, "client_secret": %q}], `, op.Issuer(), op.ClientID, op.ClientSecret)
	beside := `, "bearer": {"audience": ["http://app.example.com"]}, "allow": [{"any": true}]`
	b.Run("beside a provider", func(b *testing.B) {
		site, _ := newTokenSite(b, app, beside)
		site.run(b, site.issue(b))
	})
	b.Run("of the provider", func(b *testing.B) {
		site, _ := newTokenSite(b, app, beside)
		site.run(b, op.Issue(testop.AccessToken{Audience: "http://app.example.com", Scope: "read write"}))
	})
}

// pass sends one request with a token and returns the status, 0 if it came through.
func (b *benched) pass(t testing.TB, token string) int {
	t.Helper()
	w := httptest.NewRecorder()
	passed := false
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { passed = true; return nil })
	if err := b.gate.ServeHTTP(w, b.bearing(1, token)[0], next); err != nil {
		t.Fatal(err)
	}
	if passed {
		return 0
	}
	return w.Code
}

// What ends a token of our own is seen at its next use, although what it says is kept: a revocation, and another line
// of its user.
func TestKnownOwnTokenEnds(t *testing.T) {
	site, usersFile := newTokenSite(t, "", "")
	first, second, third := site.issue(t), site.issue(t), site.issue(t)
	for _, token := range []string{first, second, third, first, second, third} {
		if status := site.pass(t, token); status != 0 {
			t.Fatalf("%d", status)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "http://app.example.com/oauth2/revoke", strings.NewReader("token="+first))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if err := site.gate.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, site.server), nil); err != nil || w.Code != http.StatusOK {
		t.Fatalf("revoke: %d %v", w.Code, err)
	}
	if one, other := site.pass(t, first), site.pass(t, second); one != http.StatusUnauthorized || other != 0 {
		t.Errorf("revoked: %d; another: %d", one, other)
	}
	write := func(line string) {
		if err := errors.Join(os.WriteFile(usersFile+".new", []byte(line), 0o600), os.Rename(usersFile+".new", usersFile)); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"alice " + cheapHash + " staff ops\n", "# nobody\n"} {
		if write(line); site.pass(t, second) != http.StatusUnauthorized {
			t.Errorf("it counts although the file says %q", line)
		}
	}
	if write("alice " + cheapHash + " staff\n"); site.pass(t, third) != 0 {
		t.Error("the line is as it was, and the token does not count")
	}
}

// A known token makes few heap allocations. Times differ from run to run; this does not.
func TestOwnTokenAllocationBudget(t *testing.T) {
	const runs = 100
	site, _ := newTokenSite(t, "", "")
	requests, w := site.bearing(runs+1, site.issue(t)), httptest.NewRecorder() // AllocsPerRun warms up with one
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	got := testing.AllocsPerRun(runs, func() {
		if err := site.gate.ServeHTTP(w, requests[0], next); err != nil {
			t.Error(err)
		}
		requests = requests[1:]
	})
	if budget := float64(2*len(site.gate.identityHeaders) + 35); got > budget {
		t.Errorf("%v allocations a request, at most %v", got, budget)
	}
}

// A password that was not even compared says when to come again, by a reason of its own; nothing of it is the visitor's.
func TestPasswordProblem(t *testing.T) {
	limiter, now := users.NewLimiter(), time.Unix(1_700_000_000, 0)
	try := func() error {
		_, err := limiter.Take(t.Context(), session.NewState(nil, nil), "file", "alice", "192.0.2.1", now)
		return err
	}
	for range 10 {
		if err := try(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		err    error
		kind   authflow.Kind
		reason authflow.Reason
	}{
		{try(), authflow.BadRequest, ReasonTooManyAttempts},
		{users.ErrBusy, authflow.Unavailable, ReasonPasswordsBusy},
	} {
		p := asProblem(passwordProblem(tt.err))
		if p.Kind != tt.kind || p.Reason != tt.reason || p.RetryAfter <= 0 || !errors.Is(p, tt.err) {
			t.Errorf("%v: %v, again in %s", tt.err, p, p.RetryAfter)
		}
	}
}
