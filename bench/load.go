package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// sender keeps one connection and sends one request on it again and again. It is
// no http.Client: that would take more CPU than the servers.
type sender struct {
	conn    net.Conn
	request []byte
	buffer  []byte
}

// newSenders opens connections that send GET with these header lines.
func newSenders(count int, address, host, path string, header http.Header) ([]*sender, error) {
	var request bytes.Buffer
	fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, host)
	if err := header.Write(&request); err != nil {
		return nil, err
	}
	request.WriteString("\r\n")
	senders := make([]*sender, 0, count)
	for range count {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return senders, err
		}
		senders = append(senders, &sender{conn: conn, request: request.Bytes(), buffer: make([]byte, 64<<10)})
	}
	return senders, nil
}

// send sends once and reads the answer, which must be a 200 with a Content-Length.
func (s *sender) send() error {
	if _, err := s.conn.Write(s.request); err != nil {
		return err
	}
	have, want := 0, -1
	for want < 0 || have < want {
		n, err := s.conn.Read(s.buffer[have:])
		if err != nil {
			return fmt.Errorf("after %q: %w", s.buffer[:have], err)
		}
		have += n
		if want >= 0 {
			continue
		}
		if end := bytes.Index(s.buffer[:have], []byte("\r\n\r\n")); end >= 0 {
			length, err := contentLength(s.buffer[:end+2])
			if err != nil {
				return err
			}
			want = end + 4 + length
		}
	}
	if have != want {
		return errors.New("more than one answer to a request")
	}
	return nil
}

func contentLength(head []byte) (int, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("not 200: %q", head)
	}
	const name = "\r\nContent-Length: "
	at := bytes.Index(head, []byte(name))
	if at < 0 {
		return 0, fmt.Errorf("no Content-Length: %q", head)
	}
	value, _, _ := bytes.Cut(head[at+len(name):], []byte("\r\n"))
	return strconv.Atoi(string(value))
}

// load has every sender send until the time is over, and returns how long each answer took.
func load(ctx context.Context, senders []*sender, duration time.Duration) ([]time.Duration, error) {
	var (
		mu   sync.Mutex
		all  []time.Duration
		errs []error
		wg   sync.WaitGroup
	)
	deadline := time.Now().Add(duration)
	for _, s := range senders {
		wg.Go(func() {
			took := make([]time.Duration, 0, 4096)
			var err error
			for begun := time.Now(); err == nil && begun.Before(deadline) && ctx.Err() == nil; {
				err = s.send()
				now := time.Now()
				took = append(took, now.Sub(begun))
				begun = now
			}
			mu.Lock()
			defer mu.Unlock()
			all, errs = append(all, took...), append(errs, err)
		})
	}
	wg.Wait()
	return all, errors.Join(append(errs, ctx.Err())...)
}
