package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/session"
)

// supersededKey is the object that says that a generation was shown.
func supersededKey(s session.Superseded) string {
	return path.Join(supersededPrefix, fmt.Sprintf("%012d-%x-%d-%012d", s.Until.Unix(), s.ID[:], s.Generation, s.Sealed.Unix()))
}

// Supersede implements [session.Journal].
func (j *Journal) Supersede(ctx context.Context, s session.Superseded, earlier *session.Superseded) error {
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

// Superseded implements [session.Journal].
func (j *Journal) Superseded(ctx context.Context) ([]session.Superseded, error) {
	names, err := list(ctx, j.storage, supersededPrefix)
	if err != nil {
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
