package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// cookieSizes are what browsers keep and send for one provider's tokens and so many groups.
type cookieSizes struct {
	Provider string `json:"provider"`
	Groups   int    `json:"groups"`
	// Bytes of the Cookie header, 0 where the session does not fit into its two cookies:
	// without a refresh token, with one, and with an access token that is forwarded, too.
	Without   int `json:"cookie_without_refresh"`
	With      int `json:"cookie_with_refresh"`
	Forwarded int `json:"cookie_with_access_token"`
	// Hint is what our own endpoints are sent beside it: the ID token for the sign-out. 0
	// where that does not fit into its cookie and is left out.
	Hint int `json:"hint"`

	Others map[string]int `json:"others,omitempty"` // bytes of Cookie of other servers, by their names; with a refresh token

	Encodings *encodings `json:"encodings,omitempty"` // of the largest that fits
}

// cookieSite is a site of the Caddy that the cookies come from: one that keeps what
// rules and headers read, as it is with no option, or one that forwards the access token.
const cookieSite = `
http://%s:%s {
	gatehouse %s {
		client_id %s
		client_secret %q
		scopes %s
		public_url https://%s
		%s
	}
	respond "{http.request.header.X-Forwarded-User}"
}
`

// cookieBench are the Caddys in front of which somebody signs in with each provider's tokens.
type cookieBench struct {
	shapes    []*tokens
	providers []*testop.Provider
	ring      *seal.Ring
	gates     []*process
	hosts     overHTTP
}

func startCookieBench(ctx context.Context, o options) (b *cookieBench, err error) {
	b = &cookieBench{hosts: overHTTP{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.shapes, err = readTokens(); err != nil {
		return b, err
	}
	for _, shape := range b.shapes {
		provider, err := shape.start()
		if err != nil {
			return b, err
		}
		b.providers = append(b.providers, provider)
	}
	secret := []byte(randomText(32))
	key, err := seal.KeyFromSecret(secret)
	if err != nil {
		return b, err
	}
	if b.ring, err = seal.NewRing(key); err != nil {
		return b, err
	}
	for _, forwards := range []bool{false, true} {
		if err := b.startGate(ctx, o, secret, forwards); err != nil {
			return b, err
		}
	}
	return b, nil
}

// startGate starts a Caddy with a site for each provider. Those that forward the access
// token have one of their own: what one site needs of a provider, all sessions there keep.
func (b *cookieBench) startGate(ctx context.Context, o options, secret []byte, forwards bool) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	words := ""
	if forwards {
		words = "forward access_token"
	}
	caddyfile := fmt.Sprintf(globals, "gatehouse {\n\t\tsession {\n\t\t\tkeys "+base64.StdEncoding.EncodeToString(secret)+"\n\t\t}\n\t}")
	for i, shape := range b.shapes {
		host, provider := siteOf(i, forwards), b.providers[i]
		b.hosts[host] = "127.0.0.1:" + port
		caddyfile += fmt.Sprintf(cookieSite, host, port, provider.Issuer(), shape.ClientID, provider.ClientSecret, shape.Scopes, host, words)
	}
	gate, err := startCaddy("gate", caddyfile, o)
	if err != nil {
		return err
	}
	b.gates = append(b.gates, gate)
	return gate.listening(ctx, "127.0.0.1:"+port)
}

// siteOf is the host of a provider's site.
func siteOf(provider int, forwards bool) string {
	if forwards {
		return fmt.Sprintf("api%d.example.com", provider)
	}
	return fmt.Sprintf("app%d.example.com", provider)
}

func (b *cookieBench) stop() error {
	for _, p := range b.providers {
		p.Down()
	}
	var errs []error
	for _, gate := range b.gates {
		errs = append(errs, gate.stop())
	}
	return errors.Join(errs...)
}

// measureCookies signs somebody in at every site, with no group, 20 and 100.
func measureCookies(ctx context.Context, o options) (all []cookieSizes, err error) {
	b, err := startCookieBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	specs, err := readSpecs(o)
	if err != nil {
		return nil, err
	}
	for i, shape := range b.shapes {
		first := len(all)
		for _, groups := range []int{0, 20, 100} {
			sizes, err := b.measure(ctx, i, groups)
			if err != nil {
				return nil, fmt.Errorf("%s, %d groups: %w", shape.Provider, groups, err)
			}
			all = append(all, sizes)
		}
		for _, s := range specs {
			if err := b.measureOther(ctx, o, s, i, all[first:]); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", s.Name, shape.Provider, err)
			}
		}
	}
	return all, nil
}

