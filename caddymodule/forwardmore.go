package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// narrowing are the parameters by which a proxy asks for more than the rules of the
// site, by the claims that they are about. They are called as oauth2-proxy calls them:
// one that was written there and is passed over here would open what it closed (SEC-90).
var narrowing = map[string]string{
	"allowed_groups": "groups", "allowed_emails": "email", "allowed_email_domains": "email_domain",
}

// askedForMore reads what the question of a proxy wants beyond the site's rules: of
// each claim one of the values, with commas between. below is as in [Gate.serveAuth]:
// with it the query is that of the request that is asked about, which wants nothing.
func askedForMore(r *http.Request, below string) (map[string][]string, error) {
	if below != "" {
		return nil, nil
	}
	query, err := url.ParseQuery(originalURL(r).RawQuery)
	if err != nil { // which Query would leave out
		return nil, fmt.Errorf("the query of the question: %w", err)
	}
	var wanted map[string][]string
	for parameter, claim := range narrowing {
		for _, accepted := range query[parameter] {
			if wanted == nil {
				wanted = make(map[string][]string)
			}
			wanted[claim] = append(wanted[claim], strings.Split(accepted, ",")...)
		}
	}
	return wanted, nil
}

// narrow lets to pass who has what the question wants as well, whatever is public or
// only reported.
func (g *Gate) narrow(v *visit, wanted map[string][]string, pass caddyhttp.Handler) caddyhttp.Handler {
	if len(wanted) == 0 {
		return pass
	}
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) error {
		if v.identity.isNobody() {
			return g.fail(w, asked, v, problem(authflow.NoLogin, ReasonNoSession, "Please sign in.", errors.New("the question is about somebody who is signed in")))
		}
		for claim, accepted := range wanted {
			if !v.identity.has(claim, accepted, false) {
				return g.fail(w, asked, v, v.identity.denied(ReasonDenied, "Your account may not open this page."))
			}
		}
		return pass.ServeHTTP(w, asked)
	})
}

// redirectHeader is where a proxy in front, which sends a browser to sign in, tells
// what it had asked for.
const redirectHeader = "X-Auth-Request-Redirect"

// askedBefore is where to come back to if a link to the sign-in does not say it. The
// header is believed as little as `rd`; one that leads to no page of this site, such as
// the address of the sign-in itself, says nothing.
func (v *visit) askedBefore(r *http.Request) string {
	target, err := v.policy().FromOutside(r.Header.Get(redirectHeader))
	if err != nil {
		return "/"
	}
	return target
}

// sendToSignIn sends the browser to the provider. Proxies that show the answer of
// `sign_in` under a status of their own (nginx: error_page 401 =403 /oauth2/sign_in)
// take the redirect away with it; there a page leads on as well.
func (g *Gate) sendToSignIn(w http.ResponseWriter, r *http.Request, v *visit, location string) error {
	if originalURL(r).Path != v.endpoint("sign_in") {
		return redirect(w, location)
	}
	w.Header().Set("Location", location)
	return g.continuePage(w, v, http.StatusSeeOther, location)
}

// isForProxies reports an endpoint of a site that answers with tokens. It has no other,
// so that nobody can sign in at an address at which a script could read them.
func isForProxies(name string) bool {
	return name == "auth" || strings.HasPrefix(name, "auth/") || name == "ping"
}

// mayAsk holds that tokens are told to proxies alone that Caddy trusts.
func (g *Gate) mayAsk(r *http.Request) error {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); g.AnswerTokens && !trusted {
		return errors.New("answer_tokens: whoever asks is none of trusted_proxies")
	}
	return nil
}

// answers are the headers of tokens that a proxy is told: none, but where the site has
// been made for that, since every script of a site can ask as well.
func (g *Gate) answers(v *visit) []string {
	if !v.gate.AnswerTokens {
		return nil
	}
	var names []string
	for _, f := range g.forwards {
		names = append(names, f.Header)
	}
	return names
}

func notFound(w http.ResponseWriter) error {
	http.Error(w, "no such endpoint", http.StatusNotFound)
	return nil
}
