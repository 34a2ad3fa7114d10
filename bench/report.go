package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// report is what a run found out.
type report struct {
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Rows    []result  `json:"rows"`
	AtOnce  []*atOnce `json:"at_once,omitempty"`
	Start   *starts   `json:"start,omitempty"`
}

// result is one row: medians over the rounds, and of ratios within a round.
type result struct {
	Name        string     `json:"name"`
	Carries     int        `json:"credential_bytes"`             // Cookie or Authorization
	CPU         quartiles  `json:"cpu_us"`                       // a request
	Plain       quartiles  `json:"cpu_to_plain"`                 // ratio to plain Caddy in its own process, without a credential
	Unprotected *quartiles `json:"cpu_to_unprotected,omitempty"` // ratio to an unprotected route of the same process
	Carrying    *quartiles `json:"cpu_to_plain_same,omitempty"`  // ratio to plain Caddy that carries as many bytes
	CarryingCPU float64    `json:"plain_same_cpu_us,omitempty"`  // what that takes
	Neighbour   bool       `json:"neighbour,omitempty"`          // this row is such a plain Caddy
	Rate        float64    `json:"requests_per_second"`
	P50         float64    `json:"p50_us"`
	P99         float64    `json:"p99_us"`
	RSS         int64      `json:"rss_bytes"` // of the whole process
}

func summarize(rows []*row) []result {
	results := make([]result, 0, len(rows))
	for _, r := range rows {
		one := result{
			Name: r.name, Neighbour: r.name == sameBytes, Carries: r.carries, CPU: quartilesOf(r.cpu), Plain: quartilesOf(ratios(r.cpu, rows[0].cpu)),
			Rate: quartilesOf(r.rate).Median, P50: quartilesOf(r.p50).Median, P99: quartilesOf(r.p99).Median, RSS: r.rss,
		}
		if r.own != nil {
			one.Unprotected = new(quartilesOf(ratios(r.cpu, r.own.cpu)))
		}
		if r.carrying != nil {
			one.Carrying = new(quartilesOf(ratios(r.cpu, r.carrying.cpu)))
			one.CarryingCPU = quartilesOf(r.carrying.cpu).Median
		}
		results = append(results, one)
	}
	return results
}

// machine says what it was measured on.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func (q quartiles) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", q.Median, q.Q1, q.Q3) }

func (q *quartiles) orNothing() string {
	if q == nil {
		return ""
	}
	return q.String()
}

// print writes the tables.
func (r *report) print(out io.Writer, markdown bool) {
	fmt.Fprintln(out, r.Machine)
	rows := table{head: []string{
		"", "credential, B", "CPU, µs", "to plain Caddy", "to unprotected route", "to plain Caddy with the same bytes", "that takes, µs", "per second", "p50, µs", "p99, µs", "RSS, MB",
	}}
	for _, row := range r.Rows {
		if row.Neighbour {
			continue // stands in the row that it belongs to
		}
		same := ""
		if row.Carrying != nil {
			same = decimals(0, row.CarryingCPU)
		}
		rows.add(row.Name, row.Carries, decimals(0, row.CPU.Median), row.Plain, row.Unprotected.orNothing(), row.Carrying.orNothing(), same,
			decimals(0, row.Rate), decimals(0, row.P50), decimals(0, row.P99), decimals(0, float64(row.RSS)/1e6))
	}
	rows.print(out, markdown)
	if len(r.AtOnce) > 0 {
		once := table{head: []string{fmt.Sprintf("%d people at once", r.AtOnce[0].Count), "the gate's CPU for each, ms", "p50, ms", "p99, ms", "all of them, s"}}
		for _, o := range r.AtOnce {
			once.add(o.Name, decimals(2, o.CPU), decimals(0, o.P50), decimals(0, o.P99), decimals(1, o.Seconds))
		}
		once.print(out, markdown)
	}
	if s := r.Start; s != nil {
		fmt.Fprintf(out, "\nstart to first answer: plain Caddy %.0f ms, with the gate %.0f ms; difference %.1f ms (%.1f-%.1f)\n",
			s.Plain.Median, s.Gate.Median, s.Difference.Median, s.Difference.Q1, s.Difference.Q3)
	}
}
