package testop

import "time"

// Eventually tries until something holds, and tells whether it did before the time was
// over. A test is given far more time than it needs: a busy machine is slow.
func Eventually(limit time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return false
}
