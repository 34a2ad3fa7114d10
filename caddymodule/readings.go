package caddymodule

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/text/unicode/norm"
)

// errCountless says that a path may be read in more ways than anybody would write
// one: none of them can be left out, so the request is refused.
var errCountless = errors.New("the path can be read in too many ways")

// What one path may be read as: so many paths, and so many bytes in all of them.
const (
	maxReadings    = 256
	maxReadingSize = 64 << 10
)

// readings are the requests that somebody behind us might take this one for: as
// it is now, as the browser sent it, and each with its path read as leniently as
// servers do. Most requests have one reading. A path that any reading protects is
// protected; a path is public only if all readings are (SEC-01, SEC-02, SEC-07,
// SEC-08), and so with another method that it names.
func readings(r *http.Request) ([]*http.Request, error) {
	all := []*http.Request{r}
	if hasOneReading(r) {
		return all, nil
	}
	type read struct{ path, query string }
	known := map[read]bool{{r.URL.Path, r.URL.RawQuery}: true}
	for _, u := range []*url.URL{r.URL, originalURL(r)} {
		paths, err := lenientPaths(u)
		if err != nil {
			return nil, err
		}
		for i, p := range append([]string{u.Path}, paths...) {
			if known[read{p, u.RawQuery}] {
				continue
			}
			known[read{p, u.RawQuery}] = true
			reading, changed := *r, *u
			if i > 0 {
				changed.Path, changed.RawPath = p, ""
			}
			reading.URL, reading.RequestURI = &changed, changed.RequestURI()
			all = append(all, &reading)
		}
	}
	methods, hosts := otherMethods(r), otherHosts(r)
	if len(all)*(1+len(methods))*(1+len(hosts)) > maxReadings {
		return nil, errCountless
	}
	for _, view := range slices.Clone(all) {
		for _, method := range methods {
			reading := *view
			reading.Method = method
			all = append(all, &reading)
		}
	}
	for _, view := range slices.Clone(all) {
		for _, host := range hosts {
			reading := *view
			reading.Host = host
			all = append(all, &reading)
		}
	}
	for i := range all[1:] {
		all[i+1] = withItsPlaceholders(all[i+1], r)
	}
	return all, nil
}

// withItsPlaceholders gives a reading placeholders of its own, since matchers such as
// expression ask them, and those of the request for the rest.
func withItsPlaceholders(reading, r *http.Request) *http.Request {
	prepared := asRequest(reading, nil, r)
	own, _ := prepared.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if given, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		own.Map(given.Get)
	}
	return prepared
}

// otherHosts is the name that some server takes a request's host for, if it is written
// in a way that only some understand, or in capitals, which some matchers tell from small
// letters; or nothing.
func otherHosts(r *http.Request) []string {
	name := hostName(r.Host)
	if rest, same := strings.CutPrefix(r.Host, name); same && (rest == "" || rest[0] == ':' && !strings.Contains(rest[1:], ":")) {
		return nil
	}
	return []string{name}
}

