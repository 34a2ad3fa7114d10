package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// checker drives the demo as a person would, step by step.
type checker struct {
	ctx   context.Context
	stack *stack
	out   io.Writer
	alice *browser
	old   []*http.Cookie // what alice's browser held before she signed out
}

// check runs all steps in order and ends at the first that is wrong.
func check(ctx context.Context, s *stack, out io.Writer) error {
	c := &checker{ctx: ctx, stack: s, out: out}
	for i, step := range []struct {
		what string
		run  func() (string, error)
	}{
		{"a page without a session redirects to the provider", c.redirects},
		{"a wrong password", c.wrongPassword},
		{"login form, consent, code, and back to the very address", c.signIn},
		{"the application knows who calls, as JSON", c.usersMe},
		{"the session cookie stays at the gate", c.cookieStays},
		{"an API call without a session", c.apiCall},
		{"spoofed identity headers, on a public path and with a session", c.spoof},
		{"an address to return to that is somebody else's", c.openRedirect},
		{"a user whom no rule allows", c.denied},
		{"deny at the consent page", c.consentDenied},
		{"signing out", c.signOut},
		{"after that no access", c.signedOut},
		{"nor with a copy of the old cookie", c.copiedCookie},
	} {
		saw, err := step.run()
		if err != nil {
			fmt.Fprintf(out, "FAIL  %2d. %s\n", i+1, step.what)
			return fmt.Errorf("step %d, %s: %w", i+1, step.what, err)
		}
		fmt.Fprintf(out, "ok    %2d. %s\n          %s\n", i+1, step.what, saw)
	}
	fmt.Fprintln(out, "All as it should be.")
	return nil
}

// deepLink must come back byte for byte.
const deepLink = "/reports/a%2Fb?q=x+y%20z&n=1"

// want fails with what a page looks like if it is not as it should be.
func (p *page) want(ok bool, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("want %s; saw %d at %s, Location %q, hops %v, body %.300q",
		what, p.status, p.url, p.header.Get("Location"), p.hops, p.body)
}

func (c *checker) redirects() (string, error) {
	var err error
	if c.alice, err = newBrowser(c.ctx); err != nil {
		return "", err
	}
	p, err := c.alice.step(http.MethodGet, c.stack.Site+deepLink, nil)
	if err != nil {
		return "", err
	}
	location, err := url.Parse(p.header.Get("Location"))
	if err != nil {
		return "", err
	}
	query := location.Query()
	ok := (p.status == http.StatusFound || p.status == http.StatusSeeOther) && strings.HasPrefix(location.String(), c.stack.Issuer+"/") &&
		query.Get("response_type") == "code" && query.Get("code_challenge_method") == "S256" &&
		query.Get("state") != "" && query.Get("nonce") != "" && query.Get("redirect_uri") == c.stack.Site+"/oauth2/callback"
	return fmt.Sprintf("%d to %s://%s%s with state, nonce and PKCE S256", p.status, location.Scheme, location.Host, location.Path),
		p.want(ok, "a redirect to the provider with state, nonce and PKCE")
}

func (c *checker) wrongPassword() (string, error) {
	if p, err := c.alice.open(c.stack.Site + deepLink); err != nil {
		return "", err
	} else if err := p.want(p.status == http.StatusOK && strings.Contains(p.body, "Password"), "the login form"); err != nil {
		return "", err
	}
	p, err := c.alice.submit(url.Values{"username": {"alice"}, "password": {"guess"}})
	if err != nil {
		return "", err
	}
	return "401 and the form once more", p.want(p.status == http.StatusUnauthorized && strings.Contains(p.body, "No user"), "the form once more")
}

func (c *checker) signIn() (string, error) {
	p, err := c.logIn(c.alice, "alice", "allow")
	if err != nil {
		return "", err
	}
	ok := p.status == http.StatusOK && p.url.String() == c.stack.Site+deepLink && strings.Contains(p.body, "The caller is <b>alice</b>")
	return fmt.Sprintf("%s, then 200: the caller is alice", strings.Join(p.hops, ", ")),
		p.want(ok, "the application's page for alice at "+deepLink)
}

