package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
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

// holds reports whether a path is the resource's own, or below it.
func (r resource) holds(path string) bool {
	return r.path == "" || path == r.path || strings.HasPrefix(path, r.path+"/")
}

// resourcesOf finds the audiences that are addresses.
func resourcesOf(audiences []string) (found []resource) {
	for _, audience := range audiences {
		u, err := url.Parse(audience)
		if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			continue
		}
		if o, valid := makeOrigin(u.Scheme, u.Host); valid {
			found = append(found, resource{audience, o, strings.TrimSuffix(u.Path, "/")})
		}
	}
	return found
}

// isFor reports whether one of the audiences of a token is for what a request asks
// for. An address with a path is that path, and what is below it: a token for one
// part does not open another. It is that whatever the request calls the site, since
// the port, and often the host, are the visitor's choice. Any other name is the whole
// site.
func (v *visit) isFor(r *http.Request, audiences []string) bool {
	return slices.ContainsFunc(audiences, func(audience string) bool {
		at := slices.IndexFunc(v.gate.bearer.resources, func(of resource) bool { return of.identifier == audience })
		if at < 0 || v.gate.bearer.resources[at].path == "" {
			return true
		}
		of := v.gate.bearer.resources[at]
		views, err := readings(r)
		return err == nil && !slices.ContainsFunc(views, func(view *http.Request) bool { return !of.holds(view.URL.Path) })
	})
}

// resource finds what a path of this site belongs to: the longest resource that
// holds it. Without any the site is called by its origin.
func (v *visit) resource(path string) resource {
	var best resource
	for _, candidate := range v.gate.bearer.resources {
		if candidate.origin == v.origin && candidate.holds(path) && (best.identifier == "" || len(candidate.path) > len(best.path)) {
			best = candidate
		}
	}
	if best.identifier == "" {
		return resource{identifier: v.origin.String(), origin: v.origin}
	}
	return best
}

// resourceMetadataURL is where the metadata of what a request is for stands (RFC
// 9728 3.1, 5.1).
func (v *visit) resourceMetadataURL(r *http.Request) string {
	u := url.URL{Path: v.resource(originalURL(r).Path).path}
	return v.origin.String() + resourceMetadataPath + u.EscapedPath()
}

// resourceMetadata is the answer (RFC 9728 2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Methods              []string `json:"bearer_methods_supported"`
	ProofAlgs            []string `json:"dpop_signing_alg_values_supported"`
}

// serveResourceMetadata says whose tokens count, for clients that know nothing of
// this site yet (P35). Nothing in it is secret, and programs of other sites read it.
func (g *Gate) serveResourceMetadata(w http.ResponseWriter, r *http.Request, v *visit, path string) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions: // clients in browsers say their version in a header
		h.Set("Access-Control-Allow-Headers", "*")
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		return g.methodRefused(w, r, v, "GET, HEAD, OPTIONS")
	}
	path, err := url.PathUnescape(path)
	known := v.resource(path)
	if err != nil || strings.TrimSuffix(path, "/") != known.path {
		http.Error(w, "no such resource", http.StatusNotFound)
		return nil
	}
	answer := resourceMetadata{
		Resource: known.identifier, Scopes: g.bearer.scopes, Methods: []string{"header"}, ProofAlgs: authflow.ProofAlgs(),
	}
	for _, p := range g.bearer.issuers {
		answer.AuthorizationServers = append(answer.AuthorizationServers, p.client.Issuer())
	}
	return writeJSON(w, http.StatusOK, answer)
}
