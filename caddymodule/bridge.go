package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// newSession turns what a provider granted into what the browser remembers: the
// claims that rules and headers read, and what a refresh needs.
func (g *Gate) newSession(v *visit, p *provider, grant *authflow.Grant, now time.Time) (*session.Session, error) {
	s := &session.Session{
		Provider:   p.name,
		Issuer:     grant.Issuer,
		ClientID:   grant.ClientID,
		Subject:    grant.Subject,
		IdPSession: grant.SessionID,
		AuthTime:   grant.AuthTime,
		ACR:        grant.ACR,
		Nonce:      grant.Nonce,
	}
	return s, g.applyGrant(p, s, grant, now)
}

// applyGrant puts a grant's claims and tokens into a session, at sign-in and at
// every refresh. A refresh that brings no claims leaves those that are there.
func (g *Gate) applyGrant(p *provider, s *session.Session, grant *authflow.Grant, now time.Time) error {
	if grant.Claims != nil {
		claims := g.project(p, grant.Claims)
		if grant.IDToken.Empty() {
			// A refresh without ID token: what userinfo told is laid over the rest.
			for name, value := range s.Claims {
				if claims[name] == nil {
					claims[name] = value
				}
			}
		}
		if err := checkClaims(p, claims); err != nil {
			return problem(authflow.Provider, ReasonClaimUnsafe, "The provider told something of you that cannot be passed on.", err)
		}
		s.Claims = claims
	}
	if !grant.IDTokenIssued.IsZero() {
		s.IDTokenIssued = grant.IDTokenIssued
	}
	s.RefreshToken, s.RefreshAt = grant.RefreshToken, time.Time{}
	if !grant.RefreshToken.Empty() && !grant.AccessExpiry.IsZero() {
		s.RefreshAt = refreshAt(now, grant.AccessExpiry)
	}
	return nil
}

// refreshAt is a little before the access token expires, so that it is never used
// at the last moment: a tenth of its life, at most 30 seconds.
func refreshAt(now, expiry time.Time) time.Time {
	early := min(expiry.Sub(now)/10, 30*time.Second)
	return expiry.Add(-max(early, 0))
}

// project picks the claims that this configuration reads. One that the provider
// left out is kept as absent, so that it is known to have been asked for; one
// that it has and did not send (groups that were too many) as unlearned.
func (g *Gate) project(p *provider, all authflow.Claims) map[string]any {
	claims := make(map[string]any)
	for _, name := range g.app.needed() {
		value, _ := all.Lookup(p.path(name))
		if value == nil && overage(all, p.path(name)) {
			value = unlearned
		}
		claims[name] = value
	}
	return claims
}

// overage reports that a claim stands elsewhere (OIDC Core 5.6.2): Entra leaves
// out groups that are too many for a token (P19).
func overage(all authflow.Claims, name string) bool {
	elsewhere, _ := all.Lookup("_claim_names")
	named, _ := elsewhere.(map[string]any)
	_, is := named[name]
	return is
}

// path is where a claim stands in what the provider tells.
func (p *provider) path(name string) string {
	if path, mapped := p.paths[name]; mapped {
		return path
	}
	return name
}

// neededPaths are the claims to ask the userinfo endpoint for.
func (g *Gate) neededPaths(p *provider) []string {
	needed := g.app.needed()
	paths := make([]string, len(needed))
	for i, name := range needed {
		paths[i] = p.path(name)
	}
	return paths
}

// renew refreshes a session that is due, or that was made before the
// configuration began to read a claim. A refresh that fails for now leaves the
// session as it is, within its own limits; one that the provider refuses ends it.
func (g *Gate) renew(r *http.Request, v *visit, p *provider) (*session.Live, error) {
	s := v.live.Session()
	due := !s.RefreshAt.IsZero() && !g.now().Before(s.RefreshAt)
	lacking := g.hasClaims(s) != nil && !s.RefreshToken.Empty()
	if !due && !lacking {
		return v.live, nil
	}
	live, err := g.sessions.Update(r.Context(), v.live, func(ctx context.Context, s *session.Session) error {
		return g.refresh(ctx, p, s)
	})
	switch {
	case err == nil:
		v.live = live
		return live, nil
	case errors.Is(err, session.ErrEnd), errors.Is(err, session.ErrRevoked), errors.Is(err, session.ErrSuperseded):
		v.live, v.loadErr = nil, sessionProblem(session.ErrRevoked)
		return nil, v.loadErr
	}
	return v.live, nil
}

// refresh spends the session's refresh token. Exactly one runs per session.
func (g *Gate) refresh(ctx context.Context, p *provider, s *session.Session) error {
	grant, err := p.client.Refresh(ctx, authflow.RefreshRequest{
		Issuer: s.Issuer, Subject: s.Subject, Nonce: s.Nonce, AuthTime: s.AuthTime,
		RefreshToken: s.RefreshToken, NeededClaims: g.neededPaths(p),
	})
	if err == nil {
		err = g.applyGrant(p, s, grant, g.now())
	}
	if err == nil {
		return nil
	}
	g.logRefresh(s, err)
	switch asProblem(err).Kind {
	case authflow.Unavailable, authflow.Internal:
		return err // for now: the session goes on and tries again
	}
	return errors.Join(session.ErrEnd, err)
}

// logRefresh says why a session could not be refreshed.
func (g *Gate) logRefresh(s *session.Session, err error) {
	p := asProblem(err)
	g.logger.Warn("a session could not be refreshed", zap.String("reason", string(p.Reason)), zap.Error(p.Err),
		zap.String("provider", s.Provider), zap.String("subject", s.Subject))
}
