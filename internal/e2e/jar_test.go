package e2e_test

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Jar keeps cookies by the rules of RFC 6265bis as browsers apply them. net/http/cookiejar knows neither the
// prefixes nor SameSite nor size limits, and sends no Secure cookie to http://localhost, which browsers do.
type Jar struct {
	mu      sync.Mutex
	cookies []stored
	refused []string
}

// stored is one cookie with what the jar must know of where it came from.
type stored struct {
	*http.Cookie
	hostOnly bool
	created  time.Time
}

// maxCookie is what browsers take of name and value together, and of each attribute's value at most 1024.
const maxCookie = 4096

// Set takes the cookies of an answer from u.
func (j *Jar) Set(u *url.URL, h http.Header) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range h.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			j.refused = append(j.refused, line)
			continue
		}
		if why := j.refuse(u, c); why != "" {
			j.refused = append(j.refused, c.Name+": "+why)
			continue
		}
		j.put(u, c)
	}
}

// refuse says why a browser would not take a cookie, "" if it would.
func (j *Jar) refuse(u *url.URL, c *http.Cookie) string {
	host, domain := strings.ToLower(u.Hostname()), strings.ToLower(strings.TrimPrefix(c.Domain, "."))
	lower := strings.ToLower(c.Name)
	switch {
	case len(c.Name)+len(c.Value) > maxCookie:
		return "too large"
	case c.Secure && !trustworthy(u):
		return "Secure from a plain origin"
	case !c.Secure && !trustworthy(u) && slices.ContainsFunc(j.cookies, func(s stored) bool { return s.Secure && s.Name == c.Name && matches(s, host) }):
		return "would cover a Secure cookie"
	case strings.HasPrefix(lower, "__host-") && (!c.Secure || c.Domain != "" || c.Path != "/"):
		return "__Host- needs Secure, Path=/ and no Domain"
	case strings.HasPrefix(lower, "__secure-") && !c.Secure:
		return "__Secure- needs Secure"
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return "SameSite=None needs Secure"
	case domain != "" && domain != host && (!strings.HasSuffix(host, "."+domain) || net.ParseIP(host) != nil):
		return "Domain of another host"
	case domain != "" && domain != host && isPublicSuffix(domain):
		return "Domain is a public suffix"
	}
	return ""
}

// put stores or, where its time is over, deletes a cookie.
func (j *Jar) put(u *url.URL, c *http.Cookie) {
	s := stored{Cookie: c, hostOnly: c.Domain == "", created: time.Now()}
	c.Domain = cmp.Or(strings.ToLower(strings.TrimPrefix(c.Domain, ".")), strings.ToLower(u.Hostname()))
	if !strings.HasPrefix(c.Path, "/") {
		c.Path = u.Path[:max(strings.LastIndex(u.Path, "/"), 0)]
		c.Path = cmp.Or(c.Path, "/")
	}
	switch {
	case c.MaxAge > 0:
		c.Expires = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
	case c.MaxAge < 0:
		c.Expires = time.Unix(1, 0)
	}
	i := slices.IndexFunc(j.cookies, func(o stored) bool {
		return o.Name == c.Name && o.Domain == c.Domain && o.Path == c.Path && o.hostOnly == s.hostOnly
	})
	over := !c.Expires.IsZero() && !c.Expires.After(time.Now())
	switch {
	case i >= 0 && over:
		j.cookies = slices.Delete(j.cookies, i, i+1)
	case i >= 0:
		s.created = j.cookies[i].created
		j.cookies[i] = s
	case !over:
		j.cookies = append(j.cookies, s)
	}
}

// Get is what a browser sends to u: longer paths first, then older ones. crossSite says that another site made the
// request, lax that it is a top-level navigation by GET.
func (j *Jar) Get(u *url.URL, crossSite, lax bool) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	host, now := strings.ToLower(u.Hostname()), time.Now()
	var found []stored
	for _, s := range j.cookies {
		switch {
		case !matches(s, host), s.Secure && !trustworthy(u), !s.Expires.IsZero() && !s.Expires.After(now):
		case u.Path != s.Path && !strings.HasPrefix(cmp.Or(u.Path, "/"), strings.TrimSuffix(s.Path, "/")+"/"):
		case crossSite && s.SameSite == http.SameSiteStrictMode:
		case crossSite && s.SameSite != http.SameSiteNoneMode && !lax:
		default:
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b stored) int {
		return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), a.created.Compare(b.created))
	})
	var cookies []*http.Cookie
	for _, s := range found {
		cookies = append(cookies, s.Cookie)
	}
	return cookies
}

// Cookie gives a stored cookie by its name, nil if the jar has none.
func (j *Jar) Cookie(name string) *http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.cookies {
		if s.Name == name {
			return s.Cookie
		}
	}
	return nil
}

// Names lists the cookies of a host.
func (j *Jar) Names(host string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for _, s := range j.cookies {
		if matches(s, host) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Refused lists the cookies that a browser would not have taken, with the reason.
func (j *Jar) Refused() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.refused)
}

// Clone is a copy: what somebody has who stole the cookies.
func (j *Jar) Clone() *Jar {
	j.mu.Lock()
	defer j.mu.Unlock()
	twin := &Jar{}
	for _, s := range j.cookies {
		c := *s.Cookie
		twin.cookies = append(twin.cookies, stored{&c, s.hostOnly, s.created})
	}
	return twin
}

// Forget drops every cookie that keep does not want: a browser that was closed keeps those with an Expires.
func (j *Jar) Forget(keep func(*http.Cookie) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = slices.DeleteFunc(j.cookies, func(s stored) bool { return !keep(s.Cookie) })
}

func matches(s stored, host string) bool {
	return host == s.Domain || !s.hostOnly && strings.HasSuffix(host, "."+s.Domain)
}

// trustworthy: https, or http to this machine (W3C Secure Contexts 3.1).
func trustworthy(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme == "https" || host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func isPublicSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// site is scheme and registrable domain: what SameSite and Sec-Fetch-Site compare.
func site(u *url.URL) string {
	host := u.Hostname()
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && net.ParseIP(host) == nil {
		host = domain
	}
	return u.Scheme + "://" + host
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
