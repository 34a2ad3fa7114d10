package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/publicsuffix"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// One gate can answer for many hosts: people sign in at its own (public_url), and it is
// asked about requests to others, which return_to names. What is a request's own then (its
// host, its origin, where to come back to) is that of the host that was asked for.

// checkReturnTo holds that an origin of return_to stands for hosts of one owner: with a
// star it is a domain's, and of https alone.
func checkReturnTo(text string, o origin) error {
	domain, isPattern := strings.CutPrefix(o.hostname(), "*.")
	if !strings.Contains(o.host, "*") {
		return nil
	}
	if !isPattern || strings.Contains(domain, "*") || strings.HasSuffix(o.host, ".") || strings.Contains(domain, "..") {
		return fmt.Errorf("return_to: %q: a star stands for the hosts below a domain: https://*.example.com", text)
	}
	if o.scheme != "https" {
		return fmt.Errorf("return_to: %q: a star stands for hosts of https alone; over http name each", text)
	}
	// Asked of a host below, since some suffixes are a star themselves (*.ck).
	if suffix, _ := publicsuffix.PublicSuffix("a." + domain); len(suffix) >= len(domain) {
		return fmt.Errorf("return_to: %q: %s is a public suffix, below which anybody can have a host", text, domain)
	}
	return nil
}

// askedSite is the origin of the request that another proxy asks about, if that is not
// the gate's own but one of return_to; zero otherwise. Without public_url, the gate is at
// the host that was asked for. Nobody but a proxy that Caddy trusts is believed, and two
// headers that say different things are refused (SEC-04).
func (v *visit) askedSite(r *http.Request) (origin, error) {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if v.gate.PublicURL == "" || len(v.gate.returnTo) == 0 || !trusted {
		return origin{}, nil
	}
	scheme, host := v.origin.scheme, v.origin.host
	forwarded, told := single(r.Header, "X-Forwarded-Host")
	if told {
		host = forwarded
		if proto, one := single(r.Header, "X-Forwarded-Proto"); one {
			scheme = strings.Replace(strings.ToLower(proto), "ws", "http", 1)
		}
	}
	asked, valid := makeOrigin(scheme, host)
	if original, err := agreed(http.Header{"X-Original-Url": v.askedURL}, []string{"X-Original-Url"}); err != nil {
		return origin{}, err
	} else if scheme, rest, absolute := strings.Cut(original, "://"); absolute && original[0] != '/' {
		host, _, _ := strings.Cut(rest, "/")
		whole, isOrigin := makeOrigin(strings.ToLower(scheme), host)
		if told && whole.host != asked.host {
			return origin{}, errors.New("X-Original-Url tells another host than X-Forwarded-Host")
		}
		asked, valid = whole, isOrigin
	}
	if !valid || asked == v.origin || !v.policy().Allows(asked.String()) {
		return origin{}, nil
	}
	return asked, nil
}

// site is the origin of the page that the request is for.
func (v *visit) site() origin {
	if v.elsewhere != (origin{}) {
		return v.elsewhere
	}
	return v.origin
}

// cookiesReach reports whether a session of the gate's own host is brought to another: if
// it is not, a sign-in would lead back to where nobody is signed in, again and again (P10).
func (v *visit) cookiesReach(o origin) bool {
	cookies := v.gate.cookies
	if v.origin.scheme == "https" && o.scheme != "https" {
		return false
	}
	return o.hostname() == v.origin.hostname() || cookies.Domain != "" && cookies.Covers(o.hostname())
}

// returnTarget is where a browser comes back to after a sign-in: what it asked for, at the
// host that it asked for if the session gets there.
func (v *visit) returnTarget(r *http.Request) string {
	target := v.policy().OwnTarget(originalTarget(r))
	if v.elsewhere != (origin{}) && strings.HasPrefix(target, "/") && v.cookiesReach(v.elsewhere) {
		return v.elsewhere.String() + target
	}
	return target
}

// loginElsewhere leads to where a sign-in can begin, if it is another host than the one
// that was asked for: there the attempt's cookie would not be at the callback.
func (g *Gate) loginElsewhere(w http.ResponseWriter, r *http.Request, v *visit, o loginOptions) error {
	if !v.cookiesReach(v.elsewhere) {
		return g.fail(w, r, v, problem(authflow.BadRequest, ReasonLoginLoop, "Nobody can sign in here: the cookies of this site do not cover this host.",
			fmt.Errorf("the cookies of %s (cookie_domain %q) do not get to %s", v.origin, v.gate.cookies.Domain, v.elsewhere)))
	}
	var more []string
	needed, err := g.sealStepUp(r, v)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if needed != "" {
		more = append(more, "step_up", needed)
	}
	if len(o.providers) == 1 && len(v.gate.providers) > 1 {
		more = append(more, "provider", o.providers[0].name)
	}
	return redirect(w, v.loginURL(o.returnTo, more...))
}
