package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"
)

// scaling is what a second core brings to one site.
type scaling struct {
	Name string `json:"name"`
	// Requests a second in the best round, since whatever else the machine does only takes away.
	One    float64 `json:"requests_per_second_with_one_core"`
	Two    float64 `json:"requests_per_second_with_two"`
	Factor float64 `json:"factor"`
	// ByCPU is twice the CPU time of a request with one core, divided by that with two:
	// the factor if the machine had nothing else to do and nobody waited.
	ByCPU quartiles `json:"factor_by_cpu"`
}

// measureScaling calls the handlers of one process with GOMAXPROCS 1 and 2 in short
// rounds, in another order each time. Nothing else of the process takes part: no
// connections, no load generator, an application that answers at once.
func measureScaling(ctx context.Context, o options) (all []scaling, err error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("there is only one core")
	}
	b, err := startInProcess(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	type series struct{ rate, cpu []float64 }
	measured := make([][2]series, len(b.targets))
	for round := -1; round < o.rounds; round++ { // the first fills pools
		for _, i := range rand.Perm(2 * len(b.targets)) {
			cores, t := i%2+1, b.targets[i/2]
			rate, used, err := t.measure(cores, o.round)
			if err != nil {
				return nil, err
			}
			if s := &measured[i/2][cores-1]; round >= 0 {
				s.rate, s.cpu = append(s.rate, rate), append(s.cpu, used)
			}
		}
	}
	for i, t := range b.targets {
		one, two := measured[i][0], measured[i][1]
		byCPU := ratios(one.cpu, two.cpu)
		for n := range byCPU {
			byCPU[n] *= 2
		}
		best, bestOfTwo := slices.Max(one.rate), slices.Max(two.rate)
		all = append(all, scaling{t.name, best, bestOfTwo, bestOfTwo / best, quartilesOf(byCPU)})
	}
	return all, nil
}

// measure is one round on so many cores: requests a second, and CPU time of each.
func (t *target) measure(cores int, duration time.Duration) (rate, used float64, err error) {
	runtime.GOMAXPROCS(cores)
	self := []int{os.Getpid()}
	before, err := cpu(self)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	sent, err := t.load(cores, duration)
	if err != nil {
		return 0, 0, err
	}
	elapsed := time.Since(begun)
	after, err := cpu(self)
	return float64(sent) / elapsed.Seconds(), microseconds(after-before) / float64(sent), err
}

func printScaling(all []scaling, out io.Writer, markdown bool) {
	fmt.Fprintln(out, machine())
	t := table{head: []string{"requests a second, no connections", "one core", "two", "factor", "by CPU time"}}
	for _, s := range all {
		t.add(s.Name, decimals(0, s.One), decimals(0, s.Two), decimals(2, s.Factor), s.ByCPU)
	}
	t.print(out, markdown)
}
