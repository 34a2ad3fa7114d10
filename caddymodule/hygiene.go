package caddymodule

import (
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// knownIdentityHeaders are cleared from every request, whichever of them a site
// sets: an application may read any of them, and nobody but us may say who is
// calling (SEC-20 to SEC-25).
var knownIdentityHeaders = []string{
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
	"X-Forwarded-Access-Token", "X-Forwarded-Id-Token", "X-Gatehouse-Assertion",
	"Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name",
	"X-Remote-User", "X-Remote-Email", "X-Remote-Groups", "X-Remote-Name",
	"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups",
	"X-Auth-Request-Preferred-Username", "X-Auth-Request-Access-Token",
	// What other gates set, and an application that stood behind one may read still.
	"X-Forwarded-Name", "X-Authenticated-User", "X-Webauth-User", "X-Vouch-User",
	"X-Token-Subject", "X-Token-User-Name", "X-Token-User-Email", "X-Token-User-Roles",
	"X-Authentik-Username", "X-Authentik-Groups", "X-Authentik-Entitlements", "X-Authentik-Email", "X-Authentik-Name", "X-Authentik-Uid", "X-Authentik-Jwt",
	"Oidc-Claim-Sub", "Oidc-Claim-Email", "Oidc-Claim-Name", "Oidc-Claim-Preferred-Username", "Oidc-Claim-Groups", "Oidc-Access-Token", "Oidc-Id-Token",
}

// replacingHeaders are cleared from every request as well: applications take them for
// the path of a request, or cut its beginning off, so that they would serve another one
// than was judged (SEC-04). What sets them for an application belongs behind the gate.
var replacingHeaders = []string{"X-Original-Url", "X-Rewrite-Url", "X-Script-Name", "Script-Name", "Path-Info"}

// nameSet is a set of header names, folded: what CGI, WSGI and PHP make one
// variable of is one name (SEC-20).
type nameSet struct {
	folded map[string]struct{}
	begins [256]uint32 // with which two letters, most headers of a request with others
}

func newNameSet(names ...[]string) *nameSet {
	set := &nameSet{folded: make(map[string]struct{})}
	for _, group := range names {
		for _, name := range group {
			set.add(string(fold(nil, name)))
		}
	}
	return set
}

func (s *nameSet) add(folded string) {
	s.folded[folded] = struct{}{}
	switch {
	case len(folded) > 1:
		s.begins[folded[0]] |= 1 << (folded[1] & 31)
	case len(folded) == 1:
		s.begins[folded[0]] = ^uint32(0)
	}
}

// has reports whether a name is one of the set, however it is spelt.
func (s *nameSet) has(name string) bool {
	if !s.mayHave(name) {
		return false
	}
	var buffer [64]byte
	_, found := s.folded[string(fold(buffer[:0], name))]
	return found
}

// mayHave looks at the first two letters alone, where they stand as usual.
func (s *nameSet) mayHave(name string) bool {
	if len(name) < 3 || !isLetter(name[0]) {
		return true
	}
	second := name[1]
	if second == '-' {
		second = name[2]
	}
	return !isLetter(second) || s.begins[name[0]|0x20]&(1<<(second&31)) != 0
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// without returns the names that others does not have.
func (s *nameSet) without(others *nameSet) *nameSet {
	rest := newNameSet()
	for name := range s.folded {
		if _, taken := others.folded[name]; !taken {
			rest.add(name)
		}
	}
	return rest
}

// union returns the names that either set has.
func (s *nameSet) union(others *nameSet) *nameSet {
	both := newNameSet()
	for _, set := range []*nameSet{s, others} {
		for name := range set.folded {
			both.add(name)
		}
	}
	return both
}

// fold appends the letters and digits of a name, in lower case.
func fold(folded []byte, name string) []byte {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			folded = append(folded, c)
		case 'A' <= c && c <= 'Z':
			folded = append(folded, c+'a'-'A')
		}
	}
	return folded
}

// clearIdentity deletes every header and trailer that says who is calling, and
// its announcement.
func clearIdentity(r *http.Request, names *nameSet) {
	for name := range r.Header {
		if names.has(name) {
			delete(r.Header, name)
		}
	}
	if r.Trailer == nil {
		return
	}
	clearTrailers(r.Trailer, names)
	if announced := r.Header["Trailer"]; announced != nil {
		r.Header["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(r.Trailer)), ", ")}
	}
	// What was not announced joins the announced ones when the body ends.
	r.Body = &trailerBody{ReadCloser: r.Body, trailer: r.Trailer, names: names}
}

func clearTrailers(trailer http.Header, names *nameSet) {
	for name := range trailer {
		if names.has(name) {
			delete(trailer, name)
		}
	}
}

// trailerBody clears the trailers again when the body has ended, which is when
// net/http fills them in, and before the proxy sends them on.
type trailerBody struct {
	io.ReadCloser
	trailer http.Header
	names   *nameSet
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		clearTrailers(b.trailer, b.names)
	}
	return n, err
}

// reduceConnection leaves of Connection what the gate understands. Any other
// token names a header that a proxy behind us would drop: the identity that we
// are about to set (SEC-24). Upgrade passes only as exactly one websocket: an
// upgrade to h2c would open a tunnel past every later check.
func reduceConnection(h http.Header) {
	websocket := false
	if upgrade := h["Upgrade"]; len(upgrade) == 1 && strings.EqualFold(textproto.TrimString(upgrade[0]), "websocket") {
		websocket = true
	} else {
		delete(h, "Upgrade")
	}
	delete(h, "Http2-Settings")
	delete(h, "Proxy-Connection")
	lines, given := h["Connection"]
	if !given || len(lines) == 1 && (lines[0] == "keep-alive" || lines[0] == "close") {
		return
	}
	var kept []string
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			switch token = strings.ToLower(textproto.TrimString(token)); token {
			case "close", "keep-alive":
			case "upgrade":
				if !websocket {
					continue
				}
			default:
				continue
			}
			if !slices.Contains(kept, token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}
