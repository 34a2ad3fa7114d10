package testop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The endpoints, as [Provider.Calls], [Provider.Requests] and [Behaviour.Faults]
// name them.
const (
	Discovery     = "discovery"
	Authorization = "authorization"
	Token         = "token"
	UserInfo      = "userinfo"
	JWKS          = "jwks"
	EndSession    = "end_session"
	Revocation    = "revocation"
	Push          = "par"
	Accounts      = "accounts"
	Introspection = "introspect"
	Emails        = "userinfo/emails" // of Behaviour.PlainOAuth
	Organizations = "userinfo/orgs"   // of Behaviour.PlainOAuth
	Teams         = "userinfo/teams"  // of Behaviour.PlainOAuth
	Claims        = "claims"          // of distributed claims (OIDC Core 5.6.2)
)

// Provider is an OpenID provider with one client. Its exported fields are set by
// the options of [Start] or [New] and not changed afterwards.
type Provider struct {
	ClientID          string            // default "client"
	ClientSecret      string            // default "secret +/:%", which tells whether it is form-encoded in Basic
	ClientJWKS        string            // the client's keys for private_key_jwt and request objects: a JWK Set, or the address of one
	FederatedIssuer   string            // who issues the client's assertions (RFC 7521 4.2), for the subject "workload", with a key of ClientJWKS; default the client
	ClientCertificate *x509.Certificate // the client's, for tls_client_auth
	TLS               *tls.Config       // how it listens; nil = plain http
	Path              string            // path of the issuer: "/realms/a/"; default none
	RedirectURIs      []string          // the registered ones, compared exactly; empty = any
	User              User              // who signs in if nobody is named; default alice
	Users             []User            // further ones, found by name
	Now               func() time.Time

	origin string
	server *http.Server // nil: reached by Transport alone

	setting    sync.Mutex // one Set at a time
	mu         sync.Mutex // of all that follows
	down       bool
	behaviour  Behaviour
	keys       *keySet
	requests   map[string][]Request
	answered   map[string]time.Time // when an endpoint last was done with a request
	trace      []string
	codes      map[string]*grant         // by code; kept when used
	refresh    map[string]*grant         // by refresh token; kept when spent
	access     map[string]*grant         // by access token
	opaque     map[string]map[string]any // what introspection says, by access token
	idTokens   map[string]*grant         // every ID token given out
	pushed     map[string]url.Values     // by request_uri, until used
	assertions map[string]bool           // every jti of a client assertion
	proofs     map[string]bool           // every jti of a DPoP proof
	bound      map[string]string         // thumbprint of the key, by access token
	nonces     map[string]string         // the one that is good now, by server
	reuses     int
	cut        chan struct{} // closed by Down: ends the requests under way
}

// Request is one request that an endpoint got.
type Request struct {
	Method   string
	URL      *url.URL
	Header   http.Header
	Form     url.Values // query and body
	PostForm url.Values // body alone
}

// New returns a provider that no socket reaches: only [Provider.Transport] does.
// It is for tests in a synctest bubble.
func New(options ...func(*Provider)) *Provider {
	p := &Provider{
		ClientID: "client", ClientSecret: "secret +/:%", Now: time.Now,
		User: User{
			Subject: "sub-alice", Name: "alice", Email: "alice@example.com", EmailVerified: new(true),
			Groups: []string{"staff", "ops"},
		},
		origin:   "http://127.0.0.1:1",
		keys:     firstKeys(),
		requests: map[string][]Request{}, answered: map[string]time.Time{}, codes: map[string]*grant{}, refresh: map[string]*grant{},
		access: map[string]*grant{}, opaque: map[string]map[string]any{}, idTokens: map[string]*grant{},
		pushed: map[string]url.Values{}, assertions: map[string]bool{},
		proofs: map[string]bool{}, bound: map[string]string{}, nonces: map[string]string{},
		cut: make(chan struct{}),
	}
	for _, option := range options {
		option(p)
	}
	return p
}

