package caddymodule

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
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
	claims, fromUserInfo := g.project(p, grant)
	switch {
	case grant.Claims != nil && grant.IDToken.Empty():
		keepSigned(s, claims)
	case grant.Claims == nil && grant.SignedClaims != nil:
		claims, fromUserInfo = g.keepUnsigned(p, s, grant)
	}
	if grant.Claims != nil || grant.SignedClaims != nil {
		if err := checkClaims(p, claims); err != nil {
			return claimUnsafe(err)
		}
		s.Claims, s.UserInfoClaims = claims, fromUserInfo
	}
	if !grant.IDTokenIssued.IsZero() {
		s.IDTokenIssued = grant.IDTokenIssued
	}
	s.RefreshToken, s.RefreshAt, s.DPoPKey = grant.RefreshToken, time.Time{}, grant.DPoPKey
	if !grant.RefreshToken.Empty() {
		s.RefreshAt = p.refreshAt(now, grant.AccessExpiry)
	}
	return g.keepTokens(p, s, grant)
}

// keepSigned lays what userinfo alone has told over what the session knows. What
// the ID token said at sign-in stays; what came from userinfo and is not there any
// more is gone (P34). An e-mail address and the word that it is verified come from
// one place, or somebody's own address would be vouched for by what was said of
// another (P31).
func keepSigned(s *session.Session, claims map[string]any) {
	for key, value := range s.Claims {
		if claims[key] != nil || slices.Contains(s.UserInfoClaims, key) {
			continue
		}
		if key == "email_verified" && claims["email"] != nil {
			continue
		}
		claims[key] = value
	}
}

// keepUnsigned lays what a refreshed ID token says over what the session knows,
// where userinfo, which would say the rest, did not answer: a group that the token
// takes away is gone (P34), and what it does not speak of stays meanwhile (P05).
func (g *Gate) keepUnsigned(p *provider, s *session.Session, grant *authflow.Grant) (claims map[string]any, fromUserInfo []string) {
	claims = maps.Clone(s.Claims)
	signed := *grant
	signed.Claims = grant.SignedClaims
	said, _ := g.project(p, &signed)
	for key, value := range said {
		// An e-mail address and the word that it is verified come from one place (P31).
		if value != nil || key == "email_verified" && said["email"] != nil {
			claims[key] = value
		}
	}
	for _, key := range s.UserInfoClaims {
		if said[key] == nil {
			fromUserInfo = append(fromUserInfo, key)
		}
	}
	return claims, fromUserInfo
}

// project picks the claims that this configuration reads, and says which of them
// only userinfo told. One that the provider left out is kept as absent, so that it
// is known to have been asked for; one that it has and did not send (groups that
// were too many) as unlearned.
func (g *Gate) project(p *provider, grant *authflow.Grant) (claims map[string]any, fromUserInfo []string) {
	claims = make(map[string]any)
	for _, name := range g.app.needed() {
		key, path := p.key(name), p.path(name)
		value, _ := grant.Claims.Lookup(path)
		if value == nil && grant.Claims.StandsElsewhere(path) { // Entra: groups too many for a token (P19)
			value = unlearned
		}
		claims[key] = value
		_, signed := grant.SignedClaims.Lookup(path)
		if value != nil && !signed && !grant.SignedClaims.StandsElsewhere(path) {
			fromUserInfo = append(fromUserInfo, key)
		}
	}
	return claims, fromUserInfo
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

// lacks reports that a session does not know all that this gate reads.
func (g *Gate) lacks(p *provider, s *session.Session) bool {
	return g.hasClaims(p, s) != nil || g.hasTokens(s) != nil
}

// refreshPatience is how long a request waits for a refresh that it could do
// without. The refresh goes on, and the next request finds its result.
const refreshPatience = time.Second

// renew refreshes a session that is due, or that was made before the configuration
// began to read a claim or to forward a token. A refresh that fails for now, or that
// takes long, leaves the session as it is, within its own limits; one that the
// provider refuses ends it.
func (g *Gate) renew(r *http.Request, v *visit, p *provider) error {
	s := v.live.Session()
	due := !s.RefreshAt.IsZero() && !g.now().Before(s.RefreshAt)
	lacking := g.lacks(p, s) && !s.RefreshToken.Empty() && !s.Incomplete
	if !due && !lacking {
		return nil
	}
	ctx := r.Context()
	stale := g.isStale(s) // then the request cannot do without
	if !lacking && !stale {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refreshPatience)
		defer cancel()
	}
	live, err := v.gate.sessions.Update(ctx, v.live, func(ctx context.Context, s *session.Session) error {
		return g.refresh(ctx, p, s)
	})
	switch {
	case err == nil:
		v.live = live
	case errors.Is(err, session.ErrEnd), errors.Is(err, session.ErrRevoked), errors.Is(err, session.ErrSuperseded):
		v.live, v.loadErr = nil, sessionProblem(session.ErrRevoked)
		return v.loadErr
	case errors.Is(err, session.ErrExpired):
		v.live, v.loadErr = nil, sessionProblem(session.ErrExpired)
		return v.loadErr
	case stale && errors.Is(err, session.ErrTooLarge):
		return sessionProblem(err)
	}
	return nil
}

// refresh spends the session's refresh token. Exactly one runs per session.
func (g *Gate) refresh(ctx context.Context, p *provider, s *session.Session) error {
	grant, err := p.client.Refresh(ctx, authflow.RefreshRequest{
		Issuer: s.Issuer, Subject: s.Subject, Nonce: s.Nonce, AuthTime: s.AuthTime,
		RefreshToken: s.RefreshToken, DPoPKey: s.DPoPKey, NeededClaims: g.neededPaths(p),
	})
	if err == nil {
		err = g.applyGrant(p, s, grant, g.now())
	}
	g.counters.refresh(p.name, err)
	if err == nil {
		// One that did not bring what is lacking will not bring it the next time.
		s.Incomplete = g.lacks(p, s)
		return nil
	}
	g.logRefresh(s, err)
	if e := asProblem(err); e.Kind == authflow.NoLogin || e.Reason == ReasonClaimUnsafe {
		return errors.Join(session.ErrEnd, err)
	}
	return err // the session goes on and tries again
}

// logRefresh says why a session could not be refreshed.
func (g *Gate) logRefresh(s *session.Session, err error) {
	p := asProblem(err)
	g.logger.Warn("a session could not be refreshed", zap.String("reason", string(p.Reason)), zap.Error(p.Err),
		zap.String("provider", s.Provider), zap.String("subject", s.Subject))
}
