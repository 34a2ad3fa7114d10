package caddymodule

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// tokenRefused is why an access token does not count, and what the challenge says of
// it (RFC 6750 3, RFC 9449 7.1).
type tokenRefused struct {
	code  string // error; "" for none
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
		code = "use_dpop_nonce"
	}
	p.Err = &tokenRefused{code: code, err: p.Err}
	return &p
}

// challenge writes the WWW-Authenticate headers of a refusal (RFC 9110 11.6.1): how
// a session is got, and how a token, as far as each counts here. A refusal that is
// not about either has none.
func (v *visit) challenge(r *http.Request, h http.Header, status int, err error) {
	takesTokens := v.gate.bearer != nil
	refused, _ := errors.AsType[*tokenRefused](err)
	switch {
	case status != http.StatusUnauthorized && refused == nil:
		return
	case !takesTokens || v.brought == nil && !v.gate.bearer.only:
		h.Add("WWW-Authenticate", `Cookie realm="gatehouse", login="`+v.endpoint("login")+`"`+stepUpChallenge(err))
	}
	if !takesTokens {
		return
	}
	parameters := `resource_metadata="` + v.resourceMetadataURL(r) + `"`
	if v.brought != nil {
		parameters += stepUpChallenge(err)
	}
	if refused != nil && refused.code != "" {
		parameters += `, error="` + refused.code + `"`
		if len(refused.scope) > 0 {
			parameters += `, scope="` + strings.Join(refused.scope, " ") + `"`
		}
	}
	bound := v.gate.bearer.bound || v.gate.bearer.nonces
	if v.brought != nil && strings.EqualFold(v.brought.scheme, authflow.TokenTypeDPoP) || v.brought == nil && bound {
		h.Add("WWW-Authenticate", `DPoP algs="`+strings.Join(authflow.ProofAlgs(), " ")+`", `+parameters)
		if v.gate.bearer.nonces {
			if nonce, failed := v.gate.newNonce(r, v); failed == nil {
				h.Set("DPoP-Nonce", nonce)
			}
		}
		return
	}
	h.Add("WWW-Authenticate", "Bearer "+parameters)
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
