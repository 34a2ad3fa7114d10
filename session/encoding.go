package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// The encoding of a session, in the presentation of RFC 8446 3:
//
//	version (1 byte) field*
//	field = tag (1 byte) length (uvarint) content
//
// Tags ascend, lengths are in their shortest form, a field with its zero value
// is left out, and nothing follows the last field: one session has exactly one
// encoding, and no two fields can run together. A new field takes a new tag;
// a field that changes its meaning takes a new version. A program that meets a
// tag or version that it does not know refuses the session, and the browser
// signs in again.
const encodingVersion = 1

// maxEncoded bounds an encoded session in bytes: far above what a cookie
// holds, and below what would hurt when a store hands it out.
const maxEncoded = 256 << 10

// ErrEncoding is wrapped by every error about the encoding of a session or a
// revocation.
var ErrEncoding = errors.New("session: bad encoding")

// field is one row of the layout. put returns the content, nil for the zero
// value; get is given content that is not empty.
type field struct {
	tag byte
	put func(*Session) ([]byte, error)
	get func(*Session, []byte) error
}

var layout = []field{
	{1, putID, getID},
	number(2, func(s *Session) *uint64 { return &s.Generation }),
	text(3, func(s *Session) *string { return &s.Host }),
	moment(4, func(s *Session) *time.Time { return &s.Created }),
	moment(5, func(s *Session) *time.Time { return &s.Sealed }),
	moment(6, func(s *Session) *time.Time { return &s.Expires }),
	text(7, func(s *Session) *string { return &s.Provider }),
	text(8, func(s *Session) *string { return &s.Issuer }),
	text(9, func(s *Session) *string { return &s.ClientID }),
	text(10, func(s *Session) *string { return &s.Subject }),
	text(11, func(s *Session) *string { return &s.IdPSession }),
	moment(12, func(s *Session) *time.Time { return &s.AuthTime }),
	text(13, func(s *Session) *string { return &s.ACR }),
	moment(14, func(s *Session) *time.Time { return &s.IDTokenIssued }),
	text(15, func(s *Session) *string { return &s.Nonce }),
	{16, putClaims, getClaims},
	hidden(17, func(s *Session) *secret.String { return &s.AccessToken }),
	text(18, func(s *Session) *string { return &s.TokenType }),
	moment(19, func(s *Session) *time.Time { return &s.AccessExpiry }),
	hidden(20, func(s *Session) *secret.String { return &s.RefreshToken }),
	moment(21, func(s *Session) *time.Time { return &s.RefreshAt }),
	hidden(22, func(s *Session) *secret.String { return &s.IDToken }),
	list(23, func(s *Session) *[]string { return &s.UserInfoClaims }),
	flag(24, func(s *Session) *bool { return &s.Incomplete }),
	hidden(25, func(s *Session) *secret.String { return &s.DPoPKey }),
}

// MarshalBinary encodes the session. It fails for claims of a type that the
// encoding does not have or nested too deeply, for times outside of the years
// 1970 to 9999, and for more than 256 KiB.
func (s *Session) MarshalBinary() ([]byte, error) {
	encoded := []byte{encodingVersion}
	for _, field := range layout {
		content, err := field.put(s)
		if err != nil {
			return nil, fmt.Errorf("field %d: %w", field.tag, err)
		}
		if content == nil {
			continue
		}
		encoded = append(encoded, field.tag)
		encoded = appendBytes(encoded, content)
	}
	if len(encoded) > maxEncoded {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrEncoding, len(encoded), maxEncoded)
	}
	return encoded, nil
}

// Decode reads what [Session.MarshalBinary] made, and nothing else: whatever it
// accepts encodes to the same bytes again. It keeps no reference to data.
func Decode(data []byte) (*Session, error) {
	if len(data) > maxEncoded {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrEncoding, len(data), maxEncoded)
	}
	r := reader{rest: data}
	if v := r.byte(); r.err == nil && v != encodingVersion {
		return nil, fmt.Errorf("%w: version %d", ErrEncoding, v)
	}
	s := &Session{}
	fields := layout
	for r.err == nil && len(r.rest) > 0 {
		tag, content := r.byte(), r.bytes()
		for len(fields) > 0 && fields[0].tag < tag {
			fields = fields[1:]
		}
		if r.err != nil {
			break
		}
		if len(fields) == 0 || fields[0].tag != tag || len(content) == 0 {
			return nil, fmt.Errorf("%w: field %d unknown, empty or out of order", ErrEncoding, tag)
		}
		if err := fields[0].get(s, content); err != nil {
			return nil, fmt.Errorf("field %d: %w", tag, err)
		}
		fields = fields[1:]
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

func putID(s *Session) ([]byte, error) {
	if s.ID == (ID{}) {
		return nil, nil
	}
	return s.ID[:], nil
}

func getID(s *Session, content []byte) error {
	if len(content) != len(s.ID) || ID(content) == (ID{}) {
		return fmt.Errorf("%w: not an ID", ErrEncoding)
	}
	s.ID = ID(content)
	return nil
}

func text(tag byte, of func(*Session) *string) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) { return orNil(*of(s)), nil },
		func(s *Session, content []byte) error { *of(s) = string(content); return nil },
	}
}

func hidden(tag byte, of func(*Session) *secret.String) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) { return orNil(of(s).Reveal()), nil },
		func(s *Session, content []byte) error { *of(s) = secret.New(string(content)); return nil },
	}
}

func number(tag byte, of func(*Session) *uint64) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) {
			if *of(s) == 0 {
				return nil, nil
			}
			return binary.AppendUvarint(nil, *of(s)), nil
		},
		func(s *Session, content []byte) error {
			r := reader{rest: content}
			n := r.uvarint()
			if err := r.end(); err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("%w: a zero that should be left out", ErrEncoding)
			}
			*of(s) = n
			return nil
		},
	}
}

func moment(tag byte, of func(*Session) *time.Time) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) {
			if of(s).IsZero() {
				return nil, nil
			}
			return appendTime(nil, *of(s))
		},
		func(s *Session, content []byte) error {
			r := reader{rest: content}
			*of(s) = r.time()
			return r.end()
		},
	}
}

func list(tag byte, of func(*Session) *[]string) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) {
			var content []byte
			for _, item := range *of(s) {
				content = appendBytes(content, item)
			}
			return content, nil
		},
		func(s *Session, content []byte) error {
			r := reader{rest: content}
			for len(r.rest) > 0 && r.err == nil {
				*of(s) = append(*of(s), string(r.bytes()))
			}
			return r.end()
		},
	}
}

func flag(tag byte, of func(*Session) *bool) field {
	return field{
		tag,
		func(s *Session) ([]byte, error) {
			if !*of(s) {
				return nil, nil
			}
			return []byte{1}, nil
		},
		func(s *Session, content []byte) error {
			if len(content) != 1 || content[0] != 1 {
				return fmt.Errorf("%w: a flag that is not 1", ErrEncoding)
			}
			*of(s) = true
			return nil
		},
	}
}

func orNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
