package caddymodule

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// useNonce is the code that asks for a proof with a nonce (RFC 9449 9).
const useNonce = "use_dpop_nonce"

// tokenRefused is why an access token does not count, and what the challenge says of
// it (RFC 6750 3, RFC 9449 7.1).
type tokenRefused struct {
	code  string // error
	scope []string
	err   error
}

// Error implements error.
func (t *tokenRefused) Error() string { return t.err.Error() }

// Unwrap returns what is wrong with it.
func (t *tokenRefused) Unwrap() error { return t.err }

func tokenProblem(kind authflow.Kind, reason authflow.Reason, code string, err error) error {
	return problem(kind, reason, "This access token is not accepted here.", &tokenRefused{code: code, err: err})
}

// asTokenProblem gives an error of the protocol the code of RFC 6750 3.1 or RFC 9449
// 7.1. One that says that the token could not be judged stays.
func asTokenProblem(err error) error {
	p := *asProblem(err)
	if p.Kind != authflow.NoLogin {
		return err
	}
	code := "invalid_token"
	switch p.Reason {
	case authflow.ReasonProof, authflow.ReasonProofUsed:
		code = "invalid_dpop_proof"
	case authflow.ReasonProofNonce:
		code = useNonce
	}
	p.Err = &tokenRefused{code: code, err: p.Err}
	return &p
}

// challenge writes the WWW-Authenticate headers of a refusal (RFC 9110 11.6.1): how a
// token is got, and how a session, as far as each counts here. A refusal that is not
// about either has none. That of tokens comes first: programs that know one scheme
// look at the beginning.
func (v *visit) challenge(r *http.Request, h http.Header, status int, err error) {
	refused, _ := errors.AsType[*tokenRefused](err)
	if status != http.StatusUnauthorized && refused == nil {
		return
	}
	if v.gate.bearer != nil {
		v.challengeToken(r, h, refused, err)
	}
	if v.takesSessions() {
		h.Add("WWW-Authenticate", `Cookie realm="gatehouse", login="`+v.endpoint("login")+`"`+stepUpChallenge(err))
	}
}

// takesSessions reports whether a session would help this request.
func (v *visit) takesSessions() bool {
	return v.gate.bearer == nil || v.brought == nil && !v.gate.bearer.only
}

// challengeToken is the challenge of RFC 6750 3, or of RFC 9449 7.1 where a token has
// to be bound to a key, with the address of RFC 9728 5.1.
func (v *visit) challengeToken(r *http.Request, h http.Header, refused *tokenRefused, err error) {
	b, scheme := v.gate.bearer, "Bearer "
	if v.brought != nil && strings.EqualFold(v.brought.scheme, authflow.TokenTypeDPoP) || v.brought == nil && (b.bound || b.nonces) {
		scheme = `DPoP algs="` + strings.Join(authflow.ProofAlgs(), " ") + `", `
		if b.nonces || refused != nil && refused.code == useNonce {
			if nonce, failed := v.gate.newNonce(r, v); failed == nil {
				h.Set("DPoP-Nonce", nonce)
			}
		}
	}
	text := scheme + `resource_metadata="` + v.resourceMetadataURL(r) + `"`
	if v.brought != nil {
		text += stepUpChallenge(err)
	}
	if refused != nil {
		text += `, error="` + refused.code + `"`
		if len(refused.scope) > 0 {
			text += `, scope="` + strings.Join(refused.scope, " ") + `"`
		}
	}
	h.Add("WWW-Authenticate", text)
}

// stepUpChallenge is what a challenge says of a sign-in that is too weak or too old
// (RFC 9470 3); "" if err is not about that.
func stepUpChallenge(err error) string {
	weak, is := errors.AsType[*weakSession](err)
	if !is {
		return ""
	}
	text := `, error="insufficient_user_authentication"`
	if weak.needed.acr != nil {
		text += `, acr_values="` + strings.Join(weak.needed.acr, " ") + `"`
	}
	if weak.needed.maxAge != 0 {
		text += `, max_age="` + strconv.FormatInt(int64(weak.needed.maxAge/time.Second), 10) + `"`
	}
	return text
}
