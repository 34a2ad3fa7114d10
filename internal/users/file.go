package users

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

// File is a users file. Changes to it count without a reload: each use looks at whether
// it has changed. It is safe for concurrent use.
type File struct {
	path   string
	logger *zap.Logger
	now    func() time.Time

	current atomic.Pointer[reading]
	mu      sync.Mutex // one reader at a time
	failed  string     // what is wrong with the file now, as it was logged
	tried   time.Time  // when that was seen
}

// reading is what was read, and what the file looked like then.
type reading struct {
	*List
	info    os.FileInfo
	settled bool
}

// Open reads a users file. An error names the file and the line. The clock is time.Now
// by default.
func Open(path string, logger *zap.Logger, now func() time.Time) (*File, error) {
	if now == nil {
		now = time.Now
	}
	f := &File{path: path, logger: logger, now: now}
	return f, f.read()
}

// Path returns the path that the file was opened by.
func (f *File) Path() string { return f.path }

// Users returns the users as the file lists them now. If it cannot be read, or has an
// error, that is logged once, and the users that it listed before stay.
func (f *File) Users() *List {
	current := f.current.Load()
	if !f.changed(current) || !f.mu.TryLock() {
		return current.List // unchanged, or somebody else is reading the file
	}
	defer f.mu.Unlock()
	if f.failed != "" && f.now().Sub(f.tried) < retryAfter {
		return current.List
	}
	failed := ""
	if err := f.read(); err != nil {
		failed = err.Error()
		if failed != f.failed {
			f.logger.Error("the users file cannot be used any more; the users that it listed before stay", zap.Error(err))
		}
	}
	f.failed, f.tried = failed, f.now()
	return f.current.Load().List
}

// changed reports whether the file may differ from what was read.
func (f *File) changed(current *reading) bool {
	info, err := os.Stat(f.path)
	return err != nil || !current.settled || !os.SameFile(info, current.info) ||
		!info.ModTime().Equal(current.info.ModTime()) || info.Size() != current.info.Size()
}

// read reads the file as it is now.
func (f *File) read() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	var parsed *List
	if current := f.current.Load(); current != nil && current.seed == sha256.Sum256(content) {
		parsed = current.List
	} else if parsed, err = Parse(content); err != nil {
		return fmt.Errorf("%s:%w", f.path, err)
	}
	f.current.Store(&reading{parsed, info, f.now().Sub(info.ModTime()) > settled})
	return nil
}
