package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table is printed in columns, or as Markdown for docs/performance.md.
type table struct {
	head []string // one for each column
	rows [][]string
}

// add adds a row; values are printed as [fmt.Sprint] does.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	t.rows = append(t.rows, row)
}

func (t *table) print(out io.Writer, markdown bool) {
	if markdown {
		fmt.Fprintf(out, "\n| %s |\n%s|\n", strings.Join(t.head, " | "), strings.Repeat("|---", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
		}
		return
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "\n"+strings.Join(t.head, "\t"))
	for _, row := range t.rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	columns.Flush()
}

// decimals prints a number with so many digits behind the point.
func decimals(digits int, value float64) string { return fmt.Sprintf("%.*f", digits, value) }
