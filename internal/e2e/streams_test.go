package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/websocket"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// cutWithin is how long a stream may outlive its session (5 seconds), with room for a machine that is busy.
const cutWithin = 15 * time.Second

// goodbye is the close frame that a WebSocket ends with: status 1008.
const goodbye = "\x88\x0f\x03\xf0session ended"

// StartStreams is an application whose answers do not end: /ws, /sse, /download and /quiet.
func StartStreams(t testing.TB) *httptest.Server {
	var over atomic.Bool
	end := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/ws", websocket.Server{Handler: func(ws *websocket.Conn) {
		for !over.Load() && websocket.Message.Send(ws, "tick") == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/sse":
			w.Header().Set("Content-Type", "text/event-stream")
		case "/quiet": // which says one thing and no more
			fmt.Fprint(w, "data\n\n")
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-end:
			}
			return
		case "/download":
			w.Header().Set("Content-Type", "application/octet-stream")
		default:
			return
		}
		for !over.Load() && r.Context().Err() == nil {
			fmt.Fprint(w, "data: tick\n\n")
			http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		over.Store(true)
		close(end)
		server.Close()
	})
	return server
}

// A stream is what a browser reads of an answer that does not end.
type stream struct {
	mu   sync.Mutex
	got  bytes.Buffer
	over chan struct{}
}

