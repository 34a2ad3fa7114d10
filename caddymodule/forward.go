package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// The tokens that `forward` sends to the upstream, by their words.
const (
	accessToken = "access_token"
	idToken     = "id_token"
	assertion   = "assertion"
)

// forwardHeaders are the headers that tokens go into, unless the site names another.
var forwardHeaders = map[string]string{
	accessToken: "X-Forwarded-Access-Token",
	idToken:     "X-Forwarded-Id-Token",
	assertion:   "X-Gatehouse-Assertion",
}

func forwardable() []string { return slices.Sorted(maps.Keys(forwardHeaders)) }

// header is where the token goes.
func (c ForwardConfig) header() string {
	return http.CanonicalHeaderKey(cmp.Or(c.Header, forwardHeaders[c.Token]))
}

// provisionForward makes the headers of tokens ours: as identity headers they are
// cleared from every request, and so is a proof of possession (DPoP) of the client's
// own, which would stand beside a token that it is not for. Sessions of this gate's
// providers hold the tokens from now on.
func (g *Gate) provisionForward(caddy.Context) error {
	for _, config := range g.Forward {
		if forwardHeaders[config.Token] == "" {
			return fmt.Errorf("forward: %q is none of %s", config.Token, strings.Join(forwardable(), ", "))
		}
		name := config.header()
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("forward %s: %q is no header's name", config.Token, name)
		case protectedHeader(name), name == "Dpop", name == "Proxy-Authorization":
			return fmt.Errorf("forward %s: header %s is not a token's place", config.Token, name)
		case g.own.has(name):
			return fmt.Errorf("forward %s: header %s is set twice, or is one variable to a CGI application with another", config.Token, name)
		}
		ours := newNameSet([]string{name})
		g.own, g.names = g.own.union(ours), g.names.union(ours)
		g.forwards = append(g.forwards, ForwardConfig{Token: config.Token, Header: name})
		for _, p := range g.providers {
			if p.plain && config.Token == idToken { // each session would lack it: one sign-in after the other
				return fmt.Errorf("forward id_token: provider %s is plain OAuth 2.0 and issues no ID tokens (forward assertion says who is calling)", p.name)
			}
			g.app.needToken(p, config.Token)
		}
	}
	if g.AnswerTokens && len(g.forwards) == 0 {
		return errors.New("answer_tokens: there is no forward, so no token to answer with")
	}
	if len(g.forwards) > 0 {
		proof := newNameSet([]string{"DPoP"})
		g.own, g.names = g.own.union(proof), g.names.union(proof)
	}
	return nil
}

// tokenNeed is a token that sessions of a provider hold.
type tokenNeed struct {
	provider string
	client   *authflow.Client
	token    string
}

// needToken records that some site forwards a token of a provider's sessions.
func (a *App) needToken(p *provider, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[tokenNeed{p.name, p.client, token}] = struct{}{}
	a.sendsBound = a.sendsBound || p.dpop && token == accessToken
}

// needsToken reports whether any site does.
func (a *App) needsToken(p *provider, token string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, needed := a.tokens[tokenNeed{p.name, p.client, token}]
	return needed
}

// keepTokens puts into a session the tokens that some site forwards, and no others:
// cookies stay small. Of two ID tokens the newest counts; a refresh may bring none.
func (g *Gate) keepTokens(p *provider, s *session.Session, grant *authflow.Grant) error {
	s.AccessToken, s.TokenType, s.AccessExpiry = secret.String{}, "", time.Time{}
	if g.app.needsToken(p, accessToken) {
		if !isToken(grant.AccessToken.Reveal()) {
			return claimUnsafe(errors.New("the access token is not of printable ASCII without spaces"))
		}
		s.AccessToken, s.TokenType, s.AccessExpiry = grant.AccessToken, grant.TokenType, grant.AccessExpiry
	}
	switch {
	case !g.app.needsToken(p, idToken):
		s.IDToken = secret.String{}
	case !grant.IDToken.Empty():
		s.IDToken = grant.IDToken
	}
	return nil
}

// isToken reports that a text can stand in a header as a token, and be read there as
// nothing else (RFC 6750 2.1; a space would begin something new).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// forwardsAccess reports that this gate forwards the access token.
func (g *Gate) forwardsAccess() bool {
	return slices.ContainsFunc(g.forwards, func(f ForwardConfig) bool { return f.Token == accessToken })
}

// hasTokens holds that a session has every token that this gate forwards, as
// hasClaims does for claims.
func (g *Gate) hasTokens(s *session.Session) error {
	for _, f := range g.forwards {
		if f.Token != assertion && tokenOf(s, f.Token).Empty() {
			return problem(authflow.NoLogin, ReasonClaimsChanged, "This site needs to know more of you. Please sign in again.",
				fmt.Errorf("the session was made without %s", f.Token))
		}
	}
	return nil
}

// isStale reports that the access token which this gate forwards has expired.
func (g *Gate) isStale(s *session.Session) bool {
	return !s.AccessExpiry.IsZero() && !g.now().Before(s.AccessExpiry) && g.forwardsAccess()
}

// checkTokens holds that the tokens are there and that the access token has not
// expired. One that has is of no use to the upstream, which cannot tell it from a
// stolen one: a refresh has to bring another, or a sign-in where there is no refresh.
func (g *Gate) checkTokens(s *session.Session) error {
	if err := g.hasTokens(s); err != nil {
		return err
	}
	if !g.isStale(s) {
		return nil
	}
	expired := fmt.Errorf("the access token expired at %s", s.AccessExpiry.UTC().Format(time.RFC3339))
	if s.RefreshToken.Empty() {
		return problem(authflow.NoLogin, ReasonAccessExpired, "Please sign in again.", expired)
	}
	return retrySoon(problem(authflow.Unavailable, ReasonAccessExpired, "The sign-in service cannot be reached at the moment. Please try again shortly.", expired))
}

func tokenOf(s *session.Session, token string) secret.String {
	if token == idToken {
		return s.IDToken
	}
	return s.AccessToken
}

// forward sends the tokens of who passed to the upstream, in place of what an earlier
// gate has sent under the same names. An access token that is bound to a key goes
// with its proof, or not at all: the transport sends it.
func (g *Gate) forward(r *http.Request, v *visit) error {
	who := &v.identity
	if who.isNobody() {
		return nil
	}
	s := who.session
	var held []string
	v.unbind(g.own)
	for _, f := range g.forwards {
		if f.Token == accessToken && s.TokenType == authflow.TokenTypeDPoP {
			delete(r.Header, f.Header)
			held = append(held, f.Header)
			continue
		}
		token := tokenOf(s, f.Token)
		switch {
		case f.Token == assertion:
			var err error
			if token, err = g.assert(r, v, who); err != nil {
				return err
			}
		case v.brought != nil:
			token = v.brought.toForward(f.Token)
		}
		if token.Empty() {
			delete(r.Header, f.Header)
			continue
		}
		r.Header[f.Header] = []string{headerValue(f.Header, authflow.TokenTypeBearer, token)}
	}
	if held != nil {
		v.bind(s, held)
	}
	return nil
}

// headerValue is a token as it stands in a header: in Authorization behind its
// scheme (RFC 6750 2.1, RFC 9449 7.1).
func headerValue(name, scheme string, token secret.String) string {
	if name == "Authorization" {
		return scheme + " " + token.Reveal()
	}
	return token.Reveal()
}
