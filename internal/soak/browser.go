package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// browser keeps cookies by host and name, as browsers do for a site without a
// Domain: one session at both gates, whose host is localhost. net/http/cookiejar
// sends no Secure cookie to http://localhost.
type browser struct {
	mu      sync.Mutex
	cookies map[string]map[string]string
	client  *http.Client
}

// answer is what came back; err says that nothing did.
type answer struct {
	status   int
	header   http.Header
	body     string
	err      error
	from, to time.Time
}

func newBrowser() *browser {
	return &browser{cookies: map[string]map[string]string{}, client: &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableKeepAlives: true}, // a killed process is no reason to send a request twice
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// copy is what somebody has who stole the cookies.
func (b *browser) copy() *browser {
	b.mu.Lock()
	defer b.mu.Unlock()
	twin := newBrowser()
	for host, cookies := range b.cookies {
		twin.cookies[host] = maps.Clone(cookies)
	}
	return twin
}

// set stores a cookie.
func (b *browser) set(host, name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cookies[host] == nil {
		b.cookies[host] = map[string]string{}
	}
	b.cookies[host][name] = value
}

// send makes one request and follows nothing. mode is what Sec-Fetch-Mode says.
func (b *browser) send(now func() time.Time, mode, address string) answer {
	a := answer{from: now()}
	u, err := url.Parse(address)
	if err != nil {
		return answer{err: err}
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"Sec-Fetch-Mode": {mode}, "Sec-Fetch-Site": {"same-origin"}}}
	if mode == navigate {
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Dest", "document")
	} else {
		r.Header.Set("Sec-Fetch-Dest", "empty")
	}
	b.mu.Lock()
	for name, value := range b.cookies[u.Hostname()] {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	b.mu.Unlock()
	a.take(b.client.Do(r))
	a.to = now()
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge < 0 {
			b.mu.Lock()
			delete(b.cookies[u.Hostname()], c.Name)
			b.mu.Unlock()
			continue
		}
		b.set(u.Hostname(), c.Name, c.Value)
	}
	return a
}

// What a request is for.
const (
	navigate = "navigate"
	fetch    = "cors"
)

// take reads a response.
func (a *answer) take(response *http.Response, err error) {
	if a.err = err; err != nil {
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a.status, a.header, a.body, a.err = response.StatusCode, response.Header, string(body), err
}

// open navigates to an address and follows redirects.
func (b *browser) open(now func() time.Time, address string) answer {
	first := now()
	var a answer
	for range 10 {
		a = b.send(now, navigate, address)
		a.from = first
		if a.err != nil || a.status/100 != 3 {
			break
		}
		next, err := url.Parse(a.header.Get("Location"))
		if err != nil {
			return answer{err: err, from: first, to: a.to}
		}
		base, _ := url.Parse(address) // it was parsed before
		address = base.ResolveReference(next).String()
	}
	return a
}

// reason is the code of a refusal.
func (a answer) reason() string {
	var body struct{ Error string }
	if json.Unmarshal([]byte(a.body), &body) == nil {
		return body.Error
	}
	_, rest, _ := strings.Cut(a.body, "Reason <code>")
	code, _, _ := strings.Cut(rest, "</code>")
	return code
}
