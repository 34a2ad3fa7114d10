package authflow

import (
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Why a return URL was refused.
var (
	// ErrReturnMalformed means that not every reader of the value would read
	// the same, or that it cannot stand in a Location header.
	ErrReturnMalformed = errors.New("the return URL is malformed")
	// ErrReturnElsewhere means that the value leads to another origin, or may
	// be read so.
	ErrReturnElsewhere = errors.New("the return URL leads elsewhere")
	// ErrReturnEndpoint means that the value leads to an endpoint of ours: a
	// login that ends with a sign-out, or in itself.
	ErrReturnEndpoint = errors.New("the return URL is an endpoint of the gate")
)

// MaxReturnURL is the length in bytes of the longest return URL that is taken
// from outside: it has to fit into the cookie of a login attempt.
const MaxReturnURL = 2048

// ReturnPolicy says where a browser may be sent after a login or a logout. The
// values that it accepts are used byte for byte, so a deep link is not mangled;
// what a browser makes of them is decided by the rules of the URL Standard
// (url.spec.whatwg.org), not by those of net/url.
type ReturnPolicy struct {
	// Origin is this site, as scheme://host[:port].
	Origin string
	// Allowed are further origins, compared whole: no suffix, no other port.
	// https://*.example.com stands for every host below example.com, at any depth,
	// with its port (443 if it names none); there is no such thing for http.
	Allowed []string
	// BasePath is where our endpoints are; "" means that there are none.
	BasePath string
}

// FromOutside returns raw, byte for byte, if it is a path-absolute reference on
// this site or a URL of an allowed origin. It is for what anybody may have
// written into a link: `rd`, target_link_uri (OIDC Core 4), the target of a
// logout. It must also lead nowhere else when somebody decodes it once more on
// the way: `/%09/evil.example` and `/%252fevil.example` are refused though a
// browser that gets them as they are would stay here.
func (p ReturnPolicy) FromOutside(raw string) (string, error) {
	if len(raw) > MaxReturnURL {
		return "", fmt.Errorf("%w: %d bytes", ErrReturnMalformed, len(raw))
	}
	reference, err := p.onSite(raw)
	if err != nil {
		return "", err
	}
	before, _, _ := cutPath(reference)
	if reference != raw && isUserAndHost(before) {
		// https://app.example.com%2f@evil.example, decoded by somebody.
		return "", fmt.Errorf("%w: an absolute URL that may have been one of another host", ErrReturnElsewhere)
	}
	for decoded := range decodings(reference) {
		if i := strings.IndexFunc(decoded, unicode.IsControl); i >= 0 {
			return "", fmt.Errorf("%w: a control character", ErrReturnMalformed)
		}
	}
	for decoded := range decodings(before) {
		if err := p.plain(decoded); err != nil {
			return "", err
		}
		if shorter, _, cut := cutPath(decoded); cut { // an encoded ? or #
			if err := p.plain(shorter); err != nil {
				return "", err
			}
		}
	}
	if !utf8.ValidString(raw) {
		return "", fmt.Errorf("%w: not UTF-8", ErrReturnMalformed)
	}
	return raw, nil
}

// isUserAndHost reports whether a path begins as what follows a scheme may: with an @
// and a host. A name behind an @ is no host (/@alice, /@scope/package).
func isUserAndHost(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	at := strings.LastIndexByte(first, '@')
	return at >= 0 && strings.ContainsAny(first[at:], ".:[%")
}

// plain reports whether a path, decoded so far, is one that every reader reads
// alike: no backslash, and no host in front, neither as it stands nor when the
// dot segments are gone.
func (p ReturnPolicy) plain(decoded string) error {
	switch {
	case strings.Contains(decoded, `\`):
		return fmt.Errorf("%w: a backslash in the path", ErrReturnMalformed)
	case strings.HasPrefix(decoded, "//"), strings.HasPrefix(withoutDots(decoded), "//"):
		return fmt.Errorf("%w: the path begins with //", ErrReturnElsewhere)
	case p.isEndpoint(decoded):
		return ErrReturnEndpoint
	}
	return nil
}

// OwnTarget returns the Location for a request target of this site, as it stood
// in the request line. It is the target itself, byte for byte, but for the few
// that a browser might not bring back here: one that is read as a host, or has a
// backslash in its path, gets our origin in front, an absolute URL loses its own,
// and an endpoint of ours or what is no path at all becomes "/".
func (p ReturnPolicy) OwnTarget(requestTarget string) string {
	target := requestTarget
	if _, rest, ok := cutOrigin(target); ok { // absolute-form (RFC 9112 3.2.2)
		target = rest
	}
	if path, _, _ := strings.Cut(target, "?"); strings.Contains(path, `\`) || mayBeHost(path) {
		target = p.Origin + target
	}
	if _, err := p.Emit(target); err != nil {
		return "/"
	}
	return target
}

// mayBeHost reports whether a browser would take a path for the URL of a host, if
// somebody on the way decoded it or cleaned it of its dot segments (SEC-40, SEC-46).
func mayBeHost(path string) bool {
	for decoded := range decodings(path) {
		slashed := browserSlashes.Replace(decoded)
		if strings.HasPrefix(slashed, "//") || strings.HasPrefix(withoutDots(slashed), "//") {
			return true
		}
	}
	return false
}

// browserSlashes reads a path as a browser does: a backslash is a slash, and tabs and
// line breaks are dropped.
var browserSlashes = strings.NewReplacer(`\`, "/", "\t", "", "\n", "", "\r", "")

// Emit returns a value that FromOutside or OwnTarget gave, checked again at the
// moment when it becomes a Location: whoever kept it, and however long, it leads
// to an allowed origin and to no endpoint of ours.
func (p ReturnPolicy) Emit(stored string) (string, error) {
	if _, err := p.onSite(stored); err != nil {
		return "", err
	}
	return stored, nil
}

// onSite reports whether a browser that gets raw as Location goes to an allowed
// origin, and returns the part behind that origin.
func (p ReturnPolicy) onSite(raw string) (string, error) {
	if strings.Trim(raw, " ") != raw {
		return "", fmt.Errorf("%w: outer white space", ErrReturnMalformed)
	}
	for i := range len(raw) {
		// A browser drops tab, CR and LF wherever they stand: /\t/evil.example.
		if raw[i] < 0x20 || raw[i] == 0x7f {
			return "", fmt.Errorf("%w: a control character", ErrReturnMalformed)
		}
	}
	reference := raw
	if !strings.HasPrefix(raw, "/") {
		origin, rest, ok := cutOrigin(raw)
		if !ok {
			return "", fmt.Errorf("%w: neither a path nor a plain http(s) URL", ErrReturnElsewhere)
		}
		if !p.allows(origin) {
			return "", fmt.Errorf("%w: origin %q", ErrReturnElsewhere, origin)
		}
		reference = rest
	} else if len(raw) > 1 && (raw[1] == '/' || raw[1] == '\\') {
		return "", fmt.Errorf("%w: it begins with a host", ErrReturnElsewhere)
	}
	before, _, _ := cutPath(reference)
	for decoded := range decodings(before) {
		if p.isEndpoint(decoded) {
			return "", ErrReturnEndpoint
		}
	}
	return reference, nil
}

// Allows reports whether origin, as scheme://host[:port], is this site or one of
// the allowed ones.
func (p ReturnPolicy) Allows(origin string) bool {
	o, rest, ok := cutOrigin(origin)
	return ok && rest == "/" && p.allows(o)
}

// allows compares whole origins: neither `.example.com` as a suffix nor a port
// left out can let another host in.
func (p ReturnPolicy) allows(origin string) bool {
	for _, allowed := range append([]string{p.Origin}, p.Allowed...) {
		if o, rest, ok := cutOrigin(allowed); ok && rest == "/" && o == origin || isBelow(origin, allowed) {
			return true
		}
	}
	return false
}

// isBelow reports whether an origin is one of those that https://*.example.com
// stands for: the same port, and a host of whole labels in front of the domain
// (SEC-42).
func isBelow(origin, pattern string) bool {
	domain, found := strings.CutPrefix(pattern, "https://*.")
	if !found {
		return false
	}
	domain, rest, ok := cutOrigin("https://" + domain)
	if !ok || rest != "/" {
		return false
	}
	labels, found := strings.CutSuffix(origin, "."+strings.TrimPrefix(domain, "https://"))
	labels, secure := strings.CutPrefix(labels, "https://")
	return found && secure && !slices.Contains(strings.Split(labels, "."), "")
}

// isEndpoint reports whether path, as it stands or without its dot segments, lies
// below BasePath. A browser reads a backslash as a slash, and a file system may
// not care for case.
func (p ReturnPolicy) isEndpoint(decoded string) bool {
	if p.BasePath == "" {
		return false
	}
	base := strings.ToLower(path.Clean(p.BasePath))
	slashed := strings.ToLower(strings.ReplaceAll(decoded, `\`, "/"))
	for _, candidate := range []string{slashed, path.Clean(slashed)} {
		if candidate == base || strings.HasPrefix(candidate, base+"/") {
			return true
		}
	}
	return false
}

// cutOrigin cuts an absolute http(s) URL into its origin, in the URL Standard's
// serialization (lower case, no default port), and the rest, which begins with
// "/", "?" or "#" or is "/" if there is none. Only an authority that all parsers
// read alike is one: no user, no percent sign, ASCII alone, a port without
// leading zeros. So no host has to be decoded, mapped or compared as a number.
func cutOrigin(raw string) (origin, rest string, ok bool) {
	scheme, behind, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "http" && scheme != "https" {
		return "", "", false
	}
	authority, rest := behind, "/"
	if i := strings.IndexAny(behind, "/?#"); i >= 0 {
		authority, rest = behind[:i], behind[i:]
	}
	if strings.IndexFunc(authority, func(r rune) bool { return r > unicode.MaxASCII }) >= 0 {
		return "", "", false
	}
	authority = strings.ToLower(authority)
	host, port, hasPort := authority, "", false
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port, hasPort = authority[:i], authority[i+1:], true
	}
	if !isHost(host) || hasPort && !isPort(port) {
		return "", "", false
	}
	if hasPort && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host += ":" + port
	}
	return scheme + "://" + host, rest, true
}

// isHost reports whether host is made of letters, digits, dots, hyphens and
// underscores, or is an address in brackets.
func isHost(host string) bool {
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		return found && inner != "" && strings.Trim(inner, "0123456789abcdef:.") == ""
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

func isPort(port string) bool {
	return port != "" && len(port) <= 5 && port[0] != '0' && strings.Trim(port, "0123456789") == ""
}

// cutPath cuts a reference before its query or fragment and tells whether it had
// one.
func cutPath(reference string) (before, after string, found bool) {
	i := strings.IndexAny(reference, "?#")
	if i < 0 {
		return reference, "", false
	}
	return reference[:i], reference[i:], true
}

// withoutDots removes dot segments as the URL Standard does; other than
// path.Clean it keeps empty segments, so /.//evil.example becomes //evil.example.
func withoutDots(decoded string) string {
	var kept []string
	segments := strings.Split(strings.TrimPrefix(decoded, "/"), "/")
	for i, segment := range segments {
		switch segment {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// decodings yields s and what it becomes when it is percent-decoded over and over,
// until nothing is left to decode or nobody would decode it any more.
func decodings(s string) iter.Seq[string] {
	const rounds = 4
	return func(yield func(string) bool) {
		for range rounds + 1 {
			decoded := decode(s)
			if !yield(s) || decoded == s {
				return
			}
			s = decoded
		}
	}
}

// decode replaces what is a percent-encoded byte and leaves everything else, as
// browsers do. net/url fails on a stray percent sign, behind which an attacker
// could hide the rest.
func decode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unhex is the value of a hexadecimal digit, -1 for anything else.
func unhex(c byte) int {
	return strings.IndexByte("0123456789abcdef", lower(c))
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
