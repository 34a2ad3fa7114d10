package caddymodule

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
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
