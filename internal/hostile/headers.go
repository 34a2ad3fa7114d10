package hostile

import "strings"

// HeaderNames are spellings of a header's name that some application reads as it: what
// stands for the dashes, case, and what is around. Each may stand in a request (RFC
// 9110 5.1).
func HeaderNames(name string) []string {
	var all []string
	for _, dash := range []string{"-", "_", ".", "", "--", "__", "-_", "_-", "..", "-.", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "~"} {
		spelt := strings.ReplaceAll(name, "-", dash)
		all = append(all, spelt, strings.ToLower(spelt), strings.ToUpper(spelt), spelt+dash, dash+spelt)
		if first, rest, found := strings.Cut(name, "-"); found { // one of them alone
			all = append(all, first+dash+rest)
		}
		if last := strings.LastIndexByte(name, '-'); last >= 0 {
			all = append(all, name[:last]+dash+name[last+1:])
		}
	}
	return all
}
