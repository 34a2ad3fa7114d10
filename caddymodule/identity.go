package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/gatehouse-auth/gatehouse/session"
)

// identity is who is signed in, as rules, placeholders and the upstream see it.
// It is made from a session that has passed every check, and never changes; the zero
// value is nobody.
type identity struct {
	session  *session.Session
	provider *provider
	// prefixed: several providers sign people in here, so user and groups carry
	// the provider's name (github:4711): nobody's choice of name or group at one
	// provider makes them somebody at another.
	prefixed bool
}

func (id *identity) isNobody() bool { return id.session == nil }

// unlearned stands in a session for a claim that the provider has and we could
// not learn, such as groups that were too many for a token. As an object it has no
// values: an allow on it refuses, a deny on it denies.
var unlearned = map[string]any{}

// user is what applications get as the user.
func (id *identity) user() string {
	user := id.provider.userClaim
	if user == "email" {
		return id.prefix(id.email())
	}
	return id.prefix(scalar(id.claim(user)))
}

// email is the address, if the provider vouches for it (P31).
func (id *identity) email() string {
	if !id.emailVerified() {
		return ""
	}
	return scalar(id.claim("email"))
}

func (id *identity) emailVerified() bool {
	if id.provider.emailTrusted {
		return true
	}
	verified := id.claim("email_verified")
	return verified == true || verified == "true" // a string at some providers
}

func (id *identity) claim(name string) any {
	if name == "sub" {
		return id.session.Subject
	}
	return id.session.Claims[id.provider.key(name)]
}

func (id *identity) prefix(value string) string {
	if !id.prefixed || value == "" {
		return value
	}
	return id.session.Provider + ":" + value
}

// isComputed reports a known name that is no claim of the provider.
func isComputed(name string) bool {
	return name == "user" || name == "email_domain" || name == "provider"
}

// single is the value of a name that has one at most: those that are no claims, and
// the e-mail address. unverified admits an address that the provider does not vouch
// for: deny looks at it, allow does not.
func (id *identity) single(name string, unverified bool) (value string, is bool) {
	address := id.email
	if unverified {
		address = func() string { return scalar(id.claim("email")) }
	}
	switch name {
	case "user":
		return id.user(), true
	case "provider":
		return id.session.Provider, true
	case "email":
		return address(), true
	case "email_domain":
		return emailDomain(address()), true
	}
	return "", false
}

// values are a claim's values as rules compare them: its scalar items, or the one
// scalar.
func (id *identity) values(claim string, unverified bool) []string {
	if value, is := id.single(claim, unverified); is {
		return nonEmpty(value)
	}
	values := list(id.claim(claim))
	for i := range values {
		values[i] = id.item(claim, values[i])
	}
	return values
}

// has reports whether one of a claim's values is accepted. It makes no list of them:
// somebody may be in a thousand groups.
func (id *identity) has(claim string, accepted []string, unverified bool) bool {
	if value, is := id.single(claim, unverified); is {
		return accepts(claim, accepted, value)
	}
	value := id.claim(claim)
	items, isList := value.([]any)
	if !isList {
		return accepts(claim, accepted, id.item(claim, value))
	}
	for _, item := range items {
		if accepts(claim, accepted, id.item(claim, item)) {
			return true
		}
	}
	return false
}

// item is one value of a claim as text; lists and objects have none.
func (id *identity) item(claim string, value any) string {
	if claim == "groups" {
		return id.prefix(scalar(value))
	}
	return scalar(value)
}

// isWhole reports that the values of a claim are all that it says: false if the
// provider has it and we could not learn it, or if a part of it has no reading.
func (id *identity) isWhole(claim string) bool {
	switch claim {
	case "user", "provider":
		return true
	case "email", "email_domain":
		address, isText := id.claim("email").(string) // not one of several
		return (isText || id.claim("email") == nil) && (claim == "email" || address == "" || emailDomain(address) != "")
	}
	return isFlat(id.claim(claim))
}

// isFlat reports that a value consists of texts, numbers and truth values alone.
func isFlat(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return false
	case []any:
		return !slices.ContainsFunc(v, func(item any) bool {
			_, isList := item.([]any)
			_, isObject := item.(map[string]any)
			return isList || isObject
		})
	}
	return true
}

