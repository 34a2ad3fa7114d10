package testop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// push is the pushed authorization request endpoint (RFC 9126 2).
func (p *Provider) push(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if r.Method != http.MethodPost {
		fail(w, http.StatusMethodNotAllowed, "invalid_request", "POST only")
		return
	}
	if reason := p.clientAuth(r, b); reason != "" {
		fail(w, http.StatusUnauthorized, "invalid_client", reason)
		return
	}
	jkt, ok := p.endpointProof(w, r, b, false)
	if !ok {
		return
	}
	form := url.Values{}
	for name, values := range r.PostForm {
		if !slices.Contains([]string{"client_secret", "client_assertion", "client_assertion_type"}, name) {
			form[name] = values
		}
	}
	form, err := p.openRequestObject(form, b)
	switch {
	case b.PushError != "":
		fail(w, http.StatusBadRequest, b.PushError, "testop")
		return
	case form.Has("request_uri"): // RFC 9126 2.1
		fail(w, http.StatusBadRequest, "invalid_request", "request_uri inside")
		return
	case err != nil:
		fail(w, http.StatusBadRequest, "invalid_request_object", err.Error())
		return
	case jkt != "" && form.Has("dpop_jkt") && form.Get("dpop_jkt") != jkt: // RFC 9449 10.1
		fail(w, http.StatusBadRequest, "invalid_dpop_proof", "dpop_jkt is of another key")
		return
	case jkt != "":
		form.Set("dpop_jkt", jkt)
	}
	uri := "urn:ietf:params:oauth:request_uri:" + random("par")
	p.mu.Lock()
	p.pushed[uri] = form
	p.mu.Unlock()
	response := map[string]any{"request_uri": uri, "expires_in": 60}
	b.PushResponse.apply(response)
	answer(w, http.StatusCreated, response)
}

// authorizationRequest is what an authorization request asks for, wherever it
// stands: in the query, in a signed object, or pushed before.
func (p *Provider) authorizationRequest(form url.Values, b Behaviour) (url.Values, error) {
	if !form.Has("request_uri") {
		if b.RequirePAR {
			return nil, fmt.Errorf("the request was not pushed")
		}
		return p.openRequestObject(form, b)
	}
	if len(form) != 2 || !form.Has("client_id") { // RFC 9126 4
		return nil, fmt.Errorf("something besides client_id and request_uri: %v", form)
	}
	uri := form.Get("request_uri")
	p.mu.Lock()
	pushed, ok := p.pushed[uri]
	delete(p.pushed, uri) // good once
	p.mu.Unlock()
	switch {
	case !ok:
		return nil, fmt.Errorf("unknown request_uri, or used")
	case pushed.Get("client_id") != form.Get("client_id"):
		return nil, fmt.Errorf("pushed by another client")
	}
	return pushed, nil
}

// openRequestObject verifies a request object and returns what is in it (RFC 9101
// 6); a form without one is returned as it is.
func (p *Provider) openRequestObject(form url.Values, b Behaviour) (url.Values, error) {
	if !form.Has("request") {
		if b.RequireRequestObject {
			return nil, fmt.Errorf("the request is not signed")
		}
		return form, nil
	}
	header, claims, err := p.verifyClientJWT(form.Get("request"))
	switch {
	case err != nil:
		return nil, err
	case header.ExtraHeaders[jose.HeaderType] != "oauth-authz-req+jwt":
		return nil, fmt.Errorf("typ is %v", header.ExtraHeaders[jose.HeaderType])
	case claims["iss"] != p.ClientID, claims["aud"] != p.Issuer(), claims["client_id"] != form.Get("client_id"):
		return nil, fmt.Errorf("iss, aud or client_id is another")
	case claims["request"] != nil, claims["request_uri"] != nil:
		return nil, fmt.Errorf("a request object in a request object")
	}
	inside := url.Values{}
	for name, value := range claims {
		switch name {
		case "iss", "aud", "exp", "nbf", "iat", "jti":
			continue
		}
		switch value := value.(type) {
		case string:
			inside.Set(name, value)
		default:
			text, _ := json.Marshal(value)
			inside.Set(name, string(text))
		}
	}
	for name := range form { // OIDC Core 6.1: what stands outside, too, is the same
		if name != "request" && form.Get(name) != inside.Get(name) {
			return nil, fmt.Errorf("%s is another outside", name)
		}
	}
	return inside, nil
}

// clientJWTAlgs are what a client may sign with.
var clientJWTAlgs = []jose.SignatureAlgorithm{
	jose.RS256, jose.PS256, jose.RS384, jose.PS384, jose.RS512, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// verifyClientJWT verifies what the client has signed with a key of ClientJWKS. It
// is good now, and for no more than ten minutes.
func (p *Provider) verifyClientJWT(compact string) (jose.Header, map[string]any, error) {
	signed, err := jose.ParseSignedCompact(compact, clientJWTAlgs)
	if err != nil {
		return jose.Header{}, nil, err
	}
	header := signed.Signatures[0].Header
	set, err := p.clientKeys()
	if err != nil {
		return header, nil, err
	}
	keys := set.Key(header.KeyID)
	if len(keys) != 1 {
		return header, nil, fmt.Errorf("%d keys with kid %q", len(keys), header.KeyID)
	}
	if alg := keys[0].Algorithm; alg != "" && alg != header.Algorithm || keys[0].Use != "sig" || !keys[0].IsPublic() {
		return header, nil, fmt.Errorf("key %q is not for this", header.KeyID)
	}
	payload, err := signed.Verify(keys[0].Key)
	if err != nil {
		return header, nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return header, nil, err
	}
	now := p.Now()
	exp, _ := claims["exp"].(float64)
	if left := time.Unix(int64(exp), 0).Sub(now); left < 0 || left > 10*time.Minute {
		return header, nil, fmt.Errorf("exp is in %s", left)
	}
	return header, claims, nil
}

// clientKeys are the client's registered keys.
func (p *Provider) clientKeys() (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	if !strings.HasPrefix(p.ClientJWKS, "http") {
		return set, json.Unmarshal([]byte(p.ClientJWKS), &set)
	}
	response, err := http.Get(p.ClientJWKS)
	if err != nil {
		return set, err
	}
	defer response.Body.Close()
	return set, json.NewDecoder(response.Body).Decode(&set)
}

// clientAssertion tells why an assertion does not prove the client, or "" (RFC
// 7523 3, FAPI 2.0 5.3.2.1): aud is the issuer as one string, exp is near, and jti
// is new.
func (p *Provider) clientAssertion(form url.Values) string {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return "another client_assertion_type"
	}
	_, claims, err := p.verifyClientJWT(form.Get("client_assertion"))
	if err != nil {
		return err.Error()
	}
	if p.FederatedIssuer != "" { // it works as often as it is sent, until it expires
		if claims["iss"] != p.FederatedIssuer || claims["sub"] != "workload" || claims["aud"] != p.Issuer() || form.Get("client_id") != p.ClientID {
			return "iss, sub, aud or client_id is another"
		}
		return ""
	}
	exp, _ := claims["exp"].(float64)
	jti, _ := claims["jti"].(string)
	switch {
	case claims["iss"] != p.ClientID, claims["sub"] != p.ClientID:
		return "iss or sub is another"
	case claims["aud"] != p.Issuer():
		return fmt.Sprintf("aud is %v, not the issuer as one string", claims["aud"])
	case time.Unix(int64(exp), 0).Sub(p.Now()) > time.Minute:
		return "exp is too far away"
	case jti == "":
		return "no jti"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.assertions[jti] {
		return "jti was used before"
	}
	p.assertions[jti] = true
	return ""
}
