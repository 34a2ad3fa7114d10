package authflow

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of answer an error calls for. The caller, who speaks HTTP, maps
// it to a status.
type Kind int

const (
	// Internal is a fault of this program or of its configuration. It is the
	// zero value.
	Internal Kind = iota
	// NoLogin means that nobody is signed in, or not any more: sign in again.
	NoLogin
	// BadRequest means that the browser brought something stale, replayed or
	// malformed: the person can start again.
	BadRequest
	// Denied means that the person is not allowed to sign in, or has cancelled it.
	Denied
	// Provider means that the provider refused, or broke the protocol.
	Provider
	// Unavailable means that the provider cannot be reached at the moment: the same
	// request may work later.
	Unavailable
)

// Error is the error of every function of this package that speaks the protocol.
type Error struct {
	// Kind says how to answer.
	Kind Kind
	// Reason names the check that failed.
	Reason Reason
	// Public is one plain sentence for the person at the browser.
	Public string
	// Err is for the log. It says what was expected and what came, and never
	// holds a token, a code or a secret.
	Err error
	// RetryAfter is how long to wait before it makes sense to try again. It is zero
	// unless Kind is Unavailable.
	RetryAfter time.Duration
}

// Error is for the log; the person gets Public.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// NewError returns the error for one of this package's reasons, from which Kind
// and Public follow. err, which may be nil, is for the log.
func NewError(reason Reason, err error) *Error {
	is := verdicts[reason]
	return &Error{Kind: is.kind, Reason: reason, Public: is.public, Err: err}
}

// ReasonOf returns the reason of err, or "" if there is no *Error in it.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// reclassify returns err as an error of another Kind, with another sentence for the
// person, or the same if public is "". An error of Kind Unavailable, which says "later",
// stays what it is.
func reclassify(err error, kind Kind, public string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == Unavailable {
		return err
	}
	changed := *e
	changed.Kind, changed.Public = kind, cmp.Or(public, e.Public)
	return &changed
}

// retryAfter sets RetryAfter, to a second at least, and returns the error.
func (e *Error) retryAfter(d time.Duration) *Error {
	e.RetryAfter = max(d, time.Second)
	return e
}
