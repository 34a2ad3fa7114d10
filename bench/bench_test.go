package main

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestQuartiles(t *testing.T) {
	got := quartilesOf([]float64{5, 1, 4, 2, 3})
	if want := (quartiles{2, 3, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := quartilesOf([]float64{1, 2}); got != (quartiles{1.25, 1.5, 1.75}) {
		t.Errorf("of two: %v", got)
	}
}

// The ratio is taken in each round, so that a round in which the machine was slow counts as any other.
func TestRatiosAreOfOneRound(t *testing.T) {
	plain, gate := &row{cpu: []float64{10, 100, 20}}, &row{cpu: []float64{11, 110, 22}}
	for _, r := range []*row{plain, gate} {
		r.rate, r.p50, r.p99 = r.cpu, r.cpu, r.cpu
	}
	got := summarize([]*row{plain, gate})[1].Plain
	if got.Q1 < 1.099 || got.Q3 > 1.101 {
		t.Errorf("got %v, want 1.1 in every round", got)
	}
}

func TestAnswersAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		length     int
		ok         bool
	}{
		{"an answer", "HTTP/1.1 200 OK\r\nServer: Caddy\r\nContent-Length: 12\r\n", 12, true},
		{"refused", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n", 0, false},
		{"sent to sign in", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n", 0, false},
		{"no length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			length, err := contentLength([]byte(tt.head))
			if (err == nil) != tt.ok || length != tt.length {
				t.Errorf("got %d, %v", length, err)
			}
		})
	}
}

func TestMicroseconds(t *testing.T) {
	if got := microseconds(1500 * time.Nanosecond); got != 1.5 {
		t.Errorf("got %v", got)
	}
}

func TestTablesPrint(t *testing.T) {
	all := []cookieSizes{{Provider: "one", Groups: 20, Without: 700, With: 900, Others: map[string]int{"other": 4000}, Encodings: &encodings{Session: 400, Now: 830}}}
	for markdown, want := range map[bool]string{
		true:  "| one | 20 | 700 | 900 | - | - | 4000 |",
		false: "one                20      700               900              -                     -                       4000",
	} {
		var out strings.Builder
		printCookies(all, &out, markdown)
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

// A round each, to see that it works: what it says means nothing then.
func TestScaling(t *testing.T) {
	all, err := measureScaling(t.Context(), options{rounds: 1, round: 10 * time.Millisecond})
	if runtime.NumCPU() < 2 {
		if err == nil {
			t.Error("measures two cores where there is one")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 2 || all[0].Name != "plain Caddy" {
		t.Fatalf("got %v", all)
	}
	for _, s := range all {
		if s.One <= 0 || s.Two <= 0 || s.Factor <= 0 || s.ByCPU.Median <= 0 {
			t.Errorf("got %+v", s)
		}
	}
}
