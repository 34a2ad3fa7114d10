package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-auth/gatehouse/internal/follow"
)

// rule is a Rule that has been provisioned. It reads an identity and never
// changes it.
type rule struct {
	matchers   caddyhttp.MatcherSet
	claims     map[string][]string
	lists      map[string][]*follow.File[valueList] // what stands in files; of claims that claims has, too
	expression *expression
}

// provisionRules loads the matchers, lists and expressions of rules, and names the
// claims that they need.
func provisionRules(ctx caddy.Context, configs []Rule, need func(claim string), check valueCheck) ([]rule, error) {
	rules := make([]rule, 0, len(configs))
	for i := range configs {
		config := &configs[i]
		var compiled rule
		var err error
		if compiled.matchers, err = loadMatchers(ctx, config, config.Match); err != nil {
			return nil, err
		}
		if err = compiled.provisionClaims(ctx, config, check); err != nil {
			return nil, err
		}
		for claim := range compiled.claims {
			need(claim)
		}
		if config.Expression != "" {
			if compiled.expression, err = compileExpression(config.Expression, need); err != nil {
				return nil, err
			}
		}
		rules = append(rules, compiled)
	}
	return rules, nil
}

// loadMatchers loads the field Match of a rule or requirement; without any it counts
// on all requests.
func loadMatchers(ctx caddy.Context, owner any, match caddy.ModuleMap) (caddyhttp.MatcherSet, error) {
	if len(match) == 0 {
		return nil, nil
	}
	if err := checkMatcher(match); err != nil {
		return nil, err
	}
	loaded, err := ctx.LoadModule(owner, "Match")
	if err != nil {
		return nil, fmt.Errorf("matcher of a rule: %w", err)
	}
	var sets caddyhttp.MatcherSets
	if err := sets.FromInterface([]map[string]any{loaded.(map[string]any)}); err != nil {
		return nil, fmt.Errorf("matcher of a rule: %w", err)
	}
	return sets[0], nil
}

// valueCheck says what is wrong with a value of a list in a file.
type valueCheck func(claim, value string) error

// provisionClaims reads what a rule wants, and refuses one that could never mean
// what it says (SEC-11, SEC-90).
func (r *rule) provisionClaims(ctx caddy.Context, config *Rule, check valueCheck) error {
	forms := 0
	for _, given := range []bool{len(config.Claims) > 0, config.Expression != "", config.Any} {
		if given {
			forms++
		}
	}
	if forms != 1 {
		return fmt.Errorf("a rule holds claims, an expression or any, and exactly one of them")
	}
	r.claims, r.lists = make(map[string][]string, len(config.Claims)), make(map[string][]*follow.File[valueList])
	for name, accepted := range config.Claims {
		claim, err := resolve("the claim of a rule", name)
		if err != nil {
			return err
		}
		if len(accepted) == 0 {
			return fmt.Errorf("the rule on %q has no value: nobody could fit", claim)
		}
		r.claims[claim] = nil
		for _, raw := range accepted {
			if path, isList := listPath(raw); isList {
				list, err := follow.Open("list of "+claim, path, maxValueList, func(content []byte) (*valueList, error) {
					return parseValueList(claim, content, func(value string) error { return check(claim, value) })
				}, ctx.Logger(), nil)
				if err != nil {
					return fmt.Errorf("the rule on %s: %w", claim, err)
				}
				r.lists[claim] = append(r.lists[claim], list)
				continue
			}
			value, err := resolve("the rule on "+claim, raw)
			if err != nil {
				return err
			}
			r.claims[claim] = append(r.claims[claim], value)
		}
		if err := checkAccepted(claim, r.claims[claim]); err != nil {
			return err
		}
	}
	return nil
}

// checkAccepted refuses what is written as if it were another language's. It would
// fit nobody: an allow keeps everybody out, and a deny lets everybody in (SEC-11).
func checkAccepted(claim string, accepted []string) error {
	if name := strings.TrimRight(claim, ":=,"); name != claim {
		return fmt.Errorf("%q is no claim: write the name, a space, and the values (%s %s)", claim, name, strings.Join(accepted, " "))
	}
	for _, value := range accepted {
		switch {
		case strings.HasSuffix(value, ",") || strings.HasPrefix(value, ","):
			return fmt.Errorf("%s %q: values are separated by spaces alone; for a comma that belongs to one, write an expression", claim, value)
		case strings.Contains(value, ",") && !strings.ContainsAny(value, " ="): // a name of LDAP's has =, a sentence spaces
			return fmt.Errorf("%s %q: values are separated by spaces alone; for a comma that belongs to one, write an expression", claim, value)
		case value == "*":
			return fmt.Errorf("%s %q: values are compared exactly, and none stands for all (whoever can sign in: allow any; whoever has a claim: an expression with has)", claim, value)
		case claim == "email_domain" && strings.Contains(value, "@"):
			return fmt.Errorf("%s %q: the domain is what stands behind the @", claim, value)
		case (claim == "email" || claim == "email_domain") && strings.Contains(value, "*"):
			return fmt.Errorf("%s %q: values are compared exactly; all addresses of a domain are email_domain example.com, each subdomain its own value", claim, value)
		}
	}
	return nil
}

