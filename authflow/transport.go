package authflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

const (
	// callTimeout bounds one call to the provider, from dialling to the last
	// byte of the body.
	callTimeout = 10 * time.Second
	// maxBody bounds what the provider may answer, after decompression (SEC-113).
	maxBody = 1 << 20
	// maxRetryAfter bounds what the provider may ask us, and we the browser, to
	// wait.
	maxRetryAfter = 5 * time.Minute
)

// mediaTypeJWT is the media type of a signed answer (OIDC Core 5.3.2).
const mediaTypeJWT = "application/jwt"

var (
	// errJWT means that an answer is a JWT where JSON is expected.
	errJWT = errors.New("the answer is application/jwt")
	// errNoJWT means the reverse.
	errNoJWT = errors.New("the answer is not application/jwt, or too large")
)

// newHTTPClient returns the client that all calls to one provider go through.
// It follows no redirect, since the request it would repeat carries credentials
// (OAuth 2.1 7.1.3), and has no cookie jar: two people's calls share nothing
// (SEC-28).
func newHTTPClient(cfg Config) *http.Client {
	base := cfg.Transport
	if base == nil {
		base = NewTransport()
	}
	if cfg.Reach != "" {
		base = reachTransport{base, originOfText(cfg.Issuer), originOfText(cfg.Reach)}
	}
	return &http.Client{
		Transport:     strictTransport{base},
		Timeout:       callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// NewTransport returns the default of Config.Transport, for whoever wants to set a
// trust store, a client certificate or a proxy on it.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    callTimeout / 2,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// strictTransport reads every answer as a whole before anybody decodes it.
// What it lets through with a 2xx status is one unambiguous JSON object (see
// [DecodeClaims], which bounds its size too), or a JWT where the request asks for
// one; with any other status, what is not such an object is left out.
type strictTransport struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t strictTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	accepts := req.Header.Get("Accept")
	wantsJWT := accepts == mediaTypeJWT || accepts == mediaTypeClaims || accepts == mediaTypeIntrospection
	if !wantsJWT && accepts != mediaTypeList {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1)) // one more is one too many
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if wantsJWT && succeeded(resp) {
		if accepts != mediaTypeClaims && mediaTypeOf(resp) != accepts || len(body) > maxBody {
			return nil, errNoJWT
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return resp, nil
	}
	if accepts == mediaTypeList && succeeded(resp) {
		body = slices.Concat([]byte(`{"list":`), body, []byte("}"))
	}
	if _, err := DecodeClaims(body); err != nil {
		if succeeded(resp) {
			if is := mediaTypeOf(resp); is == mediaTypeJWT || is == mediaTypeIntrospection {
				return nil, errJWT
			}
			return nil, err
		}
		body = nil
	}
	// Whatever the provider calls it, it is to be decoded as what it was found to
	// be: x/oauth2 reads a form from text/plain.
	resp.Header.Set("Content-Type", "application/json")
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

// succeeded tells whether the status is 2xx.
func succeeded(resp *http.Response) bool { return resp.StatusCode/100 == 2 }

// mediaTypeOf is what the answer says that it is, "" if nothing that can be read.
func mediaTypeOf(resp *http.Response) string {
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

// endpointError is how an endpoint of the provider refused.
type endpointError struct {
	// Status is the HTTP status.
	Status int
	// Code and Description are error and error_description (RFC 6749 5.2), ""
	// if the body has none.
	Code, Description string

	retryAfter time.Duration
}

// Error shows what the provider sent, quoted and cut short.
func (e *endpointError) Error() string {
	text := fmt.Sprintf("status %d", e.Status)
	if e.Code != "" {
		text += fmt.Sprintf(", error %.64q", e.Code)
	}
	if e.Description != "" {
		text += fmt.Sprintf(", error_description %.256q", e.Description)
	}
	return text
}

// newEndpointError reads what the answer says about when to come again.
func newEndpointError(resp *http.Response, code, description string) *endpointError {
	e := &endpointError{Status: resp.StatusCode, Code: code, Description: description}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		e.retryAfter = min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	return e
}

// temporary tells whether the same request may work later.
func (e *endpointError) temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= 500 || isTemporary(e.Code)
}

// isTemporary tells whether an error code means "later" (RFC 6749 4.1.2.1).
func isTemporary(code string) bool {
	return code == "temporarily_unavailable" || code == "server_error"
}

// getJSON gets one JSON object that is published for everybody. What fails is an
// *endpointError, or fails as http.Client does.
func (c *Client) getJSON(ctx context.Context, address string) ([]byte, error) {
	return get(ctx, c.http, address, "", "application/json")
}

// getWithToken is get with an access token, and with a proof if it is bound to a
// key (RFC 6750 2.1, RFC 9449 7.1).
func (c *Client) getWithToken(ctx context.Context, address string, t *tokens, accept string) ([]byte, error) {
	return proving(c, t.key, &c.resourceNonces, secret.New(t.access), func(client *http.Client) ([]byte, error) {
		return get(ctx, client, address, t.tokenType()+" "+t.access, accept)
	})
}

// get makes one GET request for one media type: application/json, application/jwt,
// mediaTypeClaims or mediaTypeList.
func get(ctx context.Context, client *http.Client, address, authorization, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", accept)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if !succeeded(resp) {
		code := ""
		if WantsDPoPNonce(resp) {
			code = errorUseNonce
		}
		return nil, newEndpointError(resp, code, "")
	}
	return body, nil
}

// callError returns the error for a call that failed: provider_unavailable if
// the same call may work later (P05), else broken, which names the endpoint.
func callError(err error, broken Reason) *Error {
	if refused, ok := errors.AsType[*endpointError](err); ok {
		if refused.temporary() {
			return NewError(ReasonProviderUnavailable, err).retryAfter(refused.retryAfter)
		}
		return NewError(broken, err)
	}
	if isTransient(err) {
		return NewError(ReasonProviderUnavailable, err).retryAfter(0)
	}
	return NewError(broken, err)
}

// isTransient tells whether no whole answer came, as against one that breaks
// the protocol.
func isTransient(err error) bool {
	_, ok := errors.AsType[*url.Error](err)
	return ok && !errors.Is(err, ErrNotClaims) && !errors.Is(err, errJWT) && !errors.Is(err, errNoJWT)
}

// checkURL refuses an address of the provider that is not https (RFC 6749 3.1,
// 3.2, OIDC Discovery 3), or on which credentials or a fragment stand. http is
// accepted on loopback, and there only of an issuer that is so itself: a
// provider's metadata cannot send us to a service of this machine (SEC-113).
func checkURL(raw string, allowLoopback bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fmt.Errorf("not a URL: %w", err)
	case u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return fmt.Errorf("%q is no absolute URL without user and fragment", u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && allowLoopback && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is neither https nor http on loopback", u.Redacted())
}

// isLoopback tells whether host names this machine by a loopback address or as
// localhost (RFC 6761 6.3).
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
