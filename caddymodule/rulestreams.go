package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/follow"
)

// listGrain is how often files of values are looked at for requests under way, however
// many of those there are.
const listGrain = time.Second

// followedLists are the files of values that the rules of a gate read.
type followedLists struct {
	files   []*follow.File[valueList]
	watches requestWatches // the requests that rules with them have let pass

	mu      sync.Mutex
	looked  time.Time
	values  []*valueList // as they were then
	version uint64       // of them all; the first is 1
}

// followLists collects the files of rules, nil if they read none.
func followLists(rules ...rule) *followedLists {
	lists := followedLists{watches: requestWatches{over: errRulesChanged}}
	for i := range rules {
		for _, files := range rules[i].lists {
			lists.files = append(lists.files, files...)
		}
	}
	if len(lists.files) == 0 {
		return nil
	}
	lists.values = make([]*valueList, len(lists.files))
	return &lists
}

// look returns a number that changes whenever a file does.
func (l *followedLists) look(now time.Time) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.looked); l.version > 0 && age >= 0 && age < listGrain {
		return l.version
	}
	l.looked = now
	changed := false
	for i, file := range l.files {
		if value := file.Value(); value != l.values[i] {
			l.values[i], changed = value, true
		}
	}
	if changed {
		l.version++
	}
	return l.version
}

// standing is what a request was let pass by: who it is of, and which rules of a gate
// counted for it. A file that one of them reads may change while the request is under
// way. What matchers say of a request is asked once, when it comes: handlers behind the
// gate change it.
type standing struct {
	gate        *Gate
	who         identity
	deny, allow []*rule
	version     uint64 // of the lists with which they were judged last

	watch  requestWatch
	caller watch // by session or token; nil: a gate before began it
}

// admitTo judges an identity by the rules, and notes what the request stands on if it is
// let pass and a file can change that.
func (g *Gate) admitTo(v *visit, r *http.Request, who identity) error {
	if err := g.admit(r, who); err != nil || g.lists == nil || g.ReportOnly {
		return err
	}
	standing, err := g.standingOf(r, who)
	if err != nil {
		return matcherFailed(err)
	}
	v.standing = standing
	return nil
}

// standingOf returns the rules that count on a request, as [Gate.judge] reads them.
func (g *Gate) standingOf(r *http.Request, who identity) (*standing, error) {
	s := &standing{gate: g, who: who}
	s.who.prefixed = len(g.speakers) > 1
	var views []*http.Request
	if g.rulesMatch {
		var err error
		if views, err = readings(r); err != nil {
			return nil, err
		}
	}
	var errs []error
	counting := func(rules []rule, deny bool) (counting []*rule) {
		for i := range rules {
			counts, err := rules[i].counts(views, deny)
			if errs = append(errs, err); counts {
				counting = append(counting, &rules[i])
			}
		}
		return counting
	}
	s.deny, s.allow = counting(g.deny, true), counting(g.allow, false)
	return s, errors.Join(errs...)
}

// standsOn reports that a file can change whether a gate lets the request pass.
func (v *visit) standsOn(g *Gate) bool { return v.standing != nil && v.standing.gate == g }

// watchRules begins to watch a request by the rules of a gate, and by its session or token
// if no gate before has.
func (v *visit) watchRules(g *Gate, r *http.Request, answer http.ResponseWriter) watch {
	s, ctx := v.standing, r.Context()
	if !v.watched {
		s.caller = v.watchCaller(ctx, answer)
		ctx = s.caller.Context()
	}
	g.lists.watches.begin(ctx, &s.watch, s, answer)
	return s
}

// Context implements watch.
func (s *standing) Context() context.Context { return s.watch.Context() }

// Cut implements watch.
func (s *standing) Cut() error {
	if s.caller != nil && s.caller.Cut() != nil {
		return s.caller.Cut()
	}
	return s.watch.Cut()
}

// Stop implements watch.
func (s *standing) Stop() {
	s.watch.Stop()
	if s.caller != nil {
		s.caller.Stop()
	}
}

// judge tells whether the request may go on: why not, if a list has changed so that its
// user does not pass any more. It is judged anew only after a change.
func (s *standing) judge(context.Context) error {
	version := s.gate.lists.look(s.gate.now())
	if version == s.version {
		return nil
	}
	if !s.passes() {
		return s.who.denied(ReasonDenied, "Your account may not open this page any more.")
	}
	s.version = version
	return nil
}

// passes is [Gate.judge] over the rules that count.
func (s *standing) passes() bool {
	if slices.ContainsFunc(s.deny, func(r *rule) bool { return r.fits(&s.who, true) }) {
		return false
	}
	return len(s.gate.allow) == 0 || slices.ContainsFunc(s.allow, func(r *rule) bool { return r.fits(&s.who, false) })
}

// errRulesChanged is why a request was cut.
var errRulesChanged = errors.New("a list has changed, and the user of the request is denied")
