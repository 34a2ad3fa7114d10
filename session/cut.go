package session

import (
	"fmt"
	"net/http"
	"strings"
)

// Cookies are the cookies of ours that one request brought.
type Cookies struct {
	config CookieConfig
	found  []found
}

// found is one cookie; its name is prefix + the configured name + suffix.
type found struct{ prefix, suffix, value string }

// Cut takes every cookie of ours out of a request's Cookie header: under any
// prefix and suffix, whether it will be of use or not, so that none reaches an
// upstream (P09). What is not ours stays byte for byte and in order; a line on
// which nothing but ours stood goes, and the header with its last line.
//
// The work is linear in the header. Cookies are parted at every ";", as
// browsers join them: a quoted string that spans one, which some upstreams
// still read (RFC 2109), cannot hide one of ours.
func (c CookieConfig) Cut(h http.Header) Cookies {
	cookies := Cookies{config: c}
	lines := h["Cookie"]
	var kept []string
	for _, line := range lines {
		if line, keep := cookies.cutLine(line); keep {
			kept = append(kept, line)
		}
	}
	if len(cookies.found) == 0 {
		return cookies
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
	} else {
		h["Cookie"] = kept
	}
	return cookies
}

// cutLine returns a line without our cookies, and whether any other is left.
func (c *Cookies) cutLine(line string) (string, bool) {
	if !strings.Contains(line, c.config.name()) {
		return line, true
	}
	before := len(c.found)
	var rest strings.Builder // of the parts so far that are not ours
	first := true
	for part := range strings.SplitSeq(line, ";") {
		if c.take(part) {
			continue
		}
		if !first {
			rest.WriteByte(';')
		} else if len(c.found) > before {
			part = strings.TrimLeft(part, " \t") // it followed a separator that is gone
		}
		rest.WriteString(part)
		first = false
	}
	if len(c.found) == before {
		return line, true
	}
	return rest.String(), strings.Trim(rest.String(), "; \t") != ""
}

// take keeps a cookie for us if it is ours. White space and control characters
// around a name do not make it another's: upstreams differ in what they trim.
func (c *Cookies) take(part string) bool {
	name, value, _ := strings.Cut(part, "=")
	name = strings.TrimFunc(name, isBlank)
	prefix := ""
	for _, p := range []string{hostPrefix, securePrefix} {
		if strings.HasPrefix(name, p) {
			prefix = p
		}
	}
	suffix, ours := strings.CutPrefix(name[len(prefix):], c.config.name())
	if !ours || !isSuffix(suffix) {
		return false
	}
	c.found = append(c.found, found{prefix, suffix, strings.TrimFunc(value, isBlank)})
	return true
}

// Sets tells whether a Set-Cookie line is for a cookie of ours, under any prefix and
// suffix. A cookie without a name, which browsers send as its value alone, is read
// as they will send it (RFC 6265bis 5.6).
func (c CookieConfig) Sets(line string) bool {
	part, _, _ := strings.Cut(line, ";")
	cookies := Cookies{config: c}
	return cookies.take(strings.TrimLeft(part, "= \t"))
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

func isSuffix(s string) bool {
	return ofSession(s) || s == string(Finished) || s == string(Hint) || s == string(Form) || strings.HasPrefix(s, attemptSuffix)
}

// get returns the value of the one cookie under the name that this scope uses:
// a cookie under another prefix is not what we set. Its errors are [ErrNone]
// and [ErrDuplicate].
func (c Cookies) get(scope Scope, suffix string) (string, error) {
	prefix := c.config.prefix(scope, suffix)
	value, seen := "", false
	for _, cookie := range c.found {
		if cookie.prefix != prefix || cookie.suffix != suffix {
			continue
		}
		if seen {
			return "", fmt.Errorf("%w: %s", ErrDuplicate, prefix+c.config.name()+suffix)
		}
		value, seen = cookie.value, true
	}
	if !seen {
		return "", ErrNone
	}
	return value, nil
}

// has tells whether the browser brought the cookie, once or more.
func (c Cookies) has(scope Scope, suffix string) bool {
	prefix := c.config.prefix(scope, suffix)
	for _, cookie := range c.found {
		if cookie.prefix == prefix && cookie.suffix == suffix {
			return true
		}
	}
	return false
}

// Small returns the value of a small cookie: [ErrNone] without it, and
// [ErrDuplicate] if there are two.
func (c Cookies) Small(scope Scope, which Small) (string, error) {
	return c.get(scope, string(which))
}
