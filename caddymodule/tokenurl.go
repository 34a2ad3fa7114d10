package caddymodule

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/users"
	"github.com/gatehouse-auth/gatehouse/session"
)

const (
	// usersName is the prefix of the users of a file, in rules and headers, on a site where
	// others sign people in too.
	usersName = "users"
	// usersClient is the client_id in every token of our own: no client authenticates here.
	usersClient = "anonymous"
	// ownTokenLifetime is how long a token of our own is valid.
	ownTokenLifetime = 30 * time.Minute
	// ownTokenLeeway is how far a replica's clock may be ahead of ours.
	ownTokenLeeway = time.Minute
)

// provisionUsers reads the users of a site. The file is one more source of identities,
// like a provider, so the names are prefixed if there are other sources. A site without
// a provider accepts access tokens only.
func (g *Gate) provisionUsers(caddy.Context) error {
	if g.Users == "" {
		return nil
	}
	path, err := resolve("users", g.Users)
	if err != nil {
		return err
	}
	for _, p := range g.speakers {
		if p.name == usersName {
			return fmt.Errorf("users: a provider is called %s, and its users would be taken for those of the file", usersName)
		}
	}
	if g.users, err = g.app.usersOf(path); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if g.bearer == nil {
		g.bearer = new(bearer)
	}
	if g.bearer.bound {
		return errors.New("users: the tokens of a token URL are bound to nothing, and bearer says require_bound")
	}
	g.bearer.only = g.bearer.only || len(g.providers) == 0
	g.speakers = append(slices.Clone(g.speakers), g.users.provider)
	g.issued = &authflow.IssuedTokens{Prepare: ownSession}
	g.app.durable.keys.Retain(ownTokenLifetime)
	return nil
}

// siteUsers are the users of a file, and the provider that stands for the file in rules
// and headers.
type siteUsers struct {
	file     *users.File
	provider *provider
}

// usersOf opens a users file, or finds it if another site has opened it.
func (a *App) usersOf(path string) (*siteUsers, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.users[path]; known != nil {
		return known, nil
	}
	file, err := users.Open(path, a.logger, nil)
	if err != nil {
		return nil, err
	}
	opened := &siteUsers{file: file, provider: &provider{name: usersName, userClaim: "sub"}}
	a.users[path] = opened
	return opened, nil
}

// issues reports whether some site has a token URL.
func (a *App) issues() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.users) > 0
}

// authorizationServer is this site as the issuer of tokens for itself.
func (g *Gate) authorizationServer(ctx context.Context, v *visit) (authflow.AuthorizationServer, error) {
	keys, err := g.assertionKeys(ctx)
	return authflow.AuthorizationServer{Issuer: v.origin.String(), Keys: keys, Known: g.issued}, err
}

// tokenAnswer is a successful answer (RFC 6749 5.1).
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope,omitempty"`
}

// serveToken issues a token for a name and a password (RFC 6749 4.3). It sets no cookie,
// and refuses a browser that a page of another site has sent.
func (g *Gate) serveToken(w http.ResponseWriter, r *http.Request, v *visit) error {
	if answered, err := g.refuseTokenRequest(w, r, v); answered {
		return err
	}
	request, err := authflow.ParsePasswordGrant(r)
	if err != nil {
		return g.failToken(w, r, v, err)
	}
	who, err := g.checkPassword(r, request)
	if err != nil {
		return g.failToken(w, r, v, err)
	}
	answer, err := g.issueToken(r, v, who, request.Scopes)
	if err != nil {
		return g.failToken(w, r, v, err)
	}
	g.logger.Info("gave an access token", zap.String("user", who.Name), zap.String("host", v.origin.host))
	w.Header().Set("Pragma", "no-cache") // RFC 6749 5.1
	return writeJSON(w, http.StatusOK, answer)
}

// refuseTokenRequest answers a request that is not a POST of the client's own, or came
// over a connection on which no password may travel.
func (g *Gate) refuseTokenRequest(w http.ResponseWriter, r *http.Request, v *visit) (answered bool, err error) {
	switch {
	case r.Method != http.MethodPost:
		return true, g.methodRefused(w, r, v, "POST")
	case isEarly(r):
		return true, tooEarly()
	case !v.secure:
		return true, g.fail(w, r, v, notHTTPS("This site takes no passwords over plain http."))
	}
	if err := g.crossOrigin(r, v.origin); err != nil {
		return true, g.fail(w, r, v, err)
	}
	return false, nil
}

