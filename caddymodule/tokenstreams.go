package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// tokenWatchEvery is how often a request under way is judged by its access token: it
// outlives that by no more, and the little that judging takes.
const tokenWatchEvery = 2 * time.Second

// watch is a request under way, which is cut when what it was let pass by is over.
type watch interface {
	// Context is the request's, and ends when it is cut.
	Context() context.Context
	// Cut returns why it was cut, and nil if it was not.
	Cut() error
	// Stop ends the watch, and the context with it.
	Stop()
}

// watch begins to watch a request that was judged just now. The writes of answer, if it
// is not nil, fail when the request is cut: for what does not look at its context.
func (v *visit) watch(r *http.Request, answer http.ResponseWriter) watch {
	if v.brought == nil {
		return v.gate.sessions.Watch(r.Context(), v.live, answer)
	}
	return watchToken(r.Context(), v, answer)
}

// judgeToken tells whether the token of a request, which has passed, counts still: one
// of our own as at its next use, one of a provider by its times alone. Whether the
// provider has ended it meanwhile is not asked.
func (v *visit) judgeToken(ctx context.Context) error {
	if !v.brought.isOwn {
		return v.brought.token.CheckTime(v.gate.now())
	}
	_, err := v.gate.openOwnToken(ctx, v, v.brought.raw)
	return err
}

// tokenJudge tells whether a token counts still.
type tokenJudge interface {
	judgeToken(ctx context.Context) error
}

// errTokenOver is why a request was cut.
var errTokenOver = errors.New("the access token of the request is over")

// tokenWatch is one request with an access token under way.
type tokenWatch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	judge  tokenJudge
	answer http.ResponseWriter

	mu    sync.Mutex
	timer *time.Timer
}

// watchToken watches a request by what tells whether its token counts still. One that
// is over before it is judged for the first time has cost a timer.
func watchToken(ctx context.Context, judge tokenJudge, answer http.ResponseWriter) *tokenWatch {
	w := &tokenWatch{judge: judge, answer: answer}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.arm()
	return w
}

// Context implements watch.
func (w *tokenWatch) Context() context.Context { return w.ctx }

// Cut implements watch.
func (w *tokenWatch) Cut() error {
	if cause := context.Cause(w.ctx); errors.Is(cause, errTokenOver) {
		return cause
	}
	return nil
}

// Stop implements watch.
func (w *tokenWatch) Stop() {
	w.cancel(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// arm has the request judged in a while, unless it is over.
func (w *tokenWatch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil || w.ctx.Err() == nil {
		w.timer = time.AfterFunc(tokenWatchEvery, w.look)
	}
}

// look judges the request. Only what is known for sure cuts it: while keys or
// revocations cannot be asked, it goes on.
func (w *tokenWatch) look() {
	ctx, cancel := context.WithTimeout(w.ctx, tokenWatchEvery)
	defer cancel()
	err := w.judged(ctx)
	if p := asProblem(err); err != nil && p.Kind == authflow.NoLogin {
		w.cut(fmt.Errorf("%w: %w", errTokenOver, p))
		return
	}
	w.arm()
}

// cut ends the request, unless it is over.
func (w *tokenWatch) cut(cause error) {
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
func (w *tokenWatch) judged(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return w.judge.judgeToken(ctx)
}
