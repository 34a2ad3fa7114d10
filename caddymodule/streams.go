package caddymodule

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// handOn hands a request on, and watches what it began as long as it lasts.
func (g *Gate) handOn(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	var err error
	if !v.identity.isNobody() && v.gate.Streams != "keep" && (!v.watched || v.standsOn(g)) {
		err = g.serveWatched(w, r, v, next)
	} else {
		err = next.ServeHTTP(w, r)
	}
	if v.gate == g {
		v.checkSent(r, g)
	}
	return err
}

// serveWatched hands a request on and cuts it when its session or token ends, or when it
// is not let pass any more: what the upstream began for somebody who was signed in, it
// does not go on with for hours after that (`streams cut`). The request's context is cancelled, which ends
// WebSockets, event streams and downloads on every version of HTTP.
func (g *Gate) serveWatched(w http.ResponseWriter, r *http.Request, v *visit, next caddyhttp.Handler) error {
	answer := w // a file that is sent, say, looks at no context: its next write fails
	if isWebSocket(r) {
		answer = nil
	}
	watch := v.watch(g, r, answer)
	defer watch.Stop() // the proxy panics when it aborts an answer
	defer func() {
		if cut := watch.Cut(); cut != nil {
			what := "cut, since its session is over"
			switch {
			case errors.Is(cut, errTokenOver):
				what = "cut, since its access token is over"
			case errors.Is(cut, errRulesChanged):
				what = "cut, since its user may not pass any more"
			}
			g.logger.Info(what, zap.String("reason", string(sessionProblem(cut).Reason)), zap.Error(cut),
				zap.String("request_id", requestID(r)), zap.String("host", r.Host), zap.String("path", originalURL(r).Path))
		}
	}()
	// In place: Caddy's placeholders read this request, not a copy of it.
	sent := *r
	defer func() { *r = sent }()
	*r = *r.WithContext(watch.Context())
	if !isWebSocket(r) {
		return next.ServeHTTP(w, r)
	}
	ws := &webSocketWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		watch:                 watch, now: g.now, connect: r.Method == http.MethodConnect,
	}
	err := next.ServeHTTP(ws, r)
	ws.sayGoodbye()
	return err
}

// goodbyeTime bounds the writing of a close frame to a browser that does not read.
const goodbyeTime = time.Second

// closeFrame is what a WebSocket gets last, whose session is over: a close frame of
// status 1008, policy violation (RFC 6455 5.5.1, 7.4.1).
const closeFrame = "\x88\x0f\x03\xf0session ended"

// webSocketWriter follows the frames that go to the browser, so that one that is
// cut gets a close frame where the last frame has ended; in the middle of a frame
// it would be taken for the rest of it, and the connection just ends. On HTTP/1.1
// the connection is the proxy's after the handshake, else the frames are the body.
type webSocketWriter struct {
	*caddyhttp.ResponseWriterWrapper
	watch    watch
	now      func() time.Time
	frames   frames
	connect  bool // extended CONNECT: the frames are the body (RFC 8441 5, RFC 9220 3)
	streamed bool // and they have begun
}

// WriteHeader implements http.ResponseWriter.
func (w *webSocketWriter) WriteHeader(status int) {
	w.streamed = w.connect && status >= 200 && status < 300
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements io.Writer.
func (w *webSocketWriter) Write(p []byte) (int, error) {
	return w.frames.write(p, w.ResponseWriterWrapper.Write)
}

// sayGoodbye ends a body of frames that was cut.
func (w *webSocketWriter) sayGoodbye() {
	if !w.streamed || w.watch.Cut() == nil {
		return
	}
	controller := http.NewResponseController(w.ResponseWriter)
	_ = controller.SetWriteDeadline(w.now().Add(goodbyeTime)) // best effort, as all of it
	w.frames.end(w.ResponseWriterWrapper.Write)
	_ = controller.Flush()
}

// Hijack implements http.Hijacker.
func (w *webSocketWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	framed := &webSocketConn{Conn: conn, watch: w.watch, now: w.now}
	if half, can := conn.(interface{ CloseWrite() error }); can {
		return &halfClosingConn{framed, half.CloseWrite}, buffered, nil
	}
	return framed, buffered, nil
}

// webSocketConn is a hijacked connection to a browser.
type webSocketConn struct {
	net.Conn
	watch  watch
	now    func() time.Time
	frames frames
}

// Write implements io.Writer.
func (c *webSocketConn) Write(p []byte) (int, error) { return c.frames.write(p, c.Conn.Write) }

// Close implements io.Closer.
func (c *webSocketConn) Close() error {
	if c.watch.Cut() != nil {
		_ = c.SetWriteDeadline(c.now().Add(goodbyeTime))
		c.frames.end(c.Conn.Write)
	}
	return c.Conn.Close()
}

// halfClosingConn is one whose writing half can be closed alone.
type halfClosingConn struct {
	*webSocketConn
	closeWrite func() error
}

// CloseWrite closes the half of the connection that goes to the browser.
func (c *halfClosingConn) CloseWrite() error { return c.closeWrite() }

// frames knows where in a stream of WebSocket frames it is (RFC 6455 5.2).
type frames struct {
	mu     sync.Mutex
	head   []byte // of the frame under way, as far as it was written
	rest   uint64 // bytes of its payload that are to come
	closed bool   // a close frame was written
}

// write passes bytes on and follows them.
func (f *frames) write(p []byte, to func([]byte) (int, error)) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := to(p)
	f.follow(p[:max(n, 0)])
	return n, err
}

func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		if f.rest > 0 {
			skip := min(f.rest, uint64(len(p)))
			f.rest, p = f.rest-skip, p[skip:]
			continue
		}
		f.head, p = append(f.head, p[0]), p[1:]
		if length, whole := payloadLength(f.head); whole {
			f.closed = f.closed || f.head[0]&0x0f == 8
			f.head, f.rest = f.head[:0], length
		}
	}
}

// payloadLength reads the length behind a head that is there whole. What goes to a
// browser has no mask (RFC 6455 5.1).
func payloadLength(head []byte) (uint64, bool) {
	if len(head) < 2 {
		return 0, false
	}
	switch length := head[1] & 0x7f; {
	case length < 126:
		return uint64(length), true
	case length == 126 && len(head) == 4:
		return uint64(binary.BigEndian.Uint16(head[2:])), true
	case length == 127 && len(head) == 10:
		return binary.BigEndian.Uint64(head[2:]), true
	}
	return 0, false
}

// end writes a close frame where no frame is under way, and nothing else, since
// nothing may follow one.
func (f *frames) end(to func([]byte) (int, error)) {
	if !f.mu.TryLock() {
		return // a write hangs: the browser does not read
	}
	defer f.mu.Unlock()
	if len(f.head) == 0 && f.rest == 0 && !f.closed {
		f.closed = true
		_, _ = to([]byte(closeFrame))
	}
}

// Interface guards.
var (
	_ http.ResponseWriter = (*webSocketWriter)(nil)
	_ http.Hijacker       = (*webSocketWriter)(nil)
	_ net.Conn            = (*halfClosingConn)(nil)
)
