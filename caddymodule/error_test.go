package caddymodule

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// What is unknown is internal, and its text is for the log alone.
func TestAsProblem(t *testing.T) {
	p := asProblem(errors.New("dial tcp 10.0.0.1: secret"))
	if p.Kind != authflow.Internal || p.Reason != ReasonInternal || p.Public != "Something went wrong here." {
		t.Errorf("got %+v", p)
	}
	known := authflow.NewError(authflow.ReasonNonce, nil)
	if p := asProblem(fmt.Errorf("wrapped: %w", known)); p != known {
		t.Errorf("got %+v", p)
	}
}

func TestSessionProblem(t *testing.T) {
	for _, tt := range []struct {
		err    error
		kind   authflow.Kind
		reason authflow.Reason
	}{
		{session.ErrNone, authflow.NoLogin, ReasonNoSession},
		{session.ErrExpired, authflow.NoLogin, ReasonSessionExpired},
		{session.ErrIdle, authflow.NoLogin, ReasonSessionIdle},
		{session.ErrRevoked, authflow.NoLogin, ReasonSessionEnded},
		{session.ErrSuperseded, authflow.NoLogin, ReasonSessionEnded},
		{session.ErrUnreadable, authflow.NoLogin, ReasonSessionUnread},
		{&seal.UnknownKeyError{ID: "x"}, authflow.NoLogin, ReasonSessionUnread},
		{&seal.UnknownKeyError{ID: "x", Newer: true}, authflow.Unavailable, ReasonKeysNotShared},
		{session.ErrTooLarge, authflow.Internal, ReasonSessionTooLarge},
		{session.ErrUnavailable, authflow.Unavailable, ReasonStoreUnavailable},
		{errors.New("anything else"), authflow.Internal, ReasonInternal},
	} {
		p := sessionProblem(fmt.Errorf("wrapped: %w", tt.err))
		if p.Kind != tt.kind || p.Reason != tt.reason {
			t.Errorf("%v: %v %s, want %v %s", tt.err, p.Kind, p.Reason, tt.kind, tt.reason)
		}
	}
}