// checkPassword returns the user whose name and password a request brings, within the
// limits on attempts.
func (g *Gate) checkPassword(r *http.Request, request *authflow.PasswordGrant) (*users.User, error) {
	limiter, file := g.app.durable.passwords, g.users.file
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	giveBack, err := limiter.Take(r.Context(), g.state, file.Path(), request.Username, address, g.now())
	if err != nil {
		return nil, passwordProblem(err)
	}
	known := file.Value()
	who, err := limiter.Compare(r.Context(), func() *users.User {
		return known.Verify(request.Username, request.Password.Reveal())
	})
	switch {
	case err != nil:
		giveBack()
		return nil, passwordProblem(err)
	case who == nil:
		name := request.Username
		if known.Find(name) == nil {
			name = "unknown" // people type their password there
		}
		return nil, problem(authflow.BadRequest, ReasonPasswordRefused, "Name or password are not right.", fmt.Errorf("user %s, from %s", name, address))
	}
	giveBack()
	return who, nil
}

// passwordProblem says why a password was not even compared.
func passwordProblem(err error) error {
	if tooMany, is := errors.AsType[*users.TooManyError](err); is {
		p := problem(authflow.BadRequest, ReasonTooManyAttempts, "Too many attempts. Please try again later.", err)
		p.RetryAfter = tooMany.RetryAfter
		return p
	}
	return retrySoon(problem(authflow.Unavailable, ReasonPasswordsBusy, "Too many passwords are being checked at the moment. Please try again shortly.", err))
}

// issueToken issues a token. Its scopes are those that were asked for, or else all groups
// of the user that can be scopes.
func (g *Gate) issueToken(r *http.Request, v *visit, who *users.User, scopes []string) (*tokenAnswer, error) {
	if lacking := without(scopes, who.Groups); len(lacking) > 0 {
		return nil, authflow.NewError(authflow.ReasonScopeRefused, fmt.Errorf("user %s has no group %q", who.Name, lacking))
	}
	if scopes == nil {
		scopes = slices.DeleteFunc(slices.Clone(who.Groups), func(group string) bool { return !authflow.IsScope(group) })
	}
	server, err := g.authorizationServer(r.Context(), v)
	if err != nil {
		return nil, err
	}
	now := g.now()
	token, err := server.Issue(authflow.IssuedToken{
		ID: session.NewID().String(), Subject: who.Name, ClientID: usersClient, Scopes: scopes, Groups: who.Groups,
		Entry: who.Entry, Issued: now, Expires: now.Add(ownTokenLifetime),
	})
	if err != nil {
		return nil, err
	}
	return &tokenAnswer{token.Reveal(), "bearer", int(ownTokenLifetime / time.Second), strings.Join(scopes, " ")}, nil
}

