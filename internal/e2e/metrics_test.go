package e2e_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Caddy's metrics count sign-ins, refusals by their reason, and refreshes; and nothing that a visitor sends becomes a label.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := StartSite(t, `{
	gatehouse {
		{$PROVIDER}
	}
}
http://localhost:{$PORT} {
	handle /metrics {
		metrics
	}
	handle {
		gatehouse {
			deny user bob
		}
		reverse_proxy {$APP}
	}
}
`, func(p *testop.Provider) { p.User = testop.User{Subject: "1", Name: "alice"} })
	scrape := func() (ours string) {
		t.Helper()
		page := NewBrowser(t).Navigate(s.HTTP() + "/metrics")
		if page.Status != http.StatusOK {
			t.Fatalf("metrics: %d", page.Status)
		}
		for line := range strings.Lines(page.Body) {
			if strings.HasPrefix(line, "gatehouse_") {
				ours += line
			}
		}
		return ours
	}
	if before := scrape(); before != "" {
		t.Errorf("before anything happened: %s", before)
	}
	seen(t, NewBrowser(t).Navigate(s.HTTP()+"/x"))
	wantReason(t, s.As(NewBrowser(t), "bob").Navigate(s.HTTP()+"/x"), http.StatusForbidden, "denied")
	wantReason(t, NewBrowser(t).Fetch(s.HTTP(), "GET", s.HTTP()+"/x", nil, ""), http.StatusUnauthorized, "no_session")
	wantReason(t, NewBrowser(t).Navigate(s.HTTP()+"/oauth2/login?provider=evil%22%7D"), http.StatusBadRequest, "unknown_provider")
	got := scrape()
	for _, want := range []string{
		`gatehouse_sign_ins_total{provider="default"} 2`,
		`gatehouse_refused_total{reason="denied"} `,
		`gatehouse_refused_total{reason="no_session"} 1`,
		`gatehouse_refused_total{reason="unknown_provider"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "evil") || regexp.MustCompile(`\{[^}]*(alice|bob|/x)`).MatchString(got) {
		t.Errorf("a visitor's word is a label:\n%s", got)
	}
}
