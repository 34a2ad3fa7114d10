package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// flight is work that runs once, for everyone who waits for it.
type flight[T any] struct {
	done   chan struct{}
	result T
	err    error
}

// errUnfinished is the result of work that did not return (runtime.Goexit).
var errUnfinished = errors.New("session: unfinished work")

// fly starts work in a goroutine of its own. It is given the values of ctx but
// not its end, and timeout instead: that one browser went away must not undo
// what others wait for. A panic in it is an error, since no server stands below
// this goroutine to catch it.
func fly[T any](ctx context.Context, timeout time.Duration, work func(context.Context) (T, error)) *flight[T] {
	f := &flight[T]{done: make(chan struct{}), err: errUnfinished}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	go func() {
		defer close(f.done)
		defer cancel()
		f.result, f.err = work(ctx)
	}()
	return f
}

// wait returns the work's result, or an error when ctx ends before it.
func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: waiting: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// over tells whether the work is done.
func (f *flight[T]) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}
