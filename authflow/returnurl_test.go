package authflow_test

import (
	"bufio"
	"errors"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/hostile"
)

var site = authflow.ReturnPolicy{
	Origin:   "https://app.example.com",
	Allowed:  []string{"https://other.example.com"},
	BasePath: "/oauth2",
}

func lines(t testing.TB, name string) []string {
	t.Helper()
	file, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []string
	for s := bufio.NewScanner(file); s.Scan(); {
		all = append(all, s.Text())
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return all
}

type payload struct {
	forms  [3]string // raw, decoded once, decoded twice
	reject bool
}

// payloads reads the corpus. A payload is decoded as a lenient reader would do it.
func payloads(t testing.TB) []payload {
	t.Helper()
	var all []payload
	for _, line := range lines(t, "open-redirects.tsv")[1:] {
		fields := strings.Split(line, "\t")
		if len(fields) != 5 || fields[4] != "reject" && fields[4] != "safe" {
			t.Fatalf("line %q", line)
		}
		once := unescape(fields[0])
		all = append(all, payload{[3]string{fields[0], once, unescape(once)}, fields[4] == "reject"})
	}
	return all
}

// unescape decodes what can be decoded.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil && len(c) == 1 {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// browse is where a browser goes that is at origin+"/a/page" and gets location,
// as origin and path: the URL Standard's parser for a base of http or https. A
// host that is not plain ASCII becomes "?", which no origin is.
func browse(origin, location string) (newOrigin, path string) {
	location = strings.TrimFunc(location, func(r rune) bool { return r <= ' ' })
	rest := strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	scheme, _, _ := strings.Cut(origin, ":")
	if match := schemePattern.FindString(rest); match != "" {
		named := strings.ToLower(strings.TrimSuffix(match, ":"))
		rest = rest[len(match):]
		switch {
		case named != "http" && named != "https":
			return named + ":", ""
		case named != scheme, strings.HasPrefix(rest, "//"):
			scheme, rest = named, "//"+rest // any number of slashes, none too
		}
	}
	if len(rest) > 1 && isSlash(rest[0]) && isSlash(rest[1]) {
		rest = strings.TrimLeft(rest, `/\`)
		end := strings.IndexAny(rest+"/", `/\?#`)
		origin, rest = scheme+"://"+hostOf(scheme, rest[:end]), "/"+strings.TrimLeft(rest[end:], `/\`)
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	rest = strings.ReplaceAll(rest, `\`, "/")
	if !strings.HasPrefix(rest, "/") {
		rest = "/a/" + rest
	}
	return origin, resolveDots(rest)
}

var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

func isSlash(c byte) bool { return c == '/' || c == '\\' }

// hostOf is the host and port of an authority, the default port left out.
func hostOf(scheme, authority string) string {
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	host := strings.ToLower(unescape(authority))
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "?"
	}
	return host
}

// resolveDots removes dot segments; a browser knows them encoded, too.
func resolveDots(path string) string {
	var kept []string
	for _, segment := range strings.Split(path[1:], "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// checkStays fails if a browser that gets location leaves the site for another
// origin than an allowed one, or comes to an endpoint of ours.
func checkStays(t *testing.T, location string) {
	t.Helper()
	origin, path := browse(site.Origin, location)
	if origin != site.Origin && origin != site.Allowed[0] {
		t.Errorf("Location %q leads to %s", location, origin)
	}
	if path := strings.ToLower(unescape(path)); path == site.BasePath || strings.HasPrefix(path, site.BasePath+"/") {
		t.Errorf("Location %q leads to the endpoint %s", location, path)
	}
	if strings.ContainsAny(location, "\r\n\t\x00\x7f") {
		t.Errorf("Location %q holds a control character", location)
	}
}

// The resolver is what the other tests rest on.
func TestBrowse(t *testing.T) {
	for _, test := range []struct{ location, origin, path string }{
		{"/a/./b/%2e%2E/c?x", "https://app.example.com", "/a/c"},
		{"b", "https://app.example.com", "/a/b"},
		{" \x01/a", "https://app.example.com", "/a"},
		{"/\t/evil.example/a", "https://evil.example", "/a"},
		{`/\evil.example`, "https://evil.example", "/"},
		{`\\evil.example`, "https://evil.example", "/"},
		{"////evil.example", "https://evil.example", "/"},
		{"ht\ntps:evil.example", "https://app.example.com", "/a/evil.example"},
		{"http:evil.example", "http://evil.example", "/"},
		{`https:/\evil.example`, "https://evil.example", "/"},
		{"https://app.example.com@evil.example:443/", "https://evil.example", "/"},
		{`https://app.example.com\@evil.example`, "https://app.example.com", "/@evil.example"},
		{"https://app.example.com:8443/", "https://app.example.com:8443", "/"},
		{"https://evil。example/", "https://?", "/"},
		{"JavaScript:alert(1)", "javascript:", ""},
	} {
		if origin, path := browse(site.Origin, test.location); origin != test.origin || path != test.path {
			t.Errorf("%q: %s %s", test.location, origin, path)
		}
	}
}

func TestReturnURLBenign(t *testing.T) {
	for _, line := range lines(t, "return-urls-benign.txt") {
		got, err := site.FromOutside(line)
		if err != nil || got != line {
			t.Errorf("FromOutside(%q) = %q, %v", line, got, err)
		}
		if got, err := site.Emit(line); err != nil || got != line {
			t.Errorf("Emit(%q) = %q, %v", line, got, err)
		}
		if strings.HasPrefix(line, "/") {
			if got := site.OwnTarget(line); got != line {
				t.Errorf("OwnTarget(%q) = %q", line, got)
			}
		}
		checkStays(t, line)
	}
}

func TestReturnURLCorpus(t *testing.T) {
	for _, payload := range payloads(t) {
		for times, form := range payload.forms {
			got, err := site.FromOutside(form)
			if err == nil && payload.reject {
				t.Errorf("%q, decoded %d times, was accepted: %q", payload.forms[0], times, form)
			}
			if err == nil && got != form {
				t.Errorf("%q came back as %q", form, got)
			}
			if err == nil {
				checkStays(t, got)
			}
			// Whatever stands in a state or a cookie is checked when it is emitted.
			if got, err := site.Emit(form); err == nil {
				checkStays(t, got)
			}
			checkStays(t, site.OwnTarget(form))
		}
	}
}

func TestFromOutside(t *testing.T) {
	sub := authflow.ReturnPolicy{Origin: "http://localhost:9999", BasePath: "/app/oauth2"}
	v6 := authflow.ReturnPolicy{Origin: "https://[2001:db8::1]:8443", Allowed: []string{".example.com", "https://", "https://a.example/path"}}
	for _, test := range []struct {
		name   string
		policy authflow.ReturnPolicy
		raw    string
		want   error
	}{
		{"empty", site, "", authflow.ErrReturnElsewhere},
		{"as long as may be", site, "/" + strings.Repeat("a", authflow.MaxReturnURL-1), nil},
		{"too long", site, "/" + strings.Repeat("a", authflow.MaxReturnURL), authflow.ErrReturnMalformed},
		{"origin without a path", site, "https://app.example.com", nil},
		{"origin with a query", site, "https://app.example.com?x=1", nil},
		{"scheme in capitals", site, "HTTPS://app.example.com/", nil},
		{"other origin, encoded, in the query", site, "/?next=https%3A%2F%2Fevil.example", nil},
		{"Windows path in the query", site, `/files?path=C:\Users%5Cme`, nil},
		{"stray percent sign", site, "/100%", nil},
		{"Latin-1, encoded", site, "/caf%E9", nil},
		{"Latin-1", site, "/caf\xe9", authflow.ErrReturnMalformed},
		{"UTF-8", site, "/café", nil},
		{"C1 control", site, "/\u0085/evil.example", authflow.ErrReturnMalformed},
		{"CRLF in the query, encoded", site, "/?a=%0d%0aSet-Cookie:sid=evil", authflow.ErrReturnMalformed},
		{"CRLF in the fragment, encoded twice", site, "/#%250d%250aSet-Cookie:sid=evil", authflow.ErrReturnMalformed},
		{"white space behind", site, "/a ", authflow.ErrReturnMalformed},
		{"host behind stray percent signs", site, "/%%2f%zz/%2fevil.example", nil},
		{"stray percent sign hides the host", site, "/%2fevil.example/%zz", authflow.ErrReturnElsewhere},
		{"host encoded three times", site, "/%25252fevil.example", authflow.ErrReturnElsewhere},
		{"host that dot segments would remove", site, "/%2f..", authflow.ErrReturnElsewhere},
		{"host behind dot segments (SEC-46)", site, "/a/..//evil.example", authflow.ErrReturnElsewhere},
		{"host behind encoded dot segments", site, "/a/%2e%2e/%2fevil.example", authflow.ErrReturnElsewhere},
		{"suffix without a dot boundary (SEC-42)", v6, "https://evilexample.com/", authflow.ErrReturnElsewhere},
		{"suffix is no origin (SEC-42)", v6, "https://a.example.com/", authflow.ErrReturnElsewhere},
		{"allowed origin with a path is none (SEC-43)", v6, "https://a.example/path", authflow.ErrReturnElsewhere},
		{"user (SEC-42)", site, "https://app.example.com@evil.example/", authflow.ErrReturnElsewhere},
		{"@ in the path, as of Mastodon and npm", site, "https://other.example.com/@alice/x?y=@", nil},
		{"@ in the path, and a package", site, "https://other.example.com/npm/@scope/pkg@1.2.3", nil},
		{"@ and a host, decoded by somebody (SEC-42)", site, "https://other.example.com/@evil.example", authflow.ErrReturnElsewhere},
		{"user, @ and a host, decoded by somebody (SEC-42)", site, "https://other.example.com/x@evil.example/y", authflow.ErrReturnElsewhere},
		{"@ and a host by number, decoded by somebody (SEC-42)", site, "https://other.example.com/@[::1]/", authflow.ErrReturnElsewhere},
		{"@ and an encoded host, decoded by somebody (SEC-42)", site, "https://other.example.com/@evil%2eexample", authflow.ErrReturnElsewhere},
		{"user of our own", site, "https://alice@app.example.com/", authflow.ErrReturnElsewhere},
		{"other port", site, "https://other.example.com:8443/", authflow.ErrReturnElsewhere},
		{"port in other digits", site, "https://app.example.com:0443/", authflow.ErrReturnElsewhere},
		{"empty port", site, "https://app.example.com:/", authflow.ErrReturnElsewhere},
		{"trailing dot", site, "https://app.example.com./", authflow.ErrReturnElsewhere},
		{"Kelvin sign for k", sub, "http://localhost\u212a:9999/", authflow.ErrReturnElsewhere},
		{"dot of another script", site, "https://app\u3002example.com/", authflow.ErrReturnElsewhere},
		{"encoded host", site, "https://%61pp.example.com/", authflow.ErrReturnElsewhere},
		{"port that is ours", sub, "http://localhost:9999/a", nil},
		{"default port is not ours", sub, "http://localhost/a", authflow.ErrReturnElsewhere},
		{"address", v6, "https://[2001:DB8::1]:8443/a", nil},
		{"address in brackets with more", v6, "https://[2001:db8::1].evil.example:8443/a", authflow.ErrReturnElsewhere},
		{"endpoints themselves", site, "/oauth2", authflow.ErrReturnEndpoint},
		{"endpoint, absolute", site, "https://app.example.com/oauth2/logout", authflow.ErrReturnEndpoint},
		{"endpoint of an allowed origin", site, "https://other.example.com/oauth2/logout", authflow.ErrReturnEndpoint},
		{"endpoint behind dot segments", site, "/a/../oauth2/logout", authflow.ErrReturnEndpoint},
		{"endpoint behind encoded dot segments", site, "/a/%2e%2e/oauth2/logout", authflow.ErrReturnEndpoint},
		{"endpoint behind slashes", site, "/a/..//oauth2/logout", authflow.ErrReturnEndpoint},
		{"endpoint with encoded slash", site, "/oauth2%2flogout", authflow.ErrReturnEndpoint},
		{"endpoint before an encoded question mark", site, "/oauth2%3f", authflow.ErrReturnEndpoint},
		{"endpoint with backslash", site, `/oauth2\logout`, authflow.ErrReturnEndpoint},
		{"name that begins like an endpoint", site, "/oauth2-docs/", nil},
		{"endpoint of another place", sub, "/oauth2/login", nil},
		{"moved endpoint", sub, "/app/OAuth2/login", authflow.ErrReturnEndpoint},
		{"no endpoints", v6, "/oauth2/login", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.policy.FromOutside(test.raw)
			if !errors.Is(err, test.want) {
				t.Fatalf("%q: %v, want %v", test.raw, err, test.want)
			}
			if err == nil && got != test.raw {
				t.Fatalf("%q came back as %q", test.raw, got)
			}
		})
	}
}

func TestOwnTarget(t *testing.T) {
	for _, test := range []struct{ name, target, want string }{
		{"deep link (P21)", "/a%2Fb/?q=a+b%20c&x=%26#f", "/a%2Fb/?q=a+b%20c&x=%26#f"},
		{"newline in the query (P21)", "/search?q=a%0D%0Ab", "/search?q=a%0D%0Ab"},
		{"newline in the path (P21)", "/a%0Ab", "/a%0Ab"},
		{"encoded host", "/%2fevil.example", "https://app.example.com/%2fevil.example"},
		{"encoded host behind what a browser drops", "/%09/evil.example", "https://app.example.com/%09/evil.example"},
		{"host encoded twice", "/%255Cevil.example", "https://app.example.com/%255Cevil.example"},
		{"encoded slashes within the path (P21)", "/a%2F%2Fb//c", "/a%2F%2Fb//c"},
		{"Latin-1 (P21)", "/caf\xe9", "/caf\xe9"},
		{"host behind dot segments (SEC-46)", "/.//evil.example", "https://app.example.com/.//evil.example"},
		{"host (SEC-46)", "//evil.example/a?b", "https://app.example.com//evil.example/a?b"},
		{"host with user", "//alice@evil.example/", "https://app.example.com//alice@evil.example/"},
		{"host behind a backslash", `/\evil.example`, `https://app.example.com/\evil.example`},
		{"absolute-form", "http://app.example.com/a?b", "/a?b"},
		{"absolute-form of another host", "http://evil.example/a?b", "/a?b"},
		{"absolute-form with a host in the path", "http://evil.example//evil.example/", "https://app.example.com//evil.example/"},
		{"absolute-form without a path", "http://app.example.com", "/"},
		{"absolute-form without a path, with a query", "http://app.example.com?a", "/"},
		{"authority-form", "evil.example:443", "/"},
		{"asterisk-form", "*", "/"},
		{"empty", "", "/"},
		{"control characters", "/a\r\nSet-Cookie: a=b", "/"},
		{"tab", "/\t/evil.example", "/"},
		{"other scheme", "javascript:alert(1)", "/"},
		{"endpoint", "/oauth2/login?rd=/oauth2/login", "/"},
		{"endpoint with a backslash", `/a/..\oauth2\logout`, "/"},
		{"endpoint behind a slash more", "//x/../../oauth2/logout", "/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := site.OwnTarget(test.target)
			if got != test.want {
				t.Errorf("%q: %q, want %q", test.target, got, test.want)
			}
			checkStays(t, got)
			if emitted, err := site.Emit(got); err != nil || emitted != got {
				t.Errorf("Emit(%q) = %q, %v", got, emitted, err)
			}
		})
	}
}

// https://*.example.com stands for the hosts below it, and for nothing else that ends or begins alike (SEC-42, SEC-43).
func TestReturnBelowADomain(t *testing.T) {
	below := authflow.ReturnPolicy{
		Origin: "https://auth.example.com", BasePath: "/oauth2",
		Allowed: []string{"https://*.example.com", "https://*.Example.NET:8443", "http://*.example.org", "https://*.", "https://*", "https://*.*.example.edu"},
	}
	for _, test := range []struct {
		name, raw string
		want      error
	}{
		{"a host", "https://app.example.com/a?b#c", nil},
		{"a host with its default port", "https://app.example.com:443/", nil},
		{"a host below a host", "https://a.b.example.com/", nil},
		{"in capitals", "HTTPS://APP.EXAMPLE.COM/", nil},
		{"a port that is named", "https://app.example.net:8443/", nil},
		{"this site itself", "https://auth.example.com/", nil},
		{"the domain itself", "https://example.com/", authflow.ErrReturnElsewhere},
		{"no dot in front", "https://evilexample.com/", authflow.ErrReturnElsewhere},
		{"an empty label", "https://.example.com/", authflow.ErrReturnElsewhere},
		{"an empty label within", "https://a..example.com/", authflow.ErrReturnElsewhere},
		{"an empty label first", "https://.a.example.com/", authflow.ErrReturnElsewhere},
		{"a trailing dot", "https://app.example.com./", authflow.ErrReturnElsewhere},
		{"the domain in front", "https://app.example.com.evil.example/", authflow.ErrReturnElsewhere},
		{"the domain as a user", "https://app.example.com@evil.example/", authflow.ErrReturnElsewhere},
		{"a user", "https://evil.example@app.example.com/", authflow.ErrReturnElsewhere},
		{"another host before a backslash", `https://evil.example\.example.com/`, authflow.ErrReturnElsewhere},
		{"another host before a slash", "https://evil.example/.example.com", authflow.ErrReturnElsewhere},
		{"another host before an encoded slash", "https://evil.example%2f.example.com/", authflow.ErrReturnElsewhere},
		{"another host before a question mark", "https://evil.example?.example.com", authflow.ErrReturnElsewhere},
		{"another host before a number sign", "https://evil.example#.example.com", authflow.ErrReturnElsewhere},
		{"another host before a port", "https://evil.example:443.example.com/", authflow.ErrReturnElsewhere},
		{"another host before a colon", "https://evil.example:.example.com/", authflow.ErrReturnElsewhere},
		{"an address in brackets", "https://[::1].example.com/", authflow.ErrReturnElsewhere},
		{"a tab", "https://evil.example\t.example.com/", authflow.ErrReturnMalformed},
		{"a dot of another script", "https://evil.example\u3002example.com/", authflow.ErrReturnElsewhere},
		{"letters of another script", "https://\uff41pp.example.com/", authflow.ErrReturnElsewhere},
		{"a star", "https://*.example.com/", authflow.ErrReturnElsewhere},
		{"http", "http://app.example.com/", authflow.ErrReturnElsewhere},
		{"http, on the other's port", "http://app.example.com:443/", authflow.ErrReturnElsewhere},
		{"another port", "https://app.example.com:8443/", authflow.ErrReturnElsewhere},
		{"no port where one is named", "https://app.example.net/", authflow.ErrReturnElsewhere},
		{"nothing stands for hosts of http", "http://app.example.org/", authflow.ErrReturnElsewhere},
		{"nor for https, if http is written", "https://app.example.org/", authflow.ErrReturnElsewhere},
		{"nothing stands for every host", "https://app.example/", authflow.ErrReturnElsewhere},
		{"two stars are none", "https://a.b.example.edu/", authflow.ErrReturnElsewhere},
		{"one slash", "https:/app.example.com/", authflow.ErrReturnElsewhere},
		{"no scheme", "//app.example.com/", authflow.ErrReturnElsewhere},
		{"an endpoint of ours at another host", "https://app.example.com/oauth2/logout", authflow.ErrReturnEndpoint},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := below.FromOutside(test.raw)
			if !errors.Is(err, test.want) {
				t.Fatalf("%q: %v, want %v", test.raw, err, test.want)
			}
			if _, emitted := below.Emit(test.raw); (emitted == nil) != (test.want == nil) {
				t.Errorf("it is emitted: %v", emitted)
			}
			if origin, _ := browse(below.Origin, got); err == nil && !below.Allows(origin) {
				t.Errorf("%q leads to %s", got, origin)
			}
		})
	}
	for origin, allowed := range map[string]bool{
		"https://app.example.com": true, "https://auth.example.com": true, "https://app.example.com/": true, "https://app.example.com/a": false,
		"https://app.example.com?": false, "app.example.com": false, "": false, "null": false, "https://": false, "https://evil.example": false,
	} {
		if below.Allows(origin) != allowed {
			t.Errorf("%q is allowed: %v", origin, !allowed)
		}
	}
}

