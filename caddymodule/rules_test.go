package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// pathRule is a rule that counts on one path.
func pathRule(path string, claims map[string][]string) rule {
	return rule{matchers: caddyhttp.MatcherSet{caddyhttp.MatchPath{path}}, claims: claims}
}

func TestJudge(t *testing.T) {
	groups := func(names ...any) map[string]any { return map[string]any{"groups": names} }
	allow := func(claim string, values ...string) rule { return rule{claims: map[string][]string{claim: values}} }
	for _, tt := range []struct {
		name        string
		allow, deny []rule
		claims      map[string]any
		path        string
		rewritten   string
		passes      bool
	}{
		{name: "no rule: anyone signed in", passes: true},
		{name: "one of the values", allow: []rule{allow("groups", "admins", "ops")}, claims: groups("ops"), passes: true},
		{name: "none of the values", allow: []rule{allow("groups", "admins", "ops")}, claims: groups("staff")},
		{name: "SEC-90 groups absent", allow: []rule{allow("groups", "admins")}},
		{name: "SEC-90 groups empty", allow: []rule{allow("groups", "admins")}, claims: groups()},
		{name: "P19 groups too many to be told", allow: []rule{allow("groups", "admins")}, claims: map[string]any{"groups": unlearned}},
		{name: "P19 too many, and deny needs them", deny: []rule{allow("groups", "interns")}, claims: map[string]any{"groups": unlearned}},
		{name: "P31 an address that was not learned opens nothing", allow: []rule{allow("email", "a@example.com")}, claims: map[string]any{"email": unlearned, "email_verified": true}},
		{name: "P31 an address that was not learned is denied", deny: []rule{allow("email", "a@example.com")}, claims: map[string]any{"email": unlearned}},
		{name: "P31 its domain", deny: []rule{allow("email_domain", "example.com")}, claims: map[string]any{"email": unlearned}},
		{name: "P31 several addresses are denied", deny: []rule{allow("email", "a@example.com")}, claims: map[string]any{"email": []any{"a@example.com"}}},
		{name: "several allow lines", allow: []rule{allow("groups", "x"), allow("user", "4711")}, passes: true},
		{name: "deny wins", allow: []rule{allow("groups", "ops")}, deny: []rule{allow("user", "4711")}, claims: groups("ops")},
		{name: "deny somebody else", deny: []rule{allow("user", "1")}, passes: true},
		{name: "block: all", allow: []rule{{claims: map[string][]string{"groups": {"ops"}, "user": {"4711"}}}}, claims: groups("ops"), passes: true},
		{name: "block: not all", allow: []rule{{claims: map[string][]string{"groups": {"ops"}, "user": {"1"}}}}, claims: groups("ops")},
		{name: "deny block: unlearned, but another", deny: []rule{{claims: map[string][]string{"groups": {"x"}, "user": {"1"}}}}, claims: map[string]any{"groups": unlearned}, passes: true},
		{name: "SEC-09 group is exact", allow: []rule{allow("groups", "Admins")}, claims: groups("admins")},
		{name: "SEC-09 Kelvin sign", allow: []rule{allow("email_domain", "kde.org")}, claims: map[string]any{"email": "a@\u212ade.org", "email_verified": true}},
		{name: "SEC-09 domain in any case", allow: []rule{allow("email_domain", "Example.com")}, claims: map[string]any{"email": "a@eXample.COM", "email_verified": true}, passes: true},
		{name: "SEC-42 domain without its dot", allow: []rule{allow("email_domain", "example.com")}, claims: map[string]any{"email": "a@evilexample.com", "email_verified": true}},
		{name: "P31 unverified e-mail opens nothing", allow: []rule{allow("email", "a@example.com")}, claims: map[string]any{"email": "a@example.com", "email_verified": false}},
		{name: "P31 unverified e-mail is denied", deny: []rule{allow("email", "a@example.com")}, claims: map[string]any{"email": "a@example.com"}},
		{name: "SEC-89 domain of an odd address is denied", deny: []rule{allow("email_domain", "evil.example")}, claims: map[string]any{"email": "m@evil.example."}},
		{name: "SEC-89 domain of a quoted address is denied", deny: []rule{allow("email_domain", "evil.example")}, claims: map[string]any{"email": `"m"@evil.example`}},
		{name: "no address, no domain to deny", deny: []rule{allow("email_domain", "evil.example")}, passes: true},
		{name: "deny of a claim that is an object", deny: []rule{allow("org", "evil")}, claims: map[string]any{"org": map[string]any{"name": "evil"}}},
		{name: "deny of a claim that is a list of objects", deny: []rule{allow("org", "evil")}, claims: map[string]any{"org": []any{map[string]any{"name": "evil"}}}},
		{name: "allow of a list that holds an object besides", allow: []rule{allow("org", "good")}, claims: map[string]any{"org": []any{map[string]any{}, "good"}}, passes: true},
		{name: "number claim", allow: []rule{allow("level", "3")}, claims: map[string]any{"level": "3"}, passes: true},
		{name: "rule on its path", allow: []rule{pathRule("/wiki/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/wiki/a", passes: true},
		{name: "rule on another path", allow: []rule{pathRule("/wiki/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/x"},
		{name: "allow needs old and new path", allow: []rule{pathRule("/wiki/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/x", rewritten: "/wiki/x"},
		{name: "deny takes the old path", deny: []rule{pathRule("/admin/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/admin/x", rewritten: "/index.html"},
		{name: "deny takes the new path", deny: []rule{pathRule("/admin/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/x", rewritten: "/admin/x"},
		{name: "SEC-07 deny reads path parameters", deny: []rule{pathRule("/admin/*", map[string][]string{"groups": {"staff"}})}, claims: groups("staff"), path: "/admin;x=1/users"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &Gate{allow: tt.allow, deny: tt.deny, rulesMatch: true}
			target := tt.path
			if target == "" {
				target = "/"
			}
			r := request(t, http.MethodGet, target)
			r = withReplacer(r)
			if tt.rewritten != "" {
				r.URL = &url.URL{Path: tt.rewritten}
			}
			passes, err := g.judge(r, someone(tt.claims))
			if err != nil || passes != tt.passes {
				t.Errorf("passes: %v, %v; want %v", passes, err, tt.passes)
			}
		})
	}
}

func TestExpression(t *testing.T) {
	claims := map[string]any{
		"groups": []any{"ops", "staff"}, "level": "3", "realm_access": map[string]any{"roles": []any{"admin"}},
		"email": "a@example.com", "email_verified": true, "absent": nil,
		"urn:zitadel:iam:org:project:roles": map[string]any{"ops": map[string]any{"1": "example.com"}},
	}
	for _, tt := range []struct {
		text  string
		want  bool
		fails bool
		needs string
	}{
		{text: `"ops" in claims.groups`, want: true, needs: "groups"},
		{text: `"nobody" in claims["groups"]`, needs: "groups"},
		{text: `claims.realm_access.roles.exists(r, r == "admin")`, want: true, needs: "realm_access"},
		{text: `claims.email.endsWith("@example.com")`, want: true, needs: "email"},
		{text: `has(claims.absent) && claims.absent == "x"`, needs: "absent"},
		{text: `claims.absent == "x"`, fails: true, needs: "absent"},
		{text: `user == "4711" && provider == "github"`, want: true},
		{text: `claims.level == 3`, want: false, needs: "level"},
		{text: `"ops" in claims["urn:zitadel:iam:org:project:roles"]`, want: true, needs: "urn:zitadel:iam:org:project:roles"},
		{text: `"admin" in claims["urn:zitadel:iam:org:project:roles"]`, needs: "urn:zitadel:iam:org:project:roles"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			var needs string
			compiled, err := compileExpression(tt.text, func(claim string) { needs = claim })
			if err != nil {
				t.Fatal(err)
			}
			got, err := compiled.eval(someone(claims), false)
			if got != tt.want || (err != nil) != tt.fails || needs != tt.needs {
				t.Errorf("%v, %v, needs %q; want %v, %q", got, err, needs, tt.want, tt.needs)
			}
			deny := rule{expression: compiled}
			if denied := deny.fits(someone(claims), true); denied != (tt.want || tt.fails) {
				t.Errorf("as deny it fits: %v", denied)
			}
		})
	}
	for _, text := range []string{
		`claims`, `size(claims) > 0`, `claims.exists(k, k == "x")`, `"a" + "b"`, `claims.groups ==`, `request.path == "/"`,
		`claims[user] == "x"`, `[claims][0].groups == "x"`, `has(claims.email_domain) && true`, `claims.user == "x"`, `claims.provider == "x"`,
	} {
		if _, err := compileExpression(text, func(string) {}); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

// What a deny cannot read, it denies.
func TestDenyExpressionFailsClosed(t *testing.T) {
	for text, claims := range map[string]map[string]any{
		`claims.blocked`:                                              {"blocked": "true"},
		`has(claims.blocked) && claims.blocked`:                       {"blocked": json.Number("1")},
		`has(claims.groups) && "evil" in claims.groups`:               {"groups": unlearned},
		`has(claims.email) && claims.email.endsWith("@evil.example")`: {"email": "m@evil.example"},
		`claims.absent == "x"`:                                        {},
	} {
		compiled, err := compileExpression(text, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		r := rule{expression: compiled}
		if !r.fits(someone(claims), true) {
			t.Errorf("deny %s lets %v pass", text, claims)
		}
		if r.fits(someone(claims), false) {
			t.Errorf("allow %s lets %v pass", text, claims)
		}
	}
}

// What could not be learned may be anything: has() does not say that it is absent, and it errs where it decides.
func TestExpressionOfWhatIsUnlearned(t *testing.T) {
	for text, want := range map[string]struct{ allowed, denied bool }{
		`"evil" in claims.groups`:                                {false, true},
		`!has(claims.groups)`:                                    {false, true},
		`!has(claims.groups) || !("evil" in claims.groups)`:      {false, true},
		`size(claims.groups) == 0`:                               {false, true},
		`"evil" in claims["groups"] || "write" in claims.scope`:  {true, true},
		`"evil" in claims.groups && "delete" in claims.scope`:    {false, false},
		`claims.groups.exists(g, g == "evil")`:                   {false, true},
		`claims.groups == claims.groups`:                         {false, true},
		`(has(claims.groups) ? claims.groups : []).size() == 0`:  {false, true},
		`claims.groups.all(g, g != "evil") || provider == "nix"`: {false, true},
	} {
		compiled, err := compileExpression(text, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		r, who := rule{expression: compiled}, someone(map[string]any{"groups": unlearned, "scope": []any{"write"}})
		if allowed, denied := r.fits(who, false), r.fits(who, true); allowed != want.allowed || denied != want.denied {
			t.Errorf("%s: allowed %v, denied %v, want %v", text, allowed, denied, want)
		}
	}
}

// Groups that could not be learned are those of their provider, whatever else they are.
func TestDenyOfAnotherProvidersGroups(t *testing.T) {
	who := someone(map[string]any{"groups": unlearned})
	who.prefixed = true
	for group, denied := range map[string]bool{who.session.Provider + ":evil": true, "other:evil": false, "evil": false} {
		r := rule{claims: map[string][]string{"groups": {"another:x", group}}}
		if got := r.fits(who, true); got != denied {
			t.Errorf("deny groups %s: %v", group, got)
		}
	}
}

// With several providers groups carry their provider's name in expressions too.
func TestExpressionOfSeveralProviders(t *testing.T) {
	compiled, err := compileExpression(`"github:admins" in claims.groups && provider == "github"`, func(string) {})
	if err != nil || !compiled.ofProvider {
		t.Fatal(err, compiled)
	}
	who := someone(map[string]any{"groups": []any{"admins"}})
	who.prefixed = true
	if passes, err := compiled.eval(who, false); err != nil || !passes {
		t.Errorf("%v, %v", passes, err)
	}
	if other, err := compileExpression(`user == "provider"`, func(string) {}); err != nil || other.ofProvider {
		t.Errorf("a text is taken for a question: %v", err)
	}
}

// TestDeniedNamesWhatIsMissing: the log says which claim of an allow somebody lacks, for a misspelt name or a missing
// scope; a value that does not fit is no such claim, and no claim's value is logged.
func TestDeniedNamesWhatIsMissing(t *testing.T) {
	claims := func(names ...string) rule {
		r := rule{claims: map[string][]string{}}
		for _, name := range names {
			r.claims[name] = []string{"admins"}
		}
		return r
	}
	for _, tt := range []struct {
		name  string
		allow []rule
		want  string
	}{
		{"a misspelt name, and one of no scope", []rule{claims("group", "roles"), claims("group", "groups")}, ", without the claim that allow asks for: group, roles"},
		{"another value", []rule{claims("groups"), claims("user")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &Gate{allow: tt.allow}
			who := someone(map[string]any{"groups": []any{"staff"}})
			p := asProblem(g.admit(request(t, http.MethodGet, "/"), *who))
			if want := fmt.Sprintf("user %q of %s%s", who.user(), who.session.Issuer, tt.want); p.Reason != ReasonDenied || p.Err.Error() != want {
				t.Errorf("%s: %v, want %s", p.Reason, p.Err, want)
			}
		})
	}
}
