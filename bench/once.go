package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// signIns is what many sign-ins at once cost.
type signIns struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"` // until the last of them was through
	CPU     float64 `json:"cpu_ms"`  // of the gate, for each: three requests, and the code grant
	P50     float64 `json:"p50_ms"`  // of a whole sign-in, the provider's part included
	P99     float64 `json:"p99_ms"`
}

// signInAtOnce lets so many browsers sign in at the same moment.
func (b *bench) signInAtOnce(ctx context.Context, count int) (*signIns, error) {
	b.provider.Set(func(behaviour *testop.Behaviour) {
		*behaviour = testop.Behaviour{IDToken: testop.Edit{"groups": groups(3)}}
	})
	pids, err := b.gate.tree()
	if err != nil {
		return nil, err
	}
	before, err := cpu(pids)
	if err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		took []float64
		errs []error
		wg   sync.WaitGroup
	)
	begun := time.Now()
	for range count {
		wg.Go(func() {
			browser, err := newBrowser()
			if err == nil {
				_, err = browser.get(ctx, "http://localhost:"+b.ports["cookie"]+"/")
			}
			mu.Lock()
			defer mu.Unlock()
			took, errs = append(took, float64(time.Since(begun))/1e6), append(errs, err)
		})
	}
	wg.Wait()
	elapsed := time.Since(begun)
	after, err := cpu(pids)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	slices.Sort(took)
	return &signIns{
		Count: count, Seconds: elapsed.Seconds(), CPU: float64(after-before) / 1e6 / float64(count),
		P50: took[count/2], P99: took[count*99/100],
	}, nil
}

// starts is how long a Caddy takes from its start to its first answer, in milliseconds.
type starts struct {
	Plain      quartiles `json:"plain_ms"`
	Gate       quartiles `json:"gate_ms"`
	Difference quartiles `json:"difference_ms"`
}

// timeStarts starts both Caddys in turn.
func (b *bench) timeStarts(ctx context.Context, count int) (*starts, error) {
	var plain, gate, difference []float64
	for range count {
		p, err := b.timeStart(ctx, b.startPlain, "plain", "/")
		if err != nil {
			return nil, err
		}
		g, err := b.timeStart(ctx, b.startGate, "cookie", "/public/")
		if err != nil {
			return nil, err
		}
		plain, gate, difference = append(plain, p), append(gate, g), append(difference, g-p)
	}
	return &starts{quartilesOf(plain), quartilesOf(gate), quartilesOf(difference)}, nil
}

func (b *bench) timeStart(ctx context.Context, start func(context.Context) (*process, error), site, path string) (float64, error) {
	begun := time.Now()
	p, err := start(ctx)
	if err != nil {
		return 0, err
	}
	response, err := http.Get("http://localhost:" + b.ports[site] + path)
	took := time.Since(begun)
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", p.name, response.Status)
		}
	}
	return float64(took) / 1e6, errors.Join(err, p.stop())
}
