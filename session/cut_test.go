package session

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCut(t *testing.T) {
	tests := []struct {
		name string
		in   []string
		want []string
	}{
		{"no cookies", nil, nil},
		{"only the application's", []string{"a=1; b=2"}, []string{"a=1; b=2"}},
		{"odd syntax that is not ours stays", []string{` a = 1 ;;b; ="x;y" ; c=`}, []string{` a = 1 ;;b; ="x;y" ; c=`}},
		{"ours alone: no header remains", []string{"__Host-gatehouse=x"}, nil},
		{"ours first", []string{"__Host-gatehouse=x; a=1"}, []string{"a=1"}},
		{"ours in the middle", []string{"a=1; __Host-gatehouse=x; b=2"}, []string{"a=1; b=2"}},
		{"ours last", []string{"a=1; __Host-gatehouse=x"}, []string{"a=1"}},
		{"ours between, without white space", []string{"a=1;__Host-gatehouse=x;b=2"}, []string{"a=1;b=2"}},
		{"every prefix", []string{"gatehouse=1; __Host-gatehouse=2; __Secure-gatehouse=3; a=1"}, []string{"a=1"}},
		{"every suffix", []string{"gatehouse=1; gatehouse_2=2; gatehouse_u=3; gatehouse_f=4; gatehouse_h=5; gatehouse_a_x=6; gatehouse_a_=7; a=1"}, []string{"a=1"}},
		{"names that only look like ours", []string{"gatehouse2=1; agatehouse=2; gatehouse_3=3; gatehouse_ab=4; gatehouse-a=5; __Host-a=6; __Host-__Host-gatehouse=7; GATEHOUSE=8; gatehouse_=9"}, []string{"gatehouse2=1; agatehouse=2; gatehouse_3=3; gatehouse_ab=4; gatehouse-a=5; __Host-a=6; __Host-__Host-gatehouse=7; GATEHOUSE=8; gatehouse_=9"}},
		{"ours as another's value", []string{"a=gatehouse; b=gatehouse=x"}, []string{"a=gatehouse; b=gatehouse=x"}},
		{"several lines", []string{"a=1", "gatehouse=x", "b=2; gatehouse_u=y"}, []string{"a=1", "b=2"}},
		{"a line of separators that had one of ours", []string{"; ;gatehouse=x;; ", "a=1"}, []string{"a=1"}},
		{"an empty line that had none", []string{"", "gatehouse=x"}, []string{""}},
		{"white space around the name", []string{"a=1;\t gatehouse \t=x"}, []string{"a=1"}},
		{"control characters around the name", []string{"a=1; \x00gatehouse\x7f=x; b=2"}, []string{"a=1; b=2"}},
		{"no equals sign", []string{"a=1; gatehouse; b=2"}, []string{"a=1; b=2"}},
		{"cookie sandwich: hidden in a quoted string (RFC 2109)", []string{`$Version=1; a="x; __Host-gatehouse=y; b="`}, []string{`$Version=1; a="x; b="`}},
		{"other white space stays", []string{"  a=1 ;  gatehouse=x ;  b=2  "}, []string{"  a=1 ;  b=2  "}},
		{"two of ours before another", []string{"gatehouse=x;  gatehouse_u=y;  a=1"}, []string{"a=1"}},
		{"comma is not a separator", []string{"a=1, gatehouse=x; b=2"}, []string{"a=1, gatehouse=x; b=2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Accept": {"x"}}
			if test.in != nil {
				h["Cookie"] = slices.Clone(test.in)
			}
			before := h["Cookie"]
			CookieConfig{}.Cut(h)
			got, exists := h["Cookie"]
			if !slices.Equal(got, test.want) || exists != (test.want != nil) {
				t.Errorf("got %q (exists: %v), want %q", got, exists, test.want)
			}
			if !slices.Equal(before, test.in) {
				t.Error("the header's own slice was written to; others may share it")
			}
			again := h.Clone()
			CookieConfig{}.Cut(again)
			if !slices.Equal(again["Cookie"], got) {
				t.Error("a second cut changes something")
			}
		})
	}
}

