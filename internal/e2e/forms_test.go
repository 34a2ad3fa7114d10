package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// formSite keeps forms, and sessions that are soon over.
func formSite(t *testing.T, session, gate string, options ...func(*testop.Provider)) *Site {
	t.Helper()
	caddyfile := strings.Replace(oneSite, "{$PROVIDER}\n", "{$PROVIDER}\n\t\tsession {\n\t\t\t"+session+"\n\t\t}\n", 1)
	return StartSite(t, strings.Replace(caddyfile, "public /public/*", gate, 1), options...)
}

// signInAndExpire has a browser whose session was somebody's, and is over.
func (s *Site) signInAndExpire(user string) *Browser {
	s.t.Helper()
	b := s.As(NewBrowser(s.t), user)
	page := b.Navigate(s.HTTP() + "/form")
	if strings.Contains(page.Body, "One moment") { // cookie_same_site strict
		page = b.Follow(page, "/form")
	}
	if seen(s.t, page).Header.Get("X-Forwarded-User") != user {
		s.t.Fatal("not signed in")
	}
	time.Sleep(2500 * time.Millisecond) // longer than the idle timeout and the lifetime of these tests
	return b
}

var note = url.Values{"text": {"an hour's work, 100 % \u00e4"}, "csrf": {"token"}}

// P07: a form that is sent when the session is over arrives once, byte for byte, when the same person has signed in.
func TestPreservePost(t *testing.T) {
	for name, session := range map[string]string{
		"idle": "idle_timeout 2s", "idle in memory": "idle_timeout 2s\n\t\t\tstore memory", "lifetime": "lifetime 2s", "lifetime, strict": "lifetime 2s\n\t\t\tcookie_same_site strict",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := formSite(t, session, "preserve_post")
			b := s.signInAndExpire("alice")
			target := "/save?draft=%2F1&x=a+b"
			page := b.Post(s.HTTP(), s.HTTP()+target, note)
			if strings.Contains(session, "strict") {
				page = b.Follow(page, target)
			}
			got := seen(t, page)
			if got.Method != http.MethodPost || got.URI != target || got.Body != note.Encode() || got.Header.Get("X-Forwarded-User") != "alice" {
				t.Fatalf("the application got %s %s %q of %s", got.Method, got.URI, got.Body, got.Header.Get("X-Forwarded-User"))
			}
			if got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.Header.Get("Origin") != s.HTTP() ||
				got.Header.Get("Sec-Fetch-Site") != "same-origin" || got.Header.Get("Cookie") != "" {
				t.Errorf("with headers %v", got.Header)
			}
			if page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the answer may be cached: %q", page.Header.Get("Cache-Control"))
			}
			if got := seen(t, b.Navigate(s.HTTP()+target)); got.Method != http.MethodGet || got.Body != "" {
				t.Errorf("and once more: %s %q", got.Method, got.Body)
			}
		})
	}
}

// post sends a form of a page of this site, and follows no redirect.
func (s *Site) post(t *testing.T, b *Browser, path, body string) *Page {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.HTTP()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": s.HTTP(), "Accept": "text/html",
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	} {
		r.Header.Set(name, value)
	}
	return b.Do(r)
}

// stepThrough follows redirects one by one, until the answer of an address is there.
func (b *Browser) stepThrough(page *Page, until string) *Page {
	b.t.Helper()
	for range maxHops {
		page = b.Step(page.Header.Get("Location"))
		if page.URL.Path == until {
			return page
		}
	}
	b.t.Fatalf("never came to %s", until)
	return nil
}

// Two tabs, each with a form: each gets its own.
func TestPreservePostInTwoTabs(t *testing.T) {
	t.Parallel()
	s := formSite(t, "idle_timeout 2s", "preserve_post")
	b := s.signInAndExpire("alice")
	first, second := s.post(t, b, "/one", "text=1"), s.post(t, b, "/two", "text=2")
	for want, page := range map[string]*Page{"text=1": first, "text=2": second} {
		if got := seen(t, b.Follow(page, page.Header.Get("Location"))); got.Method != http.MethodPost || got.Body != want {
			t.Errorf("got %s %q, want %q", got.Method, got.Body, want)
		}
	}
}