// hostName is a host as obliging servers take it: in small letters, without user and port,
// however odd, and the dots behind it. An address of IPv6 keeps all but its letters.
func hostName(host string) string {
	host = strings.ToLower(host[strings.LastIndexByte(host, '@')+1:])
	if strings.HasPrefix(host, "[") {
		return host
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimRight(host, ".")
}

// otherMethods are those that a header of the request, or its query, names in place of
// its own, and some application would follow (SEC-10); and what the method itself is to
// most: HEAD is answered as GET is, CONNECT for a WebSocket goes on as GET, and some do
// not mind small letters.
func otherMethods(r *http.Request) []string {
	var methods []string
	switch upper := strings.ToUpper(r.Method); {
	case upper == http.MethodHead || upper == http.MethodConnect:
		methods = append(methods, http.MethodGet)
	case upper != r.Method:
		methods = append(methods, upper)
	}
	for name, values := range r.Header {
		if namesMethodHeader(name) {
			for _, value := range values {
				methods = append(methods, strings.ToUpper(strings.TrimSpace(value)))
			}
		}
	}
	for _, u := range []*url.URL{r.URL, originalURL(r)} {
		if !strings.Contains(strings.ToLower(percentDecoded(u.RawQuery)), "method") {
			continue
		}
		for name, values := range u.Query() {
			if isMethodParameter(name) {
				for _, value := range values {
					methods = append(methods, strings.ToUpper(strings.TrimSpace(value)))
				}
			}
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

const decoding = 0 // among the liberties

// liberties are what servers, and what stands in front of them, do to a path that
// has been decoded once. One does this, another that, and two in a row do both, in
// any order.
var liberties = []func(string) string{
	decoding: percentDecoded,
	overlongDecoded,
	slashesOf,
	seen,
	norm.NFKC.String,
	norm.NFD.String,
	func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
	eachSegment(func(segment string) string { segment, _, _ = strings.Cut(segment, ";"); return segment }),
	eachSegment(trimmed),
	merged,
	resolved,
	unresolved,
	withoutHost,
	until("?"), until("#"), until(";"), until("\x00"), until("\r\n"),
}

// lenientPaths reads a path as obliging servers would, in every order of what they
// do; some do it before they decode. A plain path has no other reading.
func lenientPaths(u *url.URL) ([]string, error) {
	if isPlain(u) {
		return nil, nil
	}
	type state struct {
		path    string
		encoded bool // not decoded yet: no reading, but on the way to one
	}
	states, size := []state{{u.Path, false}}, len(u.Path)
	if u.RawPath != "" {
		states = append(states, state{u.EscapedPath(), true})
	}
	known := make(map[state]bool)
	for _, start := range states {
		known[start] = true
	}
	for i := 0; i < len(states); i++ {
		for which, take := range liberties {
			read := state{take(states[i].path), states[i].encoded && which != decoding}
			if known[read] {
				continue
			}
			if size += len(read.path); len(states) == maxReadings || size > maxReadingSize {
				return nil, errCountless
			}
			known[read] = true
			states = append(states, read)
		}
	}
	paths := make([]string, 0, len(states))
	for _, s := range states {
		if !s.encoded {
			paths = append(paths, s.path)
		}
	}
	return paths, nil
}

// percentDecoded decodes what can be decoded, %u002f too, and leaves the rest as it is.
func percentDecoded(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	var decoded strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			if code, err := strconv.ParseUint(p[i+1:i+3], 16, 8); err == nil {
				decoded.WriteByte(byte(code))
				i += 2
				continue
			}
			if (p[i+1] == 'u' || p[i+1] == 'U') && i+5 < len(p) {
				if code, err := strconv.ParseUint(p[i+2:i+6], 16, 16); err == nil {
					decoded.WriteRune(rune(code))
					i += 5
					continue
				}
			}
		}
		decoded.WriteByte(p[i])
	}
	return decoded.String()
}

// overlongDecoded reads UTF-8 as those do who do not mind more bytes than a character
// has (RFC 3629 10).
func overlongDecoded(p string) string {
	if strings.IndexByte(p, 0xc0)&strings.IndexByte(p, 0xc1)&strings.IndexByte(p, 0xe0)&strings.IndexByte(p, 0xf0) == -1 {
		return p
	}
	var decoded strings.Builder
	for i := 0; i < len(p); i++ {
		c, size := overlong(p[i:])
		if size == 0 {
			c, size = p[i], 1
		}
		decoded.WriteByte(c)
		i += size - 1
	}
	return decoded.String()
}

// overlong decodes an ASCII character that stands at the beginning, in more bytes
// than it has.
func overlong(p string) (c byte, size int) {
	switch lead := p[0]; {
	case lead == 0xc0 || lead == 0xc1:
		size, c = 2, lead<<6
	case lead == 0xe0:
		size = 3
	case lead == 0xf0:
		size = 4
	default:
		return 0, 0
	}
	if len(p) < size {
		return 0, 0
	}
	last := p[size-1]
	if last&0xc0 != 0x80 || size > 2 && p[size-2]&0xfe != 0x80 || size > 3 && p[1] != 0x80 {
		return 0, 0
	}
	if size > 2 {
		c = p[size-2] << 6 // the seventh bit
	}
	return c | last&0x3f, size
}

// slashesOf reads what looks like a slash as one, as conversions to another character
// set do.
func slashesOf(p string) string { return slashLookalikes.Replace(p) }

var slashLookalikes = strings.NewReplacer("\u2044", "/", "\u2215", "/", "\u29f8", "/", "\u2216", `\`, "\u29f5", `\`)

// seen leaves out what cannot be seen, as some file systems do.
func seen(p string) string {
	return strings.Map(func(c rune) rune {
		if c >= 0x80 && unicode.In(c, unicode.Cf, unicode.Variation_Selector) {
			return -1
		}
		return c
	}, p)
}

// eachSegment makes a liberty of what is done to each segment.
func eachSegment(change func(string) string) func(string) string {
	return func(p string) string {
		segments := strings.Split(p, "/")
		for i, segment := range segments {
			segments[i] = change(segment)
		}
		return strings.Join(segments, "/")
	}
}

// trimmed is the name of a file as Windows takes it: without white space around,
// dots behind, or a stream.
func trimmed(segment string) string {
	segment = strings.TrimSpace(segment)
	if segment == "." || segment == ".." {
		return segment
	}
	if name, _, found := strings.Cut(segment, ":$"); found {
		segment = strings.TrimRight(name, ":")
	}
	return strings.TrimRight(segment, ". ")
}

// merged resolves dot segments as file systems do, to which several slashes are one.
func merged(p string) string {
	cleaned := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

// resolved resolves dot segments as the URL Standard does: an empty segment is one,
// and dots may be encoded.
func resolved(p string) string {
	var kept []string
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, segment := range segments {
		if strings.Contains(segment, "%") {
			segment = encodedDots.Replace(segment)
		}
		switch segment {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segments[i])
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// unresolved reads dot segments as names, as routers do that match a path as it
// stands. They become other names here, since Caddy's matchers resolve them.
func unresolved(p string) string {
	if !strings.Contains(p, "/.") {
		return p
	}
	return eachSegment(func(segment string) string {
		if segment == "." || segment == ".." {
			return "..."
		}
		return segment
	})(p)
}

// withoutHost reads what follows two slashes or more as a host, as the URL Standard
// does (`new URL(request.url, base)`).
func withoutHost(p string) string {
	if !strings.HasPrefix(p, "//") {
		return p
	}
	_, below, _ := strings.Cut(strings.TrimLeft(p, "/"), "/")
	return "/" + below
}

var encodedDots = strings.NewReplacer("%2e", ".", "%2E", ".")

// until reads a path up to what somebody takes for its end.
func until(ends string) func(string) string {
	return func(p string) string {
		if end := strings.IndexAny(p, ends); end >= 0 {
			return p[:end]
		}
		return p
	}
}
