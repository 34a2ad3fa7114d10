package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"

	"github.com/gatehouse-auth/gatehouse/session"
)

// What ends sessions says whose, without a doubt; and no page of another site can have a browser send it.
func TestParseRevocation(t *testing.T) {
	const right = `{"issuer": "https://id.example.com", "sub": "4711"}`
	for _, tt := range []struct {
		name, kind, body string
		status           int
	}{
		{"right", "application/json", right, 0},
		{"right, by sid", "application/json; charset=utf-8", strings.Replace(right, "sub", "sid", 1), 0},
		{"a form of another site", "application/x-www-form-urlencoded", right, http.StatusUnsupportedMediaType},
		{"text of another site", "text/plain", right, http.StatusUnsupportedMediaType},
		{"of no kind", "", right, http.StatusUnsupportedMediaType},
		{"empty", "application/json", "", http.StatusBadRequest},
		{"null", "application/json", "null", http.StatusBadRequest},
		{"a list", "application/json", "[" + right + "]", http.StatusBadRequest},
		{"two", "application/json", right + right, http.StatusBadRequest},
		{"a word that is unknown", "application/json", strings.Replace(right, "sub", "subject", 1), http.StatusBadRequest},
		{"an e-mail address besides", "application/json", strings.Replace(right, "{", `{"email": "a@example.com", `, 1), http.StatusBadRequest},
		{"no issuer", "application/json", `{"sub": "4711"}`, http.StatusBadRequest},
		{"nobody", "application/json", `{"issuer": "https://id.example.com"}`, http.StatusBadRequest},
		{"an empty name", "application/json", `{"issuer": "https://id.example.com", "sub": ""}`, http.StatusBadRequest},
		{"both", "application/json", strings.Replace(right, "{", `{"sid": "1", `, 1), http.StatusBadRequest},
		{"a number", "application/json", strings.Replace(right, `"4711"`, "4711", 1), http.StatusBadRequest},
		{"large", "application/json", strings.Replace(right, "4711", strings.Repeat("1", maxRevocation), 1), http.StatusBadRequest},
	} {
		r := httptest.NewRequest(http.MethodPost, endSessionsRoute, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.kind)
		wanted, err := parseRevocation(r)
		var answer caddy.APIError
		if errors.As(err, &answer); answer.HTTPStatus != tt.status || (err == nil) != (tt.status == 0) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && (wanted.Issuer == "" || wanted.Subject+wanted.SessionID != "4711") {
			t.Errorf("%s: %+v", tt.name, wanted)
		}
	}
}

// twoSites are two gates that have nothing in common but the process.
func twoSites(t *testing.T) (app *App, sites []*Gate) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module": "file_system", "root": %q}`, t.TempDir())),
		AppsRaw: caddy.ModuleMap{
			"gatehouse": json.RawMessage(oneProvider),
			"http": json.RawMessage(`{"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [
				{"handler": "gatehouse"}, {"handler": "gatehouse", "session": {"store": "memory", "cookie_name": "other"}}]}]}}}`),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	running, err := ctx.App("gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, handler := range server.(*caddyhttp.App).Servers["s"].Routes[0].Handlers {
		sites = append(sites, handler.(*Gate))
	}
	return running.(*App), sites
}

// Whoever is named loses all sessions at all sites, and nobody else loses one.
func TestRevoke(t *testing.T) {
	const issuer = "https://id.example.com"
	scope := session.Scope{Host: "app.example.com", Secure: true, BasePath: "/oauth2"}
	type who struct{ sub, sid string }
	people := []who{{"alice", "1"}, {"alice", "2"}, {"bob", "3"}, {"1", "alice"}}
	for _, tt := range []struct {
		name   string
		wanted revocation
		over   []who
		status int
	}{
		{"a subject", revocation{Issuer: issuer, Subject: "alice"}, []who{{"alice", "1"}, {"alice", "2"}}, 0},
		{"a session at the provider", revocation{Issuer: issuer, SessionID: "1"}, []who{{"alice", "1"}}, 0},
		{"a subject that nobody is", revocation{Issuer: issuer, Subject: "carol"}, nil, 0},
		{"an issuer that nobody has", revocation{Issuer: issuer + "/", Subject: "alice"}, nil, http.StatusNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, sites := twoSites(t)
			brought := map[*Gate]map[who]session.Cookies{}
			for _, g := range sites {
				brought[g] = map[who]session.Cookies{}
				for _, p := range people {
					w := httptest.NewRecorder()
					s := &session.Session{Provider: "default", Issuer: issuer, ClientID: "app", Subject: p.sub, IdPSession: p.sid}
					if _, err := g.sessions.Create(t.Context(), w, session.Cookies{}, scope, s); err != nil {
						t.Fatal(err)
					}
					header := http.Header{}
					for _, cookie := range w.Result().Cookies() {
						header.Add("Cookie", cookie.Name+"="+cookie.Value)
					}
					brought[g][p] = g.cookies.Cut(header)
				}
			}
			err := app.revoke(t.Context(), tt.wanted)
			var answer caddy.APIError
			if errors.As(err, &answer); answer.HTTPStatus != tt.status || (err == nil) != (tt.status == 0) {
				t.Errorf("%v", err)
			}
			for i, g := range sites {
				for _, p := range people {
					_, err := g.sessions.Load(t.Context(), brought[g][p], scope)
					if over := slices.Contains(tt.over, p); over != errors.Is(err, session.ErrRevoked) || !over && err != nil {
						t.Errorf("site %d, %v: %v, over %v", i, p, err, over)
					}
				}
			}
		})
	}
}

// Nobody is to believe that sessions are over for good which may come back: what is not stored is an error.
func TestRevokeIsNotStored(t *testing.T) {
	app, sites := twoSites(t)
	root := app.ctx.Storage().(*certmagic.FileStorage).Path
	if _, err := sites[0].keys.Ring(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(root), os.WriteFile(root, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	err := app.revoke(t.Context(), revocation{Issuer: "https://id.example.com", Subject: "alice"})
	var answer caddy.APIError
	if !errors.As(err, &answer) || answer.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}

// The route takes a POST, and says so; where nobody signs in there is nobody to end the sessions of.
func TestEndSessionsRoute(t *testing.T) {
	for _, tt := range []struct {
		method, body string
		status       int
	}{
		{http.MethodGet, "", http.StatusMethodNotAllowed},
		{http.MethodDelete, "", http.StatusMethodNotAllowed},
		{http.MethodPost, "{}", http.StatusBadRequest},
		{http.MethodPost, `{"issuer": "https://id.example.com", "sub": "4711"}`, http.StatusNotFound},
	} {
		r, w := httptest.NewRequest(tt.method, endSessionsRoute, strings.NewReader(tt.body)), httptest.NewRecorder()
		r.Header.Set("Content-Type", "application/json")
		var answer caddy.APIError
		if err := (adminAPI{}).endSessions(w, r); !errors.As(err, &answer) || answer.HTTPStatus != tt.status {
			t.Errorf("%s %s: %v", tt.method, tt.body, err)
		}
		if allow := w.Header().Get("Allow"); (allow == http.MethodPost) != (tt.status == http.StatusMethodNotAllowed) {
			t.Errorf("%s: Allow is %q", tt.method, allow)
		}
	}
}
