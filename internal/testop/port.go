package testop

import "testing"

// FreePort is a port of [HoldPort], for the length of the test.
func FreePort(t testing.TB) string {
	t.Helper()
	port, release, err := HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}