// judge reports whether the rules let an identity pass on a request, in all of
// its readings. deny wins. Without an allow, anyone signed in passes.
func (g *Gate) judge(r *http.Request, who *identity) (bool, error) {
	// Rules speak of this gate's providers, whatever the upstream is told.
	if prefixed := len(g.speakers) > 1; prefixed != who.prefixed {
		named := *who
		named.prefixed = prefixed
		who = &named
	}
	var views []*http.Request
	if g.rulesMatch {
		var err error
		if views, err = readings(r); err != nil {
			return false, err
		}
	}
	for i := range g.deny {
		counts, err := g.deny[i].counts(views, true)
		if err != nil {
			return false, err
		}
		if counts && g.deny[i].fits(who, true) {
			return false, nil
		}
	}
	for i := range g.allow {
		counts, err := g.allow[i].counts(views, false)
		if err != nil {
			return false, err
		}
		if counts && g.allow[i].fits(who, false) {
			return true, nil
		}
	}
	return len(g.allow) == 0, nil
}

// lacking are the claims that allow rules ask for and of which somebody has no value at all: their name is misspelled,
// or a scope that brings them is missing.
func (g *Gate) lacking(who *identity) []string {
	var lacks []string
	for i := range g.allow {
		for claim := range g.allow[i].claims {
			if len(who.values(claim, true)) == 0 && !slices.Contains(lacks, claim) {
				lacks = append(lacks, claim)
			}
		}
	}
	slices.Sort(lacks)
	return lacks
}

// counts reports whether the rule's matcher takes the request: for deny in any
// of its readings, for allow in all.
func (r *rule) counts(views []*http.Request, deny bool) (bool, error) {
	if r.matchers == nil {
		return true, nil
	}
	for _, view := range views {
		matched, err := r.matchers.MatchWithError(view)
		if err != nil {
			return false, err
		}
		if matched == deny {
			return deny, nil
		}
	}
	return !deny, nil
}

// fits reports whether a rule is about an identity. For deny, a claim that should be known
// and is not, or that cannot be read, counts as one that fits: otherwise a deny would do
// nothing as soon as its claim is missing.
func (r *rule) fits(who *identity, deny bool) bool {
	if r.expression != nil {
		matched, err := r.expression.eval(who, deny)
		return matched || (err != nil && deny)
	}
	for claim, accepted := range r.claims {
		if !who.has(claim, accepted, deny) && !r.listed(who, claim, deny) && !(deny && !who.isWhole(claim) && r.couldFit(who, claim)) {
			return false
		}
	}
	return true
}

// listed reports whether a list in a file has one of somebody's values.
func (r *rule) listed(who *identity, claim string, deny bool) bool {
	return slices.ContainsFunc(r.lists[claim], func(list *follow.File[valueList]) bool {
		return list.Value().holds(claim, who.values(claim, deny))
	})
}

// couldFit reports whether any of the rule's values may be one of a claim that is not
// known.
func (r *rule) couldFit(who *identity, claim string) bool {
	return who.couldHave(claim, r.claims[claim]) || slices.ContainsFunc(r.lists[claim], func(list *follow.File[valueList]) bool {
		return who.couldHave(claim, list.Value().values)
	})
}

// couldHave reports whether any of the values may be one of a claim that is not known:
// a group of another provider's is none.
func (id *identity) couldHave(claim string, values []string) bool {
	return len(values) > 0 && (claim != "groups" || !id.prefixed) ||
		slices.ContainsFunc(values, func(value string) bool { return strings.HasPrefix(value, id.session.Provider+":") })
}

// accepts compares a value exactly, hosts and e-mail addresses without regard to
// ASCII case (SEC-09, SEC-89). What is empty is no value.
func accepts(claim string, accepted []string, value string) bool {
	if value == "" {
		return false
	}
	for _, want := range accepted {
		if value == want || (claim == "email" || claim == "email_domain") && asciiEqualFold(value, want) {
			return true
		}
	}
	return false
}

func asciiEqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
