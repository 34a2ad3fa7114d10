package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// The values of [Config.PAR].
const (
	// PARAuto pushes authorization requests where the provider requires it.
	PARAuto = "auto"
	// PAROn pushes all of them.
	PAROn = "on"
	// PAROff pushes none, whatever the provider requires.
	PAROff = "off"
)

// pushes tells whether authorization requests are pushed.
func (c *Client) pushes(meta *metadata) bool {
	switch c.cfg.PAR {
	case PAROn:
		return true
	case PAROff:
		return false
	}
	return meta.PARRequired
}

// push gives the parameters of an authorization request to the provider and
// returns those that are left for the browser to carry: who asks, and what the
// provider calls the request (RFC 9126 2.1, 4; FAPI 2.0 5.3.3.2). It is called
// once per attempt, so that each request_uri is used once. The code is bound to key
// by a proof, unless that is nil (RFC 9449 10.1).
func (c *Client) push(ctx context.Context, meta *metadata, parameters map[string]string, key *DPoPKey) (map[string]string, error) {
	endpoint, err := c.usable("pushed_authorization_request_endpoint", meta.PAREndpoint, ReasonPARMissing)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		return nil, NewError(ReasonPARMissing, errors.New("the metadata has no pushed_authorization_request_endpoint"))
	}
	form, left := url.Values{}, make(map[string]string)
	signed := parameters["request"] != ""
	for name, value := range parameters {
		left[name] = "" // takes it out of the endpoint's own query
		// RFC 9126 3: beside a request object stands nothing that is in it.
		if value != "" && (!signed || name == "request" || name == "client_id") {
			form.Set(name, value)
		}
	}
	body, err := proving(c, key, &c.nonces, secret.String{}, func(client *http.Client) ([]byte, error) {
		return c.post(ctx, client, meta, endpoint, form, ReasonPARRefused)
	})
	if err != nil {
		return nil, err
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	if err := json.Unmarshal(body, &pushed); err != nil || pushed.RequestURI == "" {
		return nil, NewError(ReasonPARRefused, errors.New("the answer has no request_uri"))
	}
	left["client_id"], left["request_uri"] = c.cfg.ClientID, pushed.RequestURI
	return left, nil
}
