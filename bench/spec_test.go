package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Every description can be read and filled in, with nothing left to fill.
func TestSpecs(t *testing.T) {
	files, err := filepath.Glob("specs/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		s, err := readSpec(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := s.fill(setting{Dir: "/dir", Port: "1234", Caddy: "/caddy", Redis: "127.0.0.1:6379"}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		texts := append(append([]string{s.Name, s.URL, s.Header}, s.Command...), s.Env...)
		for _, lines := range s.Files {
			texts = append(texts, lines...)
		}
		if all := strings.Join(texts, "\n"); strings.Contains(all, "{{") || !strings.Contains(all, "1234") {
			t.Errorf("%s: not filled in, or at no port:\n%s", file, all)
		}
	}
}

// What a server needs and this machine lacks leaves it out, also where the command is
// a shell that starts it.
func TestSpecsThatLackSomething(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spec  spec
		redis string
		want  string
	}{
		{"nothing", spec{Command: []string{"sh"}}, "", ""},
		{"its program", spec{Command: []string{"no-such-program"}}, "", "no-such-program"},
		{"what its command starts", spec{Command: []string{"sh"}, Needs: []string{"no-such-program"}}, "", "no-such-program"},
		{"Redis", spec{Command: []string{"sh"}, Redis: true}, "", "-redis"},
		{"Redis is there", spec{Command: []string{"sh"}, Redis: true}, "127.0.0.1:6379", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.spec.lacks(options{redis: tt.redis})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
