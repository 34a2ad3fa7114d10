package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/session"
)

func someone(claims map[string]any) *identity {
	return &identity{
		session:  &session.Session{Provider: "github", Subject: "4711", Claims: claims},
		provider: &provider{name: "github", userClaim: "sub"},
	}
}

func TestIdentityHeader(t *testing.T) {
	for _, tt := range []struct {
		name, claim string
		claims      map[string]any
		prefixed    bool
		userClaim   string
		want        string
	}{
		{name: "user is sub", claim: "user", want: "4711"},
		{name: "user with a prefix", claim: "user", prefixed: true, want: "github:4711"},
		{name: "user by claim", claim: "user", userClaim: "preferred_username", claims: map[string]any{"preferred_username": "alice"}, want: "alice"},
		{name: "P31 email unverified", claim: "email", claims: map[string]any{"email": "a@example.com"}, want: ""},
		{name: "P31 email_verified false", claim: "email", claims: map[string]any{"email": "a@example.com", "email_verified": false}, want: ""},
		{name: "P31 email_verified null", claim: "email", claims: map[string]any{"email": "a@example.com", "email_verified": nil}, want: ""},
		{name: "email verified", claim: "email", claims: map[string]any{"email": "a@example.com", "email_verified": true}, want: "a@example.com"},
		{name: "email verified, as a string", claim: "email", claims: map[string]any{"email": "a@example.com", "email_verified": "true"}, want: "a@example.com"},
		{name: "user by unverified email", claim: "user", userClaim: "email", claims: map[string]any{"email": "a@example.com"}, want: ""},
		{name: "groups", claim: "groups", claims: map[string]any{"groups": []any{"staff", "ops"}}, want: "staff,ops"},
		{name: "groups with a prefix", claim: "groups", prefixed: true, claims: map[string]any{"groups": []any{"staff", "ops"}}, want: "github:staff,github:ops"},
		{name: "SEC-26 comma in a group", claim: "groups", claims: map[string]any{"groups": []any{"a,admins", "50%"}}, want: "a%2Cadmins,50%25"},
		{name: "SEC-26 line break in a group", claim: "groups", claims: map[string]any{"groups": []any{"a\r\nX-Admin: 1"}}, want: "a%0D%0AX-Admin: 1"},
		{name: "SEC-26 white space around a group", claim: "groups", claims: map[string]any{"groups": []any{" ops", "a b"}}, want: "%20ops,a b"},
		{name: "one group that is no list", claim: "groups", claims: map[string]any{"groups": "a,b"}, want: "a%2Cb"},
		{name: "SEC-23 absent claim", claim: "name", want: ""},
		{name: "number", claim: "uid", claims: map[string]any{"uid": json.Number("1001")}, want: "1001"},
		{name: "object", claim: "address", claims: map[string]any{"address": map[string]any{"country": "DE"}}, want: ""},
		{name: "SEC-27 placeholder in a claim", claim: "name", claims: map[string]any{"name": "{env.HOME}"}, want: "{env.HOME}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			who := someone(tt.claims)
			who.prefixed = tt.prefixed
			if tt.userClaim != "" {
				who.provider.userClaim = tt.userClaim
			}
			if got := who.header(tt.claim); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// SEC-89: an address has a domain only if it is one plain address.
func TestEmailDomain(t *testing.T) {
	for address, want := range map[string]string{
		"alice@example.com":                 "example.com",
		"alice@EXAMPLE.com":                 "EXAMPLE.com",
		"attacker@evil.example@example.com": "",
		`"a@evil.example"@example.com`:      "",
		"alice@example.com.":                "",
		"alice@.example.com":                "",
		"alice@sub.example.com":             "sub.example.com",
		"@example.com":                      "",
		"alice@":                            "",
		"alice":                             "",
		"alice@example.com\n":               "",
		"alice@ example.com":                "",
		"alice@exämple.com":                 "",
		"alice@evil.example,b@example.com":  "",
		"alice@[127.0.0.1]":                 "",
		"":                                  "",
	} {
		if got := emailDomain(address); got != want {
			t.Errorf("%q: domain %q, want %q", address, got, want)
		}
	}
}

func TestCheckClaims(t *testing.T) {
	p := &provider{userClaim: "preferred_username"}
	for _, tt := range []struct {
		name   string
		claims map[string]any
		fails  bool
	}{
		{"plain", map[string]any{"name": "Alice Ä", "email": "a@example.com"}, false},
		{"SEC-26 line break", map[string]any{"name": "a\r\nX-Admin: 1"}, true},
		{"SEC-26 NUL", map[string]any{"name": "a\x00"}, true},
		{"SEC-26 NEL", map[string]any{"name": "a\u0085"}, true},
		{"white space after the user", map[string]any{"preferred_username": "admin "}, true},
		{"no-break space before the email", map[string]any{"email": "\u00a0a@example.com"}, true},
		{"white space around another claim", map[string]any{"name": " Alice "}, false},
		{"in a list it is encoded", map[string]any{"groups": []any{"a\n"}}, false},
	} {
		if err := checkClaims(p, tt.claims); (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// An address that is an object, or could not be learned, is none that could be compared: a deny on it denies.
func TestUnlearnedEmail(t *testing.T) {
	for name, value := range map[string]any{"unlearned": unlearned, "object": map[string]any{"value": "eve@evil.example"}} {
		who := someone(map[string]any{"email": value})
		for claim, accepted := range map[string]string{"email": "eve@evil.example", "email_domain": "evil.example"} {
			if r := (rule{claims: map[string][]string{claim: {accepted}}}); !r.fits(who, true) || r.fits(who, false) {
				t.Errorf("%s: deny %s fits: %v, allow: %v", name, claim, r.fits(who, true), r.fits(who, false))
			}
		}
	}
}

// No encoded item can be taken for two, or for another.
func TestEncodeItemIsUnambiguous(t *testing.T) {
	seen := make(map[string]string)
	pieces := []string{"", "a", ",", "%", " ", "\n", "%2C", "ä", "\x7f"}
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				item := a + b + c
				encoded := encodeItem(item)
				if strings.ContainsAny(encoded, ",\n\r\x7f") || encoded != strings.TrimSpace(encoded) {
					t.Fatalf("%q is encoded as %q", item, encoded)
				}
				if other, taken := seen[encoded]; taken && other != item {
					t.Fatalf("%q and %q are both encoded as %q", item, other, encoded)
				}
				seen[encoded] = item
			}
		}
	}
}

func TestValues(t *testing.T) {
	who := someone(map[string]any{
		"email": "Eve@Evil.example", "groups": []any{"a", json.Number("7"), true, nil}, "big": unlearned,
		"org": []any{"a", map[string]any{"name": "b"}}, "address": map[string]any{"country": "DE"},
	})
	for _, tt := range []struct {
		claim      string
		unverified bool
		want       []string
		learned    bool
	}{
		{"email", false, nil, true},
		{"email", true, []string{"Eve@Evil.example"}, true},
		{"email_domain", false, nil, true},
		{"email_domain", true, []string{"Evil.example"}, true},
		{"groups", false, []string{"a", "7", "true"}, true},
		{"provider", false, []string{"github"}, true},
		{"user", false, []string{"4711"}, true},
		{"sub", false, []string{"4711"}, true},
		{"absent", false, nil, true},
		{"big", false, nil, false},
		{"org", false, []string{"a"}, false},
		{"address", false, nil, false},
	} {
		got, learned := who.values(tt.claim, tt.unverified), who.isWhole(tt.claim)
		if !slices.Equal(got, tt.want) || learned != tt.learned {
			t.Errorf("%s: %q, learned %v; want %q, %v", tt.claim, got, learned, tt.want, tt.learned)
		}
	}
}