// logIn fills in the login form, where the browser is, and the consent page.
func (c *checker) logIn(b *browser, name, decision string) (*page, error) {
	u := findUser(func(u user) bool { return u.Name == name })
	p, err := b.submit(url.Values{"username": {u.Name}, "password": {u.Password}})
	if err != nil {
		return nil, err
	}
	if err := p.want(p.status == http.StatusOK && strings.Contains(p.body, "Hello, "+u.FullName), "the consent page"); err != nil {
		return nil, err
	}
	return b.submit(url.Values{"decision": {decision}})
}

// visitor is a new browser at the login form.
func (c *checker) visitor(path string) (*browser, error) {
	b, err := newBrowser(c.ctx)
	if err != nil {
		return nil, err
	}
	_, err = b.open(c.stack.Site + path)
	return b, err
}

func (c *checker) usersMe() (string, error) {
	p, err := c.alice.fetch(c.stack.Site+"/users/me", nil)
	if err != nil {
		return "", err
	}
	var me struct {
		User, Email string
		Groups      []string
	}
	if err := json.Unmarshal([]byte(p.body), &me); err != nil {
		return "", p.want(false, "JSON")
	}
	ok := p.status == http.StatusOK && me.User == "alice" && me.Email == "alice@example.com" && slices.Equal(me.Groups, []string{"staff", "admins"})
	return strings.TrimSpace(p.body), p.want(ok, "alice with e-mail and groups")
}

func (c *checker) cookieStays() (string, error) {
	site, err := url.Parse(c.stack.Site)
	if err != nil {
		return "", err
	}
	held := c.alice.client.Jar.Cookies(site)
	c.alice.client.Jar.SetCookies(site, []*http.Cookie{{Name: "theme", Value: "dark"}})
	p, err := c.alice.fetch(c.stack.Site+"/", nil)
	if err != nil {
		return "", err
	}
	ok := len(held) > 0 && strings.Contains(p.body, "<th>Cookie</th><td>theme=dark</td>")
	for _, cookie := range held {
		ok = ok && !strings.Contains(p.body, cookie.Value)
	}
	return fmt.Sprintf("the browser holds %d of the gate's cookies, the application gets Cookie: theme=dark", len(held)),
		p.want(ok, "the application's own cookie alone")
}

func (c *checker) apiCall() (string, error) {
	b, err := newBrowser(c.ctx)
	if err != nil {
		return "", err
	}
	p, err := b.fetch(c.stack.Site+"/users/me", http.Header{"Accept": {"application/json"}})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("401, no Location, no Set-Cookie, WWW-Authenticate %s, %s", p.header.Get("WWW-Authenticate"), strings.TrimSpace(p.body)),
		p.want(p.refused() && p.header.Get("WWW-Authenticate") != "" && json.Valid([]byte(p.body)), "401 as JSON without Location and Set-Cookie")
}

// refused reports a 401 that does not lead anywhere.
func (p *page) refused() bool {
	return p.status == http.StatusUnauthorized && len(p.header["Location"]) == 0 && len(p.header["Set-Cookie"]) == 0
}

func (c *checker) spoof() (string, error) {
	spoofed := http.Header{}
	for _, name := range []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X-Forwarded-Groups", "Remote-User"} {
		spoofed[name] = []string{"mallory"}
	}
	b, err := newBrowser(c.ctx)
	if err != nil {
		return "", err
	}
	p, err := b.fetch(c.stack.Site+"/public/", spoofed)
	if err != nil {
		return "", err
	}
	if err := p.want(p.status == http.StatusOK && strings.Contains(p.body, "<b>nobody</b>") && !strings.Contains(p.body, "mallory"), "nobody"); err != nil {
		return "", err
	}
	p, err = c.alice.fetch(c.stack.Site+"/", spoofed)
	if err != nil {
		return "", err
	}
	ok := strings.Contains(p.body, "The caller is <b>alice</b>") && !strings.Contains(p.body, "mallory")
	return "X-Forwarded-User: mallory and five spellings more are gone: nobody, and alice", p.want(ok, "alice")
}

