package caddymodule

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// isInitiated reports a sign-in that a provider or a portal asks for (OIDC Core 4).
func isInitiated(r *http.Request) bool {
	query := r.URL.Query()
	return r.Method == http.MethodPost || query.Has("iss") || query.Has("target_link_uri")
}

// initiate reads such a request into options. iss has to be one of this site's
// issuers, so that nobody can have the browser sent elsewhere, and target_link_uri
// passes the same check as rd.
func (g *Gate) initiate(r *http.Request, v *visit, o *loginOptions) error {
	initiation, err := authflow.ParseLoginInitiation(r)
	if err != nil {
		return err
	}
	o.issuer, o.loginHint = initiation.Issuer, initiation.LoginHint
	chosen := r.URL.Query().Get("provider") // on a page of ours: an issuer may have several clients here
	o.providers = slices.DeleteFunc(slices.Clone(g.providers), func(p *provider) bool {
		return p.client.Issuer() != initiation.Issuer || chosen != "" && p.name != chosen
	})
	if len(o.providers) == 0 {
		return unknownProvider(fmt.Errorf("iss is %.256q", initiation.Issuer))
	}
	if initiation.TargetLinkURI == "" {
		return nil
	}
	if o.returnTo, err = v.policy().FromOutside(initiation.TargetLinkURI); err != nil {
		return returnRefused(err)
	}
	return nil
}

// isLoginNavigation is authflow.IsNavigation for the endpoint `login`, which takes
// a form of another site as well.
func isLoginNavigation(r *http.Request) bool {
	sent := *r
	sent.Method = http.MethodGet
	return authflow.IsNavigation(&sent)
}
