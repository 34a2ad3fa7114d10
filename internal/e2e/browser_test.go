package e2e_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// Browser is a client that navigates, submits forms and runs scripts' requests as a browser does: its cookies, its
// Sec-Fetch headers, its redirects. Every host name leads to 127.0.0.1; the certificates of this run are trusted.
type Browser struct {
	Jar *Jar

	t         *testing.T
	transport *http.Transport
}

// Page is what a navigation or a request ended at.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	Hops   []Hop // every answer on the way, this one last
}

// Hop is one answer.
type Hop struct {
	URL    *url.URL
	Status int
	Header http.Header
}

// maxHops is where browsers give up.
const maxHops = 20

// NewBrowser is a browser without cookies.
func NewBrowser(t *testing.T) *Browser {
	t.Helper()
	ca, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{Jar: &Jar{}, t: t, transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: ca.pool},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}}
	t.Cleanup(b.transport.CloseIdleConnections)
	return b
}

// Twin is another browser with a copy of the cookies.
func (b *Browser) Twin() *Browser {
	twin := NewBrowser(b.t)
	twin.Jar = b.Jar.Clone()
	return twin
}

// Navigate opens an address as if it was typed, and follows redirects.
func (b *Browser) Navigate(rawURL string) *Page {
	b.t.Helper()
	return b.navigate(nil, http.MethodGet, b.parse(rawURL), "", maxHops)
}

// Step opens an address and follows no redirect.
func (b *Browser) Step(rawURL string) *Page {
	b.t.Helper()
	return b.navigate(nil, http.MethodGet, b.parse(rawURL), "", 0)
}

// Follow opens a link that stands on a page: from says who is asking.
func (b *Browser) Follow(from *Page, ref string) *Page {
	b.t.Helper()
	return b.navigate(from.URL, http.MethodGet, from.URL.ResolveReference(b.parse(ref)), "", maxHops)
}

// Submit sends a form of a page, with its hidden fields, the first named submit button and the given fields. Which form: the
// only one, or the one whose action holds the text.
func (b *Browser) Submit(page *Page, action string, fields map[string]string) *Page {
	b.t.Helper()
	f, ok := findForm(page, action)
	if !ok {
		b.t.Fatalf("%s has no form with action %q:\n%s", page.URL, action, page.Body)
	}
	for name, value := range fields {
		f.values.Set(name, value)
	}
	target := page.URL.ResolveReference(b.parse(f.action))
	if f.method == http.MethodGet {
		target.RawQuery = f.values.Encode()
		return b.navigate(page.URL, http.MethodGet, target, "", maxHops)
	}
	return b.navigate(page.URL, http.MethodPost, target, f.values.Encode(), maxHops)
}

// Post sends a form that a page of another origin may have made up.
func (b *Browser) Post(from, rawURL string, fields url.Values) *Page {
	b.t.Helper()
	return b.navigate(b.parse(from), http.MethodPost, b.parse(rawURL), fields.Encode(), maxHops)
}

// Fetch is the request of a script on a page of the origin from, with credentials. Redirects are not followed.
func (b *Browser) Fetch(from, method, rawURL string, header http.Header, body string) *Page {
	b.t.Helper()
	u, initiator := b.parse(rawURL), b.parse(from)
	req := b.request(method, u, body)
	for name, values := range header {
		req.Header[name] = values
	}
	setDefault(req.Header, "Accept", "*/*")
	if method != http.MethodGet && method != http.MethodHead || origin(initiator) != origin(u) {
		setDefault(req.Header, "Origin", origin(initiator))
	}
	fetchMetadata(req, fetchSite(initiator, []*url.URL{u}), "cors", "empty", false)
	return b.send(req, site(initiator) != site(u), false)
}

// Do sends a request as it is, with the cookies of a same-site request. Redirects are not followed.
func (b *Browser) Do(req *http.Request) *Page {
	b.t.Helper()
	return b.send(req, false, true)
}

