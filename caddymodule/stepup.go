package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// shortestMaxAge is the shortest max_age that somebody can meet who has to come
// back from the provider.
const shortestMaxAge = 5 * time.Second

// clockLeeway is how far the provider's clock may be off.
const clockLeeway = time.Minute

// requirement is a Requirement that has been provisioned.
type requirement struct {
	rule   rule // its matcher
	acr    []string
	maxAge time.Duration
}

// provisionRequire prepares what sessions have to be.
func (g *Gate) provisionRequire(ctx caddy.Context) error {
	for i := range g.Require {
		config := &g.Require[i]
		if (len(config.ACR) > 0) == (config.MaxAge != 0) {
			return errors.New("require: holds acr or max_age, and exactly one of them")
		}
		if maxAge := time.Duration(config.MaxAge); maxAge != 0 && maxAge < shortestMaxAge {
			return fmt.Errorf("require max_age: %s is less than %s", maxAge, shortestMaxAge)
		}
		compiled := requirement{maxAge: time.Duration(config.MaxAge).Truncate(time.Second)}
		for _, raw := range config.ACR {
			value, err := resolve("require acr", raw)
			if err != nil {
				return err
			}
			// acr_values is a list with spaces between, and stands in a header's quotation marks.
			if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
				return fmt.Errorf("require acr: %q is not of printable ASCII without spaces, quotation marks and backslashes", value)
			}
			compiled.acr = append(compiled.acr, value)
		}
		var err error
		if compiled.rule.matchers, err = loadMatchers(ctx, config, config.Match); err != nil {
			return fmt.Errorf("require: %w", err)
		}
		g.requires = append(g.requires, compiled)
	}
	return nil
}

// stepUp is what a request asks of a session, by all requirements that count for
// it, of all gates so far.
type stepUp struct {
	acr    []string // any of them; nil asks for none
	maxAge time.Duration
}

// required adds what this gate asks of a request to what others have asked. After a
// rewrite a requirement counts if any reading of the request matches (SEC-02).
func (g *Gate) required(r *http.Request, sum stepUp) (stepUp, error) {
	if len(g.requires) == 0 {
		return sum, nil
	}
	views, err := readings(r)
	if err != nil {
		return sum, matcherFailed(err)
	}
	for i := range g.requires {
		required := &g.requires[i]
		counts, err := required.rule.counts(views, true)
		if err != nil {
			return sum, matcherFailed(err)
		}
		if !counts {
			continue
		}
		if required.maxAge != 0 && (sum.maxAge == 0 || required.maxAge < sum.maxAge) {
			sum.maxAge = required.maxAge
		}
		if required.acr == nil {
			continue
		}
		if sum.acr == nil {
			sum.acr = required.acr
			continue
		}
		both := slices.DeleteFunc(slices.Clone(sum.acr), func(acr string) bool { return !slices.Contains(required.acr, acr) })
		if len(both) == 0 {
			return sum, gateConflict(fmt.Errorf("two lines of require acr count for one request and have no value in common: %q, %q", sum.acr, required.acr))
		}
		sum.acr = both
	}
	return sum, nil
}

// check holds a session to what the request asks for.
func (s stepUp) check(of *session.Session, now func() time.Time) error {
	if s.acr != nil && !slices.Contains(s.acr, of.ACR) {
		return s.problem(authflow.NoLogin, ReasonACRRequired, "This page needs a stronger sign-in.", fmt.Errorf("acr is %.64q, needed is one of %q", of.ACR, s.acr))
	}
	if s.maxAge == 0 {
		return nil
	}
	if of.AuthTime.IsZero() {
		return s.problem(authflow.NoLogin, ReasonAuthTooOld, "This page needs you to sign in again.", errors.New("the provider has not told when (auth_time)"))
	}
	// The provider's clock may differ from ours, but only at the sign-in; what has
	// gone by since then is counted by ours alone.
	before := max(of.Created.Sub(of.AuthTime)-clockLeeway, 0)
	if age := now().Sub(of.Created) + before; age > s.maxAge {
		return s.problem(authflow.NoLogin, ReasonAuthTooOld, "This page needs you to sign in again.", fmt.Errorf("signed in %s ago, needed are at most %s", age, s.maxAge))
	}
	return nil
}

// problem says what is missing, also to programs (RFC 9470 3).
func (s stepUp) problem(kind authflow.Kind, reason authflow.Reason, public string, err error) error {
	return problem(kind, reason, public, &weakSession{s, err})
}

// weakSession is the error for the log, and holds what the challenge says.
type weakSession struct {
	needed stepUp
	err    error
}

// Error implements error.
func (w *weakSession) Error() string { return w.err.Error() }

// Unwrap returns what is missing.
func (w *weakSession) Unwrap() error { return w.err }

// sealStepUp returns what this request asks of a session, for a link to a sign-in; "" if
// it asks for nothing. It is sealed, since anybody can write a link, and what a link may
// ask of a provider is decided by param_from_request (SEC-67).
func (g *Gate) sealStepUp(r *http.Request, v *visit) (string, error) {
	if v.stepUp.acr == nil && v.stepUp.maxAge == 0 {
		return "", nil
	}
	text := v.stepUp.maxAge.String() + " " + strings.Join(v.stepUp.acr, " ")
	return v.gate.seal(r, v.purpose(purposeStepUp), []byte(text)) // the outermost serves the sign-in
}

// openStepUp reads what sealStepUp has sealed.
func (g *Gate) openStepUp(r *http.Request, v *visit, sealed string) (stepUp, error) {
	opened, err := g.unseal(r, v.purpose(purposeStepUp), sealed)
	if err != nil {
		return stepUp{}, err
	}
	age, acr, _ := strings.Cut(string(opened), " ")
	var needed stepUp
	needed.maxAge, err = time.ParseDuration(age)
	if acr != "" {
		needed.acr = strings.Fields(acr)
	}
	return needed, err
}
