package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/gatehouse-auth/gatehouse/session"
)

// journal keeps revocations in the storage, one immutable object each, named by
// when it is over.
type journal struct {
	storage certmagic.Storage
	now     func() time.Time
	swept   atomic.Int64 // when it was last looked for what is over, in Unix seconds
}

const (
	// sweepInterval is how often that is done while the process runs.
	sweepInterval = time.Hour
	// sweepSlack is how long after its end a revocation goes: the clock of another
	// process with this storage may be behind.
	sweepSlack = time.Hour
	// sweepTimeout bounds one sweep.
	sweepTimeout = time.Minute
)

// revocationName is the name of an object. Others in the folder are not ours, such as
// a temporary file of the storage, which a process that was killed has left behind.
var revocationName = regexp.MustCompile(`^([0-9]{12})-[0-9a-f]{24}$`)

// Append implements session.Journal.
func (j *journal) Append(ctx context.Context, r session.Revocation) error {
	data, err := r.MarshalBinary()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	name := fmt.Sprintf("%012d-%s", r.Until().Unix(), hex.EncodeToString(sum[:12]))
	if last, now := j.swept.Load(), j.now(); now.Sub(time.Unix(last, 0)) >= sweepInterval && j.swept.CompareAndSwap(last, now.Unix()) {
		go j.sweep(now)
	}
	return j.storage.Store(ctx, path.Join(revocationsPrefix, name), data)
}

// sweep deletes what is over. What it cannot delete the next one does.
func (j *journal) sweep(now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	names, _ := j.storage.List(ctx, revocationsPrefix, false)
	for _, name := range names {
		if isOver(name, now) && ctx.Err() == nil {
			_ = j.storage.Delete(ctx, name)
		}
	}
}

// isOver tells whether a revocation is over for everybody.
func isOver(name string, now time.Time) bool {
	found := revocationName.FindStringSubmatch(path.Base(name))
	if found == nil {
		return false
	}
	until, err := strconv.ParseInt(found[1], 10, 64)
	return err == nil && !now.Before(time.Unix(until, 0).Add(sweepSlack))
}

// List implements session.Journal. What is over is swept on the way.
func (j *journal) List(ctx context.Context) ([]session.Revocation, error) {
	names, err := j.storage.List(ctx, revocationsPrefix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing revocations: %w", err)
	}
	revocations := make([]session.Revocation, 0, len(names))
	for _, name := range names {
		if !revocationName.MatchString(path.Base(name)) {
			continue
		}
		if isOver(name, j.now()) {
			_ = j.storage.Delete(ctx, name) // the next sweep tries again
			continue
		}
		data, err := j.storage.Load(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has swept it
		}
		if err != nil {
			return nil, fmt.Errorf("reading revocation %s: %w", name, err)
		}
		revocation, err := session.DecodeRevocation(data)
		if err != nil {
			return nil, fmt.Errorf("revocation %s: %w", name, err)
		}
		revocations = append(revocations, revocation)
	}
	return revocations, nil
}
