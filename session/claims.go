package session

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxDepth bounds how deeply claims may be nested, in encoding and decoding.
const maxDepth = 16

// A claim's value is encoded as its kind (1 byte) and:
//
//	null, false, true   nothing
//	text, numeral       length, bytes; a numeral is a JSON number as it was written
//	list                count, values
//	object              count, then length, name and value of each member,
//	                    sorted by name, no name twice
const (
	kindNull byte = iota
	kindFalse
	kindTrue
	kindText
	kindNumeral
	kindList
	kindObject
)

func putClaims(s *Session) ([]byte, error) {
	if len(s.Claims) == 0 {
		return nil, nil
	}
	return appendMembers(nil, s.Claims, maxDepth)
}

func getClaims(s *Session, content []byte) error {
	r := reader{rest: content}
	s.Claims = r.members(maxDepth)
	if err := r.end(); err != nil {
		return err
	}
	if len(s.Claims) == 0 {
		return fmt.Errorf("%w: no claims should be left out", ErrEncoding)
	}
	return nil
}

func appendValue(to []byte, value any, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: claims nested deeper than %d", ErrEncoding, maxDepth)
	}
	switch value := value.(type) {
	case nil:
		return append(to, kindNull), nil
	case bool:
		if value {
			return append(to, kindTrue), nil
		}
		return append(to, kindFalse), nil
	case string:
		return appendBytes(append(to, kindText), value), nil
	case json.Number:
		if !isNumeral(value) {
			return nil, fmt.Errorf("%w: a json.Number that is none", ErrEncoding)
		}
		return appendBytes(append(to, kindNumeral), value.String()), nil
	case []any:
		to = binary.AppendUvarint(append(to, kindList), uint64(len(value)))
		var err error
		for _, item := range value {
			if to, err = appendValue(to, item, depth-1); err != nil {
				return nil, err
			}
		}
		return to, nil
	case map[string]any:
		return appendMembers(append(to, kindObject), value, depth)
	default:
		return nil, fmt.Errorf("%w: a claim of type %T", ErrEncoding, value)
	}
}

func appendMembers(to []byte, members map[string]any, depth int) ([]byte, error) {
	to = binary.AppendUvarint(to, uint64(len(members)))
	var err error
	for _, name := range slices.Sorted(maps.Keys(members)) {
		to = appendBytes(to, name)
		if to, err = appendValue(to, members[name], depth-1); err != nil {
			return nil, fmt.Errorf("claim %q: %w", name, err)
		}
	}
	return to, nil
}

// value reads a claim's value. It allocates as it reads, never by a count that
// it was told.
func (r *reader) value(depth int) any {
	if depth == 0 {
		r.fail("claims nested too deeply")
		return nil
	}
	switch kind := r.byte(); kind {
	case kindNull:
		return nil
	case kindFalse, kindTrue:
		return kind == kindTrue
	case kindText:
		return string(r.bytes())
	case kindNumeral:
		number := json.Number(r.bytes())
		if !isNumeral(number) {
			r.fail("not a JSON number")
		}
		return number
	case kindList:
		items := []any{}
		for range r.count() {
			if r.err != nil {
				return nil
			}
			items = append(items, r.value(depth-1))
		}
		return items
	case kindObject:
		return r.members(depth)
	default:
		r.fail("unknown kind of claim")
		return nil
	}
}

func (r *reader) members(depth int) map[string]any {
	members := map[string]any{}
	last := ""
	for i := range r.count() {
		name := string(r.bytes())
		if i > 0 && name <= last {
			r.fail("names of claims not sorted")
		}
		if r.err != nil {
			return nil
		}
		last = name
		members[name] = r.value(depth - 1)
	}
	return members
}

// count reads the number of items or members that follow, each of which takes
// a byte at least.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail("truncated")
		return 0
	}
	return int(n)
}

// isNumeral tells whether n is a number as JSON writes it (RFC 8259 6), with
// no white space around it, and nothing else that JSON would accept.
func isNumeral(n json.Number) bool {
	if !json.Valid([]byte(n)) {
		return false
	}
	first, last := n[0], n[len(n)-1]
	return (first == '-' || isDigit(first)) && isDigit(last)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }
