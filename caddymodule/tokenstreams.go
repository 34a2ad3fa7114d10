package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// watchEvery is how often a request under way is judged by its access token, and by lists
// in files: it outlives what it was let pass by by no more, and the little that judging
// takes.
const watchEvery = 2 * time.Second

// watch is a request under way, which is cut when what it was let pass by is over.
type watch interface {
	// Context is the request's, and ends when it is cut.
	Context() context.Context
	// Cut returns why it was cut, and nil if it was not.
	Cut() error
	// Stop ends the watch, and the context with it.
	Stop()
}

// watch begins to watch a request that a gate has judged just now: by the session or the
// token, if no gate before has, and by the lists that the gate's rules read. The writes of
// answer, if it is not nil, fail when the request is cut: for what does not look at its
// context.
func (v *visit) watch(g *Gate, r *http.Request, answer http.ResponseWriter) watch {
	ctx := r.Context()
	var by watch
	if !v.watched {
		v.watched = true
		if v.brought == nil {
			by = v.gate.sessions.Watch(ctx, v.live, answer)
		} else {
			by = watchBy(ctx, v, errTokenOver, answer)
		}
		ctx = by.Context()
	}
	if !v.standsOn(g) {
		return by
	}
	rules := watchBy(ctx, v.standing, errRulesChanged, answer)
	if by == nil {
		return rules
	}
	return &watchedTwice{timedWatch: rules, outer: by}
}

// judge tells whether the token of a request, which has passed, counts still: one
// of our own as at its next use, one of a provider by its times alone. Whether the
// provider has ended it meanwhile is not asked.
func (v *visit) judge(ctx context.Context) error {
	if !v.brought.isOwn {
		return v.brought.token.CheckTime(v.gate.now())
	}
	_, err := v.gate.openOwnToken(ctx, v, v.brought.raw)
	return err
}

// judge tells whether what a request was let pass by counts still.
type judge interface {
	judge(ctx context.Context) error
}

// watchedTwice is a request that is judged by its rules, within the watch of its session
// or token.
type watchedTwice struct {
	*timedWatch
	outer watch
}

// Cut implements watch.
func (w *watchedTwice) Cut() error {
	if cut := w.outer.Cut(); cut != nil {
		return cut
	}
	return w.timedWatch.Cut()
}

// Stop implements watch.
func (w *watchedTwice) Stop() {
	w.timedWatch.Stop()
	w.outer.Stop()
}

// errTokenOver is why a request was cut.
var errTokenOver = errors.New("the access token of the request is over")

// timedWatch is one request under way that is judged for itself.
type timedWatch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	judge  judge
	over   error // why it is cut
	answer http.ResponseWriter

	mu    sync.Mutex
	timer *time.Timer
}

// watchBy watches a request by what tells whether it may go on, and cuts it with over
// when it may not. One that is done before it is judged for the first time has cost a
// timer.
func watchBy(ctx context.Context, judge judge, over error, answer http.ResponseWriter) *timedWatch {
	w := &timedWatch{judge: judge, over: over, answer: answer}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.arm()
	return w
}

// Context implements watch.
func (w *timedWatch) Context() context.Context { return w.ctx }

// Cut implements watch.
func (w *timedWatch) Cut() error {
	if cause := context.Cause(w.ctx); errors.Is(cause, w.over) {
		return cause
	}
	return nil
}

// Stop implements watch.
func (w *timedWatch) Stop() {
	w.cancel(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// arm has the request judged in a while, unless it is over.
func (w *timedWatch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil || w.ctx.Err() == nil {
		w.timer = time.AfterFunc(watchEvery, w.look)
	}
}

// look judges the request. Only what is known for sure cuts it: while keys or
// revocations cannot be asked, it goes on.
func (w *timedWatch) look() {
	ctx, cancel := context.WithTimeout(w.ctx, watchEvery)
	defer cancel()
	if err := w.judged(ctx); isOver(err) {
		w.cut(fmt.Errorf("%w: %w", w.over, err))
		return
	}
	w.arm()
}

// cut ends the request, unless it is over.
func (w *timedWatch) cut(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return
	}
	w.cancel(cause)
	if w.answer != nil {
		_ = http.NewResponseController(w.answer).SetWriteDeadline(time.Unix(1, 0)) // long ago
	}
}

// judged turns a panic into an error: nobody else is there to recover it.
func (w *timedWatch) judged(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return w.judge.judge(ctx)
}
