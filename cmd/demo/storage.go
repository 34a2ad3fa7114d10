package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	requestLifetime = 10 * time.Minute // of an authorization request that waits for its user
	tokenLifetime   = time.Hour        // of access and ID tokens
)

// memory is the provider's storage: everything is gone when the demo ends.
type memory struct {
	client *client
	key    signingKey

	mu       sync.Mutex
	requests map[string]*authRequest // by id
	codes    map[string]string       // authorization code -> id
	tokens   map[string]accessToken  // by id
}

// accessToken is what the userinfo endpoint may tell its bearer.
type accessToken struct {
	subject string
	scopes  []string
	expires time.Time
}

func newMemory(c *client) (*memory, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &memory{
		client: c, key: signingKey{id: rand.Text(), key: key},
		requests: map[string]*authRequest{}, codes: map[string]string{}, tokens: map[string]accessToken{},
	}, nil
}

// CreateAuthRequest remembers what the gate asked for.
func (m *memory) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(asked.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired() // the provider remembers nobody
	}
	r := &authRequest{id: rand.Text(), asked: asked, created: time.Now()}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, old := range m.requests {
		if time.Since(old.created) > requestLifetime {
			delete(m.requests, id)
		}
	}
	m.requests[r.id] = r
	return r, nil
}

// AuthRequestByID finds a request that waits for its user.
func (m *memory) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	return m.request(id)
}

// request returns a copy, so that two steps of one login cannot race.
func (m *memory) request(id string) (*authRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.requests[id]
	if !ok || time.Since(r.created) > requestLifetime {
		return nil, oidc.ErrInvalidRequest().WithDescription("this sign-in is over: start again at the site")
	}
	known := *r
	return &known, nil
}

// change updates a request that waits for its user.
func (m *memory) change(id string, update func(*authRequest)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.requests[id]; ok {
		update(r)
	}
}

// AuthRequestByCode finds the request that a code was given for, once.
func (m *memory) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	m.mu.Lock()
	id, ok := m.codes[code]
	delete(m.codes, code)
	m.mu.Unlock()
	if !ok {
		return nil, oidc.ErrInvalidGrant().WithDescription("unknown code")
	}
	return m.request(id)
}

// SaveAuthCode remembers the code of a request.
func (m *memory) SaveAuthCode(_ context.Context, id, code string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.codes[code] = id
	return nil
}

// DeleteAuthRequest forgets a request when it is done, or denied.
func (m *memory) DeleteAuthRequest(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.requests, id)
	return nil
}

// CreateAccessToken makes a token for userinfo.
func (m *memory) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, expires := rand.Text(), time.Now().Add(tokenLifetime)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[id] = accessToken{r.GetSubject(), r.GetScopes(), expires}
	return id, expires, nil
}

// CreateAccessAndRefreshTokens is never asked: the client has no offline_access.
func (m *memory) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, oidc.ErrUnsupportedGrantType()
}

// TokenRequestByRefreshToken refuses: there are no refresh tokens.
func (m *memory) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, oidc.ErrInvalidGrant()
}

// GetRefreshTokenInfo refuses: there are no refresh tokens.
func (m *memory) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}

// TerminateSession forgets the tokens of somebody who signs out.
func (m *memory) TerminateSession(_ context.Context, subject, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, token := range m.tokens {
		if token.subject == subject {
			delete(m.tokens, id)
		}
	}
	return nil
}

// RevokeToken forgets one token.
func (m *memory) RevokeToken(_ context.Context, id, _, _ string) *oidc.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, id)
	return nil
}

// SigningKey is the key that signs ID tokens.
func (m *memory) SigningKey(context.Context) (op.SigningKey, error) { return m.key, nil }

// SignatureAlgorithms is RS256, which every client knows.
func (m *memory) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

// KeySet is what the JWKS shows.
func (m *memory) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{m.key}}, nil
}

// GetClientByClientID knows the gate alone.
func (m *memory) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != m.client.id {
		return nil, oidc.ErrInvalidClient().WithDescription("unknown client")
	}
	return m.client, nil
}

// AuthorizeClientIDSecret checks the gate's secret.
func (m *memory) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != m.client.id || subtle.ConstantTimeCompare([]byte(secret), []byte(m.client.secret)) != 1 {
		return oidc.ErrInvalidClient().WithDescription("wrong secret")
	}
	return nil
}

// SetUserinfoFromScopes fills the ID token.
func (m *memory) SetUserinfoFromScopes(_ context.Context, info *oidc.UserInfo, subject, _ string, scopes []string) error {
	u := findUser(func(u user) bool { return u.Subject == subject })
	if u == nil {
		return oidc.ErrInvalidRequest().WithDescription("unknown user")
	}
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeOpenID:
			info.Subject = u.Subject
		case oidc.ScopeProfile:
			info.Name, info.PreferredUsername = u.FullName, u.Name
		case oidc.ScopeEmail:
			info.Email, info.EmailVerified = u.email(), true
		case scopeGroups:
			info.AppendClaims("groups", u.Groups)
		}
	}
	return nil
}

// SetUserinfoFromToken fills the userinfo answer.
func (m *memory) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, id, _, _ string) error {
	m.mu.Lock()
	token, ok := m.tokens[id]
	m.mu.Unlock()
	if !ok || time.Now().After(token.expires) {
		return oidc.ErrInvalidRequest().WithDescription("unknown or expired token")
	}
	return m.SetUserinfoFromScopes(ctx, info, token.subject, m.client.id, token.scopes)
}

// SetIntrospectionFromToken refuses: nobody introspects here.
func (m *memory) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return oidc.ErrInvalidRequest()
}

// GetPrivateClaimsFromScopes adds nothing: access tokens are opaque.
func (m *memory) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return map[string]any{}, nil
}

// GetKeyByIDAndClientID refuses: the client has a secret, no key.
func (m *memory) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, oidc.ErrInvalidClient()
}

// ValidateJWTProfileScopes refuses: there is no such grant.
func (m *memory) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, oidc.ErrInvalidScope()
}

// Health is always good.
func (m *memory) Health(context.Context) error { return nil }

// signingKey is an op.SigningKey.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Key() any                                    { return k.key }
func (k signingKey) ID() string                                  { return k.id }

// publicKey is an op.Key.
type publicKey struct{ private signingKey }

func (k publicKey) ID() string                         { return k.private.id }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return k.private.key.Public() }

// Interface guard.
var _ op.Storage = (*memory)(nil)
