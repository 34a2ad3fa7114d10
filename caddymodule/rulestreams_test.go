package caddymodule

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/follow"
)

// A request under way is judged again when a list has changed, and only then; by the rules that counted when it came, whatever
// handlers have made of it since; and what cannot be read, or is wrong, cuts nothing.
func TestStanding(t *testing.T) {
	folder, now := t.TempDir(), time.Now()
	write := func(name, text string) {
		t.Helper()
		now = now.Add(time.Minute)
		path := filepath.Join(folder, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, now, now)); err != nil {
			t.Fatal(err)
		}
	}
	listed := func(name, on string) rule {
		t.Helper()
		write(name, "4711\n")
		list, err := follow.Open("list of user", filepath.Join(folder, name), maxValueList, func(content []byte) (*valueList, error) {
			return parseValueList("user", content, anyListed)
		}, zap.NewNop(), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		r := rule{claims: map[string][]string{"user": nil}, lists: map[string][]*follow.File[valueList]{"user": {list}}}
		if on != "" {
			r.matchers = caddyhttp.MatcherSet{caddyhttp.MatchPath{on}}
		}
		return r
	}
	g := &Gate{allow: []rule{listed("staff", ""), listed("elsewhere", "/elsewhere")}, deny: []rule{listed("banned", "/here"), listed("banned elsewhere", "/elsewhere")}}
	g.rulesMatch, g.lists, g.now = true, followLists(append(g.allow, g.deny...)...), func() time.Time { return now }
	write("banned", "# nobody\n")
	v, r := &visit{gate: g}, withReplacer(request(t, http.MethodGet, "/here"))
	if err := g.admitTo(v, r, *someone(nil)); err != nil || !v.standsOn(g) {
		t.Fatalf("admitted: %v, on %v", err, v.standing)
	}
	r.URL.Path = "/elsewhere" // as a rewrite behind the gate does
	judged := func(step string, want bool) {
		t.Helper()
		if err := v.standing.judge(t.Context()); (err == nil) != want || err != nil && (authflow.ReasonOf(err) != ReasonDenied) {
			t.Errorf("%s: %v", step, err)
		}
	}
	judged("at first", true)
	who := v.standing.who
	v.standing.who = *someone(map[string]any{"sub": "4712"})
	v.standing.who.session.Subject = "4712"
	judged("nothing has changed", true)
	write("staff", "4711\n")
	judged("written again, with the same", true)
	write("staff", "4711\n0815\n")
	judged("changed, and it is somebody else's", false)
	v.standing.who = who
	judged("still there", true)
	write("staff", "")
	judged("SEC-11 truncated", true)
	write("staff", "0815,4711")
	judged("SEC-11 wrong", true)
	write("elsewhere", "# nobody\n")
	judged("taken out of a list of another path", true)
	write("banned elsewhere", "4711\n4712\n")
	judged("put into a list of another path", true)
	write("banned", "4711\n")
	judged("banned", false)
	write("banned", "# nobody\n")
	judged("pardoned", true)
	write("staff", "0815\n")
	judged("taken out", false)
}

// What no file can change is not judged again, nor what is only reported.
func TestNothingToStandOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staff")
	if err := os.WriteFile(path, []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := follow.Open("list", path, maxValueList, func(content []byte) (*valueList, error) {
		return parseValueList("user", content, anyListed)
	}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	written := []rule{{claims: map[string][]string{"user": {"4711"}}}}
	followed := []rule{{claims: map[string][]string{"user": nil}, lists: map[string][]*follow.File[valueList]{"user": {list}}}}
	for name, g := range map[string]*Gate{
		"no list":     {allow: written, lists: followLists(written...)},
		"report_only": {GateConfig: GateConfig{ReportOnly: true}, allow: followed, lists: followLists(followed...)},
	} {
		v := &visit{gate: g}
		if err := g.admitTo(v, withReplacer(request(t, http.MethodGet, "/")), *someone(nil)); err != nil || v.standsOn(g) {
			t.Errorf("%s: %v, on %v", name, err, v.standing)
		}
	}
}
