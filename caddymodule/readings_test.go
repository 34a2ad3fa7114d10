package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/internal/hostile"
)

// readers are how servers, and what stands in front of them, read a path that has been
// decoded once. They are told as what those do, not by the parts that the gate is made of.
var readers = map[string]func(string) string{
	"as it is": func(p string) string { return p },
	"nginx":    func(p string) string { return path.Clean(strings.TrimRight("/"+p, "\x00")) },
	"URL Standard": func(p string) string {
		var kept []string
		for segment := range strings.SplitSeq(strings.ReplaceAll(p, `\`, "/")[1:], "/") {
			switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
			case "..":
				kept = kept[:max(0, len(kept)-1)]
			case ".":
			default:
				kept = append(kept, segment)
			}
		}
		return "/" + strings.Join(kept, "/")
	},
	"servlet": func(p string) string {
		segments := strings.Split(p, "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ";")
		}
		return path.Clean("/" + strings.Join(segments, "/"))
	},
	"URL with a host": func(p string) string {
		if p = strings.ReplaceAll(p, `\`, "/"); !strings.HasPrefix(p, "//") {
			return p
		}
		u, err := url.Parse("//" + strings.TrimLeft(p, "/"))
		if err != nil {
			return ""
		}
		return "/" + strings.TrimPrefix(u.Path, "/")
	},
	"decodes again":      percentDecodedOnce,
	"C string":           func(p string) string { before, _, _ := strings.Cut(p, "\x00"); return before },
	"query in the path":  func(p string) string { before, _, _ := strings.Cut(p, "?"); return before },
	"fragment":           func(p string) string { before, _, _ := strings.Cut(p, "#"); return before },
	"parameters to end":  func(p string) string { before, _, _ := strings.Cut(p, ";"); return before },
	"line":               func(p string) string { before, _, _ := strings.Cut(p, "\n"); return strings.TrimSuffix(before, "\r") },
	"backslashes":        func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
	"lenient UTF-8":      strings.NewReplacer("\xc0\xaf", "/", "\xe0\x80\xaf", "/", "\xf0\x80\x80\xaf", "/", "\xc0\xae", ".", "\xe0\x80\xae", ".", "\xc1\x9c", `\`, "\xc1\xa1", "a", "\xe0\x81\xa1", "a").Replace,
	"best fit":           strings.NewReplacer("\uff0f", "/", "\uff3c", `\`, "\uff0e", ".", "\uff41", "a", "\u2215", "/", "\u2044", "/").Replace,
	"drops the unseen":   strings.NewReplacer("\u200b", "", "\ufeff", "", "\u00ad", "", "\ufe0f", "").Replace,
	"names of Windows":   windowsNames,
	"trims the segments": func(p string) string { return eachSegment(strings.TrimSpace)(p) },
}

func windowsNames(p string) string {
	segments := strings.Split(strings.ReplaceAll(p, `\`, "/"), "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." {
			continue
		}
		segment, _, _ = strings.Cut(segment, ":")
		segments[i] = strings.TrimRight(segment, ". ")
	}
	return path.Clean("/" + strings.Join(segments, "/"))
}

func percentDecodedOnce(p string) string {
	for i := 0; i < len(p); i++ {
		var code rune
		if n, _ := fmt.Sscanf(p[i:min(i+3, len(p))], "%%%02x", &code); n == 1 && len(p) >= i+3 {
			p = p[:i] + string([]byte{byte(code)}) + p[i+3:]
		} else if n, _ := fmt.Sscanf(p[i:min(i+6, len(p))], "%%u%04x", &code); n == 1 && len(p) >= i+6 {
			p = p[:i] + string(code) + p[i+6:]
		}
	}
	return p
}

// SEC-01, SEC-02, SEC-07, SEC-08: a path that some server, or three in a row, read as one of the protected ones is
// protected, and not public.
func TestPathsThatServersReadAsProtected(t *testing.T) {
	gates := map[string]*Gate{
		"a gate for /admin":  {matchers: caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/admin", "/admin/*"}}}},
		"a public /public/*": {public: caddyhttp.MatchPath{"/public/*"}},
	}
	names := make([]string, 0, len(readers))
	for name := range readers {
		names = append(names, name)
	}
	slices.Sort(names)
	protected, countless := 0, 0
	for i, target := range hostile.Paths() {
		if i%29 != 0 { // a different slice of each family
			continue
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			continue // net/http answers 400
		}
		reads := readsAdmin(u.Path, names)
		if reads == "" {
			continue
		}
		protected++
		r := withReplacer(request(t, http.MethodGet, "/"))
		r.URL, r.RequestURI = u, target
		*originalURL(r) = *u
		for name, g := range gates {
			open, err := g.isPublic(r)
			if problem := asProblem(err); err != nil && problem.Reason == ReasonPathRefused && errors.Is(err, errCountless) {
				countless++
				continue
			}
			if err != nil || open {
				t.Errorf("%s: %s is open, and read as below /admin by: %s (%v)", name, target, reads, err)
			}
		}
	}
	t.Logf("%d paths, %d refused", protected, countless)
	if protected < 500 || countless > protected/10 {
		t.Errorf("%d paths are read as protected, of which %d are refused as countless", protected, countless)
	}
}

// readsAdmin finds three readers in a row that read a path as one below /admin.
func readsAdmin(p string, names []string) string {
	type step struct{ path, by string }
	steps, known := []step{{p, ""}}, map[string]bool{p: true}
	isAdmin := func(p string) bool {
		p = strings.ToLower(p)
		return p == "/admin" || strings.HasPrefix(p, "/admin/")
	}
	for range 3 {
		var next []step
		for _, at := range steps {
			if isAdmin(at.path) { // a router's view: what follows, dots too, are parameters
				return at.by + ", as it stands"
			}
			if isAdmin(path.Clean(at.path)) {
				return at.by + ", then resolved"
			}
			for _, name := range names {
				if read := readers[name](at.path); !known[read] && strings.HasPrefix(read, "/") {
					known[read] = true
					next = append(next, step{read, at.by + ", " + name})
				}
			}
		}
		steps = next
	}
	for _, at := range steps {
		if isAdmin(at.path) {
			return at.by
		}
	}
	return ""
}

// Of routers that match a path as it stands, and of those that ask the URL Standard's parser first.
func TestPathsThatRoutersRead(t *testing.T) {
	admin := &Gate{matchers: caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/admin", "/admin/*"}}}}
	public := &Gate{public: caddyhttp.MatchPath{"/public/*"}}
	for _, tt := range []struct {
		name, target string
		protected    bool
	}{
		{"a parameter that leads out", "/admin/users/..%2f..%2fpublic%2fx", true},
		{"segments that lead out", "/admin/users/%2e%2e/%2e%2e/public/x", true},
		{"segments as they are", "/admin/../public/x", true},
		{"encoded twice", "/admin/%252e%252e%252fpublic%252fx", true},
		{"with backslashes", "/admin/..%5cpublic%5cx", true},
		{"a host before the path", "//public/admin/users", true},
		{"a host behind more slashes", "///public/admin/users", true},
		{"a host with a port", "//public:80/admin/users", true},
		{"a host behind a backslash", "/%5cpublic/admin/users", true},
		{"resolved before it is decoded", "/public/%2e%2e/%2fadmin/%2f../../public/x", true},
		{"parameters cut off before it is decoded", "/public/..;%2fpublic/admin/users", true},
		{"a folder with a blank", "/public/a%20folder/caf%C3%A9%2fx", false},
		{"a file above in the same folder", "/public/a/../x", false},
		{"two slashes in the middle", "/public//x", false},
	} {
		r := withReplacer(request(t, http.MethodGet, tt.target))
		if strings.HasPrefix(tt.target, "//") { // which url.Parse, unlike the server, takes for a host
			r.URL, r.RequestURI = &url.URL{Path: tt.target}, tt.target
			*originalURL(r) = *r.URL
		}
		if open, err := public.isPublic(r); err != nil || open == tt.protected {
			t.Errorf("%s, %s: public /public/*: open %v, %v", tt.name, tt.target, open, err)
		}
		if open, err := admin.isPublic(r); err != nil || open == tt.protected {
			t.Errorf("%s, %s: a gate for /admin: open %v, %v", tt.name, tt.target, open, err)
		}
	}
}

// A path in more layers than anybody writes is refused where rules depend on it, quickly, and nowhere else.
func TestCountlessReadings(t *testing.T) {
	layers := strings.Repeat("/%25252525252e%5c;x/%c0%af%3f%23%00%0a..//a.%20", 150)
	r := withReplacer(request(t, http.MethodGet, layers))
	for name, g := range map[string]*Gate{
		"matcher": {matchers: caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/admin/*"}}}},
		"public":  {public: caddyhttp.MatchPath{"/*"}},
	} {
		if open, err := g.isPublic(r); open || !errors.Is(err, errCountless) || asProblem(err).Reason != ReasonPathRefused {
			t.Errorf("%s: open %v, %v", name, open, err)
		}
	}
	if open, err := new(Gate).isPublic(r); open || err != nil {
		t.Errorf("no rules: open %v, %v", open, err)
	}
	if passes, err := (&Gate{rulesMatch: true}).judge(r, someone(nil)); passes || !errors.Is(err, errCountless) {
		t.Errorf("rules with a matcher: %v, %v", passes, err)
	}
	g := &Gate{requires: []requirement{{}}}
	if _, err := g.required(r, stepUp{}); !errors.Is(err, errCountless) {
		t.Errorf("require: %v", err)
	}
}

// Links that people have are read in few ways.
func TestReadingsOfUsualPaths(t *testing.T) {
	for _, target := range []string{
		"/wiki/C%2B%2B", "/app/;jsessionid=AB12/x", "/files/a%2Fb%2Fc.txt", "/caf%C3%A9/%E6%97%A5%E6%9C%AC", "/odata/Orders(1)/Items;v=1", "/path/with%20space/and%23hash",
		"/a:b/c@d/e=f", "/matrix;a=1;b=2/x;c=3", "/a//b/./c", "/100%25%20sure%3F", "/emoji/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB", "/" + strings.Repeat("%D0%B6%20;a/", 200),
	} {
		paths, err := lenientPaths(&url.URL{Path: must(url.PathUnescape(target)), RawPath: target})
		if err != nil || len(paths) > 48 {
			t.Errorf("%.60s: %d readings, %v", target, len(paths), err)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// SEC-10: a rule on a method counts for the one that a header or the query names, too.
func TestMethodThatAHeaderNames(t *testing.T) {
	own := caddyhttp.MatcherSet{caddyhttp.MatchMethod{"DELETE"}}
	reads := caddyhttp.MatcherSet{caddyhttp.MatchMethod{"GET"}}
	groups := map[string][]string{"groups": {"staff"}}
	for _, tt := range []struct {
		name, method, target, header, value string
		denied                              bool
	}{
		{name: "none"},
		{name: "override", header: "X-Http-Method-Override", value: "delete", denied: true},
		{name: "in another spelling", header: "X_HTTP_Method", value: " DELETE ", denied: true},
		{name: "the third", header: "X-Method-Override", value: "DELETE", denied: true},
		{name: "parameter", target: "/?_method=delete", denied: true},
		{name: "parameter of PHP", target: "/?%2eMethod=DELETE", denied: true},
		{name: "in small letters", method: "delete", denied: true},
		{name: "the same", header: "X-Http-Method-Override", value: "GET"},
		{name: "another parameter", target: "/?method=delete&payment_method=x"},
	} {
		r := withReplacer(request(t, cmp.Or(tt.method, http.MethodGet), cmp.Or(tt.target, "/")))
		if tt.header != "" {
			r.Header[tt.header] = []string{tt.value}
		}
		for kind, g := range map[string]*Gate{
			"deny":  {deny: []rule{{matchers: own, claims: groups}}, rulesMatch: true},
			"allow": {allow: []rule{{matchers: reads, claims: groups}}, rulesMatch: true},
		} {
			passes, err := g.judge(r, someone(map[string]any{"groups": []any{"staff"}}))
			if err != nil || passes == tt.denied {
				t.Errorf("%s, %s: passes %v, %v", tt.name, kind, passes, err)
			}
		}
		g := &Gate{matchers: caddyhttp.MatcherSets{own}}
		if open, err := g.isPublic(r); err != nil || open == tt.denied {
			t.Errorf("%s: a gate for the method: open %v, %v", tt.name, open, err)
		}
	}
}

// SEC-10: what is answered as GET is judged as GET, too.
func TestMethodsThatAreAnsweredAsGET(t *testing.T) {
	g := &Gate{matchers: caddyhttp.MatcherSets{{caddyhttp.MatchMethod{"GET"}}}}
	for method, protected := range map[string]bool{"GET": true, "HEAD": true, "head": true, "CONNECT": true, "POST": false} {
		if open, err := g.isPublic(withReplacer(request(t, method, "http://app.example.test/"))); err != nil || open == protected {
			t.Errorf("%s: open %v, %v", method, open, err)
		}
	}
}

// SEC-07: a host is judged as the application may take it, which need not be as it is written.
func TestHostsThatServersReadAsAnother(t *testing.T) {
	g := &Gate{matchers: caddyhttp.MatcherSets{{caddyhttp.MatchHost{"admin.example.test"}}}}
	for _, tt := range []struct {
		host      string
		protected bool
	}{
		{host: "admin.example.test", protected: true},
		{host: "ADMIN.example.test:8443", protected: true},
		{host: "admin.example.test.", protected: true},
		{host: "admin.example.test.:443", protected: true},
		{host: "admin.example.test..", protected: true},
		{host: "admin.example.test:80:80", protected: true},
		{host: "admin.example.test:x", protected: true},
		{host: "user@admin.example.test", protected: true},
		{host: "wiki.example.test"},
		{host: "wiki.example.test.:80"},
		{host: "admin.example.test.evil.example"},
		{host: "[::1]:80"},
	} {
		r := withReplacer(request(t, http.MethodGet, "/"))
		r.Host = tt.host
		if open, err := g.isPublic(r); err != nil || open == tt.protected {
			t.Errorf("%s: open %v, %v", tt.host, open, err)
		}
	}
}

// SEC-09: capitals in a host hide it from no matcher, and some of Caddy's compare byte by byte.
func TestHostsInCapitals(t *testing.T) {
	g := &Gate{matchers: caddyhttp.MatcherSets{{caddyhttp.MatchHeader{"Host": {"admin.example.test"}}}}}
	for host, protected := range map[string]bool{"admin.example.test": true, "ADMIN.example.test": true, "Admin.Example.Test:8443": true, "WIKI.example.test": false} {
		r := withReplacer(request(t, http.MethodGet, "/"))
		r.Host = host
		if open, err := g.isPublic(r); err != nil || open == protected {
			t.Errorf("%s: open %v, %v", host, open, err)
		}
	}
}

// SEC-07, SEC-08: a matcher that asks placeholders sees every reading as one that asks the request does.
func TestReadingsOfExpressions(t *testing.T) {
	for _, expression := range []string{`path('/admin/*')`, `{http.request.uri.path}.startsWith('/admin/')`, `{http.request.uri}.startsWith('/admin/')`, `{http.request.host} == 'admin.example.test'`} {
		matcher := &caddyhttp.MatchExpression{Expr: expression}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		if err := matcher.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		g := &Gate{matchers: caddyhttp.MatcherSets{{matcher}}}
		for target, protected := range map[string]bool{"/admin/x": true, "/x/..%2fadmin/x": true, "/%2561dmin/x": true, "/public/%5c..%5c..%5cadmin/x": true, "/x/..%2fy": false} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			if r.Host = "wiki.example.test"; strings.Contains(expression, "host") && protected {
				r.Host = "admin.example.test."
			}
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{})
			if open, err := g.isPublic(r); err != nil || open == protected {
				t.Errorf("%s: %s: open %v, %v", expression, target, open, err)
			}
		}
	}
}