// measure signs somebody in at the sites of one provider.
func (b *cookieBench) measure(ctx context.Context, provider, groups int) (cookieSizes, error) {
	shape := b.shapes[provider]
	sizes := cookieSizes{Provider: shape.Provider, Groups: groups, Others: map[string]int{}}
	for _, variant := range []struct {
		refresh, forwards bool
		bytes             *int
	}{{false, false, &sizes.Without}, {true, false, &sizes.With}, {true, true, &sizes.Forwarded}} {
		if err := shape.give(b.providers[provider], groups, variant.refresh); err != nil {
			return sizes, err
		}
		kept, err := b.signIn(ctx, siteOf(provider, variant.forwards), shape.Subject)
		if err != nil {
			return sizes, err
		}
		if kept.sealed == "" {
			continue
		}
		*variant.bytes, sizes.Hint = kept.bytes, kept.hint
		if variant.forwards {
			continue
		}
		if sizes.Encodings, err = compareEncodings(ctx, b.ring, kept); err != nil {
			return sizes, err
		}
	}
	return sizes, nil
}

// measureOther signs somebody in at another server, with a refresh token.
func (b *cookieBench) measureOther(ctx context.Context, o options, s spec, provider int, all []cookieSizes) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	application := &http.Server{Handler: newUpstream(), ReadHeaderTimeout: time.Minute}
	go func() { _ = application.Serve(listener) }() // ends with ErrServerClosed
	defer application.Close()
	p, err := startSpec(ctx, s, b.providers[provider], listener.Addr().String(), o.redis)
	if p != nil {
		defer func() { err = errors.Join(err, p.stop()) }()
	}
	if err != nil {
		return err
	}
	for _, sizes := range all {
		if err := b.shapes[provider].give(b.providers[provider], sizes.Groups, true); err != nil {
			return err
		}
		cookie, err := signIn(ctx, strings.TrimSuffix(p.other.spec.URL, "/"), "/seen", p.other.spec.Header, b.shapes[provider].Subject)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s, %s, %d groups: %.150v\n", s.Name, sizes.Provider, sizes.Groups, err)
		}
		sizes.Others[s.Name] = len(cookie)
	}
	return nil
}

// keptCookies is what a browser has after a sign-in.
type keptCookies struct {
	bytes   int    // of the Cookie header of a page
	hint    int    // more bytes, below /oauth2
	sealed  string // the session as it stands in its cookies, one or two
	purpose seal.Purpose
}

// signIn signs somebody in. Nothing is kept if the session does not fit into its cookies.
func (b *cookieBench) signIn(ctx context.Context, host, user string) (kept keptCookies, err error) {
	browser, err := newBrowser()
	if err != nil {
		return kept, err
	}
	browser.client.Transport = b.hosts
	site := "https://" + host + "/"
	response, err := browser.get(ctx, site)
	if response != nil && response.StatusCode == http.StatusInternalServerError {
		if page, readErr := io.ReadAll(response.Body); readErr == nil && bytes.Contains(page, []byte("session_too_large")) {
			return kept, nil
		}
	}
	if err != nil {
		return kept, err
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != user {
		return kept, fmt.Errorf("%s: the upstream sees the user %q, not %q: %w", site, body, user, err)
	}
	kept.bytes, kept.purpose = len(browser.cookies(site)), seal.Purpose{Kind: "session", Scope: host}
	kept.hint = len(browser.cookies(site+"oauth2/session")) - kept.bytes
	address, err := url.Parse(site)
	if err != nil {
		return kept, err
	}
	for _, name := range []string{"__Host-gatehouse", "__Host-gatehouse_2"} {
		for _, cookie := range browser.client.Jar.Cookies(address) {
			if cookie.Name == name {
				kept.sealed += strings.TrimPrefix(cookie.Value, "2.")
			}
		}
	}
	return kept, nil
}

// printCookies writes two tables: of what is, and of what might be.
func printCookies(all []cookieSizes, out io.Writer, markdown bool) {
	size := func(bytes int) string {
		if bytes == 0 {
			return "-"
		}
		return fmt.Sprint(bytes)
	}
	is := table{head: []string{"bytes of `Cookie`", "groups", "no refresh token", "a refresh token", "and the access token", "more for our endpoints"}}
	var others []string
	if len(all) > 0 {
		others = slices.Sorted(maps.Keys(all[0].Others))
	}
	is.head = append(is.head, others...)
	might := table{head: []string{
		"the larger of the first two", "groups", "session, B", "sealed, uncompressed, B", "as it is, B", "base64 once, B", "to open uncompressed, µs", "as it is, µs", "and inflate, µs", "base64 once, µs", "to deflate, µs",
	}}
	for _, s := range all {
		cells := []any{s.Provider, s.Groups, size(s.Without), size(s.With), size(s.Forwarded), size(s.Hint)}
		for _, name := range others {
			cells = append(cells, size(s.Others[name]))
		}
		is.add(cells...)
		if e := s.Encodings; e != nil {
			might.add(s.Provider, s.Groups, e.Session, size(e.Plain), e.Now, e.Once,
				decimals(1, e.OpenPlain), decimals(1, e.Open), decimals(1, e.Inflate), decimals(1, e.OpenOnce), decimals(1, e.Deflate))
		}
	}
	is.print(out, markdown)
	might.print(out, markdown)
}
