package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// Journal is a [session.Journal]. What is revoked, and which generations of sessions are
// superseded, is one immutable object each, whose name begins with the time at which it
// is over, and says all: a start lists the objects and reads none of them, however many
// there are and however slow the storage is. What is over is deleted, once an hour when
// something is listed or added. It is safe for concurrent use.
type Journal struct {
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	mu    sync.Mutex
	swept time.Time       // when the last sweep began
	over  map[string]bool // what was over then
}

const (
	// sweepInterval is how often a running process looks for what is over. What is over
	// at two sweeps is deleted: a clock that is ahead for a moment takes nothing away.
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
// left behind. What looks like a revocation and cannot be read is an error: it may be one
// of another version, or of a storage that cuts names off.
var (
	revocationName = regexp.MustCompile(`^([0-9]{12})-([0-9a-f]+)$`)
	supersededName = regexp.MustCompile(`^([0-9]{12})-([0-9a-f]{32})-([0-9]{1,19})-([0-9]{12})$`)
)

// Append implements [session.Journal].
func (j *Journal) Append(ctx context.Context, r session.Revocation) error {
	data, err := r.MarshalBinary()
	if err != nil {
		return err
	}
	j.sweepInTime()
	name := fmt.Sprintf("%012d-%x", r.Until().Unix(), data)
	return j.storage.Store(ctx, path.Join(revocationsPrefix, name), []byte("revoked\n"))
}

// sweepInTime begins to sweep, if that was not done lately.
func (j *Journal) sweepInTime() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := j.now(); now.Sub(j.swept) >= sweepInterval {
		j.swept = now
		go j.sweep(now)
	}
}

// sweep deletes what is over, and was at the sweep before. What it cannot delete is left
// to the next one.
func (j *Journal) sweep(now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	j.mu.Lock()
	before := j.over
	j.mu.Unlock()
	over := make(map[string]bool)
	for _, prefix := range []string{revocationsPrefix, supersededPrefix} {
		names, _ := j.storage.List(ctx, prefix, false)
		for _, name := range names {
			if !isOver(name, now) || ctx.Err() != nil {
				continue
			}
			if !before[name] || j.storage.Delete(ctx, name) != nil {
				over[name] = true
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over = over
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

// List implements [session.Journal]. It returns what is over, too: the clock may be ahead.
func (j *Journal) List(ctx context.Context) ([]session.Revocation, error) {
	j.sweepInTime()
	names, err := list(ctx, j.storage, revocationsPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing revocations: %w", err)
	}
	revocations := make([]session.Revocation, 0, len(names))
	for _, name := range names {
		found := revocationName.FindStringSubmatch(path.Base(name))
		if found == nil {
			continue
		}
		revocation, err := decodeRevocation(found[2])
		if err != nil {
			return nil, fmt.Errorf("revocation %s: %w; remove the file, and those of gatehouse/keys, to have everybody sign in again", name, err)
		}
		revocations = append(revocations, revocation)
	}
	return revocations, nil
}

func decodeRevocation(text string) (session.Revocation, error) {
	data, err := hex.DecodeString(text)
	if err != nil {
		return session.Revocation{}, err
	}
	return session.DecodeRevocation(data)
}

// Interface guard.
var _ session.Journal = (*Journal)(nil)
