package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// logoutSlack is how much longer than any session a logout at the provider is
// remembered: a sign-in that was under way finishes up to ten minutes later, and the
// provider's clock may be off by five.
const logoutSlack = 30 * time.Minute

// serveBackchannelLogout ends sessions because the provider says so, server to
// server: no cookie, no page, no redirect. 200 if they are over, also if they were
// before; 400 for what is no logout token of ours; 503 if it cannot be verified or
// remembered now (OIDC Back-Channel Logout 2.5 to 2.8).
func (g *Gate) serveBackchannelLogout(w http.ResponseWriter, r *http.Request, v *visit) error {
	if isEarly(r) {
		return tooEarly()
	}
	if r.Method != http.MethodPost {
		return g.methodRefused(w, r, v, "POST")
	}
	token, p, err := g.logoutToken(r)
	if err != nil {
		return g.fail(w, r, v, err)
	}
	if err := g.obeyLogout(r, token); err != nil {
		return g.fail(w, r, v, err)
	}
	g.logger.Info("signed out by the provider", zap.String("provider", p.name),
		zap.String("subject", token.Subject), zap.String("sid", token.SessionID), zap.String("host", v.origin.host))
	w.WriteHeader(http.StatusOK)
	return nil
}

// logoutToken reads and verifies the logout token of a request. Its issuer says
// which provider to ask; of several clients at one issuer, the one that the token
// is for.
func (g *Gate) logoutToken(r *http.Request) (*authflow.LogoutToken, *provider, error) {
	raw, err := authflow.ParseLogoutRequest(r)
	if err != nil {
		return nil, nil, err
	}
	issuer, err := authflow.LogoutTokenIssuer(raw)
	if err != nil {
		return nil, nil, err
	}
	err = unknownProvider(fmt.Errorf("iss is %.256q", issuer))
	for _, p := range g.knownProviders() {
		if p.client.Issuer() != issuer {
			continue
		}
		var token *authflow.LogoutToken
		if token, err = p.client.LogoutToken(r.Context(), raw); err == nil {
			return token, p, nil
		}
		if authflow.ReasonOf(err) != authflow.ReasonAudMismatch {
			break
		}
	}
	return nil, nil, err
}

// obeyLogout ends what a logout token names: the sessions that began in one
// session at the provider, and those of the subject of which the provider does not
// tell where they began; or, if it names no session, all that the subject began up to
// then. What it ends is remembered for a time that is the same for a copy of the
// token, which therefore changes nothing; so it may be noted as used when all else
// has worked, and a provider that was told 503 can send it again.
func (g *Gate) obeyLogout(r *http.Request, token *authflow.LogoutToken) error {
	until := token.Issued.Add(g.app.durable.keys.LongestLifetime() + logoutSlack)
	var targets []session.Target
	if token.SessionID == "" {
		targets = append(targets, session.BySubject(token.Issuer, token.Subject, token.Issued, until))
	} else {
		targets = append(targets, session.ByIdPSession(token.Issuer, token.SessionID, until))
		if token.Subject != "" && !token.SessionTold { // it may be one whose ID token had no sid
			targets = append(targets, session.BySubjectAlone(token.Issuer, token.Subject, token.Issued, until))
		}
	}
	for _, target := range targets {
		if err := g.sessions.End(r.Context(), target); err != nil {
			return sessionProblem(err)
		}
	}
	err := g.state.UseOnce(r.Context(), usedLogout, fmt.Sprintf("%q %q", token.Issuer, token.ID), token.Expires)
	if errors.Is(err, session.ErrUsed) {
		return authflow.NewError(authflow.ReasonLogoutUsed, err)
	}
	if err != nil {
		return sessionProblem(err)
	}
	return nil
}

// outwaitLogout waits a second if the provider has ended a session before it began: by a
// logout token of the same second, since both are issued in whole seconds. The browser
// then comes back without a session and signs in again, with an ID token of a later
// second. Without the wait it would come back within the same second, twice, and loop.
func (g *Gate) outwaitLogout(r *http.Request, s *session.Session) {
	if !errors.Is(g.sessions.Check(r.Context(), s), session.ErrRevoked) {
		return
	}
	g.logger.Info("the provider has ended what was just signed in; it begins again", zap.String("subject", s.Subject))
	select {
	case <-time.After(time.Second):
	case <-r.Context().Done():
	}
}
