package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// process is one server under measurement, with what it started itself.
type process struct {
	name  string
	dir   string // its own folder, which goes with it
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended
	log   bytes.Buffer  // read only after done
	other *other        // the spec that it is of; nil for a Caddy of ours
}

// startProcess runs a command in a folder of its own.
func startProcess(name, dir string, environment, command []string) (*process, error) {
	p := &process{name: name, dir: dir, done: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env, p.cmd.Dir = append(os.Environ(), environment...), dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its log
		close(p.done)
	}()
	return p, nil
}

// startCaddy runs this program as Caddy with a Caddyfile.
func startCaddy(name, caddyfile string, o options) (*process, error) {
	as := "unprofiled"
	if o.profile != "" {
		as = "profiled"
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	return startProcess(name, dir, []string{
		asCaddy + "=" + as, "GOMAXPROCS=" + strconv.Itoa(o.cores), "DIR=" + dir, "HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
	}, []string{self, "run", "--config", file, "--adapter", "caddyfile"})
}

// listening waits until somebody listens at every address, and fails if the process ends before.
func (p *process) listening(ctx context.Context, addresses ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, address := range addresses {
		for {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-p.done:
				return fmt.Errorf("%s has ended:\n%s", p.name, p.log.String())
			case <-ctx.Done():
				return fmt.Errorf("%s does not listen at %s: %w", p.name, address, ctx.Err())
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}

// stop ends the process with what it started, and removes its folder.
func (p *process) stop() error {
	started, _ := p.tree()
	if p.cmd.Process.Signal(syscall.SIGTERM) == nil { // an error means that it has ended
		for _, pid := range started[min(1, len(started)):] {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.stdin.Close()
	return os.RemoveAll(p.dir)
}

// tree is the process and all that descends from it.
func (p *process) tree() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended meanwhile
		}
		// The name in parentheses may hold anything; state and parent follow the last one.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// cpu is the time that processes have run so far. It is what /proc/PID/stat says
// in ticks of 10 ms, read from the scheduler in nanoseconds.
func cpu(pids []int) (time.Duration, error) {
	var total time.Duration
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			return 0, err
		}
		if len(threads) == 0 {
			return 0, fmt.Errorf("process %d: %w, or a kernel without CONFIG_SCHED_INFO", pid, os.ErrNotExist)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue // the thread has ended
			}
			if err != nil {
				return 0, err
			}
			ran, _, _ := strings.Cut(string(text), " ")
			nanoseconds, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", thread, err)
			}
			total += time.Duration(nanoseconds)
		}
	}
	return total, nil
}

// rss is the memory that processes hold, in bytes.
func rss(pids []int) (int64, error) {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
		if err != nil {
			return 0, err
		}
		total += pages * int64(os.Getpagesize())
	}
	return total, nil
}

// freePort is a port of loopback that stays free, as long as this program runs, until
// a server is told to listen there.
func freePort() (string, error) {
	port, _, err := testop.HoldPort()
	return port, err
}
