package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// heap is how many bytes of the process's heap are in use, after a collection.
func (c *Caddy) heap() int {
	c.t.Helper()
	for range 2 { // what a pool holds is let go with the second one
		res, err := c.admin.Get("http://localhost/debug/pprof/heap?gc=1")
		if err != nil {
			c.t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	res, err := c.admin.Get("http://localhost/debug/pprof/heap?debug=1")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	profile, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(profile), "\n# HeapAlloc = ")
	line, _, _ := strings.Cut(rest, "\n")
	size, err := strconv.Atoi(line)
	if !found || err != nil {
		c.t.Fatalf("no HeapAlloc in the profile: %v", err)
	}
	return size
}

// stored is how many files the process's storage has.
func (c *Caddy) stored() int {
	c.t.Helper()
	count := 0
	err := filepath.WalkDir(c.Storage(), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			count++
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return count
}

// flood sends n requests on a few connections, and counts the answers by status.
func flood(t *testing.T, n int, request func(i int) *http.Request) map[int]int {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	defer transport.CloseIdleConnections()
	statuses := map[int]int{}
	var mu sync.Mutex
	var next atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				res, err := transport.RoundTrip(request(int(i)))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				mu.Lock()
				statuses[res.StatusCode]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return statuses
}

// Sign-ins that nobody finishes, and cookies that nobody sealed, cost no memory, no 5xx and no place in the
// storage. GATEHOUSE_FLOOD is the number of each, for a figure on larger ones.
func TestFloods(t *testing.T) {
	n := 4000
	if more, err := strconv.Atoi(os.Getenv("GATEHOUSE_FLOOD")); err == nil {
		n = more
	}
	for store, caddyfile := range stores {
		t.Run(store, func(t *testing.T) {
			s := StartSite(t, "{\n\tlog {\n\t\tlevel ERROR\n\t}\n"+strings.TrimPrefix(caddyfile, "{\n"))
			b := NewBrowser(t)
			seen(t, b.Navigate(s.HTTP()+"/"))
			real := b.Jar.Cookie("gatehouse").Value
			get := func(path string, cookie string) *http.Request {
				r, err := http.NewRequest(http.MethodGet, s.HTTP()+path, nil)
				if err != nil {
					panic(err)
				}
				r.Header = http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}, "Accept": {"text/html"}}
				if cookie != "" {
					r.Header.Set("Cookie", cookie)
				}
				return r
			}
			forged := func() string { // under the name of the real key
				noise := make([]byte, 300)
				rand.Read(noise)
				return real[:strings.LastIndex(real, ".")+1] + base64.RawURLEncoding.EncodeToString(noise)
			}
			floods := map[string]struct {
				want    int
				request func(int) *http.Request
			}{
				"starts":   {http.StatusSeeOther, func(i int) *http.Request { return get(fmt.Sprint("/deep/link?n=", i), "") }},
				"sessions": {http.StatusSeeOther, func(int) *http.Request { return get("/", "gatehouse="+forged()) }},
				"attempts": {http.StatusBadRequest, func(i int) *http.Request {
					state := "0tp04i7cJi7GckEmWltrynYXSt8Nw"
					return get("/oauth2/callback?code=c&state="+state, "gatehouse_a_"+state+"="+forged())
				}},
			}
			for _, f := range floods { // what it takes once
				flood(t, 500, f.request)
			}
			before, files := s.heap(), s.stored()
			for name, f := range floods {
				if got := flood(t, n, f.request); got[f.want] != n {
					t.Errorf("%s: answers %v, want %d of %d", name, got, n, f.want)
				}
			}
			grown := s.heap() - before
			t.Logf("%d of each: the heap of %d bytes has grown by %d", n, before, grown)
			if grown > 4<<20 {
				t.Errorf("the heap has grown by %d bytes in %d requests", grown, 3*n)
			}
			if more := s.stored() - files; more != 0 {
				t.Errorf("%d more files in the storage", more)
			}
			seen(t, b.Step(s.HTTP()+"/"))
		})
	}
}