func (c *checker) openRedirect() (string, error) {
	var seen []string
	for _, rd := range []string{"//evil.example", `/\evil.example`, "/%09/evil.example", "https://evil.example/"} {
		b, err := newBrowser(c.ctx)
		if err != nil {
			return "", err
		}
		p, err := b.step(http.MethodGet, c.stack.Site+"/oauth2/login?rd="+url.QueryEscape(rd), nil)
		if err != nil {
			return "", err
		}
		if err := p.want(p.status == http.StatusBadRequest && p.header.Get("Location") == "", "400 for "+rd); err != nil {
			return "", err
		}
		seen = append(seen, rd)
	}
	return "400 for " + strings.Join(seen, ", "), nil
}

func (c *checker) denied() (string, error) {
	b, err := c.visitor("/")
	if err != nil {
		return "", err
	}
	p, err := c.logIn(b, "carol", "allow")
	if err != nil {
		return "", err
	}
	ok := p.status == http.StatusForbidden && p.url.Host == strings.TrimPrefix(c.stack.Site, "http://") && strings.Contains(p.body, "carol")
	return "403: a page of the gate that names carol", p.want(ok, "403 with a page that names carol")
}

func (c *checker) consentDenied() (string, error) {
	b, err := c.visitor("/")
	if err != nil {
		return "", err
	}
	p, err := c.logIn(b, "bob", "deny")
	if err != nil {
		return "", err
	}
	if err := p.want(p.status >= 400 && p.status < 500 && len(p.hops) == 1, "an error page right after the provider's answer"); err != nil {
		return "", err
	}
	after, err := b.fetch(c.stack.Site+"/users/me", nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d: an error page, no loop, no session", p.status), after.want(after.status == http.StatusUnauthorized, "no session")
}

func (c *checker) signOut() (string, error) {
	site, err := url.Parse(c.stack.Site)
	if err != nil {
		return "", err
	}
	c.old = c.alice.client.Jar.Cookies(site)
	if _, err := c.alice.open(c.stack.Site + "/"); err != nil {
		return "", err
	}
	p, err := c.alice.open(c.stack.Site + "/oauth2/logout")
	if err != nil {
		return "", err
	}
	atProvider := slices.ContainsFunc(p.hops, func(hop string) bool { return strings.Contains(hop, c.stack.Issuer+"/end_session") })
	ok := p.status == http.StatusOK && atProvider && p.url.Path == "/oauth2/signed-out"
	return fmt.Sprintf("%s, then the signed-out page", strings.Join(p.hops, ", ")), p.want(ok, "the signed-out page, by way of the provider")
}

func (c *checker) signedOut() (string, error) {
	p, err := c.alice.fetch(c.stack.Site+"/users/me", nil)
	if err != nil {
		return "", err
	}
	if err := p.want(p.refused(), "401"); err != nil {
		return "", err
	}
	p, err = c.alice.open(c.stack.Site + "/")
	if err != nil {
		return "", err
	}
	return "401 for a script, the login form for a person", p.want(strings.Contains(p.body, "Password"), "the login form")
}

func (c *checker) copiedCookie() (string, error) {
	thief, err := newBrowser(c.ctx)
	if err != nil {
		return "", err
	}
	var pairs []string
	for _, cookie := range c.old {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	p, err := thief.fetch(c.stack.Site+"/users/me", http.Header{"Cookie": {strings.Join(pairs, "; ")}})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("401 with all %d cookies", len(c.old)), p.want(len(c.old) > 0 && p.status == http.StatusUnauthorized && len(p.header["Location"]) == 0, "401")
}