func TestCookiesAreReadByTheirOwnNameOnly(t *testing.T) {
	secure, plain := app, Scope{Host: "localhost"}
	domain := CookieConfig{Domain: "example.com"}
	tests := []struct {
		name   string
		config CookieConfig
		scope  Scope
		header string
		suffix string
		want   string
		err    error
	}{
		{"https", CookieConfig{}, secure, "__Host-gatehouse=v", sessionSuffix, "v", nil},
		{"planted over http without the prefix", CookieConfig{}, secure, "gatehouse=v", sessionSuffix, "", ErrNone},
		{"planted by a sibling with __Secure-", CookieConfig{}, secure, "__Secure-gatehouse=v", sessionSuffix, "", ErrNone},
		{"planted beside ours", CookieConfig{}, secure, "gatehouse=evil; __Host-gatehouse=v; __Secure-gatehouse=evil", sessionSuffix, "v", nil},
		{"prefix in another case", CookieConfig{}, secure, "__host-gatehouse=v", sessionSuffix, "", ErrNone},
		{"plain http", CookieConfig{}, plain, "gatehouse=v", sessionSuffix, "v", nil},
		{"with a domain", domain, secure, "__Secure-gatehouse=v; __Host-gatehouse=w", sessionSuffix, "v", nil},
		{"attempt with a domain, planted by a sibling", domain, secure, "__Secure-gatehouse_a_s=v", attemptSuffix + "s", "", ErrNone},
		{"attempt with a domain", domain, secure, "__Host-gatehouse_a_s=v", attemptSuffix + "s", "v", nil},
		{"mark with a domain, planted by a sibling", domain, secure, "__Secure-gatehouse_f=v", string(Finished), "", ErrNone},
		{"hint, whose path forbids __Host-", CookieConfig{}, secure, "__Secure-gatehouse_h=v", string(Hint), "v", nil},
		{"another name", CookieConfig{Name: "gate_2"}, secure, "__Host-gate_2=v; __Host-gatehouse=w", sessionSuffix, "v", nil},
		{"twice", CookieConfig{}, secure, "__Host-gatehouse=v; __Host-gatehouse=v", sessionSuffix, "", ErrDuplicate},
		{"twice, once empty", CookieConfig{}, secure, "__Host-gatehouse; __Host-gatehouse=v", sessionSuffix, "", ErrDuplicate},
		{"twice, once with white space", CookieConfig{}, secure, "__Host-gatehouse =v; __Host-gatehouse=v", sessionSuffix, "", ErrDuplicate},
		{"attempt twice", CookieConfig{}, secure, "__Host-gatehouse_a_s=v; __Host-gatehouse_a_s=w", attemptSuffix + "s", "", ErrDuplicate},
		{"two attempts", CookieConfig{}, secure, "__Host-gatehouse_a_s=v; __Host-gatehouse_a_t=w", attemptSuffix + "s", "v", nil},
		{"an attempt with its mark of form_post", CookieConfig{}, secure, "__Host-gatehouse_a_s=p.v", attemptSuffix + "s", "p.v", nil},
		{"value with equals signs", CookieConfig{}, secure, "__Host-gatehouse=v==", sessionSuffix, "v==", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cookies := test.config.Cut(http.Header{"Cookie": {test.header}})
			if got, err := cookies.get(test.scope, test.suffix); got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v; want %q, %v", got, err, test.want, test.err)
			}
		})
	}
	t.Run("twice on two lines", func(t *testing.T) {
		cookies := CookieConfig{}.Cut(http.Header{"Cookie": {"__Host-gatehouse=v", "__Host-gatehouse=v"}})
		if _, err := cookies.get(secure, sessionSuffix); !errors.Is(err, ErrDuplicate) {
			t.Errorf("%v, want ErrDuplicate", err)
		}
	})
	t.Run("small cookies", func(t *testing.T) {
		cookies := CookieConfig{}.Cut(http.Header{"Cookie": {"__Host-gatehouse_f=v"}})
		if got, err := cookies.Small(secure, Finished); got != "v" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := cookies.Small(secure, Hint); !errors.Is(err, ErrNone) {
			t.Errorf("%v, want ErrNone", err)
		}
	})
	t.Run("attempt of a post", func(t *testing.T) {
		cookies := CookieConfig{}.Cut(http.Header{"Cookie": {"__Host-gatehouse_a_s=p.v"}})
		if got, err := cookies.Attempt(secure, "s"); got != "v" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// SEC-104: no header takes long, nor panics.
func TestCutIsLinear(t *testing.T) {
	const size = 64 << 10
	for name, line := range map[string]string{
		"semicolons":                strings.Repeat(";", size) + "gatehouse=x",
		"equals signs":              strings.Repeat("=", size) + ";gatehouse=x",
		"white space":               strings.Repeat(" ", size) + "gatehouse=x",
		"cookies of ours":           strings.Repeat("gatehouse=;", size/11),
		"attempts":                  strings.Repeat("gatehouse_a_x=;", size/15),
		"prefixes":                  strings.Repeat("__Host-", size/7) + "gatehouse",
		"ours, and other cookies":   strings.Repeat("gatehouse=;a=;", size/14),
		"separators after ours":     "gatehouse=x" + strings.Repeat("; ", size/2),
		"quotes":                    strings.Repeat(`"`, size) + ";gatehouse=x",
		"NUL":                       strings.Repeat("\x00", size) + "gatehouse=x",
		"one name with ours inside": strings.Repeat("gatehouse", size/9),
	} {
		t.Run(name, func(t *testing.T) {
			took := time.Hour
			for range 5 { // a busy machine slows down one of them, not all
				start := time.Now()
				cookies := CookieConfig{}.Cut(http.Header{"Cookie": {line}})
				_, _ = cookies.session(app)
				_ = cookies.attempts(app, "")
				took = min(took, time.Since(start))
			}
			if took > time.Second { // 5 ms, but thirty times that with -race on a busy machine
				t.Errorf("took %v", took)
			}
		})
	}
}

// FuzzCut compares with the definition: the parts that are not ours, in order,
// joined as they were.
func FuzzCut(f *testing.F) {
	f.Add("a=1; __Host-gatehouse=x; b=2", "c=3")
	f.Add("gatehouse=x;;gatehouse_2=y; \x00gatehouse_u\x7f=z", "")
	f.Add(`a="x; gatehouse_a_s=y; b="`, "gatehouse_f=1;  c=1")
	f.Add("; ;gatehouse_h;", " ")
	f.Add("0", "gatehouse_p")
	f.Add("2.v1.gatehouse=1; gatehouse_2", "__Secure-gatehouse==; __Host-")
	f.Fuzz(func(t *testing.T, one, two string) {
		in := []string{one, two}
		h := http.Header{"Cookie": slices.Clone(in)}
		cookies := CookieConfig{}.Cut(h)
		ours := 0
		var want []string
		for _, line := range in {
			parts := strings.Split(line, ";")
			kept := slices.DeleteFunc(slices.Clone(parts), isOurs)
			cut := len(parts) - len(kept)
			ours += cut
			left := strings.Join(kept, ";")
			if cut > 0 && isOurs(parts[0]) {
				left = strings.Join(trimFirst(kept), ";")
			}
			if cut > 0 && strings.Trim(left, "; \t") == "" {
				continue
			}
			want = append(want, left)
		}
		if got := h["Cookie"]; !slices.Equal(got, want) || len(cookies.found) != ours {
			t.Fatalf("%q: got %q, want %q; found %d of %d", in, got, want, len(cookies.found), ours)
		}
		for _, scope := range []Scope{app, {Host: "localhost"}} {
			_, _ = cookies.session(scope)
			_, _ = cookies.Attempt(scope, one)
			_ = cookies.attempts(scope, two)
		}
	})
}

func trimFirst(parts []string) []string {
	if len(parts) > 0 {
		parts[0] = strings.TrimLeft(parts[0], " \t")
	}
	return parts
}

// isOurs says by a list what take says by rules.
func isOurs(part string) bool {
	name, _, _ := strings.Cut(part, "=")
	name = strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
	for _, prefix := range []string{"", "__Host-", "__Secure-"} {
		if slices.Contains([]string{prefix + "gatehouse", prefix + "gatehouse_2", prefix + "gatehouse_u", prefix + "gatehouse_f", prefix + "gatehouse_h", prefix + "gatehouse_p"}, name) ||
			strings.HasPrefix(name, prefix+"gatehouse_a_") {
			return true
		}
	}
	return false
}

// What a browser would take for one of ours, however the line is written.
func TestSets(t *testing.T) {
	config := CookieConfig{}
	for line, want := range map[string]bool{
		"__Host-gatehouse=x; Path=/":             true,
		"gatehouse=":                             true,
		"__Secure-gatehouse_2=x":                 true,
		" gatehouse_u =x":                        true,
		"__Host-gatehouse_a_0tp=x; Secure":       true,
		"gatehouse":                              true, // without a name: sent as gatehouse
		"=gatehouse=x":                           true, // sent as gatehouse=x
		"__Host-gatehouse_f=1; Max-Age=0":        true,
		"gatehouse_theme=dark":                   false,
		"application=gatehouse; Path=/":          false,
		"theme=dark; Comment=__Host-gatehouse=x": false,
		"":                                       false,
	} {
		if got := config.Sets(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
