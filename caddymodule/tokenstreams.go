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
	v.gate.tokenWatches.begin(r.Context(), &v.brought.watch, v, answer)
	return &v.brought.watch
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
	judge  tokenJudge
	all    *tokenWatches
	answer http.ResponseWriter

	mu     sync.Mutex // it is cut, or is over
	cancel context.CancelCauseFunc

	next, prev *tokenWatch // by the lock of all
}

// tokenWatches are the requests with an access token under way. There is one timer for
// all of them, and none while there is none.
type tokenWatches struct {
	mu    sync.Mutex
	first *tokenWatch
	armed bool
}

// begin watches a request by what tells whether its token counts still.
func (ws *tokenWatches) begin(ctx context.Context, w *tokenWatch, judge tokenJudge, answer http.ResponseWriter) {
	w.judge, w.answer, w.all = judge, answer, ws
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.next = ws.first; w.next != nil {
		w.next.prev = w
	}
	ws.first = w
	ws.arm()
}

// arm has the requests judged in a while.
func (ws *tokenWatches) arm() {
	if !ws.armed && ws.first != nil {
		ws.armed = true
		time.AfterFunc(tokenWatchEvery, ws.look)
	}
}

// look judges every request, and comes back as long as there is one.
func (ws *tokenWatches) look() {
	ctx, cancel := context.WithTimeout(context.Background(), tokenWatchEvery)
	defer cancel()
	for _, w := range ws.underWay() {
		w.look(ctx)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.armed = false
	ws.arm()
}

func (ws *tokenWatches) underWay() []*tokenWatch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var all []*tokenWatch
	for w := ws.first; w != nil; w = w.next {
		all = append(all, w)
	}
	return all
}

// remove forgets a request that is over.
func (ws *tokenWatches) remove(w *tokenWatch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		ws.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
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
	w.all.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel(nil)
}

// look judges the request. Only what is known for sure cuts it: while keys or
// revocations cannot be asked, it goes on.
func (w *tokenWatch) look(ctx context.Context) {
	if p := asProblem(w.judged(ctx)); p != nil && p.Kind == authflow.NoLogin {
		w.cut(fmt.Errorf("%w: %w", errTokenOver, p))
	}
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
