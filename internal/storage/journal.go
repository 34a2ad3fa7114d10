package storage

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
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// Journal is a [session.Journal]. What is revoked, and which generations of sessions are
// superseded, is one immutable object each, whose name begins with the time at which it
// is over. What is over is deleted, when it is listed and once an hour when something is
// added. It is safe for concurrent use.
type Journal struct {
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time
	swept   atomic.Int64 // when the last sweep began, in Unix seconds
}

const (
	// sweepInterval is how often a running process deletes what is over.
	sweepInterval = time.Hour
	// sweepSlack is how long after its end a revocation is deleted: the clock of
	// another process with this storage may be behind.
	sweepSlack = time.Hour
	// sweepTimeout bounds one sweep.
	sweepTimeout = time.Minute
)

// NewJournal returns the journal of a storage. The clock is time.Now by default.
func NewJournal(storage certmagic.Storage, logger *zap.Logger, now func() time.Time) *Journal {
	if now == nil {
		now = time.Now
	}
	return &Journal{storage: storage, logger: logger, now: now}
}

// revocationName and supersededName are the names of objects. Anything else in their
// folders is not ours, such as a temporary file of the storage that a killed process has
// left behind.
var (
	revocationName = regexp.MustCompile(`^([0-9]{12})-[0-9a-f]{24}$`)
	supersededName = regexp.MustCompile(`^([0-9]{12})-([0-9a-f]{32})-([0-9]{1,19})-([0-9]{12})$`)
)

// Append implements [session.Journal].
func (j *Journal) Append(ctx context.Context, r session.Revocation) error {
	data, err := r.MarshalBinary()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	name := fmt.Sprintf("%012d-%s", r.Until().Unix(), hex.EncodeToString(sum[:12]))
	j.sweepInTime()
	return j.storage.Store(ctx, path.Join(revocationsPrefix, name), data)
}

// sweepInTime begins to sweep, if that was not done lately.
func (j *Journal) sweepInTime() {
	if last, now := j.swept.Load(), j.now(); now.Sub(time.Unix(last, 0)) >= sweepInterval && j.swept.CompareAndSwap(last, now.Unix()) {
		go j.sweep(now)
	}
}

// sweep deletes what is over. What it cannot delete is left to the next sweep.
func (j *Journal) sweep(now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	for _, prefix := range []string{revocationsPrefix, supersededPrefix} {
		names, _ := j.storage.List(ctx, prefix, false)
		for _, name := range names {
			if isOver(name, now) && ctx.Err() == nil {
				_ = j.storage.Delete(ctx, name)
			}
		}
	}
}

// isOver tells by the name of an object whether what it says is over for every process.
func isOver(name string, now time.Time) bool {
	found := revocationName.FindStringSubmatch(path.Base(name))
	if found == nil {
		found = supersededName.FindStringSubmatch(path.Base(name))
	}
	if found == nil {
		return false
	}
	until, err := strconv.ParseInt(found[1], 10, 64)
	return err == nil && !now.Before(time.Unix(until, 0).Add(sweepSlack))
}

// List implements [session.Journal]. What is over is deleted on the way.
func (j *Journal) List(ctx context.Context) ([]session.Revocation, error) {
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

// Interface guard.
var _ session.Journal = (*Journal)(nil)
