package authflow

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// IsNavigation reports whether a person at a browser is waiting for a page, so
// that an answer may send the browser to the sign-in. Everything else (a script,
// an image, a prefetch, a command line tool, a WebSocket handshake) cannot follow
// there: it hangs on a CORS error, or leaves a login behind that nobody finishes.
//
// A browser says so itself in Sec-Fetch-Mode and Sec-Fetch-Dest (Fetch Metadata
// Request Headers 2.1, 2.2), which scripts cannot set. It sends them to https and
// loopback only; where all Sec-Fetch headers are absent, a GET counts that asks
// for HTML and shows no sign of a script.
func IsNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet || isPrefetch(r.Header) || isScript(r.Header) {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return only(r.Header, "Sec-Fetch-Mode") == "navigate" && only(r.Header, "Sec-Fetch-Dest") == "document"
		}
	}
	for _, name := range scriptHeaders {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	return accepts(r.Header).html > 0
}

// scriptHeaders are what a browser does not send with a navigation, but scripts
// and their libraries, media players and the like do.
var scriptHeaders = []string{
	"Origin", "Range", "Content-Type", "Last-Event-Id", "Service-Worker",
	"Hx-Request", "Turbo-Frame", "X-Turbo-Request-Id", "X-Pjax", "X-Csrf-Token",
}

// isPrefetch reports whether nobody may ever see the answer. Sec-Purpose may say
// more behind it: "prefetch;prerender". The other two are older.
func isPrefetch(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		for _, value := range h[name] {
			value = strings.ToLower(value)
			if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
				return true
			}
		}
	}
	return false
}

// isScript reports whether the request is a script's or a tool's whatever else it
// says: it wants JSON or events rather than a page, upgrades the connection, or
// brings credentials that no browser has.
func isScript(h http.Header) bool {
	for _, value := range h["X-Requested-With"] {
		// Android's WebView sends the name of its application, which has dots,
		// with navigations too.
		if !strings.Contains(value, ".") {
			return true
		}
	}
	for _, value := range h["Authorization"] {
		scheme, _, _ := strings.Cut(value, " ")
		switch strings.ToLower(scheme) {
		case "basic", "digest", "negotiate", "ntlm": // the browser's own, for the application behind us
		default:
			return true
		}
	}
	wants := accepts(h)
	return len(h["Upgrade"]) > 0 || wants.data > 0 && wants.data >= wants.html
}

// wish is how much a request wants a page, and how much data for a script: the
// highest weight that Accept names for each (RFC 9110 12.5.1). A wildcard is
// neither: tools and fetch() send it.
type wish struct{ html, data float64 }

func accepts(h http.Header) wish {
	var w wish
	for _, element := range strings.Split(strings.Join(h["Accept"], ","), ",") {
		mediaType, parameters, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		weight := 1.0
		if q, given := parameters["q"]; given {
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
		}
		switch {
		case mediaType == "text/html", mediaType == "application/xhtml+xml":
			w.html = max(w.html, weight)
		case mediaType == "application/json", strings.HasSuffix(mediaType, "+json"),
			mediaType == "application/x-ndjson", mediaType == "text/event-stream":
			w.data = max(w.data, weight)
		}
	}
	return w
}

// only is the value of a header that stands there once, else "".
func only(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}
