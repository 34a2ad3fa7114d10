package testop

import (
	"errors"
	"strconv"
	"syscall"
	"testing"
)

// FreePort is a port of 127.0.0.1 that stays free until somebody listens on it by
// number: a socket that is bound and never listens keeps it, for the length of the
// test, from everyone whose port the kernel picks (a connection going out from
// another test too), and SO_REUSEADDR on both sides lets the one that was told the
// number have it, as often as it likes.
func FreePort(t testing.TB) string {
	t.Helper()
	syscall.ForkLock.RLock() // no child may inherit the socket
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) }) //nolint:errcheck // nothing to be done about it
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
}
