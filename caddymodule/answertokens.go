package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// isForProxies reports an endpoint of a site that answers with tokens. It has no other,
// so that nobody can sign in at an address at which a script could read them.
func isForProxies(name string) bool {
	return name == "auth" || strings.HasPrefix(name, "auth/") || name == "ping"
}

// mayAsk holds that tokens are told to proxies alone that Caddy trusts.
func (g *Gate) mayAsk(r *http.Request) error {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); g.AnswerTokens && !trusted {
		return errors.New("answer_tokens: whoever asks is none of trusted_proxies")
	}
	return nil
}

// answers are the headers of tokens that a proxy is told: none, but where the site has
// been made for that, since every script of a site can ask as well.
func (g *Gate) answers(v *visit) []string {
	if !v.gate.AnswerTokens {
		return nil
	}
	var names []string
	for _, f := range g.forwards {
		names = append(names, f.Header)
	}
	return names
}

func notFound(w http.ResponseWriter) error {
	http.Error(w, "no such endpoint", http.StatusNotFound)
	return nil
}
