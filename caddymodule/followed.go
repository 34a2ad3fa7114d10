package caddymodule

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Times of files that are followed.
const (
	// settled is how much older than its reading a file's time has to be, for a later
	// change to show in it.
	settled = 2 * time.Second
	// followRetry is how long a file that is wrong is not looked at again.
	followRetry = time.Second
)

// followed is a file that is followed without a reload: each use looks at whether it
// has changed. What was read never changes.
type followed[T any] struct {
	what, path string
	limit      int64 // bytes
	parse      func([]byte) (*T, error)
	logger     *zap.Logger
	now        func() time.Time

	current atomic.Pointer[reading[T]]
	mu      sync.Mutex // one reader at a time
	failed  string     // what is wrong with the file now, as it was logged
	tried   time.Time  // when that was seen
}

// reading is what was read, and what the file looked like then.
type reading[T any] struct {
	value   *T
	sum     [sha256.Size]byte
	info    os.FileInfo
	settled bool
}

// follow reads a file of at most limit bytes, and keeps to it. The errors of parse
// begin with the number of a line; what is wrong with the file now is an error.
func follow[T any](what, path string, limit int64, parse func([]byte) (*T, error), logger *zap.Logger) (*followed[T], error) {
	f := &followed[T]{what: what, path: path, limit: limit, parse: parse, logger: logger, now: time.Now}
	return f, f.read()
}

// value returns what the file says now. A file that cannot be read, or that is wrong,
// is logged once, and what it said before goes on.
func (f *followed[T]) value() *T {
	current := f.current.Load()
	if !f.changed(current) || !f.mu.TryLock() {
		return current.value // as it is, or somebody else is reading it
	}
	defer f.mu.Unlock()
	if f.failed != "" && f.now().Sub(f.tried) < followRetry {
		return current.value
	}
	failed := ""
	if err := f.read(); err != nil {
		failed = err.Error()
		if failed != f.failed {
			f.logger.Error("the "+f.what+" cannot be used any more; what it said before goes on", zap.Error(err))
		}
	}
	f.failed, f.tried = failed, f.now()
	return f.current.Load().value
}

// changed reports that the file may say something else than what was read.
func (f *followed[T]) changed(current *reading[T]) bool {
	info, err := os.Stat(f.path)
	return err != nil || !current.settled || !os.SameFile(info, current.info) ||
		!info.ModTime().Equal(current.info.ModTime()) || info.Size() != current.info.Size()
}

// read reads the file as it is now.
func (f *followed[T]) read() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(file, f.limit+1))
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if int64(len(content)) > f.limit {
		return fmt.Errorf("%s: more than %d bytes", f.path, f.limit)
	}
	next := &reading[T]{sum: sha256.Sum256(content), info: info, settled: f.now().Sub(info.ModTime()) > settled}
	if current := f.current.Load(); current != nil && current.sum == next.sum {
		next.value = current.value
	} else if next.value, err = f.parse(content); err != nil {
		return fmt.Errorf("%s:%w", f.path, err)
	}
	f.current.Store(next)
	return nil
}