// header is a claim as the upstream gets it; empty if there is none.
func (id *identity) header(claim string) string {
	switch claim {
	case "user":
		return id.user()
	case "email":
		return id.email()
	case "email_domain":
		return emailDomain(id.email())
	case "provider":
		return id.session.Provider
	}
	value := id.claim(claim)
	items, isList := value.([]any)
	if !isList {
		text := id.item(claim, value)
		if claim == "groups" {
			text = encodeItem(text)
		}
		return strings.TrimSpace(text)
	}
	var joined strings.Builder
	size := len(items)
	for _, item := range items {
		size += len(scalar(item))
	}
	joined.Grow(size)
	for i, item := range items {
		if i > 0 {
			joined.WriteByte(',')
		}
		joined.WriteString(encodeItem(id.item(claim, item)))
	}
	return joined.String()
}

// setIdentity tells the upstream who is calling, in place of what an earlier gate
// has told under the same names.
func (g *Gate) setIdentity(r *http.Request, id *identity) {
	values := make([]string, len(g.identityHeaders))
	for i, header := range g.identityHeaders {
		if value := id.header(header.Claim); value != "" {
			values[i] = value
			r.Header[header.Name] = values[i : i+1 : i+1] // full, so that nobody appends into the next
		} else {
			delete(r.Header, header.Name)
		}
	}
}

// plainBytes are those that encodeItem leaves as they are wherever they stand.
var plainBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c > ' ' && c != ',' && c != '%' && c != 0x7f
	}
	return plain
}()

// encodeItem makes a list item unambiguous: comma, percent, control characters
// and outer white space are percent-encoded (SEC-26).
func encodeItem(item string) string {
	plain := true
	for i := 0; i < len(item) && plain; i++ {
		plain = plainBytes[item[i]] || item[i] == ' ' && i > 0 && i < len(item)-1
	}
	if plain {
		return item
	}
	inner := strings.TrimSpace(item)
	start := strings.Index(item, inner)
	var encoded strings.Builder
	for i := 0; i < len(item); i++ {
		c := item[i]
		outside := i < start || i >= start+len(inner)
		if outside || c < ' ' || c == 0x7f || c == ',' || c == '%' {
			fmt.Fprintf(&encoded, "%%%02X", c)
		} else {
			encoded.WriteByte(c)
		}
	}
	return encoded.String()
}

// scalar is a single value as text; lists and objects have none.
func scalar(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
		return "false"
	case json.Number:
		return v.String()
	}
	return ""
}

// list is a value as texts: a list's scalar items, or the one scalar.
func list(value any) []string {
	items, isList := value.([]any)
	if !isList {
		return nonEmpty(scalar(value))
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if text := scalar(item); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// emailDomain is what stands behind the one @ of an address; an address with
// more than one, a quoted local part or anything unusual has no domain (SEC-89).
func emailDomain(address string) string {
	local, domain, found := strings.Cut(address, "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(address, "\"' \t\r\n()<>[],;:\\") ||
		strings.Contains(domain, "@") || strings.HasPrefix(domain, ".") || strings.HasSuffix(domain, ".") {
		return ""
	}
	for i := 0; i < len(domain); i++ {
		if domain[i] <= ' ' || domain[i] >= 0x7f {
			return ""
		}
	}
	if u, err := url.Parse("//" + domain); err != nil || u.Host != domain {
		return ""
	}
	return domain
}

// checkClaims refuses values that HTTP, or an application behind us, would read
// as something else: a control character in any single value, outer white space
// in the user and the e-mail address (SEC-26).
func checkClaims(p *provider, claims map[string]any) error {
	for name, value := range claims {
		text, isText := value.(string)
		if !isText {
			continue
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("claim %s holds a control character", name)
		}
		if (name == p.key(p.userClaim) || name == p.key("email")) && text != strings.TrimSpace(text) {
			return fmt.Errorf("claim %s begins or ends with white space", name)
		}
	}
	return nil
}

// plainValue is a claim as expressions see it: numbers are numbers.
func plainValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		number, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return number
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = plainValue(v[i])
		}
		return items
	case map[string]any:
		if len(v) == 0 {
			return nil // unlearned
		}
		members := make(map[string]any, len(v))
		for name := range v {
			members[name] = plainValue(v[name])
		}
		return members
	}
	return value
}
