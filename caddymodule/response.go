package caddymodule

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// privateWriter changes the upstream's answer at the moment that its header is
// sent: to somebody signed in it is private to their browser (P27), and to anybody
// it sets no cookie of ours.
type privateWriter struct {
	caddyhttp.ResponseWriterWrapper
	private bool
	guarded *Gate    // whose cookies the upstream may not set; nil while a gate answers
	own     []string // the lines that gates have set
	ofForm  bool     // the answer to a form is not what its address will show the next time
	sent    bool
	// late, if it is not nil, is called before the header is sent, which may be long after
	// the request came.
	late func(http.ResponseWriter)
}

// guard says that what stands there now gates have set, and the upstream will set
// the rest.
func (w *privateWriter) guard(g *Gate) {
	w.guarded, w.own = g, slices.Clone(w.Header()["Set-Cookie"])
}

// unguard says that a gate may answer itself.
func (w *privateWriter) unguard() { w.guarded = nil }

// dropCookies takes out of an answer what would set cookies of ours and is not: the
// upstream could sign somebody out, or hide a session behind another.
func (g *Gate) dropCookies(h http.Header, own []string) {
	foreign := func(line string) bool { return g.cookies.Sets(line) && !slices.Contains(own, line) }
	if !slices.ContainsFunc(h["Set-Cookie"], foreign) {
		return
	}
	h["Set-Cookie"] = slices.DeleteFunc(slices.Clone(h["Set-Cookie"]), foreign)
	g.cookieSeen.Do(func() {
		g.logger.Warn("the upstream sets cookies by names of this gate's; they are dropped (cookie_name chooses another)")
	})
}

// WriteHeader implements http.ResponseWriter.
func (w *privateWriter) WriteHeader(status int) {
	if !w.sent {
		if w.guarded != nil {
			w.guarded.dropCookies(w.Header(), w.own)
		}
		w.sent = status >= 200 || status == http.StatusSwitchingProtocols
		if w.sent && w.late != nil && w.guarded != nil {
			w.late(w.ResponseWriter)
		}
		if w.sent && w.private {
			makePrivate(w.Header())
		}
		if w.sent && w.ofForm {
			w.Header().Set("Cache-Control", "no-store")
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements io.Writer.
func (w *privateWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom, for sendfile.
func (w *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements what http.ResponseController looks for: a flush sends the
// header as well.
func (w *privateWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *privateWriter) begin() {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
}

// makePrivate keeps shared caches from storing an answer: it becomes private
// where it says public or does not say who may cache it, and loses what speaks to
// shared caches alone. Nothing else of it is touched (RFC 9111 5.2.2).
func makePrivate(h http.Header) {
	for name := range h {
		// A cache's own Cache-Control (RFC 9213 2) counts before the one for all.
		if strings.HasSuffix(name, "-Cache-Control") || name == "Surrogate-Control" || name == "X-Accel-Expires" {
			delete(h, name)
		}
	}
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		h["Cache-Control"] = []string{"private"}
		return
	}
	if len(lines) == 1 && (lines[0] == "private" || lines[0] == "no-store") {
		return
	}
	var kept []string
	settled := false
	for _, line := range lines {
		for _, directive := range splitDirectives(line) {
			name, _, _ := strings.Cut(strings.ToLower(directive), "=")
			switch strings.TrimSpace(name) {
			case "public", "s-maxage", "":
				continue
			case "private":
				// private="Set-Cookie" lets a shared cache store all the rest.
				if strings.Contains(directive, "=") {
					continue
				}
				settled = true
			case "no-store":
				settled = true
			}
			kept = append(kept, directive)
		}
	}
	if !settled {
		kept = slices.Insert(kept, 0, "private")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// splitDirectives splits at commas outside of quotes.
func splitDirectives(line string) []string {
	var directives []string
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quoted:
			i++
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ',' && !quoted:
			directives = append(directives, strings.TrimSpace(line[start:i]))
			start = i + 1
		}
	}
	return append(directives, strings.TrimSpace(line[start:]))
}

// Interface guards.
var (
	_ http.ResponseWriter = (*privateWriter)(nil)
	_ io.ReaderFrom       = (*privateWriter)(nil)
)
