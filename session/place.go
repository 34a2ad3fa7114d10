package session

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"time"
)

// placePatience bounds how long a shared memory is asked for a place, or given it back.
const placePatience = time.Second

// Place takes one of n places, which parts name with a kind that is a constant of the
// program, among all processes that share a memory: for a time, or until it is given
// back. It is [ErrUsed] if all are taken, and [ErrUnavailable] if that cannot be told
// within a second. Where nothing is shared, there is always a place: a process counts
// for itself.
func (st *State) Place(ctx context.Context, n int, forTime time.Duration, kind string, parts ...string) (giveBack func(), err error) {
	if st.shared == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	owner, first := rand.Text(), mathrand.IntN(n) // most are free, and the first that is asked for is
	for i := range n {
		name := sharedName(sharedPlace+kind, append(parts[:len(parts):len(parts)], strconv.Itoa((first+i)%n))...)
		mine, err := st.shared.Lease(ctx, name, owner, forTime)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
		}
		if mine {
			return func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placePatience)
				defer cancel()
				_ = st.shared.Release(ctx, name, owner) // else its time ends it
			}, nil
		}
	}
	return nil, fmt.Errorf("%w: every place of %s is taken", ErrUsed, kind)
}
