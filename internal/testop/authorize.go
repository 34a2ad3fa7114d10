package testop

import (
	"cmp"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// grant is what somebody agreed to at one sign-in, and all that was given for it.
type grant struct {
	user                         User
	scopes                       []string
	nonce, redirectURI           string
	challenge, challengeMethod   string
	sessionID                    string // sid
	acr                          string // the first of acr_values
	jkt                          string // thumbprint of the key that code and tokens are bound to
	certificate                  string // thumbprint of the one that tokens are bound to
	authTime                     time.Time
	codeUsed, revoked, refreshed bool
	current                      string // the refresh token that is good now
}

// authorize is the authorization endpoint (RFC 6749 4.1.1): it signs somebody in
// and answers at once.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request, b Behaviour) {
	form, refused := p.authorizationRequest(r.Form, b)
	if refused != nil {
		fail(w, http.StatusBadRequest, "invalid_request", refused.Error())
		return
	}
	r.Form = form
	redirectURI := r.Form.Get("redirect_uri")
	address, err := url.Parse(redirectURI)
	switch {
	case r.Form.Get("client_id") != p.ClientID:
		fail(w, http.StatusBadRequest, "invalid_request", "unknown client")
		return
	case err != nil, redirectURI == "", !address.IsAbs(), strings.Contains(redirectURI, "#"),
		len(p.RedirectURIs) > 0 && !slices.Contains(p.RedirectURIs, redirectURI):
		fail(w, http.StatusBadRequest, "invalid_request", "redirect_uri is not registered")
		return
	}
	response := map[string]any{"iss": p.Issuer()}
	if r.Form.Has("state") {
		response["state"] = r.Form.Get("state")
	}
	if code := p.refuse(r.Form, b); code != "" {
		response["error"], response["error_description"] = code, "testop: "+code
	} else {
		response["code"] = p.newCode(r, b)
	}
	mode, signed := strings.CutSuffix(r.Form.Get("response_mode"), "jwt")
	signed = signed != b.OtherResponseMode
	if signed { // JARM 2.1
		response["aud"], response["exp"] = p.ClientID, p.Now().Add(10*time.Minute).Unix()
	}
	b.AuthorizationResponse.apply(response)
	parameters := url.Values{}
	for name, value := range response {
		if text, ok := value.(string); ok {
			parameters.Set(name, text)
		}
	}
	if signed {
		text, err := p.signedResponse(response, b)
		if err != nil {
			fail(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		parameters = url.Values{"response": {text}}
	}
	for name, value := range b.BesideResponse {
		parameters.Set(name, value)
	}
	if name := b.TwiceInResponse; parameters.Has(name) {
		parameters.Add(name, parameters.Get(name))
	}
	if strings.TrimSuffix(mode, ".") == "form_post" {
		postForm(w, redirectURI, parameters)
		return
	}
	separator := "?"
	if strings.Contains(redirectURI, "?") {
		separator = "&"
	}
	http.Redirect(w, r, redirectURI+separator+parameters.Encode(), http.StatusFound)
}

// signedResponse is the response as a JWT (JARM 2.1).
func (p *Provider) signedResponse(response map[string]any, b Behaviour) (string, error) {
	payload, err := json.Marshal(response)
	if err != nil {
		return "", err
	}
	alg := cmp.Or(b.ResponseAlg, b.Alg, "RS256")
	return p.signAs(alg, payload, Behaviour{CorruptSignature: b.CorruptResponse, IDTokenHeader: b.ResponseHeader, NoKeyIDs: b.NoKeyIDs})
}

// refuse is the error that the request earns, or "".
func (p *Provider) refuse(form url.Values, b Behaviour) string {
	for _, values := range form {
		if len(values) > 1 { // RFC 6749 3.1
			return "invalid_request"
		}
	}
	switch {
	case b.AuthorizationError != "":
		return b.AuthorizationError
	case form.Get("response_type") != "code":
		return "unsupported_response_type"
	case slices.Contains(strings.Fields(form.Get("scope")), "openid") == b.PlainOAuth:
		return "invalid_scope"
	case form.Get("code_challenge") == "", form.Get("code_challenge_method") != "S256":
		return "invalid_request"
	case b.DPoPBoundCode && form.Get("dpop_jkt") == "":
		return "invalid_request"
	}
	return ""
}

// newCode signs the user in whom the request names.
func (p *Provider) newCode(r *http.Request, b Behaviour) string {
	name := r.Form.Get("login_hint")
	if cookie, err := r.Cookie("testop_user"); err == nil {
		name = cookie.Value
	}
	g := &grant{
		user: p.user(name), scopes: strings.Fields(r.Form.Get("scope")),
		nonce: r.Form.Get("nonce"), redirectURI: r.Form.Get("redirect_uri"),
		challenge: r.Form.Get("code_challenge"), challengeMethod: r.Form.Get("code_challenge_method"),
		sessionID: random(`sid"&{[?`), authTime: p.Now(), jkt: r.Form.Get("dpop_jkt"),
	}
	g.stepUp(r.Form, b)
	code := random("code")
	p.mu.Lock()
	p.codes[code] = g
	p.mu.Unlock()
	return code
}

// stepUp does what acr_values and max_age ask for (OIDC Core 3.1.2.1).
func (g *grant) stepUp(form url.Values, b Behaviour) {
	if acrs := strings.Fields(form.Get("acr_values")); len(acrs) > 0 && !b.NoStepUp {
		g.acr = acrs[0]
	}
	seconds, err := strconv.Atoi(form.Get("max_age"))
	if err == nil && !b.NoStepUp && b.SignedInAgo > time.Duration(seconds)*time.Second {
		return // signs in now
	}
	g.authTime = g.authTime.Add(-b.SignedInAgo)
}

// formPostPage is OAuth 2.0 Form Post Response Mode, 2.
var formPostPage = template.Must(template.New("").Parse(`<!doctype html><title>Submit</title>
<body onload="document.forms[0].submit()"><form method="post" action="{{.Action}}">
{{range $name, $values := .Parameters}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}</form></body>
`))

func postForm(w http.ResponseWriter, action string, parameters url.Values) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	formPostPage.Execute(w, struct { //nolint:errcheck // the caller may be gone
		Action     string
		Parameters url.Values
	}{action, parameters})
}
