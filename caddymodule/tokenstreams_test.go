package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

type judgeFunc func(context.Context) error

func (f judgeFunc) judge(ctx context.Context) error { return f(ctx) }

// deadlines counts those that are set for the writes of an answer.
type deadlines int

func (*deadlines) Header() http.Header                { return nil }
func (*deadlines) Write(p []byte) (int, error)        { return len(p), nil }
func (*deadlines) WriteHeader(int)                    {}
func (d *deadlines) SetWriteDeadline(time.Time) error { *d++; return nil }

// A request is cut when its token does not count any more, and for nothing else; and what watches it ends with it.
func TestTokenWatch(t *testing.T) {
	over := authflow.NewError(authflow.ReasonTokenExpired, nil)
	over.Kind = authflow.NoLogin
	for _, tt := range []struct {
		name  string
		judge func(context.Context) error
		cut   bool
	}{
		{"it counts", func(context.Context) error { return nil }, false},
		{"it is over", func(context.Context) error { return over }, true},
		{"that cannot be told", func(context.Context) error { return authflow.NewError(authflow.ReasonKeysUnavailable, nil) }, false},
		{"judging hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false},
		{"judging panics", func(context.Context) error { panic("a storage module") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var judged atomic.Int32
				var told deadlines
				w := new(requestWatch)
				new(requestWatches).begin(t.Context(), w, judgeFunc(func(ctx context.Context) error {
					if judged.Add(1) < 3 {
						return nil
					}
					return tt.judge(ctx)
				}), &told)
				time.Sleep(5 * time.Second)
				if w.Context().Err() != nil {
					t.Fatal("cut before its time")
				}
				time.Sleep(4 * time.Second) // not at the moment at which it is judged
				if cut := w.Cut(); (cut != nil) != tt.cut || (w.Context().Err() != nil) != tt.cut {
					t.Fatalf("cut: %v, %v", cut, w.Context().Err())
				}
				if tt.cut && authflow.ReasonOf(w.Cut()) != authflow.ReasonTokenExpired {
					t.Errorf("it does not say why: %v", w.Cut())
				}
				w.Stop()
				if tt.cut != (told == 1) {
					t.Errorf("told of the cut %d times", told)
				}
				seen := judged.Load()
				time.Sleep(time.Minute)
				if judged.Load() != seen {
					t.Error("it is watched although it is over")
				}
			})
		})
	}
}

// The end of a request is no end of its token.
func TestTokenWatchOfACancelledRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, before := range []bool{true, false} {
			ctx, cancel := context.WithCancelCause(t.Context())
			if before {
				cancel(errors.New("the browser has gone"))
			}
			var told deadlines
			w := new(requestWatch)
			new(requestWatches).begin(ctx, w, judgeFunc(func(context.Context) error { return ctx.Err() }), &told)
			cancel(errors.New("the browser has gone"))
			time.Sleep(time.Minute)
			if w.Cut() != nil || told != 0 {
				t.Errorf("cut: %v, told %d times", w.Cut(), told)
			}
			w.Stop()
		}
	})
}

// Of several requests under way each is judged as long as it lasts, whichever has ended before it.
func TestTokenWatches(t *testing.T) {
	for first := range 3 {
		for second := range 3 {
			if first == second {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				var judged [3]int
				ws, all := new(requestWatches), [3]*requestWatch{new(requestWatch), new(requestWatch), new(requestWatch)}
				for i, w := range all {
					ws.begin(t.Context(), w, judgeFunc(func(context.Context) error { judged[i]++; return nil }), nil)
				}
				want := [3]int{1, 1, 1}
				after := func(ended int) {
					all[ended].Stop()
					for i := range all {
						if all[i].Context().Err() == nil {
							want[i]++
						}
					}
					time.Sleep(requestWatchEvery)
					synctest.Wait()
					if judged != want {
						t.Errorf("after the end of %d and %d: judged %v times, want %v", first, second, judged, want)
					}
				}
				time.Sleep(requestWatchEvery)
				synctest.Wait()
				after(first)
				after(second)
				after(3 - first - second)
				if time.Sleep(time.Minute); judged != want || ws.armed {
					t.Error("a timer runs, and nothing is there to be judged")
				}
			})
		}
	}
}

// BenchmarkTokenWatch is what it adds to a request that it may be a stream.
func BenchmarkTokenWatch(b *testing.B) {
	b.ReportAllocs()
	ws, judge := new(requestWatches), judgeFunc(func(context.Context) error { return nil })
	for b.Loop() {
		w := new(requestWatch)
		ws.begin(b.Context(), w, judge, nil)
		w.Stop()
	}
}
