package caddymodule

// closest is the one of names that name was probably meant to be: a letter or two
// are wrong, missing, too many, or have changed places. "" if none is that close.
func closest(name string, names []string) string {
	best, meant := min(2, (len(name)-1)/2)+1, ""
	for _, candidate := range names {
		if d := distance(name, candidate); d < best {
			best, meant = d, candidate
		}
	}
	return meant
}

// distance counts the letters to change, add, leave out or swap with their neighbour
// that make b of a (optimal string alignment).
func distance(a, b string) int {
	var before []int // the row above that of the letter before
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
