package authflow_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// invented are so many tokens that nobody has issued, brought at once.
type invented struct {
	wait          sync.WaitGroup
	inactive      atomic.Int32
	busy          atomic.Int32
	unexpectedErr atomic.Pointer[error]
}

func (f *invented) bring(ctx context.Context, server *authflow.ResourceServer, name string, n int) {
	for i := range n {
		f.wait.Go(func() {
			_, err := server.AccessToken(ctx, secret.New(fmt.Sprintf("%s-%d", name, i)))
			switch reason := authflow.ReasonOf(err); {
			case reason == authflow.ReasonTokenInactive:
				f.inactive.Add(1)
			case reason == authflow.ReasonIntrospectionBusy:
				f.busy.Add(1)
			case ctx.Err() == nil:
				f.unexpectedErr.Store(&err)
			}
		})
	}
}

// A flood of invented tokens is at most 32 calls at once, and 1,000 that wait for five seconds. Who is known goes on.
func TestInventedTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		server := s.taking(introspect)
		slow := func(delay time.Duration) {
			s.p.Set(func(b *testop.Behaviour) {
				b.Faults = map[string]testop.Fault{testop.Introspection: {Delay: delay}}
			})
		}
		calls := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if got := s.p.Calls(testop.Introspection); got != want {
				t.Errorf("%s: asked %d times, want %d", when, got, want)
			}
		}
		honest, ended := testop.AccessToken{Audience: audience, Opaque: true}, testop.AccessToken{Audience: audience, Opaque: true}
		known, revoked := secret.New(s.p.Issue(honest)), secret.New(s.p.Issue(ended))
		for _, raw := range []secret.String{known, revoked} {
			if _, err := server.AccessToken(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(31 * time.Second) // both have to be asked about again
		s.p.Forget(revoked.Reveal())
		_, err := server.AccessToken(t.Context(), revoked)
		wantError(t, err, authflow.ReasonTokenInactive, authflow.NoLogin)
		time.Sleep(6 * time.Second)
		calls(3, "before the flood")

		slow(8 * time.Second)
		var flood, more invented
		flood.bring(t.Context(), server, "a", 32)
		calls(3+32, "the first")
		flood.bring(t.Context(), server, "b", 1000)
		calls(3+32, "those that wait")
		more.bring(t.Context(), server, "c", 10)
		if synctest.Wait(); more.busy.Load() != 10 {
			t.Errorf("%d of ten are refused at once where 1,000 wait", more.busy.Load())
		}
		slow(0)
		if _, err := server.AccessToken(t.Context(), known); err != nil {
			t.Errorf("one that counted before has to wait: %v", err)
		}
		calls(3+32+1, "one that counted before")
		begun := time.Now()
		_, err = server.AccessToken(t.Context(), revoked)
		wantError(t, err, authflow.ReasonIntrospectionBusy, authflow.Unavailable)
		if time.Since(begun) > 0 {
			t.Error("one that counts no more waits as if it did")
		}
		time.Sleep(5 * time.Second)
		if synctest.Wait(); flood.busy.Load() != 1000 {
			t.Errorf("%d of 1,000 were told to come again", flood.busy.Load())
		}
		time.Sleep(15 * time.Second)
		flood.bring(t.Context(), server, "d", 100)
		flood.wait.Wait()
		calls(3+32+1+100, "after the flood")
		if flood.inactive.Load() != 132 || flood.unexpectedErr.Load() != nil {
			t.Errorf("%d were looked up: %v", flood.inactive.Load(), flood.unexpectedErr.Load())
		}
	})
}

// Who goes does not leave a call behind that nobody wants, and whoever then comes with the same token is not told so.
func TestWhoGoesLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		server := s.taking(introspect)
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Introspection: {Delay: 2 * time.Second}}
		})
		var flood, gone, back invented
		flood.bring(t.Context(), server, "a", 32)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone.bring(ctx, server, "b", 500)
		back.bring(t.Context(), server, "b", 1) // one that another waits for, too
		synctest.Wait()
		cancel()
		gone.wait.Wait()
		back.bring(t.Context(), server, "b", 2)
		flood.wait.Wait()
		back.wait.Wait()
		if calls := s.p.Calls(testop.Introspection); calls != 34 || back.inactive.Load() != 3 {
			t.Errorf("asked %d times, want 34; %d answers", calls, back.inactive.Load())
		}
	})
}

// What is no token of anybody's is not asked about.
func TestHugeTokensAreNotAskedAbout(t *testing.T) {
	s := newRP(t)
	server := s.taking(introspect)
	_, err := server.AccessToken(t.Context(), secret.New(strings.Repeat("x", 8<<10+1)))
	wantError(t, err, authflow.ReasonTokenMalformed, authflow.NoLogin)
	_, err = server.AccessToken(t.Context(), secret.New(strings.Repeat("x", 8<<10)))
	wantError(t, err, authflow.ReasonTokenInactive, authflow.NoLogin)
	if calls := s.p.Calls(testop.Introspection); calls != 1 {
		t.Errorf("asked %d times, want 1", calls)
	}
}
