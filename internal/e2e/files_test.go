package e2e_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file that Caddy itself sends, which looks at no context, ends with its session as what an application sends.
func TestFilesAreCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = file.Truncate(64 << 30) // sparse: more than anybody reads within the test
	}
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	caddyfile := strings.Replace(streamSite, "reverse_proxy {$APP}", "handle /large {\n\t\troot "+dir+"\n\t\tfile_server\n\t}\n\thandle {\n\t\treverse_proxy {$APP}\n\t}", 1)
	caddyfile = strings.NewReplacer("{$SESSION}", "idle_timeout off", "{$STREAMS}", "").Replace(caddyfile)
	s := StartSite(t, caddyfile)
	c := s.streamer(t, "alice")
	streams := map[string]*quietStream{}
	for name, send := range map[string]func(*http.Request) (int, *quietStream){
		"HTTP/1.1": c.quietly(c.h1), "HTTP/2": c.quietly(c.h2), "HTTP/3": c.quietly(c.h3),
	} {
		status, stream := send(c.request("GET", "/large", nil))
		if status != http.StatusOK {
			t.Fatalf("%s: %d", name, status)
		}
		streams[name] = stream
	}
	page := c.b.Navigate(c.at + "/oauth2/session")
	c.b.Submit(page, "logout", nil)
	for name, stream := range streams {
		if !eventually(cutWithin, stream.ended) {
			t.Errorf("%s: it outlives its session", name)
		}
	}
}

// A quietStream is read, and forgotten.
type quietStream struct{ over chan struct{} }

func (s *quietStream) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// quietly sends a request and reads what comes, slowly.
func (c *streamer) quietly(send func(*http.Request) (int, io.ReadCloser)) func(*http.Request) (int, *quietStream) {
	return func(r *http.Request) (int, *quietStream) {
		status, body := send(r)
		c.t.Cleanup(func() { body.Close() })
		s := &quietStream{make(chan struct{})}
		go func() {
			defer close(s.over)
			for buffer := make([]byte, 16<<10); ; time.Sleep(5 * time.Millisecond) {
				if _, err := body.Read(buffer); err != nil {
					return
				}
			}
		}()
		return status, s
	}
}
