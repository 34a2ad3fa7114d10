package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(MatchSession))
}

// MatchSession is the request matcher http.matchers.gatehouse: somebody is signed
// in who has passed the gates so far, and has the claims that are asked for. It
// judges as `allow` does: what is not known, or not verified, does not match.
//
// It chooses between what people see. It protects nothing: before a gate has run,
// it matches nobody, and says so in the log. Of a gate's own matchers it can be one
// only behind another gate: where nobody is known yet it would open what it selects.
type MatchSession struct {
	// Claim names and the values that fit, as in a rule: values of one claim are
	// alternatives, all claims must fit. Default: anybody who is signed in.
	Claims map[string][]string `json:"claims,omitempty"`

	rule   rule
	logger *zap.Logger
	once   *sync.Once
}

// CaddyModule returns the Caddy module information.
func (*MatchSession) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.gatehouse", New: func() caddy.Module { return new(MatchSession) }}
}

// Provision prepares the matcher, and has sessions hold the claims that it reads.
func (m *MatchSession) Provision(ctx caddy.Context) error {
	m.logger, m.once = ctx.Logger(), new(sync.Once)
	if len(m.Claims) == 0 {
		return nil
	}
	anyValue := func(string, string) error { return nil } // of which site, only a request says
	if err := m.rule.provisionClaims(ctx, &Rule{Claims: m.Claims}, anyValue); err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	app, err := ctx.App("gatehouse")
	if err != nil {
		return err
	}
	for claim := range m.rule.claims {
		app.(*App).needMatched(claim)
	}
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError. It fails if the rule
// could mean the claims of several providers, and if the first gate of a request asks.
func (m *MatchSession) MatchWithError(r *http.Request) (bool, error) {
	v, ran := caddyhttp.GetVar(r.Context(), visitVar).(*visit)
	if !ran {
		m.once.Do(func() {
			m.logger.Error("the matcher gatehouse was asked before any gatehouse directive has run: it matches nobody there",
				zap.String("path", originalURL(r).Path))
		})
		return false, nil
	}
	if v.deciding {
		return false, errors.New("the matcher gatehouse was asked before any gatehouse directive has let the request pass: what it protects cannot depend on who is signed in (write allow or deny)")
	}
	if v.identity == nil {
		return false, nil
	}
	if err := v.gate.checkProviderOf(m.rule); err != nil {
		return false, matcherFailed(err)
	}
	return m.rule.fits(v.identity, false), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	gatehouse [<claim> <value>...] {
//		<claim> <value>...
//	}
//
// With claims on the line there is no block.
func (m *MatchSession) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		args, err := values(d)
		if err != nil {
			return err
		}
		if m.Claims != nil {
			return d.Err("the matcher gatehouse stands in one set once: write the claims into one block")
		}
		m.Claims = make(map[string][]string)
		if err := parseRuleBlock(d, m.Claims); err != nil {
			return err
		}
		switch {
		case len(args) == 1:
			return d.Errf("gatehouse %s has no value: nobody could fit", args[0])
		case len(args) > 1 && len(m.Claims) > 0:
			return d.Err("gatehouse takes one claim on its line, or a block of them")
		case len(args) > 1:
			if err := checkAccepted(args[0], args[1:]); err != nil {
				return d.WrapErr(err)
			}
			m.Claims[args[0]] = args[1:]
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner                 = (*MatchSession)(nil)
	_ caddyfile.Unmarshaler             = (*MatchSession)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchSession)(nil)
)
