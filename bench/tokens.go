package main

import (
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// tokenFiles are the shapes of what providers give at a sign-in.
//
//go:embed testdata/tokens
var tokenFiles embed.FS

// tokens is what one provider gives: a file of testdata/tokens.
type tokens struct {
	Provider string         `json:"provider"`
	Note     string         `json:"note"`
	Issuer   string         `json:"issuer"` // only its length counts
	ClientID string         `json:"client_id"`
	Subject  string         `json:"subject"`
	Scopes   string         `json:"scopes"`    // that the gate asks for
	Group    string         `json:"group"`     // {word} and {uuid} stand for one of each
	GroupsIn []string       `json:"groups_in"` // id_token, userinfo, access_token
	IDToken  map[string]any `json:"id_token"`  // beside those that every ID token has; null takes one of these away
	UserInfo map[string]any `json:"userinfo"`
	Access   token          `json:"access_token"`
	Refresh  token          `json:"refresh_token"`
}

// token is an opaque one of so many bytes, or a JWT of these claims with a signature of so many bytes.
type token struct {
	Bytes     int            `json:"bytes"`
	Claims    map[string]any `json:"claims"`
	Signature int            `json:"signature"`
}

// readTokens reads all shapes, in the order of their files' names.
func readTokens() ([]*tokens, error) {
	const folder = "testdata/tokens"
	entries, err := fs.ReadDir(tokenFiles, folder)
	if err != nil {
		return nil, err
	}
	all := make([]*tokens, 0, len(entries))
	for _, entry := range entries {
		text, err := tokenFiles.ReadFile(path.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		shape := new(tokens)
		if err := json.Unmarshal(text, shape); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		all = append(all, shape)
	}
	return all, nil
}

// groupWords are what groups are called after. Names that only count up would flatter a compressor.
const groupWords = `accounting admins analytics archive audit backend billing board campus catalog compliance
controlling contractors customers data delivery design developers editors engineering events exports facilities finance
frontend grafana helpdesk identity imports infrastructure intranet inventory jenkins legal logistics managers marketing
mobile network operations partners payroll platform procurement production projects purchasing quality readers recruiting
release research reviewers sales security staging staff storage support training translators treasury warehouse website
wiki writers`

// groups are so many, as this provider names them: the same in every run.
func (t *tokens) groups(count int) []string {
	names, words := make([]string, 0, count), strings.Fields(groupWords)
	for i := range count {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		name, drawn := t.Group, sum[16:]
		for strings.Contains(name, "{word}") {
			name = strings.Replace(name, "{word}", words[int(drawn[0])%len(words)], 1)
			drawn = drawn[1:]
		}
		uuid := fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
		names = append(names, strings.ReplaceAll(name, "{uuid}", uuid))
	}
	return names
}

// with are claims, and so many groups if they stand there.
func (t *tokens) with(claims map[string]any, place string, groups int) testop.Edit {
	edit := testop.Edit{}
	for name, value := range claims {
		if value == nil {
			value = testop.Absent
		}
		edit[name] = value
	}
	if groups > 0 && slices.Contains(t.GroupsIn, place) {
		edit["groups"] = t.groups(groups)
	}
	return edit
}

// ownLength is what stands in each token of the test provider but for its infix.
const ownLength = len("at-") + 26

// infix makes the test provider's tokens as long as this one, and as hard to compress.
func (t token) infix(claims testop.Edit) (string, error) {
	text := randomText(t.Bytes)
	if t.Claims != nil {
		payload, err := json.Marshal(claims)
		if err != nil {
			return "", err
		}
		header := `{"alg":"RS256","typ":"JWT","kid":"Xv3mQ0bT7sZk1nWc9yRf5uLp2aEd8gHj4iOo6xKtVwE"}`
		encode := base64.RawURLEncoding.EncodeToString
		text = encode([]byte(header)) + "." + encode(payload) + "." + randomText(base64.RawURLEncoding.EncodedLen(t.Signature))
	}
	if len(text) < ownLength {
		return "", fmt.Errorf("a token of %d bytes is shorter than the test provider's", len(text))
	}
	return text[:len(text)-ownLength], nil
}

// randomText is unguessable, in base64url.
func randomText(length int) string {
	random := make([]byte, length)
	rand.Read(random) // never fails: it would end the process
	return base64.RawURLEncoding.EncodeToString(random)[:length]
}

// start brings up a provider of this name's length with this client and user.
func (t *tokens) start() (*testop.Provider, error) {
	const origin = len("http://127.0.0.1:12345")
	provider := testop.New(func(p *testop.Provider) {
		p.ClientID, p.User = t.ClientID, testop.User{Subject: t.Subject}
		if missing := len(t.Issuer) - origin; missing > 0 {
			p.Path = "/" + strings.Repeat("x", missing-1)
		}
	})
	return provider, provider.Listen()
}

// give makes the provider give these tokens, with so many groups.
func (t *tokens) give(p *testop.Provider, groups int, refresh bool) error {
	access, err := t.Access.infix(t.with(t.Access.Claims, "access_token", groups))
	if err != nil {
		return err
	}
	more, err := t.Refresh.infix(t.with(t.Refresh.Claims, "refresh_token", 0))
	if err != nil {
		return err
	}
	p.Set(func(b *testop.Behaviour) {
		*b = testop.Behaviour{
			IDToken: t.with(t.IDToken, "id_token", groups), UserInfo: t.with(t.UserInfo, "userinfo", groups),
			AccessTokenInfix: access, RefreshTokenInfix: more, NoRefreshToken: !refresh,
		}
	})
	return nil
}

// overHTTP sends what is for one of these hosts to an address, over plain http, as a
// proxy in front that ends TLS does; so browsers keep the cookies that they keep over https.
type overHTTP map[string]string

// RoundTrip leaves the request as it is.
func (o overHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	if address, ours := o[r.URL.Host]; ours {
		host := r.URL.Host
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.Host = "http", address, host
	}
	return http.DefaultTransport.RoundTrip(r)
}
