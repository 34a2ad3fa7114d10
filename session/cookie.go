package session

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxCookie is the length in bytes of a Set-Cookie line up to which every
// browser keeps the cookie (RFC 6265 6.1).
const maxCookie = 4096

// DefaultCookieName is the name of the session cookie, without its prefix.
const DefaultCookieName = "gatehouse"

// What is wrong with the cookies of a request, or with one to be set.
var (
	// ErrNone says that the browser brought no such cookie.
	ErrNone = errors.New("session: no cookie")
	// ErrDuplicate says that the browser brought two cookies of one name: one of
	// them was planted, from a sibling host or another path, and nothing tells
	// which.
	ErrDuplicate = errors.New("session: two cookies of one name")
	// ErrTooLarge says that something is larger than its cookies may be.
	ErrTooLarge = errors.New("session: too large for its cookies")
	// ErrCookie says that a cookie cannot be what its configuration or its caller
	// asks for: a name or domain that browsers refuse.
	ErrCookie = errors.New("session: impossible cookie")
)

// The prefixes of RFC 6265bis 4.1.3. With one of them, browsers hold the cookie
// to Secure; with __Host- also to this host alone and Path=/.
const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"
)

// The suffixes of our cookies' names. An attempt's goes on with its state.
const (
	sessionSuffix = ""
	secondSuffix  = "_2"
	useSuffix     = "_u"
	attemptSuffix = "_a_"
)

// Small names a small cookie beside the session, for its owner to fill.
type Small string

const (
	// Finished is the mark of logins that were finished, by which a login loop is
	// noticed.
	Finished Small = "_f"
	// Hint is the ID token that a logout sends as a hint (OIDC RP-Initiated
	// Logout 2); browsers bring it to our own endpoints only.
	Hint Small = "_h"
	// Form leads to a form that was sent before the sign-in.
	Form Small = "_p"
)

// CookieConfig says how cookies are named and kept. Its zero value is usable.
type CookieConfig struct {
	Name     string        // letters, digits, "-" and "_"; default "gatehouse"
	Domain   string        // share the session with the hosts below it; default: this host only
	SameSite http.SameSite // of the session; default Lax
	// Persist keeps the session cookie for the rest of the session's lifetime
	// (Max-Age); else the browser drops it when it closes.
	Persist bool
}

// Scope is the site that a request came to, as the browser sees it.
type Scope struct {
	Host     string // lower case, without port and trailing dot
	Secure   bool   // https
	BasePath string // where our endpoints are, without a slash at its end; default "/oauth2"
}

// Check tells what browsers would refuse: [ErrCookie].
func (c CookieConfig) Check() error {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	if strings.Trim(c.name(), letters+strings.ToUpper(letters)+"0123456789-_") != "" ||
		strings.HasPrefix(c.Name, hostPrefix) || strings.HasPrefix(c.Name, securePrefix) {
		return fmt.Errorf("%w: the name %q", ErrCookie, c.Name)
	}
	if strings.Trim(c.Domain, letters+"0123456789-.") != "" || strings.Trim(c.Domain, ".") != c.Domain {
		return fmt.Errorf("%w: the domain %q", ErrCookie, c.Domain)
	}
	switch c.SameSite {
	case 0, http.SameSiteLaxMode, http.SameSiteStrictMode, http.SameSiteNoneMode:
		return nil
	default:
		return fmt.Errorf("%w: SameSite %d", ErrCookie, c.SameSite)
	}
}

func (c CookieConfig) name() string {
	if c.Name == "" {
		return DefaultCookieName
	}
	return c.Name
}

// owner is the host or domain that a session cookie of this scope belongs to.
func (c CookieConfig) owner(scope Scope) string {
	if c.Domain != "" {
		return c.Domain
	}
	return scope.Host
}

// Covers tells whether browsers take the session cookie from this host, a name in
// lower case without port (RFC 6265 5.1.3).
func (c CookieConfig) Covers(host string) bool {
	return c.Domain == "" || host == c.Domain || strings.HasSuffix(host, "."+c.Domain)
}

