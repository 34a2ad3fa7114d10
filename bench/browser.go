package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
)

// seenHeader is the header in which the upstream tells how it saw the request.
const seenHeader = "X-Seen-"

// newUpstream is the application: it answers two bytes, and on /seen what it saw
// of who is calling.
func newUpstream() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		if r.URL.Path == "/seen" || r.URL.Path == "/public/seen" {
			for name, values := range r.Header {
				w.Header()[http.CanonicalHeaderKey(seenHeader+name)] = values
			}
		}
		_, _ = io.WriteString(w, "ok")
	})
}

// browser signs in as one would: it follows redirects and keeps cookies.
type browser struct{ client *http.Client }

func newBrowser() (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{&http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// get navigates, and returns the answer with its body read; it may be read again.
func (b *browser) get(ctx context.Context, address string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/html")
	response, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", response.Request.URL, response.Status, body)
	}
	return response, err
}

// cookies is the Cookie header that the browser sends to an address, but for the
// mark of a login that was just finished, which a browser keeps for a minute.
func (b *browser) cookies(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	var pairs []string
	for _, cookie := range b.client.Jar.Cookies(u) {
		if strings.HasSuffix(cookie.Name, string(session.Finished)) {
			continue
		}
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(pairs, "; ")
}

// signIn opens a site until it shows the application, and returns the Cookie
// header of who is signed in. The upstream must see the user under a header, and
// without the cookie nobody may pass.
func signIn(ctx context.Context, site, path, header, user string) (string, error) {
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	response, err := b.get(ctx, site+path)
	if err != nil {
		return "", fmt.Errorf("sign-in: %w", err)
	}
	if got := response.Header.Get(seenHeader + header); got != user {
		return "", fmt.Errorf("%s: the upstream sees the user %q in %s, not %q", site, got, header, user)
	}
	if got := response.Request.URL.Path; got != path {
		return "", fmt.Errorf("%s: the sign-in ends at %s", site, got)
	}
	return b.cookies(site + path), strangers(ctx, site+path)
}

// passes sends a request with a credential, by which the upstream must see the user
// under a header; without it nobody may pass.
func passes(ctx context.Context, site string, shown credential, header, user string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/seen", nil)
	if err != nil {
		return err
	}
	r.Header.Set(shown.header, shown.value)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if got := response.Header.Get(seenHeader + header); got != user {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s: the upstream sees the user %q in %s, not %q: %s", site, response.Status, got, header, user, body)
	}
	return strangers(ctx, site+"/seen")
}

// strangers checks that nobody passes without a credential.
func strangers(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	stranger := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	refused, err := stranger.Do(r)
	if err != nil {
		return err
	}
	defer refused.Body.Close()
	if refused.StatusCode < 300 || refused.Header.Get(seenHeader+"User-Agent") != "" {
		return fmt.Errorf("%s: passes without a credential: %s", address, refused.Status)
	}
	return nil
}
