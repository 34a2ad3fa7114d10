package authflow

import (
	"cmp"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

const (
	// proofAge is how old a proof may be, and proofAhead how far its clock may be
	// ahead of ours. Proofs of the future would stay in memory the longest.
	proofAge, proofAhead = time.Minute, 10 * time.Second
	// maxProof and maxProofID bound what is decoded, and remembered, in bytes.
	maxProof, maxProofID = 16 << 10, 256
)

// proofAlgs are the algorithms that a proof may be signed with.
var proofAlgs = []jose.SignatureAlgorithm{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}

// ProofAlgs returns the algorithms of [CheckTokenUse], for a challenge (RFC 9449
// 7.1).
func ProofAlgs() []string {
	names := make([]string, len(proofAlgs))
	for i, alg := range proofAlgs {
		names[i] = string(alg)
	}
	return names
}

// TokenUse is the request that brings an access token.
type TokenUse struct {
	// Scheme is that of the Authorization header, in any case.
	Scheme string
	// Token is what the header holds.
	Token secret.String
	// Method and URL are those of the request, as the client sees it. Query and
	// fragment of the URL do not count.
	Method, URL string
	// Proofs are the values of the DPoP header, one for each line.
	Proofs []string
	// Certificate is what the client has shown on the connection, nil for none.
	Certificate *x509.Certificate
	// Nonce returns when we gave a nonce, and false if it is none of ours that counts.
	// Needed with NeedNonce or Since.
	Nonce func(nonce string) (given time.Time, ours bool)
	// NeedNonce asks for one in every proof.
	NeedNonce bool
	// UseOnce fails if an id was used before, and remembers it until a time. An error
	// that is an *Error says that this cannot be told.
	UseOnce func(id string, until time.Time) error
	// Since is when UseOnce began to remember; zero: it always did. A proof from
	// before counts with a nonce that we have given since.
	Since time.Time
	// Now is the time.
	Now time.Time
}

// CheckTokenUse holds a request to what its token is bound to: the key of a proof
// (RFC 9449 7.1), the certificate of the connection (RFC 8705 3). A bound token that
// is sent without is refused, and so is one that is sent as bound and is not.
// Reasons: token_binding_refused, token_certificate_mismatch, dpop_proof_refused,
// dpop_proof_used, dpop_nonce_needed.
func CheckTokenUse(t *AccessToken, use TokenUse) error {
	if t.CertificateThumbprint != "" && !sameThumbprint(use.Certificate, t.CertificateThumbprint) {
		return NewError(ReasonTokenCertificate, errors.New("the connection's certificate is not the one that the token is bound to"))
	}
	isDPoP := strings.EqualFold(use.Scheme, TokenTypeDPoP)
	switch {
	case t.KeyThumbprint == "" && !isDPoP:
		return nil
	case t.KeyThumbprint == "":
		return NewError(ReasonTokenBinding, errors.New("sent with the scheme DPoP, but it is bound to no key"))
	case !isDPoP:
		return NewError(ReasonTokenBinding, fmt.Errorf("bound to a key, but sent with the scheme %.16q", use.Scheme))
	}
	return checkProof(t.KeyThumbprint, use)
}

func sameThumbprint(certificate *x509.Certificate, thumbprint string) bool {
	if certificate == nil {
		return false
	}
	digest := sha256.Sum256(certificate.Raw)
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(digest[:])), []byte(thumbprint)) == 1
}

// checkProof checks a proof by RFC 9449 4.3, whose numbers stand beside the checks.
func checkProof(thumbprint string, use TokenUse) error {
	if len(use.Proofs) != 1 { // (1)
		return NewError(ReasonProof, fmt.Errorf("%d DPoP headers", len(use.Proofs)))
	}
	claims, err := verifyProof(use.Proofs[0], thumbprint) // (2), (4) to (7), (12)
	if err != nil {
		return NewError(ReasonProof, err)
	}
	id, errID := claims.String("jti")
	issued, errIssued := claims.Time("iat")
	if errID == nil && (id == "" || len(id) > maxProofID) {
		errID = fmt.Errorf("jti has %d bytes", len(id))
	}
	if err := cmp.Or(
		errID, errIssued, // (3)
		checkProofText(claims, "htm", use.Method),           // (8)
		checkProofURL(claims, use.URL),                      // (9)
		checkProofAge(use.Now.Sub(issued)),                  // (11)
		checkProofText(claims, "ath", tokenHash(use.Token)), // (12)
	); err != nil {
		return NewError(ReasonProof, err)
	}
	if err := checkProofNonce(claims, issued, use); err != nil { // (10)
		return NewError(ReasonProofNonce, err)
	}
	err = use.UseOnce(thumbprint+" "+id, issued.Add(proofAge+time.Second)) // 11.1; the limit is itself accepted
	if _, unknown := errors.AsType[*Error](err); err == nil || unknown {
		return err
	}
	return NewError(ReasonProofUsed, err)
}

