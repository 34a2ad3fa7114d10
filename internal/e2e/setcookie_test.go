package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Rule 58: an upstream sets no cookie of ours, neither to sign somebody out nor to hide a session; its own pass, and so do
// those that gates set on the way, an inner one too.
func TestUpstreamSetsNoCookieOfOurs(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range []string{"gatehouse=; Max-Age=0; Path=/", "theme=dark", "__Host-gatehouse=x; Secure; Path=/", "gatehouse_a_x=y"} {
			w.Header().Add("Set-Cookie", line)
		}
	}))
	defer upstream.Close()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	gatehouse {
		public /public/*
	}
	gatehouse /inner/* {
		require max_age 1h
	}
	reverse_proxy `+strings.TrimPrefix(upstream.URL, "http://")+`
}
`, func(p *testop.Provider) { p.Set(func(b *testop.Behaviour) { b.AccessTokenLifetime = time.Second }) })
	b := NewBrowser(t)
	b.Navigate(s.HTTP() + "/inner/")
	session := b.Jar.Cookie("gatehouse")
	if session == nil {
		t.Fatalf("no session: the upstream has ended it, or the gate could not set it: %v", b.Jar.Names("localhost"))
	}
	for _, path := range []string{"/public/x", "/", "/inner/"} {
		page := b.Fetch(s.HTTP(), "GET", s.HTTP()+path, nil, "")
		lines := page.Header.Values("Set-Cookie")
		if page.Status != http.StatusOK || !slices.Contains(lines, "theme=dark") || slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "gatehouse=;") || strings.Contains(line, "=x;") || strings.Contains(line, "_a_x")
		}) {
			t.Errorf("%s: %d %q", path, page.Status, lines)
		}
	}
	// A cookie that the gate itself sets, at a refresh, is not dropped.
	renewed := eventually(15*time.Second, func() bool {
		b.Fetch(s.HTTP(), "GET", s.HTTP()+"/inner/", nil, "")
		return b.Jar.Cookie("gatehouse").Value != session.Value
	})
	if !renewed {
		t.Error("a refreshed session does not reach the browser")
	}
	s.WaitLog("the upstream sets cookies by names of this gate")
}

// What an inner gate answers itself sets its cookies.
func TestInnerGateSignsIn(t *testing.T) {
	t.Parallel()
	s := StartSite(t, strings.Replace(siteWith("lifetime 1h", "public /*"), "reverse_proxy", "gatehouse /inner/*\n\treverse_proxy", 1))
	b := NewBrowser(t)
	seen(t, b.Navigate(s.HTTP()+"/"))
	if got := seen(t, b.Navigate(s.HTTP()+"/inner/")); got.Header.Get("X-Forwarded-User") != "alice" {
		t.Errorf("the inner gate signs nobody in: %v", got.Header)
	}
}