// All of the corpus, and what is put together of its pieces, stays below the domain, decoded on the way or not.
func TestHostileReturnsBelowADomain(t *testing.T) {
	below := authflow.ReturnPolicy{Origin: site.Origin, Allowed: []string{"https://*.example.com"}, BasePath: site.BasePath}
	stays := func(raw string) bool {
		origin, _ := browse(site.Origin, raw)
		host, secure := strings.CutPrefix(origin, "https://")
		return secure && strings.HasSuffix(host, ".example.com") && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
	}
	accepted := 0
	try := func(raw string) {
		got, err := below.FromOutside(raw)
		if emitted, err := below.Emit(raw); err == nil && !stays(emitted) {
			t.Errorf("%q is emitted, and leaves the domain", raw)
		}
		if err != nil {
			return
		}
		accepted++
		once := unescape(got)
		for _, form := range []string{got, once, unescape(once)} {
			if !stays(form) {
				t.Errorf("%q leaves the domain as %q", raw, form)
			}
		}
	}
	for _, payload := range payloads(t) {
		for _, form := range payload.forms {
			try(form)
		}
	}
	for i, raw := range hostile.ReturnURLs(site.Origin) {
		if i%7 == 1 {
			try(raw)
		}
	}
	pieces := []string{
		"evil.example", ".example.com", "example.com", "a.", ".", "/", `\`, "%2f", "%5c", "%2e", "@", "%40", ":", ":443", "?", "#", "%3f", "%23",
		"[", "]", "*", "\t", "%09", " ", "\u3002", "%00", ";", ",", "//", "oauth2",
	}
	for _, start := range []string{"https://", "https:", "//"} {
		for _, a := range pieces {
			for _, b := range pieces {
				for _, c := range pieces {
					try(start + a + b + c)
				}
			}
		}
	}
	if accepted < 100 {
		t.Errorf("only %d were accepted: the pieces show nothing", accepted)
	}
}

// A value that was right when it was kept is not when the site has changed.
func TestEmitChecksAgain(t *testing.T) {
	const stored = "https://other.example.com/a"
	if _, err := site.FromOutside(stored); err != nil {
		t.Fatal(err)
	}
	changed := authflow.ReturnPolicy{Origin: site.Origin, BasePath: site.BasePath}
	if _, err := changed.Emit(stored); !errors.Is(err, authflow.ErrReturnElsewhere) {
		t.Errorf("got %v", err)
	}
	for _, form := range []string{"//evil.example", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "https:evil.example"} {
		if got, err := site.Emit(form); err == nil {
			t.Errorf("Emit(%q) = %q", form, got)
		}
	}
}

// All that can be put together of the pieces that such payloads are made of.
func TestReturnURLCombinations(t *testing.T) {
	pieces := []string{
		"/", `\\`, "%2f", "%5C", "%255c", ".", "%2e", "..", "\t", "%09", "%2509", " ", "?", "#", "%3f", "@", "%40", ":", "%", "%25",
		"https:", "HTTP://", "https://app.example.com", "other.example.com", "evil.example", "oauth2", ";", "\u3002", "\x00", "%0d%0a",
	}
	var try func(prefix string, depth int)
	try = func(prefix string, depth int) {
		checkAll(t, prefix)
		for _, piece := range pieces {
			if depth > 0 && !t.Failed() {
				try(prefix+piece, depth-1)
			}
		}
	}
	try("", 3)
	try("/", 3)
	try("https://app.example.com", 3)
}

func FuzzReturnURL(f *testing.F) {
	for _, line := range lines(f, "return-urls-benign.txt") {
		f.Add(line)
	}
	for _, payload := range payloads(f) {
		for _, form := range payload.forms {
			f.Add(form)
		}
	}
	f.Fuzz(checkAll)
}

// checkAll holds every way in to its promise: what is accepted stays on the site,
// also when somebody decodes it on the way.
func checkAll(t *testing.T, raw string) {
	t.Helper()
	if got, err := site.FromOutside(raw); err == nil {
		if got != raw {
			t.Errorf("%q came back as %q", raw, got)
		}
		once := unescape(raw)
		for _, form := range []string{raw, once, unescape(once)} {
			checkStays(t, form)
		}
		if _, err := site.Emit(raw); err != nil {
			t.Errorf("%q was accepted, but is not emitted: %v", raw, err)
		}
	}
	if got, err := site.Emit(raw); err == nil {
		checkStays(t, got)
	}
	own := site.OwnTarget(raw)
	checkStays(t, own)
	if !strings.Contains(own, "%") {
		return
	}
	once := unescape(own)
	for _, form := range []string{once, unescape(once)} {
		if origin, _ := browse(site.Origin, form); origin != site.Origin {
			t.Errorf("the target %q leads to %s when %q is decoded", raw, origin, own)
		}
	}
}

// Families of what attackers write, in every encoding: see package hostile.
func TestReturnURLFamilies(t *testing.T) {
	for i, raw := range hostile.ReturnURLs(site.Origin) {
		if i%7 != 0 { // a different slice of each family; internal/e2e takes all of them
			continue
		}
		checkAll(t, raw)
		if t.Failed() {
			return
		}
	}
}
