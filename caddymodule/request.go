package caddymodule

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// origin is the scheme and host that the browser has in its address bar.
// Endpoints, cookie scope, return URLs, redirect URI and the cross-origin check
// all read this one value.
type origin struct {
	scheme string // "http" or "https"
	host   string // lower case; with the port, if it is not the scheme's own
}

func (o origin) String() string { return o.scheme + "://" + o.host }

// hostname is the host without port and trailing dot: what cookies know.
func (o origin) hostname() string {
	host := o.host
	if strings.Contains(host, ":") {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// parseOrigin reads scheme://host[:port] and nothing behind it.
func parseOrigin(text string) (origin, bool) {
	scheme, host, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(host, "/?#@\\") {
		return origin{}, false
	}
	return makeOrigin(strings.ToLower(scheme), host)
}

// makeOrigin refuses what is no scheme of the web, or no host.
func makeOrigin(scheme, host string) (origin, bool) {
	if scheme != "http" && scheme != "https" || host == "" {
		return origin{}, false
	}
	if !isPlainHost(host) {
		u, err := url.Parse(scheme + "://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" {
			return origin{}, false
		}
		for _, c := range u.Hostname() {
			if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"<>^|{}%\,;=`+"`", c) {
				return origin{}, false
			}
		}
		host = strings.ToLower(host)
	}
	switch {
	case scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	case scheme == "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return origin{scheme: scheme, host: host}, true
}

// isPlainHost reports what most hosts are: a name or an IPv4 address in lower case,
// and perhaps a port. It is valid whatever else one looks at.
func isPlainHost(host string) bool {
	name, port, hasPort := strings.Cut(host, ":")
	for i := 0; i < len(name); i++ {
		if c := name[i]; c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	for i := 0; i < len(port); i++ {
		if c := port[i]; c < '0' || c > '9' {
			return false
		}
	}
	return name != "" && hasPort == (port != "")
}

// browserOrigin finds the origin as the browser sees it: public_url, else what a
// proxy says that Caddy trusts, else the request's own (P15, SEC-48). Headers of
// anybody else are not read. secure tells whether sessions may travel on it.
func (g *Gate) browserOrigin(r *http.Request) (o origin, secure bool, valid bool) {
	if g.publicOrigin.host != "" {
		o = g.publicOrigin
	} else {
		scheme, host := "http", r.Host
		if r.TLS != nil {
			scheme = "https"
		}
		if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
			if value, one := single(r.Header, "X-Forwarded-Proto"); one {
				// Some proxies name the scheme of a WebSocket's URL.
				scheme = strings.Replace(strings.ToLower(value), "ws", "http", 1)
			}
			if value, one := single(r.Header, "X-Forwarded-Host"); one {
				host = value
			}
		}
		if o, valid = makeOrigin(scheme, host); !valid {
			return origin{}, false, false
		}
	}
	return o, o.scheme == "https" || g.sessionConfig.InsecureHTTP || isLoopback(r, o), true
}

// single returns a header's value if there is exactly one, and no list.
func single(h http.Header, name string) (string, bool) {
	values := h[name]
	if len(values) != 1 || values[0] == "" || strings.Contains(values[0], ",") {
		return "", false
	}
	return values[0], true
}

// forwardingHeaders tell that somebody stands between the browser and us.
var forwardingHeaders = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// isLoopback reports whether a plain-text request stays inside this machine:
// peer and host are loopback, and nobody has forwarded it.
func isLoopback(r *http.Request, o origin) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	name := o.hostname()
	if name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		if addr, err := netip.ParseAddr(name); err != nil || !addr.IsLoopback() {
			return false
		}
	}
	for _, header := range forwardingHeaders {
		if len(r.Header[header]) > 0 {
			return false
		}
	}
	return true
}

// originalURL is the request's URL before any rewrite.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		return original.URL
	}
	return r.URL
}

// originalMethod is the request's method before any rewrite.
func originalMethod(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.Method != "" {
		return original.Method
	}
	return r.Method
}

// originalTarget is the request target byte for byte, before any rewrite.
func originalTarget(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.RequestURI != "" {
		return original.RequestURI
	}
	return r.RequestURI
}

// hasOneReading reports that nobody could take a request for another one.
func hasOneReading(r *http.Request) bool { return hasOnePath(r) && otherMethods(r) == nil }

// hasOnePath reports that nobody could take its path for another one.
func hasOnePath(r *http.Request) bool {
	original := originalURL(r)
	return isPlain(r.URL) && original.Path == r.URL.Path && original.RawPath == "" && original.RawQuery == r.URL.RawQuery
}

// isPlain reports that a path has one reading only.
func isPlain(u *url.URL) bool {
	if u.RawPath != "" || u.Path == "" || u.Path[0] != '/' {
		return false
	}
	for i := 0; i < len(u.Path); i++ {
		switch c := u.Path[i]; {
		case c <= ' ', c >= 0x7f, c == '%', c == '\\', c == ';', c == '?', c == '#':
			return false
		case c == '/' && i+1 < len(u.Path) && (u.Path[i+1] == '/' || u.Path[i+1] == '.'):
			return false
		case c == '.' && (i+1 == len(u.Path) || u.Path[i+1] == '/'), c == ':' && i+1 < len(u.Path) && u.Path[i+1] == '$':
			return false
		}
	}
	return true
}
