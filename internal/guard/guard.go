// Package guard is for work in a goroutine of its own, where no server catches a panic:
// one there would end the process, and everybody's requests with it.
package guard

import (
	"fmt"
	"runtime/debug"
)

// Call calls work. A panic in it is an error that holds the stack, for the log.
func Call[T any](work func() (T, error)) (result T, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
		}
	}()
	return work()
}
