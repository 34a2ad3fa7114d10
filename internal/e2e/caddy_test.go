package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Caddy is one Caddy process with a storage of its own.
type Caddy struct {
	Port string // where the test's site listens: {$PORT} in the Caddyfile
	Dir  string // HOME and the XDG folders; Caddy's storage is Dir/data/caddy

	t       *testing.T
	env     []string
	admin   *http.Client
	process *exec.Cmd
	stdin   io.Closer
	done    chan struct{} // closed when the process has ended
	logs    testop.Output
}

// StartCaddy runs Caddy with a Caddyfile and returns when its configuration is loaded; the test's end stops it.
//
// The Caddyfile may say {$PORT}, a free port; {$CERT} and {$KEY}, files for `tls {$CERT} {$KEY}` that hold for
// localhost, *.localhost, *.example.test and *.other.test; and {$DIR}, the process's own folder. env adds
// variables ("NAME=value"). A global block is added or completed with a free http_port, default_bind 127.0.0.1 and
// skip_install_trust; the admin endpoint is a unix socket, so the Caddyfile says nothing about it.
func StartCaddy(t *testing.T, caddyfile string, env ...string) *Caddy {
	t.Helper()
	c := newCaddy(t, env)
	c.start(caddyfile)
	return c
}

// CaddyFails runs Caddy with a Caddyfile that it must refuse, and returns what it said.
func CaddyFails(t *testing.T, caddyfile string, env ...string) string {
	t.Helper()
	c := newCaddy(t, env)
	c.run(caddyfile)
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		t.Fatal("Caddy runs with a Caddyfile that it should refuse")
	}
	if c.process.ProcessState.Success() {
		t.Fatal("Caddy ended well with a Caddyfile that it should refuse")
	}
	return c.Logs()
}

func newCaddy(t *testing.T, env []string) *Caddy {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatehouse") // short: a path of a unix socket has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	c := &Caddy{Port: freePort(t), Dir: dir, t: t}
	t.Cleanup(func() {
		c.Stop()
		if t.Failed() {
			t.Logf("Caddy on port %s said:\n%s", c.Port, c.Logs())
		}
		os.RemoveAll(dir)
	})
	socket := filepath.Join(dir, "admin.sock")
	cert, key := writeCertificate(t, dir)
	c.env = append(os.Environ(),
		asCaddy+"=1", "PORT="+c.Port, "CERT="+cert, "KEY="+key, "DIR="+dir, "CADDY_ADMIN=unix/"+socket,
		"HOME="+dir, "XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
		"E2E_HTTP_PORT="+freePort(t))
	c.env = append(c.env, env...)
	c.admin = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, // the endpoint moves with each reload
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	return c
}

// HTTP is the origin of the site that the Caddyfile calls http://localhost:{$PORT}.
func (c *Caddy) HTTP() string { return "http://localhost:" + c.Port }

// HTTPS is the origin of a site with a certificate of this run: HTTPS("app.example.test").
func (c *Caddy) HTTPS(host string) string { return "https://" + host + ":" + c.Port }

// Storage is the folder of Caddy's file storage.
func (c *Caddy) Storage() string { return filepath.Join(c.Dir, "data", "caddy") }

// Logs is everything that Caddy has written so far, of every start.
func (c *Caddy) Logs() string { return c.logs.String() }

// WaitLog waits until Caddy's log holds a text.
func (c *Caddy) WaitLog(text string) {
	c.t.Helper()
	if !eventually(10*time.Second, func() bool { return strings.Contains(c.Logs(), text) }) {
		c.t.Fatalf("Caddy did not log %q", text)
	}
}

// Reload loads another Caddyfile into the running process.
func (c *Caddy) Reload(caddyfile string) {
	c.t.Helper()
	if err := c.TryReload(caddyfile); err != nil {
		c.t.Fatal(err)
	}
}

// TryReload is Reload for a Caddyfile that may be refused; the old one then goes on.
func (c *Caddy) TryReload(caddyfile string) error {
	header := http.Header{
		"Content-Type":  {"text/caddyfile"},
		"Cache-Control": {"must-revalidate"}, // the same Caddyfile is loaded again too
	}
	status, body, err := c.ask(http.MethodPost, "/load", header, withGlobals(caddyfile))
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("reload: status %d: %s", status, body)
	}
	// Until the old configuration's socket is closed, the system may give it connections that it closes with it.
	if !eventually(10*time.Second, func() bool { return listeners(c.Port) <= 1 }) {
		return errors.New("reload: the old configuration still listens")
	}
	return nil
}