// navigate makes a top-level request and up to hops more for the redirects that answer it.
func (b *Browser) navigate(initiator *url.URL, method string, u *url.URL, body string, hops int) *Page {
	b.t.Helper()
	var trail []Hop
	var chain []*url.URL
	for {
		chain = append(chain, u)
		req := b.request(method, u, body)
		req.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		req.Header.Set("Upgrade-Insecure-Requests", "1")
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", formOrigin(initiator, chain))
		}
		where := fetchSite(initiator, chain)
		fetchMetadata(req, where, "navigate", "document", true)
		page := b.send(req, where == "cross-site", method == http.MethodGet)
		trail = append(trail, page.Hops...)
		page.Hops = trail
		location := page.Header.Get("Location")
		if location == "" || page.Status < 300 || page.Status > 399 || hops == 0 {
			return page
		}
		if len(trail) > hops {
			b.t.Fatalf("too many redirects, at last from %s to %s", u, location)
		}
		u = u.ResolveReference(b.parse(location))
		if page.Status != http.StatusTemporaryRedirect && page.Status != http.StatusPermanentRedirect {
			method, body = http.MethodGet, ""
		}
	}
}

func (b *Browser) request(method string, u *url.URL, body string) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, u.String(), strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) gatehouse-e2e")
	req.Header.Set("Accept-Language", "en")
	return req
}

// send adds the cookies, sends, and takes the cookies of the answer.
func (b *Browser) send(req *http.Request, crossSite, lax bool) *Page {
	b.t.Helper()
	for _, c := range b.Jar.Get(req.URL, crossSite, lax) {
		b.addCookie(req, c)
	}
	client := &http.Client{
		Transport: b.transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	// Caddy opens a listener of its own for each configuration: a connection that waits in the queue of the one before is
	// lost when that closes, a moment after the reload is over.
	for range 3 {
		if req.Method != http.MethodGet || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		res, err = client.Do(req)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Jar.Set(req.URL, res.Header)
	return &Page{req.URL, res.StatusCode, res.Header, string(body), []Hop{{req.URL, res.StatusCode, res.Header}}}
}

// addCookie writes a cookie as it is: http.Request.AddCookie would quote and clean it.
func (b *Browser) addCookie(req *http.Request, c *http.Cookie) {
	value := c.Value
	if c.Quoted {
		value = `"` + value + `"`
	}
	line := c.Name + "=" + value
	if old := req.Header.Get("Cookie"); old != "" {
		line = old + "; " + line
	}
	req.Header.Set("Cookie", line)
}

func (b *Browser) parse(rawURL string) *url.URL {
	b.t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// fetchMetadata sets the Sec-Fetch headers; browsers send none to a plain origin that is not this machine.
func fetchMetadata(req *http.Request, where, mode, destination string, user bool) {
	if !trustworthy(req.URL) {
		return
	}
	setDefault(req.Header, "Sec-Fetch-Site", where)
	setDefault(req.Header, "Sec-Fetch-Mode", mode)
	setDefault(req.Header, "Sec-Fetch-Dest", destination)
	if user {
		setDefault(req.Header, "Sec-Fetch-User", "?1")
	}
}

// fetchSite is Sec-Fetch-Site: the worst relation between who asked and every address on the way.
func fetchSite(initiator *url.URL, chain []*url.URL) string {
	if initiator == nil {
		return "none"
	}
	worst := "same-origin"
	for _, u := range chain {
		switch {
		case site(initiator) != site(u):
			return "cross-site"
		case origin(initiator) != origin(u):
			worst = "same-site"
		}
	}
	return worst
}

// formOrigin is the Origin of a form: null once a redirect led elsewhere.
func formOrigin(initiator *url.URL, chain []*url.URL) string {
	for _, u := range chain[:len(chain)-1] {
		if origin(u) != origin(chain[len(chain)-1]) && origin(u) != origin(initiator) {
			return "null"
		}
	}
	return origin(initiator)
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// form is what a form on a page would send.
type form struct {
	action, method string
	values         url.Values
}

func findForm(page *Page, action string) (form, bool) {
	root, err := html.Parse(strings.NewReader(page.Body))
	if err != nil {
		return form{}, false
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" && strings.Contains(attribute(n, "action"), action) {
			return readForm(n), true
		}
	}
	return form{}, false
}

func readForm(n *html.Node) form {
	f := form{attribute(n, "action"), strings.ToUpper(cmp.Or(attribute(n, "method"), "get")), url.Values{}}
	pressed := false
	for c := range n.Descendants() {
		name, typ := attribute(c, "name"), attribute(c, "type")
		button := c.Data == "button" && typ != "button" || c.Data == "input" && typ == "submit"
		if c.Type != html.ElementNode || name == "" || !slices.Contains([]string{"input", "button", "select", "textarea"}, c.Data) {
			continue
		}
		if button && pressed {
			continue
		}
		pressed = pressed || button
		f.values.Add(name, attribute(c, "value"))
	}
	return f
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