// multipartForm is a form of text, with a file if one is named.
func multipartForm(disposition string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhello\r\n--b\r\nContent-Disposition: " + disposition + "\r\n\r\nworld\r\n--b--\r\n"
}

// What is no form of text, of a page of ours, of somebody whose session is over by its time alone, does not wait: it gets
// what it got before, and nothing of it arrives.
func TestPreservePostRefuses(t *testing.T) {
	t.Parallel()
	s := formSite(t, "idle_timeout 2s", "preserve_post 1KiB")
	b := s.signInAndExpire("alice")
	const urlencoded, multipart = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
	text := `form-data; name="more"`
	for _, tt := range []struct {
		name   string
		kind   string
		body   string
		header http.Header
		waits  bool
	}{
		{"urlencoded", urlencoded, "a=b", nil, true},
		{"multipart", multipart, multipartForm(text), nil, true},
		{"as large as it may be", urlencoded, strings.Repeat("x", 1024), nil, true},
		{"one byte more", urlencoded, strings.Repeat("x", 1025), nil, false},
		{"a file", multipart, multipartForm(text + `; filename="a.txt"`), nil, false},
		{"a file without name", multipart, multipartForm(text + `; filename=""`), nil, false},
		{"a file by RFC 5987", multipart, multipartForm(text + `; filename*=UTF-8''a.txt`), nil, false},
		{"a part with a type", multipart, multipartForm(text + "\r\nContent-Type: image/png"), nil, false},
		{"torn", multipart, multipartForm(text)[:60], nil, false},
		{"without boundary", "multipart/form-data", multipartForm(text), nil, false},
		{"json", "application/json", "{}", nil, false},
		{"text", "text/plain", "a=b", nil, false},
		{"another site", urlencoded, "a=b", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, false},
		{"another site, by Origin", urlencoded, "a=b", http.Header{"Origin": {"https://evil.example"}}, false},
		{"another site, by Fetch Metadata", urlencoded, "a=b", http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		{"null", urlencoded, "a=b", http.Header{"Origin": {"null"}}, false},
		{"no Origin", urlencoded, "a=b", http.Header{"Origin": nil}, false},
		{"two Origins", urlencoded, "a=b", http.Header{"Origin": {s.HTTP(), s.HTTP()}}, false},
		{"a script", urlencoded, "a=b", http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}, false},
		{"a frame", urlencoded, "a=b", http.Header{"Sec-Fetch-Dest": {"iframe"}}, false},
		{"encoded", urlencoded, "a=b", http.Header{"Content-Encoding": {"gzip"}}, false},
	} {
		r, err := http.NewRequest(http.MethodPost, s.HTTP()+"/save", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{
			"Content-Type": {tt.kind}, "Origin": {s.HTTP()}, "Accept": {"text/html"},
			"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"},
		}
		for name, values := range tt.header {
			if r.Header[name] = values; values == nil {
				delete(r.Header, name)
			}
		}
		if page := b.Twin().Do(r); tt.waits != (page.Status == http.StatusSeeOther) {
			t.Errorf("%s: %d %s, waits should be %t", tt.name, page.Status, reason(page), tt.waits)
		}
	}
}

