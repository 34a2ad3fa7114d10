package testop

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"time"
)

// AccessToken is one that [Provider.Issue] makes, right but for what is set.
type AccessToken struct {
	Audience string // aud
	Subject  string // sub; default that of User
	Scope    string // scope; default none
	Opaque   bool   // no JWT: only introspection can read it
	Claims   Edit   // of the JWT (RFC 9068 2.2), or of the introspection answer (RFC 7662 2.2)
	Header   Edit   // of the JOSE header: typ at+jwt, kid
	Alg      string // default RS256; rules as for [Behaviour.Alg]

	HMACKey []byte // the key of HS* instead of the client secret
	Corrupt bool   // flips one bit of the signature
	Wrong   bool   // signed with a key that is not in the JWKS, under the kid of one that is
}

// Issue makes an access token for a resource server, good for an hour.
func (p *Provider) Issue(t AccessToken) string {
	now := p.Now()
	claims := map[string]any{
		"iss": p.Issuer(), "sub": t.Subject, "aud": t.Audience, "client_id": p.ClientID,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": random("jti"),
	}
	if t.Subject == "" {
		claims["sub"] = p.User.Subject
	}
	if t.Scope != "" {
		claims["scope"] = t.Scope
	}
	if t.Opaque {
		claims["active"] = true
		t.Claims.apply(claims)
		token := random("opaque")
		p.mu.Lock()
		p.opaque[token] = claims
		p.mu.Unlock()
		return token
	}
	t.Claims.apply(claims)
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // a test's own claims
	}
	header := Edit{"typ": "at+jwt"}
	maps.Copy(header, t.Header)
	if t.Alg == "" {
		t.Alg = "RS256"
	}
	token, err := p.signAs(t.Alg, payload, Behaviour{IDTokenHeader: header, CorruptSignature: t.Corrupt, WrongKey: t.Wrong, HMACKey: t.HMACKey})
	if err != nil {
		panic(err) // a test's own algorithm
	}
	return token
}

// Forget makes an opaque access token inactive.
func (p *Provider) Forget(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.opaque, token)
}

// introspect is RFC 7662, and RFC 9701 where the client asks for a signed answer.
func (p *Provider) introspect(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if reason := p.clientAuth(r, b); reason != "" {
		fail(w, http.StatusUnauthorized, "invalid_client", reason)
		return
	}
	p.mu.Lock()
	claims := maps.Clone(p.opaque[r.PostForm.Get("token")])
	p.mu.Unlock()
	if claims == nil {
		claims = map[string]any{"active": false}
	}
	b.Introspection.apply(claims)
	const signed = "application/token-introspection+jwt"
	switch {
	case b.IntrospectionBody != "":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, b.IntrospectionBody) //nolint:errcheck // the caller may be gone
		return
	case b.IntrospectionAlg == "" || r.Header.Get("Accept") != signed:
		answer(w, http.StatusOK, claims)
		return
	}
	outer := map[string]any{"iss": p.Issuer(), "aud": p.ClientID, "iat": p.Now().Unix(), "token_introspection": claims}
	b.SignedIntrospection.apply(outer)
	header := Edit{"typ": "token-introspection+jwt"}
	maps.Copy(header, b.IntrospectionHeader)
	payload, err := json.Marshal(outer)
	if err == nil {
		var compact string
		if compact, err = p.signAs(b.IntrospectionAlg, payload, Behaviour{IDTokenHeader: header, CorruptSignature: b.CorruptIntrospection}); err == nil {
			w.Header().Set("Content-Type", signed)
			io.WriteString(w, compact) //nolint:errcheck // the caller may be gone
			return
		}
	}
	fail(w, http.StatusInternalServerError, "server_error", err.Error())
}
