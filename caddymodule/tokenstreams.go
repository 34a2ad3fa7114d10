package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

// requestWatchEvery is how often a request under way is judged by its access token, or by
// lists in files: it outlives what let it pass by no more, and the little that judging
// takes.
const requestWatchEvery = 2 * time.Second

// watch is a request under way, which is cut when what it was let pass by is over.
type watch interface {
	// Context is the request's, and ends when it is cut.
	Context() context.Context
	// Cut returns why it was cut, and nil if it was not.
	Cut() error
	// Stop ends the watch, and the context with it.
	Stop()
}

// watch begins to watch a request that a gate has judged just now: by its session or
// token, if no gate before has, and by the lists that the gate's rules read. The writes of
// answer, if it is not nil, fail when the request is cut: for what does not look at its
// context.
func (v *visit) watch(g *Gate, r *http.Request, answer http.ResponseWriter) watch {
	if v.standsOn(g) {
		return v.watchRules(g, r, answer)
	}
	return v.watchCaller(r.Context(), answer)
}

// watchCaller begins to watch a request by its session or token.
func (v *visit) watchCaller(ctx context.Context, answer http.ResponseWriter) watch {
	v.watched = true
	if v.brought == nil {
		return v.gate.sessions.Watch(ctx, v.live, answer)
	}
	v.gate.tokenWatches.begin(ctx, &v.brought.watch, v, answer)
	return &v.brought.watch
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

// requestJudge tells whether what let a request pass counts still.
type requestJudge interface {
	judge(ctx context.Context) error
}

// errTokenOver is why a request was cut.
var errTokenOver = errors.New("the access token of the request is over")

// requestWatch is one request under way.
type requestWatch struct {
	ctx    context.Context
	judge  requestJudge
	all    *requestWatches
	answer http.ResponseWriter

	mu     sync.Mutex // it is cut, or is over
	cancel context.CancelCauseFunc

	next, prev *requestWatch // by the lock of all
}

// requestWatches are the requests under way that are judged by their access tokens, or by
// the lists of one gate. There is one timer for all of them, and none while there is none.
type requestWatches struct {
	over error // why one is cut; default errTokenOver

	mu    sync.Mutex
	first *requestWatch
	armed bool
}

// begin watches a request by what tells whether it may go on.
func (ws *requestWatches) begin(ctx context.Context, w *requestWatch, judge requestJudge, answer http.ResponseWriter) {
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

// why is what a request is cut with.
func (ws *requestWatches) why() error { return cmp.Or(ws.over, errTokenOver) }

// arm has the requests judged in a while.
func (ws *requestWatches) arm() {
	if !ws.armed && ws.first != nil {
		ws.armed = true
		time.AfterFunc(requestWatchEvery, ws.look)
	}
}

// look judges every request, and comes back as long as there is one.
func (ws *requestWatches) look() {
	ctx, cancel := context.WithTimeout(context.Background(), requestWatchEvery)
	defer cancel()
	for _, w := range ws.underWay() {
		w.look(ctx)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.armed = false
	ws.arm()
}

func (ws *requestWatches) underWay() []*requestWatch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var all []*requestWatch
	for w := ws.first; w != nil; w = w.next {
		all = append(all, w)
	}
	return all
}

// remove forgets a request that is over.
func (ws *requestWatches) remove(w *requestWatch) {
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
func (w *requestWatch) Context() context.Context { return w.ctx }

// Cut implements watch.
func (w *requestWatch) Cut() error {
	if cause := context.Cause(w.ctx); errors.Is(cause, w.all.why()) {
		return cause
	}
	return nil
}

// Stop implements watch.
func (w *requestWatch) Stop() {
	w.all.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel(nil)
}

// look judges the request. Only what is known for sure cuts it: while keys or
// revocations cannot be asked, it goes on.
func (w *requestWatch) look(ctx context.Context) {
	_, err := guard.Call(func() (struct{}, error) { return struct{}{}, w.judge.judge(ctx) })
	if p := asProblem(err); p.Kind == authflow.NoLogin || p.Kind == authflow.Denied {
		w.cut(fmt.Errorf("%w: %w", w.all.why(), p))
	}
}

// cut ends the request, unless it is over.
func (w *requestWatch) cut(cause error) {
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
