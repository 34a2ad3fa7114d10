package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// resourceMetadataPath is where a protected resource says who issues its tokens (RFC
// 9728 3).
const resourceMetadataPath = "/.well-known/oauth-protected-resource"

// resource is an audience that is an address: what tokens are asked for by (RFC
// 8707 2).
type resource struct {
	identifier string
	origin     origin
	path       string // "" for the whole origin
}

// resourcesOf finds the audiences that are addresses.
func resourcesOf(audiences []string) []resource {
	var found []resource
	for _, audience := range audiences {
		u, err := url.Parse(audience)
		if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			continue
		}
		if o, valid := makeOrigin(u.Scheme, u.Host); valid {
			found = append(found, resource{audience, o, strings.TrimSuffix(u.EscapedPath(), "/")})
		}
	}
	return found
}

// resource finds what a path of this site belongs to: the longest resource that
// holds it. Without any the site is called by its origin.
func (v *visit) resource(path string) resource {
	best := resource{identifier: v.origin.String(), origin: v.origin}
	found := false
	for _, candidate := range v.gate.bearer.resources {
		within := candidate.path == "" || path == candidate.path || strings.HasPrefix(path, candidate.path+"/")
		if candidate.origin == v.origin && (within && len(candidate.path) >= len(best.path) || !found && !within) {
			best, found = candidate, true
		}
	}
	return best
}

// resourceMetadataURL is where the metadata of what a request is for stands (RFC
// 9728 3.1, 5.1).
func (v *visit) resourceMetadataURL(r *http.Request) string {
	return v.origin.String() + resourceMetadataPath + v.resource(originalURL(r).EscapedPath()).path
}

// resourceMetadata is the answer (RFC 9728 2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Methods              []string `json:"bearer_methods_supported"`
	ProofAlgs            []string `json:"dpop_signing_alg_values_supported"`
}

// serveResourceMetadata says whose tokens count, for clients that know nothing of
// this site yet (P35). Nothing in it is secret, and programs of other sites read it.
func (g *Gate) serveResourceMetadata(w http.ResponseWriter, r *http.Request, v *visit, path string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	known := v.resource(path)
	if strings.TrimSuffix(path, "/") != known.path {
		http.Error(w, "no such resource", http.StatusNotFound)
		return nil
	}
	answer := resourceMetadata{
		Resource: known.identifier, Scopes: g.bearer.scopes, Methods: []string{"header"}, ProofAlgs: authflow.ProofAlgs(),
	}
	for _, p := range g.bearer.issuers {
		answer.AuthorizationServers = append(answer.AuthorizationServers, p.client.Issuer())
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	return writeJSON(w, http.StatusOK, answer)
}
