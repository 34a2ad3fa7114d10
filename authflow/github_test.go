package authflow_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// newGroupsRP is a relying party at a provider that is plain OAuth 2.0, at which alice is of these groups.
func newGroupsRP(t *testing.T, groups ...string) rp {
	t.Helper()
	p := testop.Start(t, func(p *testop.Provider) { p.User = testop.User{Subject: "alice", Name: "alice", Groups: groups} })
	s := newPlainRPAt(t, p, func(cfg *authflow.Config) { cfg.UserInfoGroups, cfg.Scopes = true, []string{"read:user", "read:org"} })
	s.needed = append(s.needed, "groups")
	return s
}

// TestGroups: organisations and teams of all pages are groups, and nobody is asked where no rule reads them.
func TestGroups(t *testing.T) {
	var groups []string
	for i := range 120 {
		groups = append(groups, fmt.Sprint("org", i), fmt.Sprintf("org%d/team", i))
	}
	s := newGroupsRP(t, groups...)
	claims := s.mustLogin("alice").Claims
	var got []string
	list, _ := claims["groups"].([]any)
	for _, name := range list {
		got = append(got, name.(string))
	}
	slices.Sort(got)
	slices.Sort(groups)
	if !slices.Equal(got, groups) || claims.StandsElsewhere("groups") {
		t.Errorf("%d groups, want %d: %v", len(got), len(groups), got)
	}
	if orgs, teams := s.p.Calls(testop.Organizations), s.p.Calls(testop.Teams); orgs != 3 || teams != 3 {
		t.Errorf("%d and %d calls, want 3 pages of each", orgs, teams)
	}
	s.needed = []string{"email"}
	if claims := s.mustLogin("alice").Claims; claims["groups"] != nil || s.p.Calls(testop.Organizations) != 3 {
		t.Errorf("asked although nobody reads them: %v", claims["groups"])
	}
	none := newGroupsRP(t)
	if list, is := none.mustLogin("alice").Claims["groups"].([]any); !is || len(list) != 0 {
		t.Errorf("of no group: %v", list)
	}
}

// TestGroupsUnlearned: half of what somebody belongs to is not known, and neither is what cannot be told from another name.
func TestGroupsUnlearned(t *testing.T) {
	for name, set := range map[string]func(*testop.Behaviour){
		"organizations away":         func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Organizations: {Status: 500}} },
		"teams forbidden":            func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Teams: {Status: 403}} },
		"no list":                    func(b *testop.Behaviour) { b.OrganizationsBody = `{"message": "Not Found"}` },
		"an entry without a name":    func(b *testop.Behaviour) { b.OrganizationsBody = `[{"id": 1}]` },
		"an entry that is a text":    func(b *testop.Behaviour) { b.OrganizationsBody = `["staff"]` },
		"a team of nobody":           func(b *testop.Behaviour) { b.TeamsBody = `[{"slug": "staff"}]` },
		"a team with a slash":        func(b *testop.Behaviour) { b.TeamsBody = `[{"slug": "b/c", "organization": {"login": "a"}}]` },
		"a team of a name with such": func(b *testop.Behaviour) { b.TeamsBody = `[{"slug": "c", "organization": {"login": "a/b"}}]` },
	} {
		t.Run(name, func(t *testing.T) {
			s := newGroupsRP(t, "staff", "staff/ops")
			s.p.Set(set)
			claims := s.mustLogin("alice").Claims
			if claims["groups"] != nil || !claims.StandsElsewhere("groups") {
				t.Errorf("groups %v", claims["groups"])
			}
		})
	}
	t.Run("more than can be read", func(t *testing.T) {
		var groups []string
		for i := range 1001 {
			groups = append(groups, fmt.Sprint("org", i))
		}
		s := newGroupsRP(t, groups...)
		if claims := s.mustLogin("alice").Claims; claims["groups"] != nil || !claims.StandsElsewhere("groups") || s.p.Calls(testop.Organizations) > 20 {
			t.Errorf("after %d calls: %v", s.p.Calls(testop.Organizations), claims["groups"])
		}
	})
	t.Run("what userinfo says of them is not asked for", func(t *testing.T) {
		s := newGroupsRP(t, "staff")
		s.p.Set(func(b *testop.Behaviour) { b.UserInfo = testop.Edit{"groups": []string{"admins"}} })
		if list, _ := s.mustLogin("alice").Claims["groups"].([]any); len(list) != 1 || list[0] != "staff" {
			t.Errorf("groups %v", list)
		}
	})
}
