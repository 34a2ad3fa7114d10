package testop

import (
	"errors"
	"strconv"
	"syscall"
)

// HoldPort is a port of 127.0.0.1 that stays free until somebody listens on it by
// number: a socket that is bound and never listens keeps it, until it is released,
// from everyone whose port the kernel picks (a connection going out from elsewhere
// too), and SO_REUSEADDR on both sides lets the one that was told the number have
// it, as often as it likes.
func HoldPort() (port string, release func(), err error) {
	syscall.ForkLock.RLock() // no child may inherit the socket
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", nil, err
	}
	release = func() { syscall.Close(fd) } //nolint:errcheck // nothing to be done about it
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		release()
		return "", nil, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		release()
		return "", nil, err
	}
	return strconv.Itoa(name.(*syscall.SockaddrInet4).Port), release, nil
}