// Start returns a provider that listens on a port of 127.0.0.1, over http, until
// the test ends.
func Start(t testing.TB, options ...func(*Provider)) *Provider {
	t.Helper()
	p := New(options...)
	p.origin = p.scheme() + "127.0.0.1:" + FreePort(t)
	if err := p.listen(); err != nil {
		t.Fatalf("testop: %v", err)
	}
	t.Cleanup(p.Down)
	return p
}

// Listen makes a provider of [New] listen on a port of 127.0.0.1, until
// [Provider.Down].
func (p *Provider) Listen() error {
	p.origin = p.scheme() + "127.0.0.1:0"
	return p.listen()
}

// listen starts a server at p.origin.
func (p *Provider) listen() error {
	listener, err := net.Listen("tcp", strings.TrimPrefix(p.origin, p.scheme()))
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if p.TLS != nil {
		listener = tls.NewListener(listener, p.TLS)
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	p.mu.Lock()
	p.origin, p.server = p.scheme()+address, server
	p.mu.Unlock()
	go server.Serve(listener) //nolint:errcheck // ends with ErrServerClosed
	return nil
}

// scheme is what the origin begins with.
func (p *Provider) scheme() string {
	if p.TLS != nil {
		return "https://"
	}
	return "http://"
}

// Issuer is the issuer identifier, as discovery and ID tokens say it.
func (p *Provider) Issuer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.origin + p.Path
}

// Set changes what the provider does wrong; it may run at any time.
func (p *Provider) Set(change func(*Behaviour)) {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	b := p.behaviour.clone()
	p.mu.Unlock()
	change(&b) // without the lock: it may ask the provider something
	p.mu.Lock()
	p.behaviour = b
	p.mu.Unlock()
}

// Behave makes the provider do all right again.
func (p *Provider) Behave() { p.Set(func(b *Behaviour) { *b = Behaviour{} }) }

// Down makes the provider unreachable: new connections are refused, those there
// are cut.
func (p *Provider) Down() {
	p.mu.Lock()
	server := p.server
	if !p.down {
		p.down = true
		close(p.cut)
	}
	p.mu.Unlock()
	if server != nil {
		server.Close() //nolint:errcheck // nothing to be done about it
	}
}

// Up brings it back at the same address, with everything it knew.
func (p *Provider) Up(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	p.down, p.cut = false, make(chan struct{})
	server := p.server
	p.mu.Unlock()
	if server == nil {
		return
	}
	if err := p.listen(); err != nil {
		t.Fatalf("testop: %v", err)
	}
}

// Calls is how many requests an endpoint got, those that met a fault included.
func (p *Provider) Calls(endpoint string) int { return len(p.Requests(endpoint)) }

// Requests are the requests that an endpoint got, oldest first.
func (p *Provider) Requests(endpoint string) []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests[endpoint])
}

// Answered is when an endpoint was last done with a request: what the caller does
// after that is no longer the provider's time. The zero time is never.
func (p *Provider) Answered(endpoint string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered[endpoint]
}

// Trace are the endpoints that were asked, in that order; an address without an
// endpoint stands there as its path.
func (p *Provider) Trace() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trace)
}

// Reuses is how many times a spent refresh token was presented.
func (p *Provider) Reuses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reuses
}

// URL is the address of an endpoint.
func (p *Provider) URL(endpoint string) string {
	if endpoint == Discovery {
		return strings.TrimSuffix(p.Issuer(), "/") + "/.well-known/openid-configuration"
	}
	return strings.TrimSuffix(p.Issuer(), "/") + "/" + endpoint
}

