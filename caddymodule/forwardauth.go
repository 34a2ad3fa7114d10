package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// loginHeader tells a proxy that asks where somebody without a session signs in.
const loginHeader = "X-Gatehouse-Login"

// serveAuth answers another proxy that asks whether a request may pass: 200 with
// the identity headers, 401 or 403. below is what stands in the path behind the
// endpoint's name. The request that is asked about goes the way of every request,
// through all gates, up to the application.
//
// With `?login=redirect` a navigation without session is sent to sign in, for a
// proxy that hands such an answer to the browser.
func (g *Gate) serveAuth(w http.ResponseWriter, r *http.Request, v *visit, below string) error {
	behind, err := g.behind()
	if err != nil {
		return g.fail(w, r, v, cannotJudge(err))
	}
	gates := append([]*Gate{g}, behind...)
	if err = g.mayAsk(r); err == nil {
		v.elsewhere, err = v.askedSite(r)
	}
	if err != nil {
		return g.fail(w, r, v, cannotJudge(err))
	}
	asked, err := askedAbout(w, r, v, below, gates)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	wanted, err := askedForMore(r, below)
	if err != nil {
		return g.fail(w, r, v, cannotJudge(err))
	}
	var pass caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) error {
		w.Header().Del(loginHeader)
		if v.gate.AnswerTokens {
			// The tokens stand in the answer: out of the access log with it.
			caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
		}
		for _, gate := range gates {
			for _, name := range gate.answers(v) {
				w.Header()[name] = []string{strings.Join(asked.Header[name], "")}
			}
			for _, header := range gate.identityHeaders {
				// Those that nobody has are said to be empty: a proxy that only adds what it is told would leave the visitor's own.
				w.Header()[header.Name] = []string{strings.Join(asked.Header[header.Name], "")}
			}
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
	elsewhere := v.elsewhere != (origin{})
	switch name, ours := g.endpoint(asked); {
	case ours && isPlain(asked.URL) && g.hasEndpoint(name) && !elsewhere:
		return pass.ServeHTTP(w, r) // our endpoints are for everybody; r has no identity
	case ours && (!isPlain(asked.URL) || elsewhere): // something else to a server that resolves /oauth2/../x, or at another host
		return g.fail(w, r, v, cannotJudge(fmt.Errorf("%.64q may be an endpoint of the gate or not", asked.RequestURI)))
	}
	v.asked = true
	v.answersOnly = v.answersOnly || below != "" || r.URL.Query().Get("login") != "redirect"
	pass = g.narrow(v, wanted, pass)
	w.Header().Set(loginHeader, v.loginURL(v.returnTarget(asked)))
	for _, gate := range slices.Backward(behind) {
		next := pass
		pass = caddyhttp.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) error { return gate.ServeHTTP(w, asked, next) })
	}
	return g.ServeHTTP(w, asked, pass)
}

// cannotJudge refuses a question about a request that is not known well enough.
func cannotJudge(err error) *authflow.Error {
	return problem(authflow.Denied, ReasonAskedUnknown, "This request cannot be judged.", err)
}

// hasEndpoint reports that a name below the base path is one of ours. Another proxy may
// send the application what is not (`/oauth2/applications`): that is judged like any
// other path.
func (g *Gate) hasEndpoint(name string) bool {
	switch name {
	case "auth", "login", "start", "sign_in", "logout", "sign_out", "signed-out", "session", "userinfo", "jwks", "ping", "backchannel-logout", "frontchannel-logout":
		return true
	case "token", "revoke":
		return g.users != nil
	}
	return isCallback(name) || strings.HasPrefix(name, resourceMetadataPath)
}

