package caddymodule

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

//go:embed pages/*.html
var embedded embed.FS

var pageColor = regexp.MustCompile(`^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)

// pages renders what people see of us. Everything that a browser or a provider
// said goes through html/template, and the pages run no script and load nothing
// but a logo (SEC-47).
type pages struct {
	templates *template.Template
	name      string
	logo      string
	color     template.CSS
	ink       template.CSS // what is written on color
}

func newPages(config *PagesConfig) (*pages, error) {
	if config == nil {
		config = new(PagesConfig)
	}
	p := &pages{name: config.Name, logo: config.Logo, color: "#1f5fae", ink: "#fff"}
	if config.Color != "" {
		if !pageColor.MatchString(config.Color) {
			return nil, fmt.Errorf("pages: color %q is not of the form rrggbb", config.Color)
		}
		p.color = template.CSS("#" + strings.TrimPrefix(config.Color, "#")) //nolint:gosec // checked above
		p.ink = inkOn(strings.TrimPrefix(config.Color, "#"))
	}
	if p.logo != "" && !strings.HasPrefix(p.logo, "/") && !strings.HasPrefix(p.logo, "https://") {
		return nil, fmt.Errorf("pages: logo %q is neither a path of this site nor an https URL", p.logo)
	}
	var err error
	if p.templates, err = template.ParseFS(embedded, "pages/*.html"); err != nil {
		return nil, err
	}
	if config.Root == "" {
		return p, nil
	}
	own, err := fs.Glob(os.DirFS(config.Root), "*.html")
	if err != nil || len(own) == 0 {
		return nil, fmt.Errorf("pages: no templates (*.html) in %s", config.Root)
	}
	for _, name := range own {
		if p.templates.Lookup(name) == nil {
			return nil, fmt.Errorf("pages: %s in %s is none of our pages", name, config.Root)
		}
	}
	if p.templates, err = p.templates.ParseFS(os.DirFS(config.Root), "*.html"); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return p, nil
}

// inkOn is what can be read on a color, given as rgb or rrggbb: black or white,
// whichever has more contrast (WCAG 2.2, 1.4.3).
func inkOn(color string) template.CSS {
	if len(color) == 3 {
		color = string([]byte{color[0], color[0], color[1], color[1], color[2], color[2]})
	}
	luminance := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		value, _ := strconv.ParseUint(color[2*i:2*i+2], 16, 8) // pageColor has looked
		part := float64(value) / 255
		if part <= 0.04045 {
			part /= 12.92
		} else {
			part = math.Pow((part+0.055)/1.055, 2.4)
		}
		luminance += weight * part
	}
	if (luminance+0.05)/0.05 > 1.05/(luminance+0.05) {
		return "#000"
	}
	return "#fff"
}

// page is what every template is given.
type page struct {
	Site  string       // the site's name
	Logo  string       // its logo, or empty
	Color template.CSS // the accent color
	Ink   template.CSS // what is written on it
	Nonce string       // of the one style element

	Title     string
	Message   string
	Reason    authflow.Reason
	RequestID string

	User    string // who is signed in, if anybody
	At      string // the provider's name, if there are several
	Email   string
	Groups  []string
	Expires string

	Continue string // where to go at once
	SignIn   string // where to sign in
	Retry    string // where to try again
	Another  string // where to sign in with another account
	SignOut  string // where to post a sign-out
	Confirm  bool   // the page is there for the sign-out
	Return   string // hidden rd of the sign-out form
	Choices  []choice
}

// choice is one provider of the chooser, by its display name.
type choice struct{ Name, URL string }

// render writes a page. A template of the user's that fails is an error, and
// nothing of it is sent.
func (g *Gate) render(w http.ResponseWriter, v *visit, status int, name string, p page) error {
	pages := v.gate.pages
	p.Site, p.Logo, p.Color, p.Ink, p.Nonce = pages.name, pages.logo, pages.color, pages.ink, rand.Text()
	if p.Site == "" {
		p.Site = v.origin.host
	}
	var body bytes.Buffer
	if err := pages.templates.ExecuteTemplate(&body, name, p); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := w.Header()
	noStore(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// No form-action: browsers hold the provider's logout, to which our form's
	// answer redirects, to it as well.
	h.Set("Content-Security-Policy",
		"default-src 'none'; img-src 'self' https:; style-src 'nonce-"+p.Nonce+"'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, err := w.Write(body.Bytes())
	return err
}

// errorPage tells a person what went wrong, who is signed in, and the way on.
func (g *Gate) errorPage(w http.ResponseWriter, r *http.Request, v *visit, status int, e *authflow.Error, id string) error {
	p := page{
		Title: http.StatusText(status), Message: e.Public, Reason: e.Reason, RequestID: id,
	}
	switch e.Kind {
	case authflow.NoLogin:
		p.Title = "Sign in"
	case authflow.Denied:
		p.Title = "No access"
	case authflow.BadRequest:
		p.Title = "That did not work"
	case authflow.Unavailable:
		p.Title = "Not available for the moment"
	case authflow.Provider:
		p.Title = "Signing in did not work"
	case authflow.Internal:
		p.Title = "This site has a problem"
	}
	if e.Reason == authflow.ReasonProviderDenied {
		p.Title = "Not signed in"
	}
	who, isRefused := errors.AsType[*refused](e)
	again, retry := "/", "/"
	name, ours := g.endpoint(r)
	// A POST of another site brings people here too: form_post, OIDC Core 4.
	person := r.Method == http.MethodGet || ours && (isCallback(name) || name == "login")
	if !ours {
		again = v.returnTarget(r)
		retry = again
	} else if name == "callback" && r.Method == http.MethodGet && e.Reason == ReasonStoreUnavailable {
		retry = originalTarget(r) // the attempt is there still
	} else if name == "login" {
		again = "" // its rd may be what is wrong
		retry = v.endpoint("login") + "?" + originalURL(r).RawQuery
	}
	switch {
	case e.Reason == ReasonKeysNotShared:
		p.SignOut = v.endpoint("logout")
	case isRefused:
		p.User, p.Email = who.user(), who.email()
		if p.User == "" {
			p.User = who.session.Subject
		}
		p.Another = v.anotherURL(again)
		if v.elsewhere == (origin{}) { // whose pages cannot send the form
			p.SignOut = v.endpoint("logout")
		}
	case e.Kind == authflow.Unavailable && person:
		p.Retry = retry
	case e.Kind != authflow.Internal && person:
		p.SignIn = v.loginURL(again)
	case e.Kind == authflow.NoLogin:
		p.SignIn = v.loginURL("")
	}
	return g.render(w, v, status, "error.html", p)
}

// chooserPage shows the providers that a person may sign in with.
func (g *Gate) chooserPage(w http.ResponseWriter, r *http.Request, v *visit, o loginOptions) error {
	p := page{Title: "Sign in"}
	needed, err := g.sealStepUp(r, v)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	for _, provider := range o.providers {
		more := []string{"provider", provider.name}
		if needed != "" {
			more = append(more, "step_up", needed)
		}
		if o.prompt != "" {
			more = append(more, "prompt", o.prompt)
		}
		passed, err := provider.client.RequestParameters(o.query)
		if err != nil {
			return g.fail(w, r, v, err)
		}
		for _, name := range slices.Sorted(maps.Keys(passed)) {
			if name != "prompt" || o.prompt == "" {
				more = append(more, name, passed[name])
			}
		}
		p.Choices = append(p.Choices, choice{Name: provider.displayName, URL: o.again(v, more)})
	}
	return g.render(w, v, http.StatusOK, "chooser.html", p)
}

// confirmPage asks whether a sign-out that another site led to is meant.
func (g *Gate) confirmPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	p := page{Title: "Sign out?", SignOut: v.endpoint("logout"), Confirm: true}
	if target, err := v.policy().FromOutside(r.URL.Query().Get("rd")); err == nil {
		p.Return = target
	}
	return g.render(w, v, http.StatusOK, "confirm.html", p)
}

// continuePage goes on to a target by a navigation of this site's own.
func (g *Gate) continuePage(w http.ResponseWriter, v *visit, status int, target string) error {
	return g.render(w, v, status, "continue.html", page{Title: "One moment", Continue: target})
}

func (g *Gate) signedOutPage(w http.ResponseWriter, _ *http.Request, v *visit) error {
	return g.render(w, v, http.StatusOK, "signedout.html", page{Title: "Signed out", SignIn: v.loginURL("/")})
}
