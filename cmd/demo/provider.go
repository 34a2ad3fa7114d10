package main

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// provider is an OpenID provider: zitadel/oidc speaks the protocol, the pages for
// people are here. It remembers nobody: each sign-in asks for the password.
type provider struct {
	issuer  string
	op      *op.Provider
	storage *memory
}

// newProvider makes a provider that knows one client.
func newProvider(issuer string, c *client) (http.Handler, error) {
	storage, err := newMemory(c)
	if err != nil {
		return nil, err
	}
	config := &op.Config{
		CodeMethodS256: true, DefaultLogoutRedirectURI: "/signed-out",
		SupportedScopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, scopeGroups},
	}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	protocol, err := op.NewProvider(config, storage, op.StaticIssuer(issuer), op.WithAllowInsecure())
	if err != nil {
		return nil, err
	}
	p := &provider{issuer: issuer, op: protocol, storage: storage}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", p.loginForm)
	mux.HandleFunc("POST /login", p.login)
	mux.HandleFunc("GET /consent", p.consentForm)
	mux.HandleFunc("POST /consent", p.consent)
	mux.HandleFunc("GET /signed-out", func(w http.ResponseWriter, _ *http.Request) {
		over(w, http.StatusOK, "Signed out", "The provider has forgotten you.")
	})
	mux.Handle("/", protocol)
	return mux, nil
}

// over ends what the user was doing.
func over(w http.ResponseWriter, status int, title, text string) {
	show(w, status, "over.html", map[string]string{"Title": title, "Text": text})
}

// pending finds the sign-in that a form belongs to, or writes the answer.
func (p *provider) pending(w http.ResponseWriter, r *http.Request) *authRequest {
	request, err := p.storage.request(r.FormValue("id"))
	if err != nil {
		over(w, http.StatusBadRequest, "This sign-in is over", "Please start again at the site where you came from.")
		return nil
	}
	return request
}

// loginForm asks who is there.
func (p *provider) loginForm(w http.ResponseWriter, r *http.Request) {
	if request := p.pending(w, r); request != nil {
		askPassword(w, http.StatusOK, request, request.asked.LoginHint, "")
	}
}

func askPassword(w http.ResponseWriter, status int, request *authRequest, name, wrong string) {
	show(w, status, "login.html", map[string]any{"ID": request.id, "Name": name, "Wrong": wrong, "Users": users})
}

// login checks the password, and asks for consent.
func (p *provider) login(w http.ResponseWriter, r *http.Request) {
	request := p.pending(w, r)
	if request == nil {
		return
	}
	name := r.PostFormValue("username")
	u := findUser(func(u user) bool { return u.Name == name })
	if u == nil || subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(u.Password)) != 1 {
		askPassword(w, http.StatusUnauthorized, request, name, "No user has that name and that password.")
		return
	}
	p.storage.change(request.id, func(pending *authRequest) {
		pending.subject, pending.authTime, pending.allowed = u.Subject, time.Now(), false
	})
	http.Redirect(w, r, "/consent?id="+request.id, http.StatusSeeOther)
}

// wishes says what a scope gives, in words.
var wishes = map[string]string{
	oidc.ScopeOpenID: "who you are", oidc.ScopeProfile: "your name", oidc.ScopeEmail: "your e-mail address", scopeGroups: "your groups",
}

// consentForm asks whether the gate may know.
func (p *provider) consentForm(w http.ResponseWriter, r *http.Request) {
	request := p.pending(w, r)
	if request == nil {
		return
	}
	u := findUser(func(u user) bool { return u.Subject == request.subject })
	if u == nil {
		http.Redirect(w, r, p.storage.client.LoginURL(request.id), http.StatusSeeOther)
		return
	}
	var asked []string
	for _, scope := range request.asked.Scopes {
		asked = append(asked, wishes[scope])
	}
	show(w, http.StatusOK, "consent.html", map[string]any{
		"ID": request.id, "FullName": u.FullName, "Client": p.storage.client.id, "Site": p.storage.client.site, "Wishes": asked,
	})
}

// consent sends the browser back to the gate: with a code, or with access_denied
// (RFC 6749 4.1.2.1).
func (p *provider) consent(w http.ResponseWriter, r *http.Request) {
	request := p.pending(w, r)
	if request == nil {
		return
	}
	if request.subject == "" {
		http.Redirect(w, r, p.storage.client.LoginURL(request.id), http.StatusSeeOther)
		return
	}
	if r.PostFormValue("decision") != "allow" {
		if err := p.storage.DeleteAuthRequest(r.Context(), request.id); err != nil {
			over(w, http.StatusInternalServerError, "Sorry", "The provider is broken.")
			return
		}
		op.AuthRequestError(w, r, request, oidc.ErrAccessDenied().WithDescription("The user said no."), p.op)
		return
	}
	p.storage.change(request.id, func(pending *authRequest) { pending.allowed = true })
	ctx := op.ContextWithIssuer(r.Context(), p.issuer)
	http.Redirect(w, r, op.AuthCallbackURL(p.op)(ctx, request.id), http.StatusSeeOther)
}
