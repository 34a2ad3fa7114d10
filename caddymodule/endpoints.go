package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// endpoint finds which of our endpoints a request is for, by the path as the
// browser sent it: a rewrite does not move them.
func (g *Gate) endpoint(r *http.Request) (string, bool) {
	u := originalURL(r)
	escaped := u.EscapedPath()
	if below, ours := strings.CutPrefix(escaped, resourceMetadataPath); ours && g.bearer != nil && (below == "" || below[0] == '/') {
		return resourceMetadataPath + below, true
	}
	if below, ours := strings.CutPrefix(escaped, g.basePath+"/auth/"); ours {
		return "auth/" + below, true // of the request that is asked about, byte for byte
	}
	name, ours := strings.CutPrefix(u.Path, g.basePath+"/")
	return name, ours && u.RawPath == ""
}

// serveEndpoint answers a request below our base path. Besides our own names
// those work that users of oauth2-proxy have in bookmarks and provider settings.
func (g *Gate) serveEndpoint(w http.ResponseWriter, r *http.Request, v *visit, name string) error {
	noStore(w.Header())
	if err := v.checkHost(r); err != nil && name != "ping" {
		return g.fail(w, r, v, err)
	}
	if g.AnswerTokens && !isForProxies(name) {
		return notFound(w)
	}
	if below, asked := strings.CutPrefix(name, "auth/"); asked {
		if query := originalURL(r).RawQuery; query != "" {
			below += "?" + query
		}
		return g.serveAuth(w, r, v, "/"+below)
	}
	if path, is := strings.CutPrefix(name, resourceMetadataPath); is {
		return g.serveResourceMetadata(w, r, v, path)
	}
	if len(g.providers) == 0 && isSignInEndpoint(name) {
		name = ""
	}
	if isCallback(name) {
		return g.serveCallback(w, r, v)
	}
	switch name {
	case "auth":
		return g.serveAuth(w, r, v, "")
	case "login", "start", "sign_in":
		return g.serveLogin(w, r, v)
	case "logout", "sign_out":
		return g.serveLogout(w, r, v)
	case "signed-out":
		return g.serveSignedOut(w, r, v)
	case "backchannel-logout":
		return g.serveBackchannelLogout(w, r, v)
	case "frontchannel-logout":
		return g.serveFrontchannelLogout(w, r, v)
	case "session":
		return g.serveSession(w, r, v)
	case "userinfo":
		return g.serveUserinfo(w, r, v)
	case "token":
		if g.users != nil {
			return g.serveToken(w, r, v)
		}
	case "revoke":
		if g.users != nil {
			return g.serveRevoke(w, r, v)
		}
	case "jwks":
		return g.serveKeys(w, r, v)
	case "ping":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := w.Write([]byte("ok\n"))
		return err
	}
	return notFound(w)
}

// redirect sends the browser on, as GET whatever brought it here (RFC 9700 4.12).
func redirect(w http.ResponseWriter, location string) error {
	noStore(w.Header())
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (g *Gate) methodRefused(w http.ResponseWriter, r *http.Request, v *visit, allow string) error {
	w.Header().Set("Allow", allow)
	if v.gate.passErrors {
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s", r.Method))
	}
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return nil
}

// isSignInEndpoint reports whether an endpoint is about browsers and their sessions; a
// site without a provider has none of those.
func isSignInEndpoint(name string) bool {
	switch name {
	case "token", "revoke", "userinfo", "jwks", "ping", "auth":
		return false
	}
	return true
}
