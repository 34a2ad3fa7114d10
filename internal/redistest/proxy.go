package redistest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Network is what lies between a gate and its server, and is not in order. The
// zero value is one that is.
type Network struct {
	Delay           time.Duration // of every piece, in each direction
	CutAfter        int           // bytes of answers, after which a connection is closed; 0: never
	SwallowCommands bool          // what the server should get never arrives, and nobody is told
	SwallowAnswers  bool          // what it answers, and pushes, never does
}

// Proxy passes connections on to a server, through a [Network].
type Proxy struct {
	Addr string // host:port

	server  string
	mu      sync.Mutex
	network Network
	open    map[net.Conn]bool
}

// StartProxy stands in front of a server until the test ends.
func StartProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), server: server.Addr, open: map[net.Conn]bool{}}
	go p.accept(listener)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for conn := range p.open {
			_ = conn.Close()
		}
	})
	return p
}

// Set changes the network, for connections that there are, too.
func (p *Proxy) Set(n Network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network = n
}

func (p *Proxy) now() Network {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.network
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open[client], p.open[server] = true, true
		p.mu.Unlock()
		go p.pass(server, client, false)
		go p.pass(client, server, true)
	}
}

// pass copies one direction of a connection, and closes both when it ends.
func (p *Proxy) pass(to, from net.Conn, answers bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, conn := range []net.Conn{to, from} {
			_ = conn.Close()
			delete(p.open, conn)
		}
	}()
	buffer, passed := make([]byte, 32<<10), 0
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		network := p.now()
		time.Sleep(network.Delay)
		if answers && network.SwallowAnswers || !answers && network.SwallowCommands {
			continue
		}
		cut := answers && network.CutAfter > 0 && passed+n > network.CutAfter
		if cut {
			n = max(0, network.CutAfter-passed) // in the middle of an answer
		}
		if _, err := to.Write(buffer[:n]); err != nil || cut {
			return
		}
		passed += n
	}
}
