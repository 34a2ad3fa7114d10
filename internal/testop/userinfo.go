package testop

import (
	"encoding/json"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// claims is a claims endpoint (OpenID Connect Core 5.6.2).
func (p *Provider) claims(w http.ResponseWriter, _ *http.Request, b Behaviour) {
	if b.ClaimsBody == "" {
		http.NotFound(w, nil)
		return
	}
	w.Header().Set("Content-Type", "application/jose")
	io.WriteString(w, b.ClaimsBody) //nolint:errcheck // the caller may be gone
}

// NumericID is what a provider of plain OAuth 2.0 calls somebody. It is more than a float holds exactly.
func NumericID(subject string) uint64 {
	return 1<<60 + uint64(crc32.ChecksumIEEE([]byte(subject)))
}

// emails is the list of addresses of plain OAuth 2.0.
func (p *Provider) emails(w http.ResponseWriter, r *http.Request, b Behaviour) {
	_, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p.mu.Lock()
	g, ok := p.access[presented]
	p.mu.Unlock()
	if !ok || !b.PlainOAuth {
		fail(w, http.StatusNotFound, "not_found", "")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if b.EmailsBody != "" {
		io.WriteString(w, b.EmailsBody) //nolint:errcheck // the caller may be gone
		return
	}
	verified := g.user.EmailVerified != nil && *g.user.EmailVerified
	json.NewEncoder(w).Encode([]any{ //nolint:errcheck // the caller may be gone
		map[string]any{"email": "old-" + g.user.Email, "primary": false, "verified": true},
		map[string]any{"email": g.user.Email, "primary": true, "verified": verified},
	})
}

// organizations is one page of the organizations, or the teams, of plain OAuth 2.0.
func (p *Provider) organizations(w http.ResponseWriter, r *http.Request, b Behaviour) {
	_, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p.mu.Lock()
	g, ok := p.access[presented]
	p.mu.Unlock()
	if !ok || !b.PlainOAuth || !slices.Contains(g.scopes, "read:org") {
		fail(w, http.StatusForbidden, "forbidden", "")
		return
	}
	teams, list, body := strings.HasSuffix(r.URL.Path, "/teams"), []any{}, b.OrganizationsBody
	if teams {
		body = b.TeamsBody
	}
	for _, group := range g.user.Groups {
		organization, slug, isTeam := strings.Cut(group, "/")
		if entry := map[string]any{"login": organization}; teams && isTeam {
			list = append(list, map[string]any{"slug": slug, "organization": entry})
		} else if !teams && !isTeam {
			list = append(list, entry)
		}
	}
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	first := min(max(size*(page-1), 0), len(list))
	w.Header().Set("Content-Type", "application/json")
	if body != "" && page == 1 {
		io.WriteString(w, body) //nolint:errcheck // the caller may be gone
		return
	}
	json.NewEncoder(w).Encode(list[first:min(first+size, len(list))]) //nolint:errcheck // the caller may be gone
}

// userInfo is OpenID Connect Core 5.3.
func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request, b Behaviour) {
	g, ok := p.bearer(w, r, p.base(), b)
	if !ok {
		return
	}
	p.mu.Lock()
	subject := g.user.Subject
	if g.refreshed && b.RefreshedSubject != "" {
		subject = b.RefreshedSubject
	}
	p.mu.Unlock()
	if b.UserInfoBody != "" {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, b.UserInfoBody) //nolint:errcheck // the caller may be gone
		return
	}
	claims := g.user.claims(g.scopes)
	claims["sub"] = subject
	if b.PlainOAuth {
		claims = map[string]any{"id": NumericID(subject), "login": g.user.Name, "name": g.user.Name, "email": nil}
		for name, value := range g.user.Extra {
			claims[name] = value
		}
	}
	if b.UserInfoAlg != "" {
		claims["iss"], claims["aud"] = p.Issuer(), p.ClientID
	}
	b.UserInfo.apply(claims)
	if b.UserInfoAlg == "" {
		answer(w, http.StatusOK, claims)
		return
	}
	payload, err := json.Marshal(claims)
	if err == nil {
		var compact string
		if compact, err = p.signAs(b.UserInfoAlg, payload, Behaviour{CorruptSignature: b.CorruptUserInfo}); err == nil {
			w.Header().Set("Content-Type", "application/jwt; charset=UTF-8")
			io.WriteString(w, compact) //nolint:errcheck // the caller may be gone
			return
		}
	}
	fail(w, http.StatusInternalServerError, "server_error", err.Error())
}
