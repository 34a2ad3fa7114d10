package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/session"
)

// A star of return_to stands for the hosts of one owner: for none below a public suffix, nor for those that are one.
func TestReturnToBelowASuffix(t *testing.T) {
	for text, refused := range map[string]bool{
		"https://*.example.com": false, "https://*.example.com:8443": false, "https://*.example.co.uk": false, "https://*.example.github.io": false,
		"https://*.co.uk": true, "https://*.co.uk:8443": true, "https://*.co.uk.:8443": true, "https://*.github.io": true, "https://*.com": true,
		"https://*.ck":                    true, // *.ck are suffixes, and so are
		"https://*.kawasaki.jp":           true, // *.kawasaki.jp, but for city.kawasaki.jp
		"https://*.city.kawasaki.jp":      false,
		"https://*.compute.amazonaws.com": true,
		"https://*.xn--55qx5d.cn":         true, // 公司.cn
		"https://*.CO.UK":                 true,
	} {
		o, valid := parseOrigin(text)
		if !valid {
			t.Fatalf("%s is no origin", text)
		}
		if err := checkReturnTo(text, o); (err != nil) != refused {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Somebody comes back to another host only if the cookies of the gate's own host get there: otherwise it would send them
// to the sign-in again, without an end (P10).
func TestCookiesReachAnotherHost(t *testing.T) {
	for _, tt := range []struct {
		domain, asked string
		reach         bool
	}{
		{"example.test", "https://app.example.test", true},
		{"example.test", "https://app.example.test:8443", true},
		{"example.test", "https://example.test", true},
		{"example.test", "https://app.other.test", false},
		{"example.test", "https://app.notexample.test", false},
		{"example.test", "http://app.example.test", false}, // where no Secure cookie goes
		{"", "https://app.example.test", false},
		{"", "https://auth.example.test:8443", true}, // cookies know no ports
	} {
		asked, _ := parseOrigin(tt.asked)
		v := &visit{gate: &Gate{cookies: session.CookieConfig{Domain: tt.domain}}, origin: origin{"https", "auth.example.test"}, elsewhere: asked}
		if v.cookiesReach(asked) != tt.reach {
			t.Errorf("cookie_domain %q at %s: %v", tt.domain, tt.asked, !tt.reach)
		}
		r := request(t, http.MethodGet, "/x")
		want := "/x"
		if tt.reach {
			want = tt.asked + "/x"
		}
		if got := v.returnTarget(r); got != want {
			t.Errorf("cookie_domain %q at %s: back to %s, want %s", tt.domain, tt.asked, got, want)
		}
	}
}

// RFC 9449 4.3: a proof is for the host that was asked for, not for the one at which people sign in.
func TestProofForAnotherHost(t *testing.T) {
	g := &Gate{bearer: new(bearer), state: session.NewState(nil, nil), now: time.Now}
	v := &visit{gate: g, origin: origin{"https", "auth.example.test"}, elsewhere: origin{"https", "app.example.test"}}
	if got := g.tokenUse(request(t, http.MethodGet, "/x"), v, new(brought)).URL; got != "https://app.example.test/x" {
		t.Errorf("a proof has to be for %s", got)
	}
}

// What a later gate asks of a session, the outermost reads: it serves the sign-in, and may have other keys.
func TestStepUpOfALaterGate(t *testing.T) {
	outer, inner := &Gate{keys: newRingKeys(t)}, &Gate{keys: newRingKeys(t)}
	v := &visit{gate: outer, origin: origin{"https", "auth.example.test"}, stepUp: stepUp{acr: []string{"phr"}}}
	r := request(t, http.MethodGet, "/x")
	sealed, err := inner.sealStepUp(r, v)
	if err != nil {
		t.Fatal(err)
	}
	if needed, err := outer.openStepUp(r, v, sealed); err != nil || strings.Join(needed.acr, " ") != "phr" {
		t.Errorf("%v, %v", needed, err)
	}
}
