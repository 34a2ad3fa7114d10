package session

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Bounds of the login attempts that one browser holds (P03): many tabs work,
// and servers behind us accept the header.
const (
	maxAttempts     = 12
	maxAttemptBytes = 4096 // names, values and separators of all attempts together
	maxState        = 128  // bytes of a state
	maxEvictions    = 64   // cookies that one response clears
)

// postMark begins the value of an attempt whose answer comes as a cross-site
// POST. By it a cookie is cleared with the SameSite that it was set with.
const postMark = "p."

// SetAttempt keeps a sealed login attempt in a cookie of its own, named after
// its state, for maxAge. States begin with their time of creation in a fixed
// width, so that they sort by age: the oldest attempts that the browser brought
// are cleared until there are at most 12, of 4096 bytes together. An attempt
// that is larger alone is [ErrTooLarge], a state that cannot be a name
// [ErrCookie].
//
// The cookie is SameSite=Lax, since the answer comes from the provider's site;
// with formPost (OAuth 2.0 Form Post Response Mode) it is None.
func (c CookieConfig) SetAttempt(w http.ResponseWriter, scope Scope, brought Cookies, state, sealed string, maxAge time.Duration, formPost bool) error {
	if !properState(state) {
		return fmt.Errorf("%w: the state %q", ErrCookie, state)
	}
	value := sealed
	if formPost {
		value = postMark + sealed
	}
	cookie := c.attempt(scope, state, value)
	cookie.Value, cookie.MaxAge = value, seconds(maxAge)
	if err := emit(w, cookie); err != nil {
		return err
	}
	return c.evict(w, scope, brought.attempts(scope, state), len(cookie.Name)+len(value)+len("=; "))
}

// evict clears the oldest of the other attempts until the newest fit beside one
// of the given size.
func (c CookieConfig) evict(w http.ResponseWriter, scope Scope, others []found, total int) error {
	slices.SortFunc(others, func(a, b found) int { return strings.Compare(b.suffix, a.suffix) }) // newest first
	evicted := 0
	for i, other := range others {
		total += len(other.prefix) + len(c.name()) + len(other.suffix) + len(other.value) + len("=; ")
		if i+1 < maxAttempts && total <= maxAttemptBytes {
			continue
		}
		if evicted++; evicted > maxEvictions {
			break // no browser brings so many; the next response clears more
		}
		state := strings.TrimPrefix(other.suffix, attemptSuffix)
		if err := expire(w, c.attempt(scope, state, other.value)); err != nil {
			return err
		}
	}
	return nil
}

// ClearAttempt makes the browser drop an attempt that it brought.
func (c CookieConfig) ClearAttempt(w http.ResponseWriter, scope Scope, brought Cookies, state string) error {
	for _, cookie := range brought.found {
		if cookie.suffix == attemptSuffix+state && cookie.prefix == c.prefix(scope, attemptSuffix) {
			return expire(w, c.attempt(scope, state, cookie.value))
		}
	}
	return nil
}

// attempt returns the cookie of an attempt, without its value but with the
// attributes that go with it.
func (c CookieConfig) attempt(scope Scope, state, value string) *http.Cookie {
	cookie := c.cookie(scope, attemptSuffix+state)
	if strings.HasPrefix(value, postMark) {
		cookie.SameSite = sameSiteNone(scope)
	}
	return cookie
}

// Attempt returns the sealed attempt of this state: [ErrNone] without it, and
// [ErrDuplicate] if there are two.
func (c Cookies) Attempt(scope Scope, state string) (string, error) {
	value, err := c.get(scope, attemptSuffix+state)
	return strings.TrimPrefix(value, postMark), err
}

// attempts returns the attempts that the browser brought under proper names,
// but for the one of this state.
func (c Cookies) attempts(scope Scope, but string) []found {
	prefix := c.config.prefix(scope, attemptSuffix)
	var attempts []found
	for _, cookie := range c.found {
		state, ok := strings.CutPrefix(cookie.suffix, attemptSuffix)
		if ok && cookie.prefix == prefix && state != but && properState(state) {
			attempts = append(attempts, cookie)
		}
	}
	return attempts
}

// properState tells whether a state can be part of a cookie's name.
func properState(state string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return state != "" && len(state) <= maxState &&
		strings.Trim(state, letters+strings.ToUpper(letters)+"0123456789-_") == ""
}
