package authflow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("away")

// TestRemoteBackoff: attempts come apart by twice as much each time, up to four
// seconds.
func TestRemoteBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		r := &remote[int]{now: time.Now, maxAge: time.Hour, fetch: func(context.Context) (*int, error) {
			at = append(at, time.Since(began))
			return nil, errAway
		}}
		for time.Since(began) < 20*time.Second {
			if _, err := r.get(t.Context()); !errors.Is(err, errAway) {
				t.Fatalf("%v, want %v", err, errAway)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := "[0s 250ms 750ms 1.75s 3.75s 7.75s 11.75s 15.75s 19.75s"
		if got := fmt.Sprint(at); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("attempts at %v, want %s ...", got, want)
		}
	})
}

// TestRemoteSingleFlight: a hundred who need it make one request, and one who
// does not wait gets away.
func TestRemoteSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		r := &remote[int]{now: time.Now, maxAge: time.Hour, fetch: func(ctx context.Context) (*int, error) {
			calls++
			time.Sleep(2 * time.Second)
			return new(7), ctx.Err()
		}}
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if seven, err := r.get(t.Context()); err != nil || *seven != 7 {
					t.Errorf("%v, %v", seven, err)
				}
			})
		}
		if _, err := r.get(hurried); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
		wait.Wait()
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

// TestRemoteWaits: nobody waits for more than three seconds, and one attempt
// takes no more than four.
func TestRemoteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		r := &remote[int]{now: time.Now, maxAge: time.Hour, fetch: func(ctx context.Context) (*int, error) {
			began := time.Now()
			<-ctx.Done()
			took = time.Since(began)
			return nil, ctx.Err()
		}}
		began := time.Now()
		if _, err := r.get(t.Context()); !errors.Is(err, errWaiting) || time.Since(began) != maxWait {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if took != fetchTimeout {
			t.Errorf("an attempt of %s", took)
		}
	})
}

func TestRemoteRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var away bool
		r := &remote[int]{
			now: time.Now, maxAge: time.Hour, bucket: bucket{size: 2, interval: time.Minute},
			fetch: func(context.Context) (*int, error) {
				if calls++; away {
					return nil, errAway
				}
				return new(calls), nil
			},
		}
		first, err := r.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second, err := r.renew(t.Context(), first)
		if err != nil || *second != 2 {
			t.Fatalf("%v, %v, want a second document", second, err)
		}
		// Who holds an old one gets the newer, without a fetch.
		if newer, err := r.renew(t.Context(), first); err != nil || newer != second {
			t.Errorf("%v, %v, want the second document", newer, err)
		}
		// One that fails says so, and the document stays.
		away = true
		if _, err := r.renew(t.Context(), second); !errors.Is(err, errAway) {
			t.Errorf("%v, want %v", err, errAway)
		}
		if still, err := r.get(t.Context()); err != nil || still != second {
			t.Errorf("%v, %v, want the second document", still, err)
		}
		// The bucket is empty.
		if _, err := r.renew(t.Context(), second); !errors.Is(err, errThrottled) || calls != 3 {
			t.Errorf("%v after %d calls, want %v after 3", err, calls, errThrottled)
		}
		away = false
		time.Sleep(time.Minute)
		if third, err := r.renew(t.Context(), second); err != nil || *third != 4 {
			t.Errorf("%v, %v, want a third document", third, err)
		}
	})
}

func TestBucket(t *testing.T) {
	now := time.Unix(1800000000, 0)
	b := bucket{size: 3, interval: 10 * time.Second}
	for i, step := range []struct {
		after time.Duration
		takes int
	}{
		{0, 3},
		{9 * time.Second, 0},
		{time.Second, 1},
		{0, 0},
		{25 * time.Second, 2},
		{5 * time.Second, 1},
		{1000 * time.Hour, 3},
		{-time.Hour, 0},
		{time.Hour + 10*time.Second, 1},
	} {
		now = now.Add(step.after)
		takes := 0
		for b.take(now) {
			takes++
		}
		if takes != step.takes {
			t.Errorf("step %d: %d takes, want %d", i, takes, step.takes)
		}
	}
}
