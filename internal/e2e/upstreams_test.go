package e2e_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/hostile"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// The applications answer with the variables of a request as they see them, as JSON.
var applications = []struct {
	name, program string
	arguments     []string // $PORT is where to listen
	file, source  string
	handler       string // of Caddy
}{
	{"WSGI", "python3", []string{"app.py", "$PORT"}, "app.py", `
import json, sys
from wsgiref.simple_server import make_server, WSGIRequestHandler
class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass
def app(environ, start):
    start('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()]
make_server('127.0.0.1', int(sys.argv[1]), app, handler_class=Quiet).serve_forever()
`, "reverse_proxy 127.0.0.1:$PORT"},
	{"PHP", "php-cgi", []string{"-b", "127.0.0.1:$PORT"}, "index.php", `<?php
header('Content-Type: application/json');
echo json_encode(array_filter($_SERVER, 'is_string') + array_change_key_case(getenv(), CASE_UPPER));
`, "root * $FOLDER\n\tphp_fastcgi 127.0.0.1:$PORT"},
	{"Node", "node", []string{"app.js", "$PORT"}, "app.js", `
require('http').createServer((request, response) => {
	response.setHeader('Content-Type', 'application/json')
	const seen = {REQUEST_URI: request.url, REQUEST_METHOD: request.method}
	for (const name in request.headers) seen[name] = String(request.headers[name])
	response.end(JSON.stringify(seen))
}).listen(+process.argv[2], '127.0.0.1')
`, "reverse_proxy 127.0.0.1:$PORT"},
}

// startProgram runs an application in a folder of its own until the test ends, and returns its handler in Caddy.
func startProgram(t *testing.T, program string, arguments []string, file, source, handler string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		skipWithout(t, program, err)
	}
	folder, port := t.TempDir(), freePort(t)
	if err := os.WriteFile(filepath.Join(folder, file), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$PORT", port, "$FOLDER", folder)
	arguments = slices.Clone(arguments)
	for i := range arguments {
		arguments[i] = fill.Replace(arguments[i])
	}
	var logs testop.Output
	command := exec.Command(path, arguments...)
	command.Dir, command.Stdout, command.Stderr = folder, &logs, &logs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, logs.String())
		}
	})
	if !eventually(30*time.Second, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		t.Fatalf("%s does not listen", program)
	}
	return fill.Replace(handler)
}

// SEC-04, SEC-20 to SEC-25: real applications read no identity, and no path, out of any spelling of any header, with
// Caddy told to let most names through, with a session and without.
func TestNoSpellingIsReadAsIdentity(t *testing.T) {
	t.Parallel()
	names := []string{"Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Remote-User", "X-Auth-Request-User", "X-Team", "X-Original-Url", "X-Rewrite-Url", "Script-Name", "X-Script-Name"}
	for _, app := range applications {
		t.Run(app.name, func(t *testing.T) {
			t.Parallel()
			caddyfile := strings.NewReplacer(
				"{\n\tgatehouse", "{\n\tservers {\n\t\texpected_underscore_headers x_* remote_* script_*\n\t\texpected_dot_headers x.* remote.* script.*\n\t}\n\tgatehouse",
				"return_to", "header X-Team groups\n\t\treturn_to",
				"reverse_proxy {$APP}", startProgram(t, app.program, app.arguments, app.file, app.source, app.handler),
			).Replace(secureSite)
			s := StartSite(t, caddyfile, staff)
			session := "Cookie: " + sessionCookie(t, s, "alice") + "\r\n"
			for _, name := range names {
				var lines strings.Builder
				for _, spelt := range hostile.HeaderNames(name) {
					lines.WriteString(spelt + ": /mallory\r\n")
				}
				for user, cookie := range map[string]string{"": "", "alice": session} {
					page := raw(t, s, "GET /public/x HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n"+lines.String()+cookie+"\r\n")
					if page == nil || page.Status != http.StatusOK {
						t.Fatalf("%s: %v", name, page)
					}
					var seen map[string]string
					decode(t, page.Body, &seen)
					for variable, value := range seen {
						read := folded(strings.TrimPrefix(variable, "HTTP_"))
						if strings.Contains(value, "mallory") && slices.ContainsFunc(names, func(name string) bool { return folded(name) == read }) ||
							read == "requesturi" && value != "/public/x" || read == "xforwardeduser" && value != user {
							t.Errorf("%s, user %q: the application reads %s as %q", name, user, variable, value)
						}
					}
				}
			}
		})
	}
}

// SEC-07, SEC-08: no path opens what applications on Node serve below /admin, whether they ask the URL Standard's
// parser, decode what it gives and resolve it, or match the path as it stands.
func TestPathsThatNodeReads(t *testing.T) {
	t.Parallel()
	handler := startProgram(t, "node", []string{"app.js", "$PORT"}, "app.js", `
const normalize = require('path').posix.normalize
const decoded = p => { try { return decodeURIComponent(p) } catch { return p } }
require('http').createServer((request, response) => {
	const paths = [request.url.split('?')[0]]
	try { paths.push(new URL(request.url, 'http://app').pathname) } catch {}
	for (const p of [...paths]) paths.push(decoded(p), normalize(decoded(p)))
	response.end(paths.some(p => /^\/admin(\/|$)/i.test(p)) ? 'secret' : 'open')
}).listen(+process.argv[2], '127.0.0.1')
`, "reverse_proxy 127.0.0.1:$PORT")
	for name, words := range map[string]string{"public": "gatehouse {\n\t\tpublic /public/*\n\t}", "area": "@admin path /admin /admin/*\n\tgatehouse @admin"} {
		s := StartSite(t, "{\n\tgatehouse {\n\t\t{$PROVIDER}\n\t}\n}\nhttps://app.example.test:{$PORT} {\n\ttls {$CERT} {$KEY}\n\t"+words+"\n\t"+handler+"\n}\n", staff)
		targets := []string{
			"/admin/users", "/admin/..%2fpublic%2fx", "/admin/users/%2e%2e/%2e%2e/public/x", "//public/admin/users", "///public/admin/users", "//public:80/admin/users", "/public/%2e%2e/%2fadmin/%2f../../public/x",
		}
		for i, target := range hostile.Paths() {
			if i%251 == 0 {
				targets = append(targets, target)
			}
		}
		opened := 0
		for _, target := range append(targets, "/public/x") {
			page := raw(t, s, "GET "+target+" HTTP/1.1\r\nHost: app.example.test:"+s.Port+"\r\n\r\n")
			if page == nil {
				continue
			}
			if page.Status == http.StatusOK {
				opened++
			}
			if strings.Contains(page.Body, "secret") {
				t.Errorf("%s: %s opens what is below /admin", name, target)
			}
		}
		if opened == 0 {
			t.Errorf("%s: the application was never asked", name)
		}
	}
}

// folded is a name by its letters and digits alone.
func folded(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, strings.ToLower(name))
}
