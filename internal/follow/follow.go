// Package follow reads files that an administrator may change at any time, and makes the
// changes count without a reload.
package follow

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

const (
	// settled is how much older than the reading of it a file has to be, for a later
	// change to show in its time.
	settled = 2 * time.Second
	// retryAfter is how long after an error a file is read again.
	retryAfter = time.Second
)

// File is a file whose content is a T. Each use looks at whether the file has changed.
// What was read never changes. It is safe for concurrent use.
type File[T any] struct {
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

// Open reads a file of at most limit bytes. Log lines call it by what it is. The errors
// of parse begin with the number of a line, and those of Open with the path before it.
// The clock is time.Now by default.
func Open[T any](what, path string, limit int64, parse func([]byte) (*T, error), logger *zap.Logger, now func() time.Time) (*File[T], error) {
	if now == nil {
		now = time.Now
	}
	f := &File[T]{what: what, path: path, limit: limit, parse: parse, logger: logger, now: now}
	return f, f.read()
}

// Path returns the path that the file was opened by.
func (f *File[T]) Path() string { return f.path }

// Value returns what the file says now. If it cannot be read, or has an error, that is
// logged once, and what it said before stays.
func (f *File[T]) Value() *T {
	current := f.current.Load()
	if !f.changed(current) || !f.mu.TryLock() {
		return current.value // unchanged, or somebody else is reading the file
	}
	defer f.mu.Unlock()
	if f.failed != "" && f.now().Sub(f.tried) < retryAfter {
		return current.value
	}
	failed := ""
	if err := f.read(); err != nil {
		failed = err.Error()
		if failed != f.failed {
			f.logger.Error("the "+f.what+" cannot be used any more; what it said before stays", zap.Error(err))
		}
	}
	f.failed, f.tried = failed, f.now()
	return f.current.Load().value
}

// changed reports whether the file may differ from what was read.
func (f *File[T]) changed(current *reading[T]) bool {
	info, err := os.Stat(f.path)
	return err != nil || !current.settled || !os.SameFile(info, current.info) ||
		!info.ModTime().Equal(current.info.ModTime()) || info.Size() != current.info.Size()
}

// read reads the file as it is now.
func (f *File[T]) read() error {
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
