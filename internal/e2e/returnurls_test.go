package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/hostile"
)

// location is a Location that the gate would send, and what it becomes when it is decoded on the way.
type location struct {
	Raw   string   `json:"raw"`
	Forms []string `json:"forms"`
}

// locations are those that families of hostile return URLs lead to.
func locations(origin string) (all []location) {
	policy := authflow.ReturnPolicy{Origin: origin, BasePath: "/oauth2"}
	seen := make(map[string]bool)
	for _, raw := range hostile.ReturnURLs(origin) {
		kept, err := policy.FromOutside(raw)
		if err != nil {
			kept = ""
		}
		for _, value := range []string{kept, policy.OwnTarget(raw)} {
			if value == "" || seen[value] {
				continue
			}
			seen[value] = true
			once := leniently(value)
			all = append(all, location{value, []string{value, once, leniently(once)}})
		}
	}
	return all
}

// leniently decodes what can be decoded.
func leniently(s string) string {
	var decoded []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				decoded = append(decoded, byte(c))
				i += 2
				continue
			}
		}
		decoded = append(decoded, s[i])
	}
	return string(decoded)
}

// The resolvers print, as JSON, the locations that they read as another origin's.
var resolvers = map[string][]string{
	"node": {"-e", `
const [origin, all] = JSON.parse(require('fs').readFileSync(0))
const away = []
for (const {raw, forms} of all) for (const form of forms) for (const base of ['/a/page', '/oauth2/callback?x=1']) {
	try { if (new URL(form, origin + base).origin !== origin) away.push([raw, form]) } catch {}
}
console.log(JSON.stringify(away))`},
	"python3": {"-c", `
import json, sys
from urllib.parse import urljoin, urlsplit
origin, all = json.load(sys.stdin)
away = []
for location in all:
    for form in location['forms']:
        try:
            u = urlsplit(urljoin(origin + '/a/page', form))
        except ValueError:
            continue
        if u.scheme + '://' + u.netloc.lower() != origin:
            away.append([location['raw'], form])
print(json.dumps(away))`},
}

// SEC-40, SEC-46: of the Locations that hostile return URLs and request targets lead to, none leaves the site, by the
// readers that there are: as it stands, and decoded once and twice by somebody on the way.
func TestReturnURLsInOtherReaders(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.test:8443"
	all := locations(origin)
	if len(all) < 1000 {
		t.Fatalf("%d locations", len(all))
	}
	input, err := json.Marshal([]any{origin, all})
	if err != nil {
		t.Fatal(err)
	}
	for program, arguments := range resolvers {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(program); err != nil {
				skipWithout(t, program, err)
			}
			c := exec.Command(program, arguments...)
			c.Stdin = bytes.NewReader(input)
			output, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			var away [][2]string
			decode(t, string(output), &away)
			for _, at := range away[:min(len(away), 20)] {
				t.Errorf("%q, read as %q, leads elsewhere", at[0], at[1])
			}
		})
	}
}

// The page resolves all of them as links, and follows some as the Location of an answer.
const resolvingPage = `<!doctype html><script type=module>
const all = await (await fetch('/all')).json(), away = []
const link = document.createElement('a')
for (const {raw, forms} of all) for (const form of forms) {
	link.setAttribute('href', form)
	if (link.origin !== location.origin && link.href) away.push([raw, form, link.href])
}
const step = Math.ceil(all.length / 300)
for (let i = 0; i < all.length; i += step) {
	try {
		const answer = await fetch('/follow?i=' + i)
		if (new URL(answer.url).origin !== location.origin) throw answer.url
	} catch (e) { away.push([all[i].raw, 'Location', String(e)]) }
}
await fetch('/away', {method: 'POST', body: JSON.stringify(away)})
</script>`

// SEC-40: the same in a browser.
func TestReturnURLsInChromium(t *testing.T) {
	t.Parallel()
	var all []location
	away := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/start":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, resolvingPage)
		case "/all":
			_ = json.NewEncoder(w).Encode(all)
		case "/follow":
			if i, err := strconv.Atoi(r.URL.Query().Get("i")); err == nil {
				w.Header()["Location"] = []string{all[i].Raw}
				w.WriteHeader(http.StatusSeeOther)
			}
		case "/away":
			found, _ := io.ReadAll(r.Body)
			away <- string(found)
		}
	}))
	t.Cleanup(server.Close)
	all = locations(strings.Replace(server.URL, "127.0.0.1", "app.example.test", 1))
	tab := StartChromium(t)
	Do(t, tab, chromedp.Navigate(strings.Replace(server.URL, "127.0.0.1", "app.example.test", 1)+"/start"))
	select {
	case found := <-away:
		var locations [][3]string
		decode(t, found, &locations)
		for _, at := range locations[:min(len(locations), 20)] {
			t.Errorf("%q, read as %q, leads to %s", at[0], at[1], at[2])
		}
	case <-time.After(time.Minute):
		t.Fatal("the page does not answer")
	}
}