// serveRevoke ends a token of our own before its time (RFC 7009). Whoever has the token
// may do that, even while the line of its user is gone, since it may come back. A token
// that is not valid needs no revocation, and is no error (2.2).
func (g *Gate) serveRevoke(w http.ResponseWriter, r *http.Request, v *visit) error {
	if answered, err := g.refuseTokenRequest(w, r, v); answered {
		return err
	}
	raw, err := authflow.ParseRevocation(r)
	if err != nil {
		return g.failToken(w, r, v, err)
	}
	s, err := g.openOwnToken(r.Context(), v, raw)
	if s != nil {
		err = g.sessions.End(r.Context(), session.ByID(s.ID, s.Expires))
		if err != nil {
			err = sessionProblem(err)
		}
	}
	if err != nil && asProblem(err).Kind != authflow.NoLogin {
		return g.failToken(w, r, v, err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// tokenCodes are the error codes of RFC 6749 5.2, and of RFC 8628 3.5 for too many
// attempts. Any other reason is answered as at every other endpoint.
var tokenCodes = map[authflow.Reason]struct {
	code   string
	status int
}{
	authflow.ReasonTokenRequest: {"invalid_request", http.StatusBadRequest},
	authflow.ReasonGrantType:    {"unsupported_grant_type", http.StatusBadRequest},
	authflow.ReasonScopeRefused: {"invalid_scope", http.StatusBadRequest},
	ReasonPasswordRefused:       {"invalid_grant", http.StatusBadRequest},
	ReasonTooManyAttempts:       {"slow_down", http.StatusTooManyRequests},
}

// tokenRefusal is an error answer (RFC 6749 5.2).
type tokenRefusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// failToken answers a token request with an error: programs read it, so it is JSON
// whatever `errors` says.
func (g *Gate) failToken(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	p := asProblem(err)
	known, is := tokenCodes[p.Reason]
	if !is {
		return g.fail(w, r, v, err)
	}
	g.logger.Info("refused", zap.String("reason", string(p.Reason)), zap.Int("status", known.status), zap.Error(p.Err),
		zap.String("request_id", requestID(r)), zap.String("host", r.Host), zap.String("path", originalURL(r).Path))
	if known.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	w.Header().Set("Pragma", "no-cache")
	return writeJSON(w, known.status, tokenRefusal{known.code, p.Public})
}

// bringsOwn reports whether the token of a request is to be judged as one of our own:
// because it says that it is, or because nobody else's tokens count here. The token is
// not verified yet, and is read for this only once.
func (v *visit) bringsOwn() bool {
	g, b := v.gate, v.brought
	if g.users == nil {
		return false
	}
	if !b.sorted {
		server := authflow.AuthorizationServer{Issuer: v.origin.String(), Known: g.issued}
		b.sorted, b.isOwn = true, len(g.bearer.issuers) == 0 || !g.bearer.server.Knows(b.raw) && server.MayHaveIssued(b.raw, g.now())
	}
	return b.isOwn
}

// verifyOwnToken judges the token of a request, which is one of our own.
func (g *Gate) verifyOwnToken(r *http.Request, v *visit) (*caller, error) {
	s, err := g.openOwnToken(r.Context(), v, v.brought.raw)
	if err != nil {
		return nil, err
	}
	if err := g.checkOwnUse(v, s); err != nil {
		return nil, err
	}
	return &caller{session: s, issuer: g.users.provider}, nil
}

// checkOwnUse holds a token of our own to what the site asks of every token.
func (g *Gate) checkOwnUse(v *visit, s *session.Session) error {
	switch {
	case !v.secure:
		return notHTTPS("This site takes no access tokens over plain http.")
	case !strings.EqualFold(v.brought.scheme, authflow.TokenTypeBearer):
		return tokenProblem(authflow.NoLogin, authflow.ReasonTokenBinding, "invalid_token", errors.New("it is bound to no key, and was shown as if it was"))
	}
	return g.checkScopes(list(s.Claims["scope"]))
}

// openOwnToken verifies a token of our own. It also checks that the token was not revoked,
// and that the line of its user is still the same; if only the line is not, the session
// is returned together with the error.
func (g *Gate) openOwnToken(ctx context.Context, v *visit, raw secret.String) (*session.Session, error) {
	server, err := g.authorizationServer(ctx, v)
	if err != nil {
		return nil, err
	}
	token, err := server.Verify(raw, g.now(), ownTokenLeeway)
	if authflow.ReasonOf(err) == authflow.ReasonKeyUnknown {
		// Another replica may have made it just now.
		g.keys.Refresh(ctx)
		if server, err = g.authorizationServer(ctx, v); err != nil {
			return nil, err
		}
		token, err = server.Verify(raw, g.now(), ownTokenLeeway)
	}
	if err != nil {
		return nil, asTokenProblem(err)
	}
	s := token.Prepared.(*session.Session)
	if known := g.users.file.Value().Find(token.Subject); known == nil || known.Entry != token.Entry {
		return s, tokenProblem(authflow.NoLogin, ReasonSessionEnded, "invalid_token", fmt.Errorf("the entry of user %s has changed since, or is gone", token.Subject))
	}
	if err := g.sessions.Check(ctx, s); err != nil {
		if p := sessionProblem(err); p.Kind != authflow.NoLogin {
			return nil, p
		}
		return nil, tokenProblem(authflow.NoLogin, ReasonSessionEnded, "invalid_token", err)
	}
	return s, nil
}

// ownSession puts what a token of our own says into the form that rules, headers and
// revocations read. It is not a real session: no browser has it, and no store.
func ownSession(of authflow.AuthorizationServer, t *authflow.IssuedToken) (any, error) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(t.ID)
	if err != nil || len(id) != len(session.ID{}) {
		return nil, fmt.Errorf("jti is %.64q", t.ID)
	}
	return &session.Session{
		ID: session.ID(id), Provider: usersName, Issuer: of.Issuer, ClientID: t.ClientID, Subject: t.Subject,
		Claims:   map[string]any{"groups": anyList(t.Groups), "scope": anyList(t.Scopes), "preferred_username": t.Subject},
		AuthTime: t.Issued, Created: t.Issued, Expires: t.Expires,
	}, nil
}

func anyList(texts []string) []any {
	items := make([]any, len(texts))
	for i, text := range texts {
		items[i] = text
	}
	return items
}
