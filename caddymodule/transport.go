package caddymodule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport is the module http.reverse_proxy.transport.gatehouse: Caddy's http
// transport, with all of its options, that also sends the access token of a session
// which is bound to a key (RFC 9449), and with it a proof that we have the key.
type Transport struct {
	reverseproxy.HTTPTransport

	// The origin at which the upstream knows itself, https://host[:port], as proofs
	// name it (htu, RFC 9449 4.2). Default: scheme and Host of the request that the
	// upstream gets.
	HTUOrigin string `json:"htu_origin,omitempty"`

	htuOrigin string
	nonces    authflow.Nonces
	now       func() time.Time
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.gatehouse", New: func() caddy.Module { return new(Transport) }}
}

// Provision prepares Caddy's transport, and tells the app that bound tokens have a
// way to upstreams.
func (t *Transport) Provision(ctx caddy.Context) error {
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	if t.HTUOrigin != "" {
		text, err := resolve("htu_origin", t.HTUOrigin)
		if err != nil {
			return err
		}
		o, valid := parseOrigin(text)
		if !valid {
			return fmt.Errorf("htu_origin: %q is no origin: write https://host", text)
		}
		t.htuOrigin = o.String()
	}
	app, err := ctx.App("gatehouse")
	if err != nil {
		return err
	}
	app.(*App).addTransport()
	t.now = time.Now
	return nil
}

// UnmarshalCaddyfile reads the transport. Syntax:
//
//	transport gatehouse {
//		htu_origin <origin>
//		# every option of transport http
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the transport's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != "htu_origin" || d.Nesting() > 1 {
			d.RemainingArgs()
			continue
		}
		if t.HTUOrigin != "" {
			return d.Err("htu_origin is already given")
		}
		if err := one(&t.HTUOrigin).parse(d); err != nil {
			return err
		}
		d.DeleteN(2) // the rest is Caddy's
	}
	d.Reset()
	return t.HTTPTransport.UnmarshalCaddyfile(d)
}

// addTransport notes that a reverse_proxy of this configuration can send bound tokens.
func (a *App) addTransport() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hasTransport = true
}

// checkTransport refuses a configuration whose bound tokens no upstream could get.
func (a *App) checkTransport() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sendsBound && !a.hasTransport {
		return errors.New("gatehouse: a site forwards access tokens that are bound to a key (dpop), and no reverse_proxy has `transport gatehouse`, which alone can send them")
	}
	return nil
}

// RoundTrip implements http.RoundTripper. Each call makes a proof of its own: a retry
// of the proxy's is another request (RFC 9449 4.2, jti). An upstream that wants a nonce
// of its own gets the request once more, where there is no body or one that could be
// held (RFC 9449 9).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	bound := boundToken(req)
	if bound == nil {
		return t.HTTPTransport.RoundTrip(req)
	}
	bound.sent = true
	key, err := authflow.ParseDPoPKey(bound.key)
	if err != nil {
		return nil, err
	}
	body, replayable, err := bound.hold(req)
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	t.SetScheme(req)
	proof := authflow.ProofRequest{Method: req.Method, URL: t.target(req), AccessToken: bound.token}
	proof.Nonce = t.nonces.Get(proof.URL)
	res, given, err := t.send(req, bound, key, proof, body)
	if err != nil || !replayable || given == "" || given == proof.Nonce || !authflow.WantsDPoPNonce(res) {
		return res, err
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that its connection can be used again
	_ = res.Body.Close()
	proof.Nonce = given
	res, _, err = t.send(req, bound, key, proof, body)
	return res, err
}

// send makes one request with token and proof, and remembers the nonce that came
// back. The nonce is for us: the browser has no use for it.
func (t *Transport) send(req *http.Request, bound *bound, key *authflow.DPoPKey, proof authflow.ProofRequest, body []byte) (*http.Response, string, error) {
	proof.Now = t.now()
	signed, err := key.Proof(proof)
	if err != nil {
		return nil, "", err
	}
	out := req.Clone(req.Context())
	for _, name := range bound.headers {
		out.Header[name] = []string{headerValue(name, authflow.TokenTypeDPoP, bound.token)}
	}
	out.Header["Dpop"] = []string{signed}
	if body != nil {
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	res, err := t.HTTPTransport.RoundTrip(out)
	if err != nil {
		return nil, "", err
	}
	given := t.nonces.Put(proof.URL, res.Header)
	res.Header.Del("DPoP-Nonce")
	return res, given, nil
}

// target is the request's URL as the upstream sees it (RFC 9449 4.2, htu).
func (t *Transport) target(req *http.Request) string {
	seen := t.htuOrigin
	if seen == "" {
		seen = req.URL.Scheme + "://" + cmp.Or(req.Host, req.URL.Host)
	}
	return seen + req.URL.RequestURI()
}

// bound is an access token that is bound to a key, on its way to the upstream: in the
// visit, which no request can forge, and in no header before the transport sends it.
type bound struct {
	token, key secret.String
	headers    []string // which the site names
	sent       bool
	body       []byte // of the request, once it was read
}

// boundToken finds what the gates of a request want to be sent.
func boundToken(req *http.Request) *bound {
	v, ok := caddyhttp.GetVar(req.Context(), visitVar).(*visit)
	if !ok || v.bound == nil || len(v.bound.headers) == 0 {
		return nil
	}
	return v.bound
}

// maxHeld is the largest body that is held to be sent again.
const maxHeld = 64 << 10

// hold reads a body that is small, and whose length is known: one that streams is
// never held up. The proxy may come again with a body that was read before.
func (b *bound) hold(req *http.Request) (body []byte, replayable bool, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, true, nil
	}
	if req.ContentLength <= 0 || req.ContentLength > maxHeld || caddyhttp.IsIncremental(req.Header) {
		return nil, false, nil
	}
	read, err := io.ReadAll(io.LimitReader(req.Body, req.ContentLength))
	_ = req.Body.Close()
	switch {
	case len(read) == 0 && int64(len(b.body)) == req.ContentLength:
		return b.body, true, nil
	case err != nil:
		return nil, false, err
	case int64(len(read)) != req.ContentLength:
		return nil, false, io.ErrUnexpectedEOF
	}
	b.body = read
	return read, true, nil
}

// bind leaves a bound token to the transport, for the headers of a gate.
func (v *visit) bind(s *session.Session, headers []string) {
	if v.bound != nil {
		headers = append(headers, v.bound.headers...)
	}
	v.bound = &bound{token: s.AccessToken, key: s.DPoPKey, headers: headers}
}

// unbind takes a bound token out of headers that a gate sets or clears.
func (v *visit) unbind(own *nameSet) {
	if v.bound != nil {
		v.bound.headers = slices.DeleteFunc(v.bound.headers, own.has)
	}
}

// checkSent says when a bound token had no way to the upstream. Without a proof it is
// of no use there, so it was not sent.
func (v *visit) checkSent(r *http.Request, g *Gate) {
	if v.bound == nil || v.bound.sent || len(v.bound.headers) == 0 {
		return
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if upstream, proxied := repl.GetString("http.reverse_proxy.upstream.hostport"); proxied {
		g.logger.Error("the access token was not forwarded: it is bound to a key (DPoP), and reverse_proxy has no `transport gatehouse`",
			zap.String("reason", string(ReasonNoTransport)), zap.String("upstream", upstream), zap.String("host", r.Host))
	}
}

// Interface guards: those of Caddy's http transport.
var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)
