//go:build !linux

package testop

import (
	"net"
	"strconv"
	"testing"
)

// FreePort is a port of 127.0.0.1 that was free a moment ago: elsewhere than on
// Linux nothing keeps it for somebody else.
func FreePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing to be done about it
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}
