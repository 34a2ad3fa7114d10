package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// memory is the resident size of the process in bytes (Linux), 0 if it cannot be told.
func (c *Caddy) memory() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Process.Pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	kilobytes, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(line, "kB")))
	return kilobytes << 10
}

// openQuietly opens n event streams that say nothing any more, and leaves them open to the test's end.
func openQuietly(t *testing.T, c *Caddy, n int, cookies string) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", "127.0.0.1:"+c.Port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "GET /quiet HTTP/1.1\r\nHost: localhost:%s\r\nCookie: %s\r\n\r\n", c.Port, cookies)
		buffered := bufio.NewReaderSize(conn, 512)
		res, err := http.ReadResponse(buffered, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", res, err)
		}
		if _, err := res.Body.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
}

// What an open stream costs behind the gate, against Caddy without it: no goroutine and little memory. GATEHOUSE_STREAMS is
// their number, for a figure on more.
func TestStreamsCost(t *testing.T) {
	n := 300
	if more, err := strconv.Atoi(os.Getenv("GATEHOUSE_STREAMS")); err == nil {
		n = more
	}
	app := StartStreams(t)
	plain := StartCaddy(t, strings.Replace("http://localhost:{$PORT} {\n\treverse_proxy {$APP}\n}", "{$APP}", strings.TrimPrefix(app.URL, "http://"), 1))
	s := &Site{OP: testop.Start(t), App: app, t: t}
	s.Caddy = StartCaddy(t, s.fill(oneSite))
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/")
	cookies := ""
	for _, cookie := range b.Jar.Get(b.parse(s.HTTP()), false, true) {
		cookies += cookie.Name + "=" + cookie.Value + "; "
	}
	cost := func(c *Caddy) (goroutines, heap int) {
		openQuietly(t, c, 10, cookies)
		goroutines, heap = c.goroutines(), c.heap()
		resident := c.memory()
		openQuietly(t, c, n, cookies)
		eventually(5*time.Second, func() bool { return c.goroutines() >= goroutines+n })
		goroutines, heap, resident = c.goroutines()-goroutines, c.heap()-heap, c.memory()-resident
		t.Logf("%d streams: %d goroutines, %d bytes of heap and %d resident", n, goroutines, heap, resident)
		return goroutines, heap
	}
	goroutines, heap := cost(plain)
	gateGoroutines, gateHeap := cost(s.Caddy)
	if more := gateGoroutines - goroutines; more > n/10 {
		t.Errorf("%d more goroutines than Caddy alone for %d streams", more, n)
	}
	if more := (gateHeap - heap) / n; more > 8<<10 {
		t.Errorf("%d bytes more heap than Caddy alone for each stream", more)
	}
}
