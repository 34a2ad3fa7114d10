package authflow

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// prover is the transport of one call that shows possession of a key: each request
// gets a proof of its own (RFC 9449 4).
type prover struct {
	base   http.RoundTripper
	key    *DPoPKey
	token  secret.String // that the requests bring, empty if none
	nonces *Nonces
	now    func() time.Time

	nonce string // of the last answer, "" if it had none
}

// RoundTrip implements http.RoundTripper.
func (p *prover) RoundTrip(req *http.Request) (*http.Response, error) {
	address := req.URL.String() // not where Config.Reach leads: it is what the provider calls itself
	proof, err := p.key.Proof(ProofRequest{
		Method: req.Method, URL: address, AccessToken: p.token,
		Nonce: cmp.Or(p.nonce, p.nonces.Get(address)), Now: p.now(),
	})
	if err != nil {
		if req.Body != nil {
			req.Body.Close() //nolint:errcheck // nothing was read of it
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("DPoP", proof)
	resp, err := p.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	p.nonce = p.nonces.Put(address, resp.Header)
	return resp, nil
}

// proving makes a call with proofs of a key, and once more with the nonce that the
// server asks for, if it does (RFC 9449 8, 9): do is then called again, so that
// whatever is good once is made anew, client assertion and proof. A second refusal
// is the answer. Without a key it is a call like any other.
func proving[T any](c *Client, key *DPoPKey, nonces *Nonces, token secret.String, do func(*http.Client) (T, error)) (T, error) {
	if key == nil {
		return do(c.http)
	}
	p := &prover{base: c.http.Transport, key: key, token: token, nonces: nonces, now: c.cfg.Now}
	client := *c.http
	client.Transport = p
	result, err := do(&client)
	if refused, ok := errors.AsType[*endpointError](err); ok && refused.Code == errorUseNonce && p.nonce != "" {
		return do(&client)
	}
	return result, err
}

// attemptKey returns the key of an attempt, for a provider that takes proofs of our
// algorithm (RFC 9449 5.1): one that does not say is asked.
func (c *Client) attemptKey(meta *metadata, a *Attempt) (*DPoPKey, error) {
	if meta.DPoPAlgs != nil && !slices.Contains(meta.DPoPAlgs, dpopAlg) {
		return nil, NewError(ReasonDPoPUnsupported, fmt.Errorf("the provider takes proofs of %.64q, ours are %s", meta.DPoPAlgs, dpopAlg))
	}
	key, err := a.dpopKey()
	if err != nil {
		return nil, NewError(ReasonDPoPKey, err)
	}
	return key, nil
}

// refreshKey returns the key that a session's tokens are bound to: a public
// client's refresh token is good with that one alone (RFC 9449 5). A session from
// before DPoP was switched on gets one, and its next tokens are bound.
func refreshKey(marshalled secret.String) (*DPoPKey, error) {
	if marshalled.Empty() {
		return generateDPoPKey()
	}
	return ParseDPoPKey(marshalled)
}

// codeKey is dpop_jkt, which binds the code to the key (RFC 9449 10); "" without a
// key, and where a proof with the pushed request says it better (10.1).
func (c *Client) codeKey(meta *metadata, key *DPoPKey) string {
	if key == nil || c.pushes(meta) {
		return ""
	}
	return key.Thumbprint()
}
