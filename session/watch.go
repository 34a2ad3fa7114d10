package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

const (
	// watchEvery is how often watched sessions are judged: a request outlives its
	// session by no more than that, and the little that judging takes.
	watchEvery = 2 * time.Second
	// watchShards part the watched sessions, so that requests of different sessions
	// do not wait for each other.
	watchShards = 32
)

// Watch is one request under way, which is cut when its session ends: a
// WebSocket, an event stream or a long download may last longer than that.
type Watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	answer http.ResponseWriter
	shard  *watchShard

	// The lock of the shard guards the rest. Of the requests of one session the
	// latest stands first, and knows best.
	next, prev *Watch
	manager    *Manager
	version    *version
	used       time.Time // the session's last use
}

// Watch begins to watch a request of the session, which its caller has judged just
// now. [Watch.Context] is the request's from then on, and [Watch.Stop] is called
// when it is over, in a defer: the proxy may panic.
//
// When the session's lifetime is over, when it is revoked, and when no request came
// for the idle timeout, the context ends within 5 seconds, and its cause is
// [ErrExpired], [ErrRevoked] or [ErrIdle]. A stream is one request: what flows
// through it is no further use of the session. What cannot be judged goes on.
//
// However many requests are watched, there is one timer, and none while there is
// none of them.
//
// The writes of an answer, if it is not nil, fail from then on: for what does not look
// at its context. After [Watch.Stop] nothing is done to it.
func (m *Manager) Watch(ctx context.Context, live *Live, answer http.ResponseWriter) *Watch {
	w := &live.watch
	if w.shard != nil { // a second one of the same request
		w = new(Watch)
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.answer, w.shard = answer, m.state.watches.shard(live.session.ID)
	w.manager, w.version, w.used = m, live.version, live.used
	if m.idle > 0 {
		// This request is a use, as far as it was noted.
		if now := m.now(); now.Sub(w.used) >= m.grain() {
			w.used = now
		}
	}
	w.shard.add(w)
	m.state.watches.arm()
	return w
}

// Context is the request's, and ends with the session.
func (w *Watch) Context() context.Context { return w.ctx }

// Cut returns why the request was cut, and nil if it was not.
func (w *Watch) Cut() error {
	if cause := context.Cause(w.ctx); final(cause) || errors.Is(cause, errLeft) {
		return cause
	}
	return nil
}

// errLeft says that nobody will ever tell whether the session is over: the state
// was closed, with its configuration, and what it heard is a minute old.
var errLeft = fmt.Errorf("%w: nobody follows it any more", ErrUnavailable)

// Stop ends the watch. The context ends with it.
func (w *Watch) Stop() {
	w.shard.remove(w)
	w.cancel(nil)
}

// judge tells whether the watched session is over, and for how long it was not used.
func (w *Watch) judge(ctx context.Context, now time.Time) error {
	m := w.manager
	if err := m.judge(ctx, w.version.session, now); err != nil {
		if errors.Is(err, ErrUnavailable) && m.state.feed().isClosed() {
			return errLeft
		}
		return err
	}
	if m.idle == 0 || now.Sub(w.used) < m.idle {
		return nil
	}
	if m.server != nil {
		// Another process may have seen it later.
		_, used, err := m.server.Peek(ctx, w.version.handle)
		if err != nil {
			return storeError(err)
		}
		w.used = latest(w.used, used)
	}
	if idle := now.Sub(w.used); idle >= m.idle {
		return fmt.Errorf("%w: %v", ErrIdle, idle)
	}
	return nil
}

// watches are the requests under way, by session.
type watches struct {
	armed  atomic.Bool // the timer runs
	shards [watchShards]watchShard
}

type watchShard struct {
	mu     sync.Mutex
	latest map[ID]*Watch
}

func newWatches() *watches {
	ws := new(watches)
	for i := range ws.shards {
		ws.shards[i].latest = map[ID]*Watch{}
	}
	return ws
}

func (ws *watches) shard(id ID) *watchShard { return &ws.shards[id[0]%watchShards] }

func (s *watchShard) add(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := w.version.session.ID
	if first := s.latest[id]; first != nil {
		w.next, first.prev = first, w
		w.used = latest(w.used, first.used)
	}
	s.latest[id] = w
}

func (s *watchShard) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.next != nil {
		w.next.prev = w.prev
	}
	id := w.version.session.ID
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case w.next != nil: // an older request goes on with what the latest knew
		w.next.manager, w.next.version, w.next.used = w.manager, w.version, w.used
		s.latest[id] = w.next
	case s.latest[id] == w:
		delete(s.latest, id)
	}
}

// arm starts the timer, if it does not run.
func (ws *watches) arm() {
	if !ws.armed.Load() && ws.armed.CompareAndSwap(false, true) {
		time.AfterFunc(watchEvery, ws.sweep)
	}
}

// sweep judges every watched session, and comes back as long as there is one.
func (ws *watches) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), watchEvery)
	defer cancel()
	for i := range ws.shards {
		for _, w := range ws.shards[i].all() {
			ws.shards[i].judge(ctx, w)
		}
	}
	ws.armed.Store(false)
	for i := range ws.shards {
		if !ws.shards[i].empty() {
			ws.arm()
			return
		}
	}
}

// all returns copies of the latest watches, which can be judged without the lock.
func (s *watchShard) all() []Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Watch, 0, len(s.latest))
	for _, w := range s.latest {
		all = append(all, *w)
	}
	return all
}

func (s *watchShard) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.latest) == 0
}

// judge cuts all requests of a session that is over. Only what is known for sure
// is: while a store is away, nothing is cut.
func (s *watchShard) judge(ctx context.Context, w Watch) {
	before := w.used
	_, err := guard.Call(func() (struct{}, error) { return struct{}{}, w.judge(ctx, w.manager.now()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.latest[w.version.session.ID]
	switch {
	case current == nil:
		return
	case (final(err) || errors.Is(err, errLeft)) && !(errors.Is(err, ErrIdle) && current.used.After(before)):
		for ; current != nil; current = current.next {
			current.cancel(err)
			if current.answer != nil {
				_ = http.NewResponseController(current.answer).SetWriteDeadline(current.manager.now())
			}
		}
	default:
		current.used = latest(current.used, w.used)
	}
}
