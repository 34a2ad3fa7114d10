package session

import (
	"encoding/binary"
	"fmt"
	"time"
)

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// appendBytes appends content after its length.
func appendBytes[T string | []byte](to []byte, content T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(content))), content...)
}

// appendTime appends t in whole seconds since 1970. A time outside of the years
// 1970 to 9999 is refused, not wrapped into one that is valid (SEC-88).
func appendTime(to []byte, t time.Time) ([]byte, error) {
	seconds := t.Unix()
	if seconds < 0 || seconds > lastSecond {
		return nil, fmt.Errorf("%w: time %v", ErrEncoding, t)
	}
	return binary.AppendUvarint(to, uint64(seconds)), nil
}

// reader takes an encoding apart. After its first error it returns zero values.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrEncoding, what)
	}
	r.rest = nil
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("truncated")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || (size > 1 && r.rest[size-1] == 0) {
		r.fail("number truncated, too large or not in its shortest form")
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) bytes() []byte {
	size := r.uvarint()
	if size > uint64(len(r.rest)) {
		r.fail("truncated")
		return nil
	}
	content := r.rest[:size]
	r.rest = r.rest[size:]
	return content
}

// fill reads as many bytes as to has.
func (r *reader) fill(to []byte) {
	if len(r.rest) < len(to) {
		r.fail("truncated")
	}
	r.rest = r.rest[copy(to, r.rest):]
}

func (r *reader) time() time.Time {
	seconds := r.uvarint()
	if seconds > lastSecond {
		r.fail("time after the year 9999")
	}
	if r.err != nil {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// end returns the first error, and one if anything is left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("trailing bytes")
	}
	return r.err
}
