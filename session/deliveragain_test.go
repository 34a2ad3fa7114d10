package session

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// cookiesOf are the cookies of an answer that is still being made.
func cookiesOf(answer *httptest.ResponseRecorder) []*http.Cookie {
	return (&http.Response{Header: answer.Header()}).Cookies()
}

// An answer that is sent long after its request came brings the newest generation, and none at all of a session that has ended
// meanwhile: its lines would put a spent cookie in the place of a newer one. Other cookies of the answer stay.
func TestDeliverAgain(t *testing.T) {
	newAnswer := func(g *gate, live *Live) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		http.SetCookie(answer, &http.Cookie{Name: "theme", Value: "dark"})
		if err := g.Deliver(answer, live, app); err != nil {
			t.Fatal(err)
		}
		if len(cookiesOf(answer)) < 2 {
			t.Fatal("nothing was delivered")
		}
		return answer
	}
	setup := func() (*gate, *browser, *Live) {
		g, b := newGate(t, func(c *Config) { c.IdleTimeout = time.Hour }), newBrowser(t, app)
		large := alice()
		large.Claims["large"] = noise(3000) // two cookies
		g.signIn(b, large)
		live, err := g.Update(t.Context(), g.mustLoad(b), refresh("second"))
		if err != nil {
			t.Fatal(err)
		}
		return g, b, live
	}

	t.Run("a newer generation", func(t *testing.T) {
		g, b, live := setup()
		answer := newAnswer(g, live)
		if _, err := g.Update(t.Context(), live, refresh("third")); err != nil {
			t.Fatal(err)
		}
		if err := g.DeliverAgain(t.Context(), answer, live, app); err != nil {
			t.Fatal(err)
		}
		names := map[string]int{}
		for _, cookie := range cookiesOf(answer) {
			names[cookie.Name]++
		}
		for name, times := range names {
			if times != 1 {
				t.Errorf("%s is set %d times", name, times)
			}
		}
		b.receive(answer)
		g.clock.advance(grace + time.Second)
		if got := g.mustLoad(b).Session().AccessToken.Reveal(); got != "third" || b.cookies["theme"] != "dark" {
			t.Errorf("delivered the session of %q", got)
		}
	})
	t.Run("ended meanwhile", func(t *testing.T) {
		g, _, live := setup()
		answer := newAnswer(g, live)
		if err := g.End(t.Context(), BySession(live)); err != nil {
			t.Fatal(err)
		}
		if err := g.DeliverAgain(t.Context(), answer, live, app); !errors.Is(err, ErrRevoked) {
			t.Errorf("%v, want ErrRevoked", err)
		}
		if left := cookiesOf(answer); len(left) != 1 || left[0].Name != "theme" {
			t.Errorf("%d cookies are left, want one", len(left))
		}
	})
	t.Run("superseded meanwhile", func(t *testing.T) {
		g, b, live := setup()
		answer := newAnswer(g, live)
		newest, err := g.Update(t.Context(), live, refresh("third"))
		if err != nil {
			t.Fatal(err)
		}
		g.deliver(b, newest)
		g.mustLoad(b) // the browser has shown it
		g.clock.advance(grace + time.Second)
		if err := g.DeliverAgain(t.Context(), answer, live, app); !errors.Is(err, ErrSuperseded) {
			t.Errorf("%v, want ErrSuperseded", err)
		}
		if left := cookiesOf(answer); len(left) != 1 || left[0].Name != "theme" {
			t.Errorf("%d cookies are left, want one", len(left))
		}
	})
}