// read reads on until it ends.
func read(t *testing.T, body io.ReadCloser) *stream {
	s := &stream{over: make(chan struct{})}
	t.Cleanup(func() { body.Close() })
	go func() {
		defer close(s.over)
		buffer := make([]byte, 512)
		for {
			n, err := body.Read(buffer)
			s.mu.Lock()
			s.got.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *stream) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// flows reports that the stream goes on: something more comes.
func (s *stream) flows() bool {
	before := len(s.text())
	return eventually(10*time.Second, func() bool { return len(s.text()) > before })
}

// streamer opens streams at https://app.example.test as a browser does, on each version of HTTP.
type streamer struct {
	t    *testing.T
	at   string // the origin
	port string
	b    *Browser

	header http.Header // beside the cookies
}

func (c *streamer) request(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.at+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	maps.Copy(r.Header, c.header)
	r.Header.Set("Origin", c.at)
	for _, cookie := range c.b.Jar.Get(r.URL, false, true) {
		c.b.addCookie(r, cookie)
	}
	return r
}

func (c *streamer) tls(protocol string) *tls.Config {
	ca, err := testCA()
	if err != nil {
		c.t.Fatal(err)
	}
	return &tls.Config{RootCAs: ca.pool, ServerName: "app.example.test", NextProtos: []string{protocol}}
}

// h1 sends a request on a connection of its own.
func (c *streamer) h1(r *http.Request) (int, io.ReadCloser) {
	c.t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+c.port, c.tls("http/1.1"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := r.Write(conn); err != nil {
		c.t.Fatal(err)
	}
	buffered := bufio.NewReader(conn)
	response, err := http.ReadResponse(buffered, r)
	if err != nil {
		c.t.Fatal(err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, io.NopCloser(buffered)
	}
	return response.StatusCode, io.NopCloser(response.Body) // closing it would read on to its end
}

// h2 sends a request on a connection of its own.
func (c *streamer) h2(r *http.Request) (int, io.ReadCloser) {
	c.t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+c.port, c.tls("h2"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	//lint:ignore SA1019 that of net/http refuses :protocol, which a handshake needs (RFC 8441 4)
	client, err := new(http2.Transport).NewClientConn(conn)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := client.RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, response.Body
}

// h3 sends a request on a connection of its own.
func (c *streamer) h3(r *http.Request) (int, io.ReadCloser) {
	c.t.Helper()
	conn, err := quic.DialAddr(c.t.Context(), "127.0.0.1:"+c.port, c.tls("h3"), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.CloseWithError(0, "") })
	transport := new(http3.Transport)
	c.t.Cleanup(func() { transport.Close() })
	client := transport.NewClientConn(conn)
	str, err := client.OpenRequestStream(c.t.Context())
	if err == nil && r.Method == http.MethodConnect {
		<-client.ReceivedSettings()
	}
	if err == nil {
		err = str.SendRequestHeader(r)
	}
	if err == nil && r.Method != http.MethodConnect {
		err = str.Close() // the request is whole
	}
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := str.ReadResponse()
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, response.Body
}

// webSocket is the handshake as each version of HTTP has it (RFC 6455 4.1, RFC 8441 4, RFC 9220 3).
func (c *streamer) webSocket(version int) *http.Request {
	c.t.Helper()
	var r *http.Request
	switch version {
	case 1:
		r = c.request(http.MethodGet, "/ws", nil)
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	case 2:
		forever, hold := io.Pipe() // a client that has nothing to say
		c.t.Cleanup(func() { hold.Close() })
		r = c.request(http.MethodConnect, "/ws", forever)
		r.Header[":protocol"] = []string{"websocket"}
	case 3:
		r = c.request(http.MethodConnect, "/ws", nil)
		r.Proto = "websocket"
	}
	r.Header.Set("Sec-WebSocket-Version", "13")
	return r
}

// kinds are the streams that there are.
var kinds = map[string]func(*streamer) (int, io.ReadCloser){
	"WebSocket, HTTP/1.1": func(c *streamer) (int, io.ReadCloser) { return c.h1(c.webSocket(1)) },
	"WebSocket, HTTP/2":   func(c *streamer) (int, io.ReadCloser) { return c.h2(c.webSocket(2)) },
	"WebSocket, HTTP/3":   func(c *streamer) (int, io.ReadCloser) { return c.h3(c.webSocket(3)) },
	"events, HTTP/1.1":    func(c *streamer) (int, io.ReadCloser) { return c.h1(c.request("GET", "/sse", nil)) },
	"events, HTTP/2":      func(c *streamer) (int, io.ReadCloser) { return c.h2(c.request("GET", "/sse", nil)) },
	"events, HTTP/3":      func(c *streamer) (int, io.ReadCloser) { return c.h3(c.request("GET", "/sse", nil)) },
	"download, HTTP/1.1":  func(c *streamer) (int, io.ReadCloser) { return c.h1(c.request("GET", "/download", nil)) },
	"download, HTTP/2":    func(c *streamer) (int, io.ReadCloser) { return c.h2(c.request("GET", "/download", nil)) },
	"download, HTTP/3":    func(c *streamer) (int, io.ReadCloser) { return c.h3(c.request("GET", "/download", nil)) },
}

const streamSite = `{
	gatehouse {
		{$PROVIDER}
		session {
			{$SESSION}
		}
	}
}
https://app.example.test:{$PORT} {
	tls {$CERT} {$KEY}
	gatehouse {
		{$STREAMS}
	}
	reverse_proxy {$APP}
}
`

// startStreamSite is a gate in front of streams, with extended CONNECT on HTTP/2.
func startStreamSite(t *testing.T, session, gate string) *Site {
	t.Helper()
	s := &Site{OP: testop.Start(t), App: StartStreams(t), t: t}
	caddyfile := strings.NewReplacer("{$SESSION}", session, "{$STREAMS}", gate).Replace(streamSite)
	s.Caddy = StartCaddy(t, s.fill(caddyfile), "GODEBUG=http2xconnect=1")
	return s
}

// streamer signs somebody in who opens streams.
func (s *Site) streamer(t *testing.T, user string) *streamer {
	t.Helper()
	c := &streamer{t: t, at: s.HTTPS("app.example.test"), port: s.Port, b: s.As(NewBrowser(t), user)}
	if page := c.b.Navigate(c.at + "/"); page.Status != http.StatusOK {
		t.Fatalf("sign-in: %d\n%s", page.Status, brief(page))
	}
	return c
}

// open opens every kind of stream.
func (c *streamer) open() map[string]*stream {
	c.t.Helper()
	streams := map[string]*stream{}
	for name, open := range kinds {
		status, body := open(c)
		if status != http.StatusOK && status != http.StatusSwitchingProtocols {
			c.t.Fatalf("%s: %d", name, status)
		}
		streams[name] = read(c.t, body)
	}
	for name, s := range streams {
		if !s.flows() {
			c.t.Fatalf("%s: nothing comes: %q", name, s.text())
		}
	}
	return streams
}

// wantCut holds all streams to end soon, WebSockets with a close frame.
func wantCut(t *testing.T, streams map[string]*stream) {
	t.Helper()
	late := time.After(cutWithin)
	for name, s := range streams {
		select {
		case <-s.over:
		case <-late:
			t.Fatalf("%s: it outlives its session", name)
		}
		if strings.HasPrefix(name, "WebSocket") && !strings.HasSuffix(s.text(), "\x81\x04tick"+goodbye) {
			t.Errorf("%s: no close frame at the end: %q", name, s.text())
		}
	}
}

// A stream ends with its session, on every version of HTTP: signed out here, or by the provider; and never before.
func TestStreamsAreCut(t *testing.T) {
	t.Parallel()
	s := startStreamSite(t, "idle_timeout off", "")
	c, other := s.streamer(t, "alice"), s.streamer(t, "bob")
	streams, others := c.open(), other.open()
	page := c.b.Navigate(c.at + "/oauth2/session")
	c.b.Submit(page, "logout", nil)
	wantCut(t, streams)
	for name, stream := range others {
		if !stream.flows() {
			t.Errorf("%s: cut with the session of somebody else", name)
		}
	}
	if page := tellLogout(t, c.at, signedLogout(t, s.OP, "sub-bob", "", nil)); page.Status != http.StatusOK {
		t.Fatalf("back-channel logout: %d %s", page.Status, page.Body)
	}
	wantCut(t, others)
	s.WaitLog("cut, since its session is over")
}

// P39: the absolute end, and the idle timeout, which a stream does not move.
func TestStreamsAreCutAtTheEnd(t *testing.T) {
	for name, session := range map[string]string{
		"lifetime": "lifetime 6s", "idle": "idle_timeout 6s", "idle in memory": "idle_timeout 6s\n\t\t\tstore memory",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantCut(t, startStreamSite(t, session, "").streamer(t, "alice").open())
		})
	}
}

// `streams keep` leaves them alone.
func TestStreamsAreKept(t *testing.T) {
	t.Parallel()
	s := startStreamSite(t, "lifetime 3s", "streams keep")
	c := s.streamer(t, "alice")
	streams := c.open()
	if !eventually(cutWithin, func() bool { return c.b.Fetch(c.at, "GET", c.at+"/", nil, "").Status == http.StatusUnauthorized }) {
		t.Fatal("the session does not end")
	}
	time.Sleep(3 * time.Second) // longer than the gate needs to see it
	for name, stream := range streams {
		if !stream.flows() {
			t.Errorf("%s: cut", name)
		}
	}
}

// A handshake without a session, or from another site, is refused before the upstream sees it.
func TestHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	s := startStreamSite(t, "idle_timeout off", "trusted_origins https://friend.example")
	c := s.streamer(t, "alice")
	nobody := &streamer{t: t, at: c.at, port: c.port, b: NewBrowser(t)}
	send := map[int]func(*streamer, *http.Request) (int, io.ReadCloser){1: (*streamer).h1, 2: (*streamer).h2, 3: (*streamer).h3}
	for version, send := range send {
		for _, tt := range []struct {
			name   string
			who    *streamer
			origin string
			want   int
		}{
			{"no session", nobody, c.at, http.StatusUnauthorized},
			{"another site", c, "https://evil.example", http.StatusForbidden},
			{"null", c, "null", http.StatusForbidden},
			{"no origin", c, "", http.StatusForbidden},
			{"a trusted site", c, "https://friend.example", http.StatusOK},
		} {
			r := tt.who.webSocket(version)
			if r.Header.Set("Origin", tt.origin); tt.origin == "" {
				r.Header.Del("Origin")
			}
			status, body := send(tt.who, r)
			if status == http.StatusSwitchingProtocols {
				status = http.StatusOK
			}
			body.Close()
			if status != tt.want {
				t.Errorf("HTTP/%d, %s: %d, want %d", version, tt.name, status, tt.want)
			}
		}
	}
}
