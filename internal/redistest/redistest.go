// Package redistest runs Redis servers for tests: children of the test, on free
// ports of this machine, that can be stopped, killed and started again.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// patience is how long a server may take to be there.
const patience = 30 * time.Second

// Server is one redis-server, or sentinel, of a test.
type Server struct {
	Addr string // host:port
	Dir  string // where it keeps its files; Dir/redis.sock is its socket

	t       testing.TB
	args    []string
	process *exec.Cmd
	done    chan struct{}
}

// Start runs a server that writes what it is told to a file, so that it still
// knows it after [Server.Kill] and [Server.Restart]. Further arguments are those
// of redis-server. It ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t)
	s.args = append([]string{"--appendonly", "yes", "--appendfsync", "no", "--unixsocket", filepath.Join(s.Dir, "redis.sock")}, args...)
	s.run()
	return s
}

func prepare(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skipf("redis-server is not installed: %v", err)
	}
	dir, err := os.MkdirTemp("", "redis") // short: a path of a unix socket has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: "127.0.0.1:" + testop.FreePort(t), Dir: dir, t: t}
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	return s
}

// StartSentinel runs a sentinel that watches a master by the name "main", alone,
// and finds it to be down when it has not answered for one and a half seconds.
// Further lines are those of its file: requirepass, user.
func StartSentinel(t testing.TB, master *Server, lines ...string) *Server {
	t.Helper()
	s := prepare(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	config := filepath.Join(s.Dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main %s %s 1\nsentinel down-after-milliseconds main 1500\nsentinel failover-timeout main 3000\n", host, port)
	text += strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{config, "--sentinel"}
	s.run()
	return s
}

// StartCluster runs a cluster of three nodes without replicas.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	var addresses []string
	for range 3 {
		node := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", testop.FreePort(t))
		nodes, addresses = append(nodes, node), append(addresses, node.Addr)
	}
	create := append([]string{"--cluster", "create"}, addresses...)
	if out, err := exec.Command("redis-cli", append(create, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("creating a cluster: %v\n%s", err, out)
	}
	for _, node := range nodes {
		if !testop.Eventually(patience, func() bool { return strings.Contains(node.CLI("cluster", "info"), "cluster_state:ok") }) {
			t.Fatalf("the cluster does not come up: %s", node.CLI("cluster", "info"))
		}
	}
	return nodes
}

// run starts the process and waits until it answers.
func (s *Server) run() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{}, s.args...)
	args = append(args, "--port", port, "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--daemonize", "no")
	if len(s.args) > 0 && strings.HasSuffix(s.args[0], ".conf") {
		args = append(args[:1:1], append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.Dir}, s.args[1:]...)...)
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.process, s.done = cmd, done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	if !testop.Eventually(patience, s.answers) {
		text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
		s.t.Fatalf("redis-server does not answer:\n%s", text)
	}
}

// answers tells whether the server takes commands: it has read its file.
func (s *Server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.CommandContext(ctx, "redis-cli", "-p", port, "ping").CombinedOutput()
	return err == nil && (strings.HasPrefix(string(out), "PONG") || strings.HasPrefix(string(out), "NOAUTH"))
}

// CLI runs a command of redis-cli at the server and returns what it printed.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.Command("redis-cli", append([]string{"-p", port}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// Stop freezes the process: it keeps its connections and answers nothing.
func (s *Server) Stop() { _ = s.process.Process.Signal(syscall.SIGSTOP) }

// Continue lets it go on.
func (s *Server) Continue() { _ = s.process.Process.Signal(syscall.SIGCONT) }

// Kill ends the process at once; it may be called twice.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	<-s.done
	s.process = nil
}

// Restart ends the process and starts it with the same address and files.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.run()
}

// Forget removes the files of a server that was killed: it comes back empty.
func (s *Server) Forget() {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.Dir, "appendonlydir")); err != nil {
		s.t.Fatal(err)
	}
}
