package caddymodule

import (
	"cmp"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/session"
)

// bearer is a BearerConfig that has been provisioned: which access tokens a site
// takes instead of a session (RFC 6750 2.1).
type bearer struct {
	server *authflow.ResourceServer
	// issuers are whose tokens count: the site's providers, and further ones.
	issuers   []*provider
	scopes    []string   // that every token must have
	only      bool       // no sessions here
	bound     bool       // bound tokens only
	nonces    bool       // proofs need a nonce of ours
	resources []resource // the audiences that are addresses
}

// caller is who calls with an access token, in the form that rules and headers read.
// The session is none: nothing of it is kept.
type caller struct {
	session *session.Session
	issuer  *provider
}

// provisionBearer reads which access tokens a site takes.
func (g *Gate) provisionBearer(ctx caddy.Context) error {
	g.speakers = g.providers
	c := g.Bearer
	if c == nil {
		return nil
	}
	audiences, err := resolveAll("bearer: audience", c.Audience)
	if err != nil {
		return err
	}
	b := &bearer{issuers: slices.Clone(g.providers), only: c.Only, bound: c.RequireBound, nonces: c.DPoPNonce, resources: resourcesOf(audiences)}
	if b.scopes, err = resolveAll("bearer: scopes", c.Scopes); err != nil {
		return err
	}
	claim, err := resolveOptional("bearer: audience_claim", c.AudienceClaim)
	if err != nil {
		return err
	}
	if c.Introspect && len(g.providers) != 1 {
		return errors.New("bearer: introspect: a token that only its issuer can read does not say whose it is; with several providers nobody can be asked")
	}
	if err := g.provisionIssuers(ctx, b); err != nil {
		return err
	}
	clients := make([]*authflow.Client, len(b.issuers))
	for i, p := range b.issuers {
		clients[i] = p.client
	}
	b.server, err = authflow.NewResourceServer(authflow.ResourcePolicy{
		Audiences: audiences, AudienceClaim: claim, Algs: c.Alg, AnyType: c.AnyType, Introspect: c.Introspect,
		Prepare: func(t *authflow.AccessToken) (any, error) { return g.callerOf(b, t) },
	}, clients...)
	if err != nil {
		return fmt.Errorf("bearer: %w", err)
	}
	g.bearer, g.speakers = b, b.issuers
	return nil
}

