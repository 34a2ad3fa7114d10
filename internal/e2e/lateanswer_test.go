package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// An answer that comes late brings the browser nothing of a session that it has no more: whoever signed out meanwhile, and
// in again, stays who they are.
func TestLateAnswerBringsNoOldSession(t *testing.T) {
	for name, caddyfile := range map[string]string{
		"cookie":       strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\tidle_timeout 16s\n\t\t}\n", 1),
		"server store": stores["memory"],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked, answer := make(chan struct{}), make(chan struct{})
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/report" {
					close(asked)
					select {
					case <-answer:
					case <-r.Context().Done():
					}
				}
				_, _ = w.Write([]byte(r.Header.Get("X-Forwarded-User")))
			}))
			defer upstream.Close()
			s := StartSite(t, strings.ReplaceAll(caddyfile, "{$APP}", upstream.Listener.Addr().String()), shortTokens)
			b := NewBrowser(t)
			b.Navigate(s.HTTP() + "/")
			time.Sleep(1100 * time.Millisecond) // the token's life, and the grain of the last use
			s.OP.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = time.Hour })
			late := make(chan *Page, 1)
			twin := b.Twin()
			go func() { late <- twin.Fetch(s.HTTP(), "GET", s.HTTP()+"/report", nil, "") }()
			<-asked
			b.Submit(b.Navigate(s.HTTP()+"/oauth2/session"), "logout", nil)
			s.As(b, "bob")
			b.Navigate(s.HTTP() + "/")
			close(answer)
			page := <-late
			for _, line := range page.Header["Set-Cookie"] {
				if strings.Contains(line, "gatehouse") {
					t.Errorf("the late answer sets %q", line)
				}
			}
		})
	}
}