// ask makes a request of the admin endpoint that may be made twice. The endpoint of before a reload still takes
// connections while it stops, and closes them without an answer: then the one of after it is asked.
func (c *Caddy) ask(method, path string, header http.Header, body string) (status int, answer []byte, err error) {
	eventually(10*time.Second, func() bool {
		var req *http.Request
		if req, err = http.NewRequest(method, "http://localhost"+path, strings.NewReader(body)); err != nil {
			return true
		}
		req.Header = header
		var res *http.Response
		if res, err = c.admin.Do(req); err != nil {
			return false
		}
		defer res.Body.Close()
		status = res.StatusCode
		answer, err = io.ReadAll(res.Body)
		return err == nil
	})
	return status, answer, err
}

// listeners is how many sockets listen at a port of IPv4; 0 where the system does not tell.
func listeners(port string) int {
	table, err := os.ReadFile("/proc/net/tcp")
	number, errPort := strconv.Atoi(port)
	if err != nil || errPort != nil {
		return 0
	}
	count := 0
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // number, local address, remote address, state: 0A listens
		if len(fields) > 3 && fields[3] == "0A" && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) {
			count++
		}
	}
	return count
}

// Restart stops the process and starts another with the same port and storage.
func (c *Caddy) Restart(caddyfile string) {
	c.t.Helper()
	c.Stop()
	c.start(caddyfile)
}

// Stop ends the process gracefully, as a service manager would; it may be called twice.
func (c *Caddy) Stop() {
	c.t.Helper()
	if c.process == nil {
		return
	}
	defer func() { c.process = nil }()
	c.process.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-c.done:
	case <-time.After(15 * time.Second):
		c.t.Errorf("Caddy does not stop")
		c.Kill()
	}
	c.stdin.Close()
}

// Kill ends the process at once, as a crash would.
func (c *Caddy) Kill() {
	c.t.Helper()
	if c.process == nil {
		return
	}
	c.process.Process.Kill()
	<-c.done
	c.stdin.Close()
	c.process = nil
}

// start runs the process and waits until its configuration is loaded.
func (c *Caddy) start(caddyfile string) {
	c.t.Helper()
	c.run(caddyfile)
	loaded := func() bool {
		res, err := c.admin.Get("http://localhost/config/")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && res.StatusCode == http.StatusOK && !bytes.Equal(bytes.TrimSpace(body), []byte("null"))
	}
	ended := func() bool {
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	}
	if !eventually(30*time.Second, func() bool { return ended() || loaded() }) {
		c.t.Fatal("Caddy does not start")
	}
	if ended() {
		c.t.Fatal("Caddy ended while it started")
	}
}

// run starts the process and waits for nothing.
func (c *Caddy) run(caddyfile string) {
	c.t.Helper()
	file := filepath.Join(c.Dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(withGlobals(caddyfile)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.Dir, &c.logs, &c.logs
	c.stdin, err = cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	c.process, c.done = cmd, done
	go func() {
		cmd.Wait() // how it ended shows in the logs
		close(done)
	}()
}

// withGlobals adds to a Caddyfile what every process here needs.
func withGlobals(caddyfile string) string {
	const options = "\n\thttp_port {$E2E_HTTP_PORT}\n\tdefault_bind 127.0.0.1\n\tskip_install_trust\n"
	if rest, ok := strings.CutPrefix(strings.TrimLeft(caddyfile, " \t\n"), "{\n"); ok {
		return "{" + options + rest
	}
	return "{" + options + "}\n" + caddyfile
}

// freePort is a port of 127.0.0.1 that stays free, for the length of the test, until somebody listens on it by number.
func freePort(t *testing.T) string {
	t.Helper()
	return testop.FreePort(t)
}

// eventually tries until something holds or the time is over.
func eventually(limit time.Duration, holds func() bool) bool {
	return testop.Eventually(limit, holds)
}

// goroutines is how many goroutines the process has.
func (c *Caddy) goroutines() int {
	c.t.Helper()
	var count int
	if _, err := fmt.Sscanf(c.goroutineProfile(), "goroutine profile: total %d", &count); err != nil {
		c.t.Fatal(err)
	}
	return count
}

// goroutineProfile is what they do.
func (c *Caddy) goroutineProfile() string {
	c.t.Helper()
	_, profile, err := c.ask(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil, "")
	if err != nil {
		c.t.Fatal(err)
	}
	return string(profile)
}
