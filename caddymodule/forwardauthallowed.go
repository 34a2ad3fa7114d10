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
