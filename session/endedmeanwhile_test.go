package session

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
)

// A sign-out meets a refresh under way: who waited for that has no session any more, and no cookie of the dead one comes
// back to the browser that was just told to drop it.
func TestSignOutDuringARefresh(t *testing.T) {
	overStores(t, func(t *testing.T, store func(*Config)) {
		g, b := newGate(t, store), newBrowser(t, app)
		g.signIn(b, alice())
		live := g.mustLoad(b)
		got, err := g.Update(t.Context(), live, func(ctx context.Context, s *Session) error {
			if err := g.EndBrought(ctx, b.cut(g.cookie), app); err != nil {
				t.Error(err)
			}
			return refresh("access 2")(ctx, s)
		})
		if !errors.Is(err, ErrRevoked) {
			t.Errorf("who waited for the refresh: %v, want ErrRevoked", err)
		}
		if got != nil {
			answer := httptest.NewRecorder()
			if err := g.Deliver(answer, got, app); err != nil || len(answer.Result().Cookies()) > 0 {
				t.Errorf("the signed-out browser is given a cookie: %v", err)
			}
		}
	})
}