// checkProofNonce holds a proof to a nonce, where one is asked for in all, or in this
// one: a proof from before we began to remember may have been used.
func checkProofNonce(claims Claims, issued time.Time, use TokenUse) error {
	since := use.Since.Truncate(time.Second) // as iat is
	old := issued.Before(since)
	if !use.NeedNonce && !old {
		return nil
	}
	nonce, err := claims.String("nonce")
	if err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	given, ours := use.Nonce(nonce)
	switch {
	case !ours:
		return errors.New("no nonce of ours")
	case old && given.Before(since):
		return fmt.Errorf("iat and nonce are from before %v: which proofs were used is not known", since)
	}
	return nil
}

// verifyProof verifies a proof with the key that it brings, which has to be the one
// of the thumbprint, and returns its claims.
func verifyProof(raw, thumbprint string) (Claims, error) {
	if len(raw) > maxProof {
		return nil, fmt.Errorf("more than %d bytes", maxProof)
	}
	header, claims, err := decodeJWS(raw) // (2), (3)
	if err != nil {
		return nil, err
	}
	if typ, _ := header.String("typ"); typ != "dpop+jwt" { // (4)
		return nil, fmt.Errorf("typ is %.64q", typ)
	}
	if err := checkExtensions(header); err != nil {
		return nil, err
	}
	key, err := proofKey(header)
	if err != nil {
		return nil, err
	}
	digest, err := (&jose.JSONWebKey{Key: key.key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	// (12), before the signature: who has the token chooses how costly a key is, but
	// for this one.
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(digest)), []byte(thumbprint)) != 1 {
		return nil, errors.New("the jwk is not the key that the token is bound to")
	}
	jws, err := jose.ParseSignedCompact(raw, proofAlgs) // (5)
	if err != nil {
		return nil, err
	}
	key.kid = jws.Signatures[0].Header.KeyID
	_, err = verifyWith([]publicKey{key}, jws) // (6)
	return claims, err
}

// proofKey is the public key in a proof's header. One that is private is refused (7).
func proofKey(header Claims) (publicKey, error) {
	object, ok := header["jwk"].(map[string]any)
	if !ok {
		return publicKey{}, errors.New("the header has no jwk")
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return publicKey{}, err
	}
	return parseKey(encoded)
}

func checkProofText(claims Claims, name, want string) error {
	got, err := claims.String(name)
	if err == nil && subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		err = fmt.Errorf("%s is %.64q", name, got)
	}
	return err
}

func checkProofAge(age time.Duration) error {
	if age > proofAge || age < -proofAhead {
		return fmt.Errorf("iat is %s ago", age)
	}
	return nil
}

// checkProofURL compares htu with the request's URL without query and fragment,
// after the normalization of RFC 3986 6.2.2 and 6.2.3.
func checkProofURL(claims Claims, want string) error {
	htu, err := claims.String("htu")
	if err != nil {
		return err
	}
	got, errGot := normalURL(htu)
	wanted, errWanted := normalURL(want)
	if err := cmp.Or(errGot, errWanted); err != nil {
		return fmt.Errorf("htu: %w", err)
	}
	if got != wanted {
		return fmt.Errorf("htu is %.256q, expected %.256q", htu, want)
	}
	return nil
}

func normalURL(raw string) (string, error) {
	raw, _, _ = strings.Cut(raw, "#")
	raw, _, _ = strings.Cut(raw, "?")
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("no URL")
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if scheme != "https" && scheme != "http" || host == "" || u.User != nil {
		return "", fmt.Errorf("%.64q is no absolute URL of the web without user", raw)
	}
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	return scheme + "://" + host + cmp.Or(normalPath(u.EscapedPath()), "/"), nil
}

// normalPath decodes what need not be percent-encoded and writes the rest in upper
// case (RFC 3986 6.2.2.1, 6.2.2.2).
func normalPath(escaped string) string {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			b.WriteByte(escaped[i])
			continue
		}
		triplet := strings.ToUpper(escaped[i : i+3])
		if plain, err := url.PathUnescape(triplet); err == nil && len(plain) == 1 && isUnreserved(plain[0]) {
			b.WriteString(plain)
		} else {
			b.WriteString(triplet)
		}
		i += 2
	}
	return b.String()
}

// isUnreserved: RFC 3986 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
