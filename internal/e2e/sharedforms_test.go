package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// balanced are two replicas behind one address, with forms that wait and sessions that are soon idle.
type balanced struct {
	*Site // its address is the balancer's
	redis *redistest.Server
	at    atomic.Int32 // which replica has the next request

	mu    sync.Mutex
	forms []string // bodies of the forms that the application got
}

func startBalanced(t *testing.T, words string) *balanced {
	t.Helper()
	s := &balanced{redis: redistest.Start(t)}
	application := StartApplication(t)
	answer := application.Config.Handler
	application.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.mu.Lock()
			s.forms = append(s.forms, string(body))
			s.mu.Unlock()
		}
		answer.ServeHTTP(w, r)
	})
	op := testop.Start(t)
	caddyfile := strings.Replace(withSession(words+"\n\t\t\tidle_timeout 2s"), "public /public/*", "preserve_post", 1)
	var replicas [2]*url.URL
	for i := range replicas {
		replica := &Site{OP: op, App: application, t: t}
		replica.Caddy = StartCaddy(t, replica.fill(caddyfile), "REDIS="+s.redis.Addr)
		replicas[i] = &url.URL{Scheme: "http", Host: "localhost:" + replica.Port}
	}
	balancer := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(replicas[s.at.Load()])
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(balancer.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(balancer.URL, "http://"), ":")
	s.Site = &Site{Caddy: &Caddy{Port: port, t: t}, OP: op, App: application, t: t}
	return s
}

// sent are the forms that came to the application since the last time.
func (s *balanced) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	forms := s.forms
	s.forms = nil
	return forms
}

// unavailable holds a page to say that it is a matter of time, and the application to have heard of nothing.
func (s *balanced) unavailable(what string, page *Page) {
	s.t.Helper()
	if page.Status != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" || reason(page) != "store_unavailable" || !strings.Contains(page.Body, "<main>") {
		s.t.Errorf("%s: %d %s\n%s", what, page.Status, reason(page), brief(page))
	}
	if forms := s.sent(); len(forms) != 0 {
		s.t.Errorf("%s: the application got %q", what, forms)
	}
}

// P07: a form that is sent to one replica when the session is over, and whose sender signs in at another, arrives once,
// byte for byte, at whichever; it is its sender's alone; and a Redis that is away meanwhile loses nothing and sends nothing
// twice.
func TestPreservePostAmongReplicas(t *testing.T) {
	for name, words := range sharing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startBalanced(t, words)
			const target = "/save?draft=%2F1&x=a+b"
			var browsers [5]*Browser
			for i := range browsers {
				browsers[i] = s.As(NewBrowser(t), "alice")
				seen(t, browsers[i].Navigate(s.HTTP()+"/form"))
			}
			time.Sleep(2500 * time.Millisecond) // longer than the idle timeout
			first, second := func() { s.at.Store(0) }, func() { s.at.Store(1) }
			arrives := func(what string, b *Browser, page *Page) {
				t.Helper()
				if got := seen(t, page); got.Method != http.MethodPost || got.URI != target || got.Body != note.Encode() || got.Header.Get("X-Forwarded-User") != "alice" {
					t.Errorf("%s: the application got %s %s %q of %s", what, got.Method, got.URI, got.Body, got.Header.Get("X-Forwarded-User"))
				}
				if got := seen(t, b.Navigate(s.HTTP()+target)); got.Method != http.MethodGet {
					t.Errorf("%s: and once more %s %q", what, got.Method, got.Body)
				}
				if forms := s.sent(); len(forms) != 1 {
					t.Errorf("%s: the application got %q", what, forms)
				}
			}

			b := browsers[0]
			page := s.post(t, b, target, note.Encode())
			second()
			b.stepThrough(page, "/oauth2/callback")
			first()
			twin := b.Twin() // the same cookies, at the other replica
			page = b.Navigate(s.HTTP() + target)
			second()
			if got := seen(t, twin.Navigate(s.HTTP()+target)); got.Method != http.MethodGet {
				t.Errorf("it was sent twice: %q", got.Body)
			}
			arrives("two replicas", b, page)

			b = browsers[1]
			first()
			page = s.post(t, b, target, note.Encode())
			second()
			s.As(b, "bob")
			b.stepThrough(page, "/oauth2/callback")
			if got := seen(t, b.Navigate(s.HTTP()+target)); got.Method != http.MethodGet || got.Header.Get("X-Forwarded-User") != "bob" {
				t.Errorf("somebody else: the application got %s %q as %s", got.Method, got.Body, got.Header.Get("X-Forwarded-User"))
			}

			b = browsers[2]
			first()
			s.redis.Kill()
			s.unavailable("Redis is away when it is sent", s.post(t, b, target, note.Encode()))
			s.redis.Restart()
			eventually(20*time.Second, func() bool {
				page = s.post(t, b, target, note.Encode())
				return page.Status != http.StatusServiceUnavailable
			})
			second()
			page = b.stepThrough(page, "/oauth2/callback")
			arrives("Redis was away when it was sent", b, b.Navigate(s.HTTP()+target))

			b = browsers[3]
			first()
			page = s.post(t, b, target, note.Encode())
			callback := b.Step(page.Header.Get("Location")).Header.Get("Location")
			s.redis.Kill()
			second()
			s.unavailable("Redis is away at the callback", b.Step(callback))
			s.redis.Restart()
			eventually(20*time.Second, func() bool {
				page = b.Step(callback)
				return page.Status != http.StatusServiceUnavailable
			})
			arrives("Redis was away at the callback", b, b.Follow(page, page.Header.Get("Location")))

			b = browsers[4]
			first()
			page = s.post(t, b, target, note.Encode())
			second()
			b.stepThrough(page, "/oauth2/callback")
			s.redis.Kill()
			first()
			s.unavailable("Redis is away after the sign-in", b.Navigate(s.HTTP()+target))
			s.redis.Restart()
			eventually(20*time.Second, func() bool {
				page = b.Navigate(s.HTTP() + target)
				return page.Status != http.StatusServiceUnavailable
			})
			arrives("Redis was away after the sign-in", b, page)
		})
	}
}
