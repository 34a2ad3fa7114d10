//go:build !linux

package testop

import (
	"net"
	"strconv"
)

// HoldPort is a port of 127.0.0.1 that was free a moment ago: elsewhere than on
// Linux nothing keeps it for somebody else.
func HoldPort() (port string, release func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	defer listener.Close() //nolint:errcheck // nothing to be done about it
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), func() {}, nil
}
