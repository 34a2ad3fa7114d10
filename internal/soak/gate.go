package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// gate is one Caddy process with the gate, and a folder of its own.
type gate struct {
	port, dir, caddyfile string
	book                 *book
	admin                *http.Client
	process              *exec.Cmd
	stdin                io.Closer
	done                 chan struct{}
	log                  testop.Output
}

// newGate starts one.
func newGate(t testing.TB, b *book, port, caddyfile string) *gate {
	dir, err := os.MkdirTemp("", "soak") // short: a path of a unix socket has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{port: port, dir: dir, caddyfile: caddyfile, book: b}
	g.admin = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin.sock"))
		},
	}}
	t.Cleanup(func() {
		g.kill()
		os.RemoveAll(dir)
	})
	if err := g.run(); err != nil {
		t.Fatal(err)
	}
	return g
}

// run starts the process and waits until it listens.
func (g *gate) run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(g.caddyfile), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(self, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Dir, cmd.Stdout, cmd.Stderr = g.dir, &g.log, &g.log
	cmd.Env = append(os.Environ(), asCaddy+"=1", "CADDY_ADMIN=unix/"+filepath.Join(g.dir, "admin.sock"), "HOME="+g.dir,
		"XDG_DATA_HOME="+filepath.Join(g.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(g.dir, "config"))
	if g.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	g.process, g.done = cmd, done
	go func() {
		_ = cmd.Wait() // how it ended shows in its log
		close(done)
	}()
	for range 6000 {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+g.port); err == nil {
			return conn.Close()
		}
		select {
		case <-done:
			return fmt.Errorf("the gate at port %s has ended:\n%s", g.port, g.log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("the gate at port %s does not listen:\n%s", g.port, g.log.String())
}

// signal sends one to the process.
func (g *gate) signal(s syscall.Signal) { _ = g.process.Process.Signal(s) }

// kill ends the process at once.
func (g *gate) kill() {
	if g.process == nil {
		return
	}
	g.signal(syscall.SIGKILL)
	<-g.done
	g.stdin.Close()
	g.process = nil
}

// stop ends the process as a service manager does.
func (g *gate) stop() {
	g.signal(syscall.SIGTERM)
	select {
	case <-g.done:
	case <-time.After(30 * time.Second):
		g.book.violation("the gate at port %s does not stop", g.port)
	}
	g.kill()
}

// reload loads the same configuration again. The admin endpoint of before a reload
// may close a connection without an answer; then it is asked again.
func (g *gate) reload() (err error) {
	for range 20 {
		var r *http.Request
		r, err = http.NewRequest(http.MethodPost, "http://localhost/load", strings.NewReader(g.caddyfile))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "text/caddyfile")
		r.Header.Set("Cache-Control", "must-revalidate")
		var response *http.Response
		if response, err = g.admin.Do(r); err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("reload: %s: %s", response.Status, body)
		}
		return nil
	}
	return err
}

// saveLog writes what the process has said, of every start, to a temporary file.
func (g *gate) saveLog(name string) {
	file := filepath.Join(os.TempDir(), name)
	if os.WriteFile(file, []byte(g.log.String()), 0o600) == nil {
		fmt.Fprintf(g.book.out, "log of the gate at port %s: %s\n", g.port, file)
	}
}
