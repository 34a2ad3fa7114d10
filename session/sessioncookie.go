package session

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A session's sealed value stands in one cookie, or, where that would be longer
// than browsers keep, in two. The first then begins with twoParts, which no
// sealed value does: so a second cookie that was left behind is never mistaken
// for half of a session, and one that is missing is noticed. Parts of two
// different values do not open together: one MAC is over all of it.
const twoParts = "2."

// split returns the session's cookies with their values.
func (c CookieConfig) split(scope Scope, sealed string) ([]*http.Cookie, error) {
	first, second := c.cookie(scope, sessionSuffix), c.cookie(scope, secondSuffix)
	room, err := capacity(first)
	if err != nil {
		return nil, err
	}
	if len(sealed) <= room {
		first.Value = sealed
		return []*http.Cookie{first}, nil
	}
	more, err := capacity(second)
	if err != nil {
		return nil, err
	}
	room -= len(twoParts)
	if len(sealed) > room+more {
		return nil, fmt.Errorf("%w: the session has %d bytes when sealed, two cookies hold %d; a store on the server holds it (store memory or redis)",
			ErrTooLarge, len(sealed), room+more)
	}
	first.Value, second.Value = twoParts+sealed[:room], sealed[room:]
	return []*http.Cookie{first, second}, nil
}

// capacity is the length of the longest value that a cookie may have, with the
// longest Max-Age that there is.
func capacity(cookie *http.Cookie) (int, error) {
	empty := *cookie
	empty.Value, empty.MaxAge = "", math.MaxInt32
	line, err := setCookieLine(&empty)
	return maxCookie - len(line), err
}

// setSession sets the session's cookies, to be kept for rest if they persist.
// A second cookie that the browser brought and that is not needed now goes.
func (c CookieConfig) setSession(w http.ResponseWriter, scope Scope, brought Cookies, sealed string, rest time.Duration) error {
	parts, err := c.split(scope, sealed)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if c.Persist {
			part.MaxAge = seconds(rest)
		}
		if err := emit(w, part); err != nil {
			return err
		}
	}
	if len(parts) == 1 && brought.has(scope, secondSuffix) {
		return expire(w, c.cookie(scope, secondSuffix))
	}
	return nil
}

// withdraw takes the lines of the session's cookies out of an answer that is not sent.
func (c CookieConfig) withdraw(w http.ResponseWriter, scope Scope) {
	h := w.Header()
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return slices.ContainsFunc([]string{sessionSuffix, secondSuffix, useSuffix}, func(suffix string) bool {
			return name == c.cookie(scope, suffix).Name
		})
	})
}

// session returns the sealed value that the browser brought: [ErrNone], or
// [ErrUnreadable] if it is torn or there twice.
func (c Cookies) session(scope Scope) (string, error) {
	first, err := c.get(scope, sessionSuffix)
	if errors.Is(err, ErrDuplicate) {
		return "", fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		return "", err
	}
	start, isFirst := strings.CutPrefix(first, twoParts)
	if !isFirst {
		return first, nil
	}
	end, err := c.get(scope, secondSuffix)
	if err != nil {
		return "", fmt.Errorf("%w: second part: %w", ErrUnreadable, noLongerNone(err))
	}
	return start + end, nil
}

// noLongerNone keeps [ErrNone] for the browser that brought nothing.
func noLongerNone(err error) error {
	if errors.Is(err, ErrNone) {
		return errTorn
	}
	return err
}

var errTorn = errors.New("session: half of a session")
