package caddymodule

import (
	"net/http"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// serveKeys publishes the public halves of our keys, for providers to verify what
// we sign (OIDC Core 10.1). The next key stands there before it signs.
func (g *Gate) serveKeys(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	var keys []authflow.ClientKey
	for _, providers := range [][]*provider{g.providers, g.app.providers} { // a later gate of the site may have its own
		for _, p := range providers {
			more, err := p.client.Keys()
			if err != nil {
				return g.fail(w, r, v, err)
			}
			keys = append(keys, more...)
		}
	}
	if g.app.asserts() || g.app.issues() {
		more, err := g.assertionKeys(r.Context())
		if err != nil {
			return g.fail(w, r, v, err)
		}
		keys = append(keys, more...)
	}
	set, err := authflow.MarshalKeySet(keys)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, err = w.Write(set)
	return err
}
