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
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// journal keeps revocations, and which generations of sessions are superseded, in
// the storage: one immutable object each, named by when it is over.
type journal struct {
	storage certmagic.Storage
	logger  *zap.Logger
	now     func() time.Time

	mu    sync.Mutex
	swept time.Time       // when it was last looked for what is over
	over  map[string]bool // what was over then
}

const (
	// sweepInterval is how often that is done while the process runs. What is over at
	// two sweeps goes, so that a clock which is ahead for a moment takes nothing away.
	sweepInterval = time.Hour
	// sweepSlack is how long after its end a revocation goes: the clock of another
	// process with this storage may be behind.
	sweepSlack = time.Hour
	// sweepTimeout bounds one sweep.
	sweepTimeout = time.Minute
)

// revocationName and supersededName are the names of objects. Others in the folders
// are not ours, such as a temporary file of the storage, which a process that was
// killed has left behind.
var (
	revocationName = regexp.MustCompile(`^([0-9]{12})-[0-9a-f]{24}$`)
	supersededName = regexp.MustCompile(`^([0-9]{12})-([0-9a-f]{32})-([0-9]{1,19})-([0-9]{12})$`)
)

// Append implements session.Journal.
func (j *journal) Append(ctx context.Context, r session.Revocation) error {
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
func (j *journal) sweepInTime() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := j.now(); now.Sub(j.swept) >= sweepInterval {
		j.swept = now
		go j.sweep(now)
	}
}

// sweep deletes what is over, and was when it was last looked. What it cannot delete
// the next one does.
func (j *journal) sweep(now time.Time) {
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

// isOver tells whether what an object of ours says is over for everybody.
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

// List implements session.Journal. It returns what is over, too: the clock may be ahead.
func (j *journal) List(ctx context.Context) ([]session.Revocation, error) {
	j.sweepInTime()
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

// supersededKey is the object that says that a generation was shown. Its name says
// all, so that a start has to list such objects, and not to read each.
func supersededKey(s session.Superseded) string {
	return path.Join(supersededPrefix, fmt.Sprintf("%012d-%x-%d-%012d", s.Until.Unix(), s.ID[:], s.Generation, s.Sealed.Unix()))
}

// Supersede implements session.Journal.
func (j *journal) Supersede(ctx context.Context, s session.Superseded, earlier *session.Superseded) error {
	j.sweepInTime()
	if err := j.storage.Store(ctx, supersededKey(s), []byte("superseded\n")); err != nil {
		j.logger.Warn("that an older cookie of a session is void would be forgotten at a restart; it is stored again later", zap.Error(err))
		return err
	}
	if earlier != nil && *earlier != s {
		_ = j.storage.Delete(ctx, supersededKey(*earlier)) // a sweep does it when the session is over
	}
	return nil
}

// Superseded implements session.Journal.
func (j *journal) Superseded(ctx context.Context) ([]session.Superseded, error) {
	names, err := j.storage.List(ctx, supersededPrefix, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing superseded generations: %w", err)
	}
	all := make([]session.Superseded, 0, len(names))
	for _, name := range names {
		found := supersededName.FindStringSubmatch(path.Base(name))
		if found == nil {
			continue
		}
		var s session.Superseded
		until, errUntil := strconv.ParseInt(found[1], 10, 64)
		_, errID := hex.Decode(s.ID[:], []byte(found[2]))
		generation, errGeneration := strconv.ParseUint(found[3], 10, 64)
		sealed, errSealed := strconv.ParseInt(found[4], 10, 64)
		if err := errors.Join(errUntil, errID, errGeneration, errSealed); err != nil {
			return nil, fmt.Errorf("superseded generation %s: %w", name, err)
		}
		s.Until, s.Generation, s.Sealed = time.Unix(until, 0).UTC(), generation, time.Unix(sealed, 0).UTC()
		all = append(all, s)
	}
	return all, nil
}