// prefix returns what a cookie's name begins with. Only cookies of the session
// itself ever belong to a domain: a sibling host must not be able to plant an
// attempt, nor a mark.
func (c CookieConfig) prefix(scope Scope, suffix string) string {
	switch {
	case !scope.Secure:
		return ""
	case suffix == string(Hint), c.Domain != "" && ofSession(suffix):
		return securePrefix
	default:
		return hostPrefix
	}
}

func ofSession(suffix string) bool {
	return suffix == sessionSuffix || suffix == secondSuffix || suffix == useSuffix
}

// cookie returns one of our cookies without a value: the one place that knows
// the attributes, so that a cookie is cleared with those it was set with
// (SEC-103).
func (c CookieConfig) cookie(scope Scope, suffix string) *http.Cookie {
	cookie := &http.Cookie{
		Name:     c.prefix(scope, suffix) + c.name() + suffix,
		Path:     "/",
		Secure:   scope.Secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
	if ofSession(suffix) {
		cookie.Domain = c.Domain
		if c.SameSite != 0 {
			cookie.SameSite = c.SameSite
		}
	} else if c.SameSite == http.SameSiteNoneMode {
		// A site inside another site's frame signs in there, too. (Strict would
		// lose the attempt: the callback comes from the provider's site.)
		cookie.SameSite = http.SameSiteNoneMode
	}
	if suffix == string(Hint) {
		cookie.Path = scope.basePath() + "/"
	}
	if cookie.SameSite == http.SameSiteNoneMode {
		cookie.SameSite = sameSiteNone(scope)
	}
	return cookie
}

func (s Scope) basePath() string {
	if s.BasePath == "" {
		return "/oauth2"
	}
	return s.BasePath
}

// sameSiteNone is None where browsers take it. Without Secure they refuse it
// (RFC 6265bis 5.7); no attribute at all is what comes nearest.
func sameSiteNone(scope Scope) http.SameSite {
	if scope.Secure {
		return http.SameSiteNoneMode
	}
	return http.SameSiteDefaultMode
}

// emit adds the Set-Cookie line of a cookie, in the place of one that was
// added under its name before.
func emit(w http.ResponseWriter, cookie *http.Cookie) error {
	line, err := setCookieLine(cookie)
	if err != nil {
		return err
	}
	lines := w.Header()["Set-Cookie"]
	kept := make([]string, 0, len(lines)+1)
	for _, other := range lines {
		if !strings.HasPrefix(other, cookie.Name+"=") {
			kept = append(kept, other)
		}
	}
	w.Header()["Set-Cookie"] = append(kept, line)
	return nil
}

func setCookieLine(cookie *http.Cookie) (string, error) {
	if err := cookie.Valid(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrCookie, err)
	}
	line := cookie.String()
	if len(line) > maxCookie {
		return "", fmt.Errorf("%w: %s has %d bytes, at most %d", ErrTooLarge, cookie.Name, len(line), maxCookie)
	}
	return line, nil
}

// expire makes browsers drop a cookie.
func expire(w http.ResponseWriter, cookie *http.Cookie) error {
	cookie.MaxAge = -1
	cookie.Expires = time.Unix(1, 0) // for those that never learned Max-Age
	return emit(w, cookie)
}

// seconds is a duration as Max-Age, which must not be 0: that would be none. It is
// rounded up: when something is over is decided here, and a cookie that the browser
// drops before takes with it what is still needed (a last use, and with it the
// session).
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// ClearSmall makes the browser drop a small cookie.
func (c CookieConfig) ClearSmall(w http.ResponseWriter, scope Scope, which Small) error {
	return expire(w, c.cookie(scope, string(which)))
}

// SetSmall sets a small cookie for maxAge. The value is the caller's, sealed
// where it matters; over 4096 bytes with its attributes it is [ErrTooLarge].
func (c CookieConfig) SetSmall(w http.ResponseWriter, scope Scope, which Small, value string, maxAge time.Duration) error {
	cookie := c.cookie(scope, string(which))
	cookie.Value, cookie.MaxAge = value, seconds(maxAge)
	return emit(w, cookie)
}
