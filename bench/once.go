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

// atOnce is what it costs if many do the same at the same moment.
type atOnce struct {
	Name    string  `json:"name"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"` // until the last of them was through
	CPU     float64 `json:"cpu_ms"`  // of the gate, for each
	P50     float64 `json:"p50_ms"`  // the provider's part included
	P99     float64 `json:"p99_ms"`
}

// signInAtOnce lets so many people begin to sign in at the same moment, then sign in,
// and then come back when the tokens of all of them are due to be refreshed.
func (b *bench) signInAtOnce(ctx context.Context, count int) ([]*atOnce, error) {
	// Of access tokens, which are due a tenth before; nobody's should be while others still sign in.
	lifetime := max(time.Second, time.Duration(count)*10*time.Millisecond)
	b.provider.Set(func(behaviour *testop.Behaviour) {
		*behaviour = testop.Behaviour{IDToken: testop.Edit{"groups": groups(3)}, AccessTokenLifetime: lifetime}
	})
	people := make([]*browser, count)
	for i := range people {
		var err error
		if people[i], err = newBrowser(); err != nil {
			return nil, err
		}
	}
	site := "http://localhost:" + b.ports["cookie"] + "/"
	begin, err := b.atOnce("a login, up to the redirect to the provider", count, func(int) error {
		return redirects(ctx, site)
	})
	if err != nil {
		return nil, err
	}
	open := func(i int) error {
		_, err := people[i].get(ctx, site)
		return err
	}
	signIn, err := b.atOnce("a whole sign-in: login, callback, page", count, open)
	if err != nil {
		return nil, err
	}
	select { // until the last one's token is due
	case <-time.After(lifetime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	before := b.provider.Calls(testop.Token)
	refresh, err := b.atOnce("a page, with a refresh before it", count, open)
	if err != nil {
		return nil, err
	}
	if refreshed := b.provider.Calls(testop.Token) - before; refreshed != count {
		return nil, fmt.Errorf("%d sessions were due, and %d refreshed", count, refreshed)
	}
	return []*atOnce{begin, signIn, refresh}, nil
}

// redirects opens a page as a browser does and stays where it is sent from.
func redirects(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/html")
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	return nil
}

// atOnce does the same so many times at the same moment.
func (b *bench) atOnce(name string, count int, do func(i int) error) (*atOnce, error) {
	pids, err := b.gate.tree()
	if err != nil {
		return nil, err
	}
	before, err := cpu(pids)
	if err != nil {
		return nil, err
	}
	var (
		took = make([]float64, count)
		errs = make([]error, count)
		wg   sync.WaitGroup
	)
	begun := time.Now()
	for i := range count {
		wg.Go(func() {
			errs[i] = do(i)
			took[i] = float64(time.Since(begun)) / 1e6
		})
	}
	wg.Wait()
	elapsed := time.Since(begun)
	after, err := cpu(pids)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	slices.Sort(took)
	return &atOnce{
		Name: name, Count: count, Seconds: elapsed.Seconds(), CPU: float64(after-before) / 1e6 / float64(count),
		P50: took[count/2], P99: took[count*99/100],
	}, nil
}

// starts is how long a Caddy takes from its start to its first answer, in milliseconds.
type starts struct {
	Plain      quartiles `json:"plain_ms"`
	Gate       quartiles `json:"gate_ms"`
	Difference quartiles `json:"difference_ms"`
}

// timeStarts starts both Caddys in turn, each with one site.
func (b *bench) timeStarts(ctx context.Context, count int) (*starts, error) {
	var plain, gate, difference []float64
	for range count {
		p, err := b.timeStart(ctx, fmt.Sprintf(globals, ""), func(port string) string {
			return fmt.Sprintf(openSite, port, b.upstream)
		})
		if err != nil {
			return nil, err
		}
		first := b.options.gated()[0]
		g, err := b.timeStart(ctx, b.globals(), func(port string) string {
			return fmt.Sprintf(gatedSite, port, first.name, first.session, first.words, b.upstream)
		})
		if err != nil {
			return nil, err
		}
		plain, gate, difference = append(plain, p), append(gate, g), append(difference, g-p)
	}
	return &starts{quartilesOf(plain), quartilesOf(gate), quartilesOf(difference)}, nil
}

// timeStart is how long a Caddy with this site takes to the first answer of the application.
func (b *bench) timeStart(ctx context.Context, global string, site func(port string) string) (float64, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	p, err := startCaddy("a start", global+site(port), b.options)
	if err != nil {
		return 0, err
	}
	if err := p.listening(ctx, "127.0.0.1:"+port); err != nil {
		return 0, errors.Join(err, p.stop())
	}
	response, err := http.Get("http://localhost:" + port + "/public/")
	took := time.Since(begun)
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("a start: %s", response.Status)
		}
	}
	return float64(took) / 1e6, errors.Join(err, p.stop())
}