// A form is its sender's: nobody else's sign-in sends it, and no other browser's.
func TestPreservePostIsTheSenders(t *testing.T) {
	t.Parallel()
	s := formSite(t, "lifetime 2s", "preserve_post")

	t.Run("somebody else signs in", func(t *testing.T) {
		b := s.signInAndExpire("alice")
		s.As(b, "bob")
		if got := seen(t, b.Post(s.HTTP(), s.HTTP()+"/save", note)); got.Method != http.MethodGet || got.Body != "" || got.Header.Get("X-Forwarded-User") != "bob" {
			t.Errorf("the application got %s %q as %s", got.Method, got.Body, got.Header.Get("X-Forwarded-User"))
		}
		s.As(b, "alice")
		b.Navigate(s.HTTP() + "/oauth2/login?rd=/save")
		if got := seen(t, b.Navigate(s.HTTP()+"/save")); got.Method != http.MethodGet {
			t.Errorf("and the next time: %s %q", got.Method, got.Body)
		}
	})
	t.Run("no session cookie", func(t *testing.T) {
		b := NewBrowser(t)
		wantReason(t, b.Post(s.HTTP(), s.HTTP()+"/save", note), http.StatusUnauthorized, "no_session")
	})
	t.Run("signed out", func(t *testing.T) {
		b := s.As(NewBrowser(t), "alice")
		b.Navigate(s.HTTP() + "/")
		twin := b.Twin()
		b.Follow(b.Navigate(s.HTTP()+"/oauth2/session"), "/oauth2/logout")
		wantReason(t, twin.Post(s.HTTP(), s.HTTP()+"/save", note), http.StatusUnauthorized, "session_ended")
	})
	t.Run("the handle is stolen", func(t *testing.T) {
		b := s.signInAndExpire("alice")
		page := b.stepThrough(s.post(t, b, "/save", "text=secret"), "/oauth2/callback") // signed in, and not back at the form's address yet
		stolen := ""
		for _, c := range b.Jar.Get(page.URL, false, true) {
			if strings.HasSuffix(c.Name, "_p") {
				stolen = c.Name + "=" + c.Value
			}
		}
		if stolen == "" {
			t.Fatalf("there is no handle to steal: %s", b.Jar.Names("localhost"))
		}
		for _, user := range []string{"mallory", "alice"} { // alice: in another browser, with another session
			thief := s.As(NewBrowser(t), user)
			seen(t, thief.Navigate(s.HTTP()+"/"))
			thief.Jar.Set(page.URL, http.Header{"Set-Cookie": {stolen + "; Path=/"}})
			if got := seen(t, thief.Navigate(s.HTTP()+"/save")); got.Method != http.MethodGet {
				t.Errorf("the thief sent %q", got.Body)
			}
		}
		if got := seen(t, b.Navigate(s.HTTP()+"/other")); got.Method != http.MethodGet {
			t.Errorf("it was sent to another address: %q", got.Body)
		}
		twin := b.Twin() // the same cookies, twice
		if got := seen(t, b.Navigate(s.HTTP()+"/save")); got.Body != "text=secret" {
			t.Errorf("the browser itself: %s %q", got.Method, got.Body)
		}
		if got := seen(t, twin.Navigate(s.HTTP()+"/save")); got.Method != http.MethodGet {
			t.Errorf("it was sent twice: %q", got.Body)
		}
	})
}

// Off, as it is by default, a form is refused as ever, and a cookie goes when its session ends.
func TestPreservePostOff(t *testing.T) {
	t.Parallel()
	s := formSite(t, "idle_timeout 2s", "streams cut")
	b := s.signInAndExpire("alice")
	wantReason(t, b.Post(s.HTTP(), s.HTTP()+"/save", note), http.StatusUnauthorized, "session_idle")
}

// Whoever has the cookie of a session that is over fills neither the memory nor Redis with forms: of one session eight wait
// at most, and others have their room.
func TestPreservePostFlood(t *testing.T) {
	t.Parallel()
	s := formSite(t, "idle_timeout 2s", "preserve_post")
	b, other := s.signInAndExpire("alice"), s.signInAndExpire("bob")
	waiting := 0
	for range 3 * formsOfOne {
		if page := s.post(t, b.Twin(), "/save", "a=b"); page.Status == http.StatusSeeOther {
			waiting++
		}
	}
	// Ten minutes may end and the next begin meanwhile.
	if waiting < formsOfOne || waiting > 2*formsOfOne {
		t.Errorf("%d forms of one session wait", waiting)
	}
	if page := s.post(t, other, "/save", "a=b"); page.Status != http.StatusSeeOther {
		t.Errorf("somebody else's does not wait: %d", page.Status)
	}
}

// formsOfOne is how many forms of one session wait, as documented.
const formsOfOne = 8
