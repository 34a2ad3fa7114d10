package authflow

import (
	"errors"
	"fmt"
	"time"
)

// Kind says how an error is to be answered. Whoever speaks HTTP maps it to a
// status.
type Kind int

const (
	// Internal is a fault of this program or of its configuration. It is the
	// zero value.
	Internal Kind = iota
	// NoLogin means that nobody is signed in, or not any longer: sign in again.
	NoLogin
	// BadRequest means that the browser brought something stale, replayed or
	// malformed: the person may start again.
	BadRequest
	// Denied means that the person may not, or did not want to.
	Denied
	// Provider means that the provider refused, or broke the protocol.
	Provider
	// Unavailable means that the provider cannot be reached for now: later the
	// same will work.
	Unavailable
)

// Error is the error of every function that speaks the protocol.
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
	// RetryAfter says when it makes sense to try again. Zero if Kind is not
	// Unavailable.
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

// retryAfter completes an error of Kind Unavailable.
func (e *Error) retryAfter(d time.Duration) *Error {
	e.RetryAfter = max(d, time.Second)
	return e
}
