package e2e_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// Sites that are one host to a browser, by their paths or their ports, agree on how its session is kept, or choose names of
// their own for the cookies.
func TestSitesOfOneHostAgree(t *testing.T) {
	t.Parallel()
	op, app := testop.Start(t), StartApplication(t)
	s := &Site{OP: op, App: app, t: t}
	sites := func(second, session string) string {
		gate := `gatehouse {$ISSUER} {
		client_id     {$CLIENT_ID}
		client_secret {$CLIENT_SECRET}
		session {
			%
		}
		base_path /@/oauth2
	}`
		site := func(path, session string) string { return strings.NewReplacer("@", path, "%", session).Replace(gate) }
		return s.fill("http://localhost:{$PORT}/a/* {\n\t" + site("a", "lifetime 1h") + "\n}\n" + second + " {\n\t" + site("b", session) + "\n}\n")
	}
	const path = "http://localhost:{$PORT}/b/*"
	for name, caddyfile := range map[string]string{
		"another lifetime": sites(path, "lifetime 2h"),
		"another store":    sites(path, "lifetime 1h\n\t\t\tstore memory"),
		"another port":     sites("http://LOCALHOST:"+freePort(t), "lifetime 2h"),
	} {
		if logs := CaddyFails(t, caddyfile); !strings.Contains(logs, "must agree on store and lifetimes") {
			t.Errorf("%s: Caddy said %s", name, logs)
		}
	}
	for _, caddyfile := range []string{
		sites(path, "lifetime 1h"), sites(path, "lifetime 2h\n\t\t\tcookie_name other"), sites("http://127.0.0.1:{$PORT}", "lifetime 2h"),
	} {
		StartCaddy(t, caddyfile).Stop()
	}
}

// A cookie_domain of other hosts is said when the configuration is loaded, not by the first sign-in alone.
func TestCookieDomainOfOtherHosts(t *testing.T) {
	t.Parallel()
	s := &Site{OP: testop.Start(t), App: StartApplication(t), t: t}
	c := StartCaddy(t, s.fill(withSession("cookie_domain example.test")+"http://app.example.test:{$PORT} {\n\tgatehouse\n}\n"))
	c.WaitLog(`"host":"localhost","cookie_domain":"example.test"`)
	if strings.Contains(c.Logs(), `"host":"app.example.test"`) {
		t.Error("warned of a host that is covered")
	}
}