func resolveAll(word string, raw []string) ([]string, error) {
	values := make([]string, len(raw))
	for i := range raw {
		var err error
		if values[i], err = resolve(word, raw[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// brought is the access token of a request.
type brought struct {
	scheme string
	raw    secret.String
	proofs []string // of possession: its DPoP headers

	sorted, isOwn bool // whether it is to be judged as one of our own

	checked bool
	token   *authflow.AccessToken // of a provider
	caller  *caller
	err     error

	watch requestWatch // once it has passed
}

// readToken finds the access token that a request brings: in its one Authorization
// header, and nowhere else (RFC 6750 2). A request that brings one is judged by it
// alone.
func (v *visit) readToken(r *http.Request) error {
	if v.gate.bearer == nil {
		return nil
	}
	v.answersOnly = v.gate.bearer.only
	lines := r.Header["Authorization"]
	at := slices.IndexFunc(lines, func(line string) bool {
		scheme, _, _ := strings.Cut(line, " ")
		return strings.EqualFold(scheme, authflow.TokenTypeBearer) || strings.EqualFold(scheme, authflow.TokenTypeDPoP)
	})
	if at < 0 {
		return nil
	}
	scheme, token, _ := strings.Cut(lines[at], " ")
	token = strings.Trim(token, " ")
	v.brought = &brought{scheme: scheme, raw: secret.New(token), proofs: r.Header["Dpop"]}
	v.answersOnly = true
	query := originalURL(r).RawQuery
	switch {
	case len(lines) > 1, strings.Contains(query, "access_token") && originalURL(r).Query().Has("access_token"):
		return tokenProblem(authflow.BadRequest, ReasonTokenMalformed, "invalid_request", errors.New("the request brings more than one token"))
	case !isToken68(token):
		return tokenProblem(authflow.BadRequest, ReasonTokenMalformed, "invalid_request", errors.New("the Authorization header does not hold one token"))
	}
	return nil
}

// tokensOnly refuses who brings no access token where nothing else counts.
func tokensOnly() error {
	return problem(authflow.NoLogin, ReasonNoSession, "This site takes access tokens only.", errors.New("no access token"))
}

// token68 are the characters of a token68 but for the padding.
var token68 = func() (allowed [256]bool) {
	for c := range allowed {
		allowed[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~+/", byte(c)) >= 0
	}
	return allowed
}()

// isToken68: RFC 9110 11.2, the b64token of RFC 6750 2.1.
func isToken68(text string) bool {
	text = strings.TrimRight(text, "=")
	for i := 0; i < len(text); i++ {
		if !token68[text[i]] {
			return false
		}
	}
	return text != ""
}

// checkToken answers who is calling by an access token: verified, for this site,
// used as it is bound, with the scopes that the site asks of all.
func (g *Gate) checkToken(r *http.Request, v *visit, needed stepUp) (identity, error) {
	if err := v.checkHost(r); err != nil {
		return identity{}, err
	}
	who, err := v.openToken(r)
	if err != nil {
		return identity{}, err
	}
	if !slices.ContainsFunc(g.speakers, who.issuer.same) {
		return identity{}, tokenProblem(authflow.NoLogin, ReasonOtherProvider, "invalid_token", fmt.Errorf("tokens of %s do not count here", who.session.Issuer))
	}
	if !v.bringsOwn() && !v.isFor(r, v.brought.token.Audiences) { // one of our own is for the whole site
		return identity{}, tokenProblem(authflow.NoLogin, authflow.ReasonAudMismatch, "invalid_token", fmt.Errorf("it is for %q, not for this path", v.brought.token.Audiences))
	}
	id := identity{session: who.session, provider: who.issuer, prefixed: len(v.gate.speakers) > 1}
	if err := g.admitTo(v, r, id); err != nil {
		return identity{}, g.scopeProblem(err, who)
	}
	if err := needed.check(who.session, g.now); err != nil {
		return identity{}, err
	}
	return id, nil
}

// openToken verifies the token of a request, once.
func (v *visit) openToken(r *http.Request) (*caller, error) {
	b := v.brought
	if !b.checked {
		b.checked = true
		if v.bringsOwn() {
			b.caller, b.err = v.gate.verifyOwnToken(r, v)
		} else {
			b.caller, b.err = v.gate.verifyToken(r, v, b)
		}
	}
	return b.caller, b.err
}

func (g *Gate) verifyToken(r *http.Request, v *visit, b *brought) (*caller, error) {
	if !v.secure {
		return nil, notHTTPS("This site takes no access tokens over plain http.")
	}
	token, err := g.bearer.server.AccessToken(r.Context(), b.raw)
	if err != nil {
		return nil, asTokenProblem(err)
	}
	b.token = token
	if isBound(token) || !strings.EqualFold(b.scheme, authflow.TokenTypeBearer) {
		err = authflow.CheckTokenUse(token, g.tokenUse(r, v, b))
	} else if g.bearer.bound {
		return nil, tokenProblem(authflow.NoLogin, authflow.ReasonTokenBinding, "invalid_token", errors.New("bound to nothing, and require_bound"))
	}
	if err != nil {
		return nil, asTokenProblem(err)
	}
	if err := g.checkScopes(token.Scopes); err != nil {
		return nil, err
	}
	return token.Prepared.(*caller), nil
}

// isBound reports that a token counts only beside what it is bound to.
func isBound(t *authflow.AccessToken) bool {
	return t.KeyThumbprint != "" || t.CertificateThumbprint != ""
}

// checkScopes holds a token to the scopes that the site asks of all (RFC 6750 3.1).
func (g *Gate) checkScopes(scopes []string) error {
	lacking := without(g.bearer.scopes, scopes)
	if len(lacking) == 0 {
		return nil
	}
	return problem(authflow.Denied, ReasonScope, "This access token does not allow that.",
		&tokenRefused{code: "insufficient_scope", scope: g.bearer.scopes, err: fmt.Errorf("it lacks scope %q", lacking)})
}

// toForward is what `forward` sends of a request with an access token: the token
// itself, unless it is bound and of no use to anybody else.
func (b *brought) toForward(word string) secret.String {
	if word != accessToken || b.token != nil && isBound(b.token) {
		return secret.String{}
	}
	return b.raw
}

// tokenUse is the request as the client sees it.
func (g *Gate) tokenUse(r *http.Request, v *visit, b *brought) authflow.TokenUse {
	return authflow.TokenUse{
		Scheme: b.scheme, Token: b.raw, Method: originalMethod(r),
		URL: v.site().String() + originalURL(r).EscapedPath(), Proofs: b.proofs,
		Certificate: clientCertificate(r), Now: g.now(),
		UseOnce: func(id string, until time.Time) error {
			err := g.state.UseOnce(r.Context(), usedProof, id, until)
			if err != nil && !errors.Is(err, session.ErrUsed) {
				return sessionProblem(err)
			}
			return err
		},
		Since:     g.state.Since(),
		Nonce:     func(nonce string) (time.Time, bool) { return g.nonceTime(r, v, nonce) },
		NeedNonce: g.bearer.nonces,
	}
}

// clientCertificate is what the client has shown on this connection, to Caddy itself.
func clientCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// callerOf is what a token says of who calls. A session has learned all that the
// provider tells; a token need not say all of that, and what it leaves out is nothing
// that is known to be absent.
func (g *Gate) callerOf(b *bearer, t *authflow.AccessToken) (*caller, error) {
	p := b.issuers[slices.IndexFunc(b.issuers, func(p *provider) bool { return p.client == t.Client })]
	claims, _ := g.project(p, &authflow.Grant{Claims: t.Claims, SignedClaims: t.Claims})
	for key, value := range claims {
		if value == nil {
			claims[key] = unlearned
		}
	}
	claims[p.key("scope")] = anyList(t.Scopes)
	if err := checkClaims(p, claims); err != nil {
		return nil, tokenProblem(authflow.NoLogin, ReasonClaimUnsafe, "invalid_token", err)
	}
	return &caller{issuer: p, session: &session.Session{
		Provider: p.name, Issuer: t.Client.Issuer(), ClientID: t.Client.ClientID(), Subject: t.Subject, Claims: claims,
		AuthTime: t.AuthTime, ACR: t.ACR, Created: cmp.Or(t.Issued, g.now()), Expires: t.Expires,
	}}, nil
}

// without returns what of all is not among some.
func without(all, some []string) []string {
	var rest []string
	for _, value := range all {
		if !slices.Contains(some, value) {
			rest = append(rest, value)
		}
	}
	return rest
}

// scopeProblem says which scopes would have helped, where the rules that refused a
// token ask for some that it has not (RFC 6750 3.1).
func (g *Gate) scopeProblem(err error, who *caller) error {
	p := *asProblem(err)
	if p.Reason != ReasonDenied {
		return err
	}
	var scopes []string
	for _, r := range g.allow {
		scopes = append(scopes, r.claims["scope"]...)
	}
	if len(without(scopes, list(who.session.Claims[who.issuer.key("scope")]))) == 0 {
		return err
	}
	p.Err = &tokenRefused{code: "insufficient_scope", scope: scopes, err: p.Err}
	return &p
}

// nonceLifetime is how long a nonce of ours counts.
const nonceLifetime = 5 * time.Minute

// newNonce is the time, sealed: every replica that has our keys knows it (RFC 9449
// 8, 9).
func (g *Gate) newNonce(r *http.Request, v *visit) (string, error) {
	return g.seal(r, v.purpose(purposeNonce), binary.BigEndian.AppendUint64(nil, uint64(g.now().Unix())))
}

// giveNonce tells who proves the possession of a key the nonce for the next request.
func (v *visit) giveNonce(w http.ResponseWriter, r *http.Request) {
	if v.brought == nil || !v.gate.bearer.nonces || v.brought.token == nil || v.brought.token.KeyThumbprint == "" {
		return
	}
	if nonce, err := v.gate.newNonce(r, v); err == nil {
		w.Header().Set("DPoP-Nonce", nonce)
	}
}

// nonceTime returns when a nonce was made, and false if it is none of ours, or too old.
func (g *Gate) nonceTime(r *http.Request, v *visit, nonce string) (time.Time, bool) {
	sealed, err := g.unseal(r, v.purpose(purposeNonce), nonce)
	if err != nil || len(sealed) != 8 {
		return time.Time{}, false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(sealed)), 0)
	return made, g.now().Sub(made) < nonceLifetime
}
