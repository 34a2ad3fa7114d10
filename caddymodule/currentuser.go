package caddymodule

import (
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// serveUserinfo tells the application's own scripts who is signed in: what the
// upstream is told, no tokens, and nothing to another site (SEC-93).
func (g *Gate) serveUserinfo(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return g.fail(w, r, v, crossOriginProblem("userinfo for another site"))
	}
	s, p, err := g.callingAs(r, v)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	who := &identity{session: s, provider: p, prefixed: len(g.speakers) > 1}
	claims := make(map[string]any)
	for _, name := range g.app.needed() {
		if value := plainValue(who.claim(name)); value != nil && !(name == "email" && who.email() == "") {
			claims[name] = value
		}
	}
	groups := who.values("groups", false)
	return writeJSON(w, http.StatusOK, userinfoBody{
		User: who.user(), Email: who.email(), Groups: groups, Provider: p.name, Subject: s.Subject,
		PreferredUsername: who.header("preferred_username"),
		Expires:           s.Expires.UTC().Truncate(time.Second), Claims: claims,
	})
}

// userinfoBody is the current user, as the endpoint `userinfo` tells it.
type userinfoBody struct {
	User     string         `json:"user"`
	Email    string         `json:"email,omitempty"`
	Groups   []string       `json:"groups"`
	Provider string         `json:"provider"`
	Subject  string         `json:"sub"`
	Expires  time.Time      `json:"expires"`
	Claims   map[string]any `json:"claims"`
	// PreferredUsername is where scripts written for oauth2-proxy look for it.
	PreferredUsername string `json:"preferredUsername,omitempty"`
}

// serveSession shows a person who they are to this site.
func (g *Gate) serveSession(w http.ResponseWriter, r *http.Request, v *visit) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.methodRefused(w, r, v, "GET, HEAD")
	}
	live, provider, err := g.signedIn(r, v)
	if err != nil {
		if p := asProblem(err); p.Kind == authflow.NoLogin && wantsPage(r) {
			return g.render(w, v, http.StatusOK, "session.html", page{Title: "Not signed in", SignIn: v.loginURL(v.endpoint("session"))})
		}
		return g.fail(w, r, v, err)
	}
	who := &identity{session: live.Session(), provider: provider, prefixed: len(g.speakers) > 1}
	groups := who.values("groups", false)
	at := ""
	if len(g.providers) > 1 {
		at = provider.displayName
	}
	return g.render(w, v, http.StatusOK, "session.html", page{
		Title: "Your session", User: who.user(), At: at, Email: who.email(), Groups: groups,
		Expires: live.Session().Expires.UTC().Format("2 January 2006, 15:04 UTC"),
		Another: v.loginURL("/", "prompt", "select_account"), SignOut: v.endpoint("logout"),
	})
}

// callingAs finds who is calling, by access token or session, without judging the
// rules, as signedIn does.
func (g *Gate) callingAs(r *http.Request, v *visit) (*session.Session, *provider, error) {
	if v.brought != nil {
		who, err := v.openToken(r)
		if err != nil {
			return nil, nil, err
		}
		return who.session, who.issuer, nil
	}
	if !v.takesSessions() {
		return nil, nil, tokensOnly()
	}
	live, p, err := g.signedIn(r, v)
	if err != nil {
		return nil, nil, err
	}
	return live.Session(), p, nil
}

// signedIn finds the session and its provider, without judging the rules: somebody whom
// the rules refuse may still see who they are, and sign out.
func (g *Gate) signedIn(r *http.Request, v *visit) (*session.Live, *provider, error) {
	live, err := v.load(r)
	if err != nil {
		return nil, nil, err
	}
	s := live.Session()
	p := g.signInProvider(s.Provider)
	if p == nil || !p.isOf(s) {
		return nil, nil, problem(authflow.NoLogin, ReasonOtherProvider, "Please sign in.", nil)
	}
	return live, p, nil
}
