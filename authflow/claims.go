package authflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxDepth bounds the nesting of objects and arrays. Providers use three.
	maxDepth = 32
	// maxNumericDate is the end of the year 9999, the last that RFC 3339 can
	// write.
	maxNumericDate = 253402300799
)

var (
	// ErrClaimAbsent means that there is no member of that name.
	ErrClaimAbsent = errors.New("claim absent")
	// ErrClaimMalformed means that a claim is there, but has another type or
	// range than its specification gives it. null is such a type.
	ErrClaimMalformed = errors.New("claim malformed")
	// ErrNotClaims means that the input is not one JSON object that every
	// decoder reads the same way.
	ErrNotClaims = errors.New("not an unambiguous JSON object")
)

// Claims holds the members of one JSON object: string, bool, json.Number,
// []any, map[string]any or nil. Names are compared exactly.
type Claims map[string]any

// DecodeClaims decodes one JSON object (RFC 8259) and refuses, with
// ErrNotClaims, what two decoders could read differently: a member twice in one
// object, or two members that differ only by Unicode simple case folding
// (encoding/json takes the last of both), invalid UTF-8, anything after the
// object. It also refuses more than 1 MiB and more than 32 levels.
//
// RFC 7519 4 lets a parser take the last of two members. The one that checks
// and the one that uses a claim must not take different ones.
func DecodeClaims(data []byte) (Claims, error) {
	if len(data) > maxBody {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrNotClaims, maxBody)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: invalid UTF-8", ErrNotClaims)
	}
	d := strictDecoder{json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	value, err := d.value(maxDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotClaims, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrNotClaims)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: the outermost value is none", ErrNotClaims)
	}
	return object, nil
}

// strictDecoder builds values from the tokens of encoding/json, which shows it
// every member and not only the last of a name.
type strictDecoder struct{ *json.Decoder }

// value reads one value of at most depth levels.
func (d strictDecoder) value(depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	delim, composite := token.(json.Delim)
	switch {
	case !composite:
		return token, nil
	case depth == 0:
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	case delim == '{':
		return d.object(depth - 1)
	default:
		return d.array(depth - 1)
	}
}

// object reads the members of an object whose brace was read.
func (d strictDecoder) object(depth int) (map[string]any, error) {
	object := map[string]any{}
	folded := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read member name: %w", err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("a member without a name")
		}
		key := fold(name)
		if folded[key] {
			return nil, fmt.Errorf("member %.64q twice (names are compared without regard to case)", name)
		}
		folded[key] = true
		if object[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return object, d.end()
}

// array reads the elements of an array whose bracket was read.
func (d strictDecoder) array(depth int) ([]any, error) {
	array := []any{}
	for d.More() {
		element, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		array = append(array, element)
	}
	return array, d.end()
}

// end reads the closing brace or bracket.
func (d strictDecoder) end() error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("read end: %w", err)
	}
	return nil
}

// fold maps all names that encoding/json would match with one field to one
// string: each rune becomes the smallest of its Unicode simple folding orbit
// ("ſub" and "SUB" are "SUB").
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		smallest := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			smallest = min(smallest, other)
		}
		return smallest
	}, name)
}

// Lookup returns the claim that a path names, and whether there is one: the
// member of exactly that name if there is one, else the dotted path from member
// to member ("realm_access.roles"). A member's name may itself contain dots.
func (c Claims) Lookup(path string) (any, bool) {
	if value, ok := c[path]; ok {
		return value, true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if object, ok := c[path[:i]].(map[string]any); ok {
			if value, ok := Claims(object).Lookup(path[i+1:]); ok {
				return value, true
			}
		}
	}
	return nil, false
}

// String returns the member of that name, which must be a string:
// ErrClaimAbsent, ErrClaimMalformed.
func (c Claims) String(name string) (string, error) {
	value, ok := c[name]
	if !ok {
		return "", fmt.Errorf("%w: %s", ErrClaimAbsent, name)
	}
	s, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%w: %s is no string", ErrClaimMalformed, name)
	}
	return s, nil
}

// Time returns the member of that name, which must be a NumericDate (RFC 7519
// 2) in whole seconds between 1970 and 9999: ErrClaimAbsent, ErrClaimMalformed.
// 1e300, negative numbers, fractions and numbers in quotes are refused: each of
// them has wrapped into a valid date in somebody's code (SEC-88).
func (c Claims) Time(name string) (time.Time, error) {
	value, ok := c[name]
	if !ok {
		return time.Time{}, fmt.Errorf("%w: %s", ErrClaimAbsent, name)
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("%w: %s is no number", ErrClaimMalformed, name)
	}
	seconds, err := strconv.ParseUint(number.String(), 10, 63)
	if err != nil || seconds > maxNumericDate {
		return time.Time{}, fmt.Errorf("%w: %s is no whole second between 1970 and 9999", ErrClaimMalformed, name)
	}
	return time.Unix(int64(seconds), 0), nil
}

// strings returns the member of that name, which must be a string or a list of
// strings, as a list: the form that RFC 7519 4.1.3 gives to aud.
func (c Claims) strings(name string) ([]string, error) {
	switch value := c[name].(type) {
	case string:
		return []string{value}, nil
	case []any:
		list := make([]string, 0, len(value))
		for _, element := range value {
			s, ok := element.(string)
			if !ok {
				return nil, fmt.Errorf("%w: %s holds more than strings", ErrClaimMalformed, name)
			}
			list = append(list, s)
		}
		return list, nil
	}
	if _, ok := c[name]; !ok {
		return nil, fmt.Errorf("%w: %s", ErrClaimAbsent, name)
	}
	return nil, fmt.Errorf("%w: %s is neither a string nor a list", ErrClaimMalformed, name)
}
