package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
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
	Rate        float64    `json:"requests_per_second"`
	P50         float64    `json:"p50_us"`
	P99         float64    `json:"p99_us"`
	RSS         int64      `json:"rss_bytes"` // of the whole process
}

func summarize(rows []*row) []result {
	results := make([]result, 0, len(rows))
	for _, r := range rows {
		one := result{
			Name: r.name, Carries: r.carries, CPU: quartilesOf(r.cpu), Plain: quartilesOf(ratios(r.cpu, rows[0].cpu)),
			Rate: quartilesOf(r.rate).Median, P50: quartilesOf(r.p50).Median, P99: quartilesOf(r.p99).Median, RSS: r.rss,
		}
		if r.own != nil {
			one.Unprotected = new(quartilesOf(ratios(r.cpu, r.own.cpu)))
		}
		if r.carrying != nil {
			one.Carrying = new(quartilesOf(ratios(r.cpu, r.carrying.cpu)))
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

// print writes the table.
func (r *report) print(out io.Writer) {
	fmt.Fprintln(out, r.Machine)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tcredential\tCPU\tto plain\tto unprotected\tto plain with\tper\tp50\tp99\tRSS")
	fmt.Fprintln(table, "\tB\tµs\tCaddy\troute\tthe same bytes\tsecond\tµs\tµs\tMB")
	for _, row := range r.Rows {
		fmt.Fprintf(table, "%s\t%d\t%.1f\t%s\t%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\n", row.Name, row.Carries, row.CPU.Median,
			row.Plain, row.Unprotected.orNothing(), row.Carrying.orNothing(), row.Rate, row.P50, row.P99, float64(row.RSS)/1e6)
	}
	table.Flush()
	for i, once := range r.AtOnce {
		if i == 0 {
			fmt.Fprintf(table, "\n%d people at once\tgate's CPU, ms\tp50, ms\tp99, ms\tall, s\n", once.Count)
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.0f\t%.0f\t%.1f\n", once.Name, once.CPU, once.P50, once.P99, once.Seconds)
	}
	table.Flush()
	if s := r.Start; s != nil {
		fmt.Fprintf(out, "start to first answer: plain Caddy %.0f ms, with the gate %.0f ms; difference %.1f ms (%.1f-%.1f)\n",
			s.Plain.Median, s.Gate.Median, s.Difference.Median, s.Difference.Q1, s.Difference.Q3)
	}
}
