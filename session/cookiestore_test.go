package session

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// handleVector is full() as the first version of this store that compresses kept it: cookies outlive the program.
const handleVector = `
d162641460646266616563e7e0e4e2e6e1e5e31760625ac3c4cc9f5850a08764320bebd2d7774eb1b1b26e6dbf7b8a8d
8df5e99efba7d8d8d9a1eee110437227922e4ee6c482022ed6c49ccce4546ee6e2cc141ed697afee9c62e365ce4d4be4
635d0232929f274fd720d82c3ebccad1c8374ba09e1dea2f41b02ea27cc7cc9c5f50ccc268cecac0c09a935a969ac3c2
ae6ba8679aaa6dcc96939f9c9d9ac2c80e4912450c3cc8e9878d89818d0192665819995913537233f30499124b84585c
02f20384592fbebd738a4d84a9a8449491418c3933a5445c02e2384188cd0a6945f9b90a60fd128c8c92cc0c8cff0101
0000ffff
`

// inFolds is a person in many groups, whose cookie is what compressing is for.
func inFolds(groups int) *Session {
	s := alice()
	var all []any
	for i := range groups {
		all = append(all, fmt.Sprintf("cn=department-%03d,ou=groups,dc=example,dc=com", i))
	}
	s.Claims["groups"] = all
	return s
}

func encode(t *testing.T, s *Session) []byte {
	t.Helper()
	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCookieStoreCompresses(t *testing.T) {
	store := CookieStore()
	hundred := inFolds(100)
	incompressible := &Session{Issuer: "i", Subject: noise(64)}
	for name, tt := range map[string]struct {
		session *Session
		most    int // bytes of the handle
	}{
		"somebody":       {alice(), len(encode(t, alice())) * 4 / 5},
		"100 groups":     {hundred, len(encode(t, hundred)) / 8},
		"incompressible": {incompressible, len(encode(t, incompressible))},
	} {
		t.Run(name, func(t *testing.T) {
			data := encode(t, tt.session)
			for range 3 { // what the pools keep is used again
				handle, err := store.Save(t.Context(), Record{Data: data}, nil)
				if err != nil || len(handle) > tt.most {
					t.Fatalf("%d of %d bytes, at most %d; %v", len(handle), len(data), tt.most, err)
				}
				if again, err := store.Load(t.Context(), handle); err != nil || !bytes.Equal(again, data) {
					t.Fatalf("%x, %v; want %x", again, err, data)
				}
			}
		})
	}
}

// Cookies of the version before, and of this one, are read by every later one.
func TestCookieStoreReads(t *testing.T) {
	handle, err := hex.DecodeString(strings.Join(strings.Fields(handleVector), ""))
	if err != nil {
		t.Fatal(err)
	}
	want := encode(t, full())
	for name, handle := range map[string][]byte{"compressed": handle, "as it is": want} {
		if got, err := CookieStore().Load(t.Context(), handle); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, want)
		}
	}
}

// Only what this store made is a session. It is sealed, so nobody else's arrives here; a key that leaks opens no bomb.
func TestCookieStoreRefuses(t *testing.T) {
	store := CookieStore()
	good, err := store.Save(t.Context(), Record{Data: encode(t, inFolds(20))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	deflate := func(size int) []byte {
		small := bytes.NewBuffer([]byte{deflated})
		w, err := flate.NewWriterDict(small, flate.BestCompression, []byte(common))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(make([]byte, size))
		_ = w.Close()
		return small.Bytes()
	}
	for name, handle := range map[string][]byte{
		"nothing behind the mark": {deflated},
		"no DEFLATE":              {deflated, 0xff, 0xff},
		"torn":                    good[:len(good)/2],
		"something behind it":     append(slices.Clone(good), 0),
		"a bomb":                  deflate(64 << 20),
		"one byte too many":       deflate(maxEncoded + 1),
	} {
		if data, err := store.Load(t.Context(), handle); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
		if again, err := store.Load(t.Context(), good); err != nil || len(again) < len(good) {
			t.Errorf("after that: %v", err)
		}
	}
}
