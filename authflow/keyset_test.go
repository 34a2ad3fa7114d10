package authflow_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// TestKeyRotation: P17, OIDC Core 10.1.1. A key that is not known is fetched
// once, and twice in a moment if need be.
func TestKeyRotation(t *testing.T) {
	s := newRP(t)
	for want := 1; want <= 3; want++ {
		s.mustLogin("alice")
		s.mustLogin("bob")
		if calls := s.p.Calls(testop.JWKS); calls != want {
			t.Errorf("%d calls, want %d", calls, want)
		}
		s.p.RotateKeys()
	}
}

// TestKeyFlood: P17. Invented key ids cost a burst of fetches and then one in
// ten seconds, and whoever has a known key signs in all the while.
func TestKeyFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		s.mustLogin("alice")
		flood := func() {
			for range 50 {
				s.p.Set(func(b *testop.Behaviour) { b.IDTokenHeader = testop.Edit{"kid": rand.Text()} })
				_, err := s.login("alice")
				wantError(t, err, authflow.ReasonKeyUnknown, authflow.Provider)
			}
			s.p.Behave()
			s.mustLogin("alice")
		}
		flood()
		if calls := s.p.Calls(testop.JWKS); calls != 1+5 {
			t.Errorf("%d calls, want the first and a burst of 5", calls)
		}
		for want := 7; want < 10; want++ {
			time.Sleep(10 * time.Second)
			flood()
			if calls := s.p.Calls(testop.JWKS); calls != want {
				t.Errorf("%d calls, want %d", calls, want)
			}
		}
		time.Sleep(time.Minute)
		s.p.RotateKeys()
		s.mustLogin("alice")
	})
}

// TestKeysUnavailable: the keys that are there go on being used, and without any
// nobody signs in.
func TestKeysUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		away := func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.JWKS: {Status: 503}} }
		s.p.Set(away)
		for range 10 {
			_, err := s.login("alice")
			wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)
		}
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.JWKS: {Status: 200, Body: `{"keys":[{"kty":"oct","k":"AAAA"},7]}`}}
		})
		time.Sleep(5 * time.Second)
		_, err := s.login("alice")
		wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)

		s.p.Behave()
		time.Sleep(5 * time.Second) // P01: no later than that
		s.mustLogin("alice")

		s.p.Set(away)
		for range 100 {
			time.Sleep(time.Hour)
			s.mustLogin("alice")
		}
		s.p.RotateKeys()
		_, err = s.login("alice")
		wantError(t, err, authflow.ReasonKeysUnavailable, authflow.Unavailable)
	})
}

// TestKeyWithdrawn: a key that the provider publishes no longer is not trusted
// for longer than an hour.
func TestKeyWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		s.mustLogin("alice")
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.JWKS: {Status: 200, Body: strings.ReplaceAll(jwks(t, s), "rsa-1", "rsa-0")}}
		})
		time.Sleep(time.Hour - time.Minute)
		s.mustLogin("alice")
		time.Sleep(time.Minute)
		s.mustLogin("alice") // the old keys serve while newer ones are fetched
		synctest.Wait()
		_, err := s.login("alice")
		wantError(t, err, authflow.ReasonKeyUnknown, authflow.Provider)
	})
}

// jwks returns the JWK Set that the provider publishes.
func jwks(t testing.TB, s rp) string {
	t.Helper()
	response, err := (&http.Client{Transport: s.network}).Get(s.p.URL(testop.JWKS))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
