// Package hostile makes what attackers send: families of return URLs, header names
// and paths, put together from the pieces that each reader of a request treats its
// own way. It is for tests; a list of cases holds what somebody has thought of, a
// family what follows from it.
package hostile

import (
	"fmt"
	"strings"
)

// Evil is the host that no return URL may lead to.
const Evil = "evil.example"

// slashes are what may stand between a scheme, or nothing, and a host.
var slashes = []string{"/", "//", "///", "////", `\`, `\\`, `/\`, `\/`, `/\/`, `\/\`, `//\`, `/./`, `/.//`, `//./`, `/..//`, `/;/`, `/;//`}

// invisible are what some reader drops, trims, or takes for white space or a slash.
func invisible() []string {
	var all []string
	for c := range rune(0x21) {
		all = append(all, string(c))
	}
	for c := rune(0x7f); c <= 0xa0; c++ {
		all = append(all, string(c))
	}
	return append(all, "\u00ad", "\u034f", "\u061c", "\u115f", "\u1680", "\u180e", "\u2000", "\u2003", "\u200b", "\u200d", "\u200e", "\u200f", "\u2028", "\u2029",
		"\u202e", "\u202f", "\u205f", "\u2060", "\u3000", "\ufe0f", "\ufeff", "\uff0f", "\uff3c", "\u2215", "\u2044", "\u29f8", "\u29f5", "\u2216", "\u3002", "\uff0e", "\uff61",
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\x9c", "\xc0\xae", "\xc0\x80", "\xc0\x89", "\xff", "\xed\xa0\x80", "%u002f", "%u2215", "%", "%%", "%2", "%zz", "&#47;", "&sol;", "+", "_", "-", "~", "'", `"`, "<", "|", "^", "`", "{")
}

// authorities are hosts that one reader takes for app and another for Evil.
func authorities(app string) []string {
	name, port, hasPort := strings.Cut(app, ":")
	if hasPort {
		port = ":" + port
	}
	all := []string{
		Evil, "EVIL.example", "evil%2eexample", "%65vil.example", "evil\u3002example", "evil\uff0eexample", "\uff45vil.example", "evil.example.", "evil.example:443", "evil.example:",
		"xn--80ak6aa92e.example", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[v1.x]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "",
		app + "." + Evil, app + Evil, app + "%2e" + Evil, app + "\u3002" + Evil, Evil + "/" + app, Evil + "?" + app, Evil + "#" + app, Evil + ";" + app, "evil." + app, "evil" + app,
		name + ":" + Evil, name + ":443:" + Evil, name + ":0" + strings.TrimPrefix(port, ":"), name + ":99999", name + ":443" + Evil, name + "." + port, name + ".." + port, name + "%00" + port, name + "%20", name + "%09." + Evil,
		name + "\u00ad" + port, name + "\u200b" + port, strings.ToUpper(name) + "\u0130" + port, strings.Replace(name, "p", "\u24df", 1) + port, strings.Replace(name, ".", "\u3002", 1) + port,
	}
	for _, userinfo := range []string{
		app, app + ":x", app + ":443", app + "%2f", app + "%5c", app + "%3f", app + "%23", app + `\`, app + `\\`, app + ";", app + "&", app + "%00", app + "%0d%0a", app + " ", app + "\t", app + "#", app + "?", app + "/", app + "[", app + "]", app + "%40",
		"user", "user:password", "", ":", "%40", "\u3002", "@", "%2f%2f", "//",
	} {
		all = append(all, userinfo+"@"+Evil, userinfo+"@"+app+"@"+Evil, userinfo+"@"+app, userinfo+"%40"+Evil)
	}
	return all
}

// schemes are what a reader may take for one, with and without slashes behind.
var schemes = []string{
	"http:", "https:", "HTTPS:", "hTtP:", "https%3a", "https\t:", "ht\ntps:", " https:", "\u00a0https:", "https\u003a", "https\uff1a", "javascript:", "java\nscript:", "JavaScript:", "\x01javascript:", "data:text/html,", "vbscript:",
	"file:", "blob:https:", "filesystem:https:", "view-source:https:", "ftp:", "ws:", "wss:", "intent:", "about:", "mailto:", "url:https:", "jar:https:", "feed:https:", "x:", ":", "https",
}

// ReturnURLs are return URLs that some reader may take elsewhere than to origin,
// each raw and percent-encoded up to twice over, wholly or in part.
func ReturnURLs(origin string) []string {
	_, app, _ := strings.Cut(origin, "://")
	var plain []string
	add := func(parts ...string) { plain = append(plain, strings.Join(parts, "")) }
	for _, authority := range authorities(app) {
		for _, slash := range slashes {
			add(slash, authority)
			add(slash, authority, "/%2e%2e")
			add("/a/..", slash, authority)
			add(origin, slash, authority)
		}
		add(origin[:len(origin)-len(app)], authority, "/a")
	}
	for _, scheme := range schemes {
		for _, slash := range append(slashes, "", "%2f%2f", "//\t") {
			for _, authority := range []string{Evil, app, app + "@" + Evil, app + "." + Evil} {
				add(scheme, slash, authority)
			}
		}
	}
	for _, odd := range invisible() {
		for _, around := range []string{
			"%s//evil.example", "/%s/evil.example", "//%sevil.example", "%s/\\evil.example", "/%sevil.example", "/%s%[1]sevil.example", "/a%s/evil.example", "/%s\\evil.example",
			"/a/..%s//evil.example", "/.%s/evil.example", "/..%s//evil.example", "%shttps://evil.example", "https:%s//evil.example", "https://%sevil.example", "/\t%s/evil.example", "/evil.example%s",
			origin + "%sevil.example", origin + "%s.evil.example", origin + "%s@evil.example", origin + "/%s/evil.example", origin + ":%s443/", "java%sscript:alert(1)", "/?a%s//evil.example", "/#%s//evil.example",
		} {
			add(fmt.Sprintf(around, odd))
		}
	}
	var all []string
	seen := make(map[string]bool)
	for _, raw := range plain {
		for _, form := range encodings(raw) {
			if !seen[form] {
				seen[form] = true
				all = append(all, form)
			}
		}
	}
	return all
}

// encodings are spellings of a text that some reader decodes to it.
func encodings(raw string) []string {
	all := []string{raw}
	for _, which := range []string{"", "/\\", ".@:/\\?#"} {
		once := encode(raw, which)
		all = append(all, once, encode(once, ""))
	}
	if strings.HasPrefix(raw, "/") { // which a server reads as a path
		all = append(all, "/"+encode(raw[1:], "/\\"), "/"+strings.ToLower(encode(encode(raw[1:], "/\\@"), "")), "/"+encode(raw[1:], "/")+"/..")
	}
	return all
}

// encode percent-encodes the bytes that a URL cannot hold, percent signs, and which.
func encode(s, which string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || strings.IndexByte(which, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
