package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// P27: the upstream's answer to somebody signed in is private to their browser.
func TestMakePrivate(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing said", "", "private"},
		{"public", "public", "private"},
		{"public for an hour", "public, max-age=3600", "private, max-age=3600"},
		{"shared caches longer", "max-age=60, s-maxage=3600", "private, max-age=60"},
		{"who may cache is not said", "max-age=60", "private, max-age=60"},
		{"no-cache is stored all the same", "no-cache", "private, no-cache"},
		{"private", "private", "private"},
		{"private with more", "private, max-age=60", "private, max-age=60"},
		{"no-store", "no-store", "no-store"},
		{"private for one field only", `private="Set-Cookie", max-age=60`, "private, max-age=60"},
		{"case", "Public, S-MaxAge=3", "private"},
		{"comma inside quotes", `no-cache="a, public", public`, `private, no-cache="a, public"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Cdn-Cache-Control": {"max-age=9"}, "Surrogate-Control": {"max-age=9"}, "Cloudflare-Cdn-Cache-Control": {"max-age=9"}, "X-Accel-Expires": {"9"}, "Vary": {"Accept"}, "Etag": {"x"}}
			if tt.in != "" {
				h["Cache-Control"] = []string{tt.in}
			}
			makePrivate(h)
			if got := strings.Join(h["Cache-Control"], " | "); got != tt.want {
				t.Errorf("Cache-Control: %s, want %s", got, tt.want)
			}
			if len(h) != 3 {
				t.Errorf("headers: %v", h)
			}
		})
	}
}

func inPrivate(w http.ResponseWriter) *privateWriter {
	return &privateWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// An interim answer goes out as well, and some clients read cookies from it.
func TestPrivateWriterGuardsEarlyHints(t *testing.T) {
	answer := httptest.NewRecorder()
	w := inPrivate(&interim{ResponseRecorder: answer})
	w.guard(&Gate{logger: zap.NewNop()})
	w.Header()["Set-Cookie"] = []string{"gatehouse=x", "theme=dark"}
	w.WriteHeader(http.StatusEarlyHints)
	if got := answer.Header()["Set-Cookie"]; len(got) != 1 || got[0] != "theme=dark" || w.sent {
		t.Errorf("103 sets %q", got)
	}
}

// interim takes no interim answer for the answer, as a server does.
type interim struct{ *httptest.ResponseRecorder }

func (w *interim) WriteHeader(status int) {
	if status >= 200 {
		w.ResponseRecorder.WriteHeader(status)
	}
}

// Whatever sends the header first, it is made private before.
func TestPrivateWriterSendsOnce(t *testing.T) {
	for name, send := range map[string]func(w *privateWriter) error{
		"WriteHeader": func(w *privateWriter) error { w.WriteHeader(http.StatusTeapot); return nil },
		"Write":       func(w *privateWriter) error { _, err := w.Write([]byte("x")); return err },
		"ReadFrom":    func(w *privateWriter) error { _, err := w.ReadFrom(strings.NewReader("x")); return err },
		"Flush":       func(w *privateWriter) error { return http.NewResponseController(w).Flush() },
		"io.Copy":     func(w *privateWriter) error { _, err := io.Copy(w, strings.NewReader("x")); return err },
		"after 103": func(w *privateWriter) error {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=60")
				answer := inPrivate(w)
				answer.private = true
				if err := send(answer); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			response, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if got := response.Header.Get("Cache-Control"); got != "private, max-age=60" {
				t.Errorf("Cache-Control: %s", got)
			}
		})
	}
}