// ServeHTTP routes to the endpoints; each has a file of its own.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(p.Path, "/"))
	endpoint := strings.TrimPrefix(path, "/")
	handlers := map[string]func(http.ResponseWriter, *http.Request, Behaviour){
		Authorization: p.authorize, Token: p.token, UserInfo: p.userInfo, JWKS: p.jwks,
		EndSession: p.endSession, Revocation: p.revoke, Push: p.push, Accounts: p.accounts, Introspection: p.introspect, Claims: p.claims, Emails: p.emails,
		Organizations: p.organizations, Teams: p.organizations,
	}
	if path == "/.well-known/openid-configuration" {
		endpoint, handlers[Discovery] = Discovery, p.discovery
	}
	if strings.HasPrefix(endpoint, JWKS+"/") { // a jwks_uri of a test's own
		endpoint = JWKS
	}
	handler, ok := handlers[endpoint]
	if !ok || !strings.HasPrefix(r.URL.Path, strings.TrimSuffix(p.Path, "/")) {
		p.mu.Lock()
		p.trace = append(p.trace, r.URL.Path)
		p.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	_ = r.ParseForm()
	behaviour, fault, cut := p.record(endpoint, r)
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answered[endpoint] = p.Now()
	}()
	if fault.befall(w, r, cut) {
		return
	}
	if behaviour.PlainOAuth && (endpoint == Discovery || endpoint == JWKS) {
		http.NotFound(w, r)
		return
	}
	handler(w, r, behaviour)
}

// record remembers r and returns what is to be done wrong about it.
func (p *Provider) record(endpoint string, r *http.Request) (Behaviour, Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	address := *r.URL
	p.requests[endpoint] = append(p.requests[endpoint], Request{
		Method: r.Method, URL: &address, Header: r.Header.Clone(), Form: r.Form, PostForm: r.PostForm,
	})
	p.trace = append(p.trace, endpoint)
	fault := p.behaviour.Faults[endpoint]
	if fault.Times == 1 {
		delete(p.behaviour.Faults, endpoint)
	} else if fault.Times > 1 {
		left := fault
		left.Times--
		p.behaviour.Faults[endpoint] = left
	}
	return p.behaviour.clone(), fault, p.cut
}

// befall does what the fault says and tells whether that was the answer.
func (f Fault) befall(w http.ResponseWriter, r *http.Request, cut <-chan struct{}) bool {
	var delay <-chan time.Time
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		delay = timer.C
	}
	if f.Hang || f.Delay > 0 {
		select {
		case <-delay:
		case <-r.Context().Done():
			return true
		case <-cut:
			panic(http.ErrAbortHandler)
		}
	}
	if f.Abort {
		panic(http.ErrAbortHandler)
	}
	if f.Status != 0 {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for name, values := range f.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(f.Status)
		io.WriteString(w, f.Body) //nolint:errcheck // the caller may be gone
		return true
	}
	if f.Pad > 0 {
		w.Header().Set("Content-Type", "application/json")
		w.Write(bytes.Repeat([]byte(" "), f.Pad)) //nolint:errcheck // the caller may be gone
	}
	return false
}

// Transport reaches the provider without a socket: a timer that a test in a
// synctest bubble waits for can then fire. It serves any host.
func (p *Provider) Transport() http.RoundTripper { return transport{p} }

type transport struct{ p *Provider }

// RoundTrip runs the handler on a goroutine of its own, so that a request can be
// given up.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.p.mu.Lock()
	down := t.p.down
	t.p.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ctx, cancel := context.WithCancel(r.Context())
	inner := r.Clone(ctx)
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	recorder, done := httptest.NewRecorder(), make(chan any, 1)
	go func() {
		defer cancel()
		defer func() { done <- recover() }()
		t.p.ServeHTTP(recorder, inner)
	}()
	select {
	case aborted := <-done:
		if r.Body != nil {
			r.Body.Close() //nolint:errcheck // nothing is left to be read
		}
		if aborted != nil {
			return nil, fmt.Errorf("testop: %w", io.ErrUnexpectedEOF)
		}
		response := recorder.Result()
		response.Request = r
		return response, nil
	case <-r.Context().Done():
		<-done // the handler sees the same context
		return nil, r.Context().Err()
	}
}

// answer writes a JSON document.
func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(document) //nolint:errcheck // the caller may be gone
}

// fail writes an error as RFC 6749 5.2 has it.
func fail(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]any{"error": code, "error_description": description})
}

// random is an unguessable text that says what it is.
func random(kind string) string { return kind + "-" + rand.Text() }