// askedAbout is the request that another proxy asks about, as this server would
// have got it. Nobody but a proxy that Caddy trusts is believed; where rules depend
// on what a request is, it has to be told (SEC-04, SEC-10).
func askedAbout(w http.ResponseWriter, r *http.Request, v *visit, below string, gates []*Gate) (*http.Request, error) {
	told, err := originalRequest(r, v.askedURL, below)
	if err != nil {
		return nil, cannotJudge(err)
	}
	if slices.ContainsFunc(gates, (*Gate).readsRequest) && (told.target == "" || told.method == "") {
		return nil, cannotJudge(errors.New("rules of this site depend on path or method, and no proxy of trusted_proxies has told both (X-Forwarded-Uri and X-Forwarded-Method, or X-Original-Uri and X-Original-Method)"))
	}
	asked := r.WithContext(r.Context())
	asked.Header, asked.Body, asked.ContentLength = r.Header.Clone(), http.NoBody, 0
	asked.Host = v.site().host
	asked.RequestURI = told.target
	if told.target == "" {
		asked.RequestURI = "/"
	}
	if asked.URL, err = url.ParseRequestURI(asked.RequestURI); err != nil {
		return nil, cannotJudge(err)
	}
	asked.Method = told.method
	if told.method == "" {
		asked.Method = http.MethodGet
		if asked.Header.Get("Origin") != "" { // what a browser adds to everything but a plain GET
			asked.Method = http.MethodPost
		}
	}
	if asked.Header.Get("Sec-Websocket-Key") != "" || asked.Header.Get("Sec-Websocket-Version") != "" {
		asked.Header["Upgrade"] = []string{"websocket"} // which goes from hop to hop, and has not come to us
	}
	return asRequest(asked, w, r), nil
}

// asRequest gives a request what Caddy's server gives to one that comes in, and the
// variables of the one that asks.
func asRequest(asked *http.Request, w http.ResponseWriter, r *http.Request) *http.Request {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	prepared := caddyhttp.PrepareRequest(asked, caddy.NewReplacer(), w, server)
	own, _ := prepared.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	maps.Copy(own, vars)
	return prepared.WithContext(context.WithValue(prepared.Context(), caddyhttp.ExtraLogFieldsCtxKey, r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey)))
}

// readsRequest reports that what this gate decides depends on the request, not only
// on who is calling.
func (g *Gate) readsRequest() bool {
	return len(g.matchers) > 0 || len(g.public) > 0 || g.rulesMatch ||
		slices.ContainsFunc(g.requires, func(r requirement) bool { return r.rule.matchers != nil })
}

// told is what a proxy says of the request that it asks about; empty for what it
// does not say.
type told struct{ target, method string }

// The headers in which proxies tell the original request, and none of which is more
// right than another.
var (
	targetHeaders = []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"}
	methodHeaders = []string{"X-Forwarded-Method", "X-Original-Method"}
)

// originalRequest reads what a trusted proxy tells. Two that say different things
// are refused: one of them may be the visitor's own (SEC-04).
// originalURL is the header of that name, which does not pass the gate.
func originalRequest(r *http.Request, originalURL []string, below string) (t told, err error) {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return told{}, nil
	}
	if t.target, err = agreed(http.Header{
		"X-Forwarded-Uri": r.Header["X-Forwarded-Uri"], "X-Original-Uri": r.Header["X-Original-Uri"], "X-Original-Url": originalURL,
	}, targetHeaders); err != nil {
		return told{}, err
	}
	if t.method, err = agreed(r.Header, methodHeaders); err != nil {
		return told{}, err
	}
	if below != "" { // Envoy puts the path behind its prefix, and asks with the method itself
		if t.target != "" || t.method != "" {
			return told{}, errors.New("the original request is told in the path and in a header")
		}
		return told{target: below, method: r.Method}, nil
	}
	if t.target, err = originForm(t.target); err != nil {
		return told{}, err
	}
	if strings.ContainsFunc(t.method, func(c rune) bool { return c < 'A' || c > 'Z' && c < 'a' || c > 'z' }) {
		return told{}, fmt.Errorf("%.64q is no method", t.method)
	}
	return t, nil
}

// originForm is a request target without scheme and host, which X-Original-Url has.
func originForm(target string) (string, error) {
	if target == "" || target == "*" || target[0] == '/' {
		return target, nil
	}
	scheme, rest, _ := strings.Cut(target, "://")
	host, path, _ := strings.Cut(rest, "/")
	if _, is := makeOrigin(scheme, host); !is {
		return "", fmt.Errorf("%.64q is no request target", target)
	}
	return "/" + path, nil
}

// agreed returns the value that headers tell, or "" if none does.
func agreed(h http.Header, names []string) (string, error) {
	var value string
	for _, name := range names {
		for _, line := range h[name] {
			if value != "" && line != value {
				return "", fmt.Errorf("%s tells another request than a header beside it", name)
			}
			value = line
		}
	}
	return value, nil
}
