package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// browser is as much of one as the check needs: cookies, redirects, forms, and
// the headers by which a browser says that somebody is waiting for a page.
type browser struct {
	ctx    context.Context
	client *http.Client
	page   *page // where it is
}

// page is what a browser shows, and the way there.
type page struct {
	status int
	url    *url.URL
	header http.Header
	body   string
	hops   []string // the redirects that led here, without query
}

func newBrowser(ctx context.Context) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{ctx: ctx, client: &http.Client{
		Jar: jar, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// maxHops is more redirects than any sign-in needs.
const maxHops = 10

// open goes to an address, as if it was typed or followed as a link.
func (b *browser) open(address string) (*page, error) {
	return b.navigate(http.MethodGet, address, nil)
}

// step is open without following redirects.
func (b *browser) step(method, address string, form url.Values) (*page, error) {
	r, err := http.NewRequestWithContext(b.ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", b.from(r.URL))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if b.page != nil {
			r.Header.Set("Origin", b.page.url.Scheme+"://"+b.page.url.Host)
		}
	}
	return b.do(r)
}

// from is the value of Sec-Fetch-Site.
func (b *browser) from(target *url.URL) string {
	switch {
	case b.page == nil:
		return "none"
	case b.page.url.Host == target.Host:
		return "same-origin"
	}
	return "cross-site"
}

func (b *browser) navigate(method, address string, form url.Values) (*page, error) {
	var hops []string
	for range maxHops {
		p, err := b.step(method, address, form)
		if err != nil {
			return nil, err
		}
		b.page = p
		location := p.header.Get("Location")
		if location == "" {
			p.hops = hops
			return p, nil
		}
		next, err := p.url.Parse(location)
		if err != nil {
			return nil, err
		}
		hops = append(hops, fmt.Sprintf("%d %s://%s%s", p.status, next.Scheme, next.Host, next.EscapedPath()))
		method, address, form = http.MethodGet, next.String(), nil
	}
	return nil, fmt.Errorf("a loop: %s", strings.Join(hops, ", "))
}

// fetch is what a script or a command line tool sends. Header names are sent as
// they are written.
func (b *browser) fetch(address string, header http.Header) (*page, error) {
	r, err := http.NewRequestWithContext(b.ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return b.do(r)
}

func (b *browser) do(r *http.Request) (*page, error) {
	response, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	_, err = io.Copy(&body, io.LimitReader(response.Body, 1<<20))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	return &page{status: response.StatusCode, url: r.URL, header: response.Header, body: body.String()}, nil
}

var (
	actionPattern = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	idPattern     = regexp.MustCompile(`name="id" value="([^"]+)"`)
)

// submit fills in the form of the page where the browser is.
func (b *browser) submit(fields url.Values) (*page, error) {
	action, id := actionPattern.FindStringSubmatch(b.page.body), idPattern.FindStringSubmatch(b.page.body)
	if action == nil || id == nil {
		return nil, fmt.Errorf("there is no form at %s", b.page.url)
	}
	target, err := b.page.url.Parse(action[1])
	if err != nil {
		return nil, err
	}
	fields.Set("id", id[1])
	return b.navigate(http.MethodPost, target.String(), fields)
}
