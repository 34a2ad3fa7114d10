package testop

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// idToken makes the ID token for g (OpenID Connect Core 2), right but for b.
func (p *Provider) idToken(g *grant, subject, accessToken string, b Behaviour, refreshing bool) (string, error) {
	now := p.Now()
	alg := b.Alg
	if alg == "" {
		alg = "RS256"
	}
	claims := map[string]any{
		"iss": p.Issuer(), "sub": subject, "aud": p.ClientID, "sid": g.sessionID,
		"iat": now.Unix(), "exp": now.Add(orHour(b.IDTokenLifetime)).Unix(), "auth_time": g.authTime.Unix(),
		"at_hash": accessTokenHash(alg, accessToken),
	}
	if g.acr != "" {
		claims["acr"] = g.acr
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	if !b.ThinIDToken {
		for name, value := range g.user.claims(g.scopes) {
			claims[name] = value
		}
	}
	b.IDToken.apply(claims)
	if refreshing {
		b.RefreshedIDToken.apply(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	if b.IDTokenPayload != nil {
		payload = b.IDTokenPayload(payload)
	}
	compact, err := p.signAs(alg, payload, b)
	if err != nil {
		return "", err
	}
	if b.IDTokenText != nil {
		compact = b.IDTokenText(compact)
	}
	return compact, nil
}

// accessTokenHash is at_hash (OpenID Connect Core 3.1.3.6): half of the hash that the
// algorithm of the ID token uses, which of EdDSA by Ed25519 is SHA-512.
func accessTokenHash(alg, accessToken string) string {
	if alg == "EdDSA" {
		sum := sha512.Sum512([]byte(accessToken))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Sign makes a JWT of claims by RS256 with the current key: a logout token, say.
// header edits the JOSE header; nil is typ JWT and the kid.
func (p *Provider) Sign(claims map[string]any, header Edit) (string, error) {
	return p.SignAs("RS256", claims, header)
}

// SignAs is [Provider.Sign] by another algorithm, under the same rules as
// [Behaviour.Alg].
func (p *Provider) SignAs(alg string, claims map[string]any, header Edit) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return p.signAs(alg, payload, Behaviour{IDTokenHeader: header})
}

// signAs signs payload by alg, wrong as b says.
func (p *Provider) signAs(alg string, payload []byte, b Behaviour) (string, error) {
	if b.RotateOnSign {
		p.RotateKeys()
	}
	header := map[string]any{"alg": alg, "typ": "JWT"}
	if strings.EqualFold(alg, "none") {
		b.IDTokenHeader.apply(header)
		text, err := json.Marshal(header)
		if err != nil {
			return "", err
		}
		return base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(payload) + ".", nil
	}
	private, kid, err := p.signingKey(alg, b)
	if err != nil {
		return "", err
	}
	if kid != "" && !b.NoKeyIDs {
		header["kid"] = kid
	}
	delete(header, "alg") // the signer writes it
	b.IDTokenHeader.apply(header)
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range header {
		options.ExtraHeaders[jose.HeaderKey(name)] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: private}, options)
	if err != nil {
		return "", fmt.Errorf("testop: sign by %s: %w", alg, err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return "", err
	}
	if b.CorruptSignature {
		return corrupt(compact)
	}
	return compact, nil
}

// corrupt flips one bit of the signature and keeps the encoding canonical.
func corrupt(compact string) (string, error) {
	dot := strings.LastIndexByte(compact, '.')
	signature, err := base64.RawURLEncoding.DecodeString(compact[dot+1:])
	if err != nil {
		return "", err
	}
	signature[len(signature)/2] ^= 1
	return compact[:dot+1] + base64.RawURLEncoding.EncodeToString(signature), nil
}
