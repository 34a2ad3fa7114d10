package caddymodule

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-auth/gatehouse/internal/follow"
)

func anyListed(string) error { return nil }

func TestParseValueList(t *testing.T) {
	list, err := parseValueList("email", []byte("\ufeff# who may\r\n\r\n A@Example.com \nb@example.com\r\n#c@example.com\nd@example.com"), anyListed)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{
		"a@example.com": true, "A@EXAMPLE.COM": true, "b@example.com": true, "d@example.com": true,
		"c@example.com": false, "#c@example.com": false, "": false, "a@example.co": false, "\u212a@example.com": false,
	} {
		if got := list.holds("email", []string{value}); got != want {
			t.Errorf("%q is there: %v", value, got)
		}
	}
	groups, err := parseValueList("groups", []byte("Domain Admins\ncn=ops,dc=example\n"), anyListed)
	if err != nil || !groups.holds("groups", []string{"x", "Domain Admins"}) || !groups.holds("groups", []string{"cn=ops,dc=example"}) ||
		groups.holds("groups", []string{"domain admins"}) || groups.holds("groups", nil) {
		t.Errorf("groups: %v %v", groups, err)
	}
	if nobody, err := parseValueList("user", []byte("# nobody\n"), anyListed); err != nil || nobody.holds("user", []string{"", "# nobody"}) {
		t.Errorf("a list of nobody: %v", err)
	}
	for _, tt := range []struct{ name, claim, text, says string }{
		{"SEC-11 torn, or truncated", "user", "", "1: the file is empty"},
		{"SEC-11 commas", "email", "a@example.com, b@example.com", "1: email"},
		{"SEC-11 commas without a space", "groups", "x\nops,staff\n", "2: groups \"ops,staff\""},
		{"SEC-11 several on a line", "email", "a@example.com b@example.com", "one value a line"},
		{"SEC-11 a wildcard", "email", "\n\n*@example.com", "3: email"},
		{"SEC-11 everybody", "groups", "*", "none stands for all"},
		{"SEC-11 a domain as an address", "email_domain", "@example.com", "behind the @"},
		{"a control character", "user", "a\x00b", "1: not a line of text"},
		{"UTF-16", "user", "\xff\xfea\x00", "not a line of text"},
		{"what the site refuses", "groups", "ops", "1: refused"},
	} {
		_, err := parseValueList(tt.claim, []byte(tt.text), func(value string) error {
			if value == "ops" {
				return errors.New("refused")
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

func TestListPath(t *testing.T) {
	for raw, want := range map[string]string{
		"{file./etc/staff}": "/etc/staff", "x{file./etc/staff}": "", "{file./etc/staff}x": "", "{env.STAFF}": "", "{file./a}{file./b}": "", "file./etc/staff": "",
	} {
		if path, is := listPath(raw); is != (want != "") || is && path != want {
			t.Errorf("%s: %q, %v", raw, path, is)
		}
	}
}

// A rule follows the file of its values, and what is wrong with it opens no door.
func TestJudgeByList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "banned")
	now := time.Now()
	write := func(text string) {
		t.Helper()
		now = now.Add(time.Minute)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, now, now)); err != nil {
			t.Fatal(err)
		}
	}
	write("mallory\n")
	core, logs := observer.New(zap.ErrorLevel)
	list, err := follow.Open("list of user", path, maxValueList, func(content []byte) (*valueList, error) {
		return parseValueList("user", content, anyListed)
	}, zap.New(core), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string][]*follow.File[valueList]{"user": {list}}
	ruled := rule{claims: map[string][]string{"user": nil}, lists: lists}
	passes := func(step string, allow, deny bool) {
		t.Helper()
		for _, g := range []*Gate{{allow: []rule{ruled}}, {deny: []rule{ruled}}} {
			want := deny
			if len(g.allow) > 0 {
				want = allow
			}
			if got, err := g.judge(withReplacer(request(t, http.MethodGet, "/")), someone(nil)); err != nil || got != want {
				t.Errorf("%s, allow %v: %v %v", step, len(g.allow) > 0, got, err)
			}
		}
	}
	passes("somebody else", false, true)
	write("mallory\n4711\n")
	passes("added", true, false)
	write("")
	passes("SEC-11 truncated", true, false)
	write("nobody,4711")
	now = now.Add(time.Second)
	passes("SEC-11 wrong", true, false)
	if logs.Len() != 2 || !strings.Contains(logs.All()[0].Message, "list of user") {
		t.Errorf("logged %v", logs.All())
	}
	write("# nobody\n")
	now = now.Add(time.Second)
	passes("nobody any more", false, true)
}

// P19: what could not be learned may be any of a list's values; of a list of nobody it is none.
func TestUnlearnedAndLists(t *testing.T) {
	for text, passes := range map[string]bool{"interns": false, "# nobody": true} {
		path := filepath.Join(t.TempDir(), "groups")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := follow.Open("list", path, maxValueList, func(content []byte) (*valueList, error) {
			return parseValueList("groups", content, anyListed)
		}, zap.NewNop(), nil)
		if err != nil {
			t.Fatal(err)
		}
		g := &Gate{deny: []rule{{claims: map[string][]string{"groups": nil}, lists: map[string][]*follow.File[valueList]{"groups": {list}}}}}
		if got, err := g.judge(withReplacer(request(t, http.MethodGet, "/")), someone(map[string]any{"groups": unlearned})); err != nil || got != passes {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

// What is wrong with a list when the configuration is loaded is an error then, that names file and line.
func TestListsAreLoaded(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return `"{file.` + path + `}"`
	}
	two := `{"providers": [{"name": "a", "issuer": "https://a.example.com", "client_id": "a", "client_secret": "x"},` +
		`{"name": "b", "issuer": "https://b.example.com", "client_id": "b", "client_secret": "x"}]}`
	groupless := strings.Replace(github, `"client_id"`, `"scopes": ["read:user"], "client_id"`, 1)
	for _, tt := range []struct{ name, app, rule, says string }{
		{"right", oneProvider, `"groups": [` + write("right", "ops") + `, "staff"]`, ""},
		{"with a provider's name", two, `"groups": [` + write("prefixed", "a:ops") + `]`, ""},
		{"no file", oneProvider, `"groups": ["{file.` + folder + `/nowhere}"]`, "nowhere: no such file"},
		{"SEC-11 empty", oneProvider, `"groups": [` + write("empty", "") + `]`, "empty:1: the file is empty"},
		{"SEC-11 wrong", oneProvider, `"groups": [` + write("commas", "a\nb,c") + `]`, "commas:2: groups"},
		{"SEC-11 without a provider's name", two, `"groups": [` + write("bare", "ops") + `]`, "bare:1: several providers"},
		{"large", oneProvider, `"groups": [` + write("large", strings.Repeat("a\n", maxValueList/2+1)) + `]`, "more than"},
		{"groups that nobody has", groupless, `"groups": [` + write("groups", "ops") + `]`, "read:org"},
	} {
		for _, kind := range []string{"allow", "deny"} {
			gate := `, "` + kind + `": [{"claims": {` + tt.rule + `}}]`
			if kind == "deny" && tt.app == groupless {
				gate += `, "allow": [{"any": true}]`
			}
			err := validate(t, tt.app, gate)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s, %s: %v, want %q", tt.name, kind, err, tt.says)
			}
		}
	}
}
