package session

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// full is a session with every field set.
func full() *Session {
	return &Session{
		ID: ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Generation: 300,
		Host: "app.example.com", Created: epoch, Sealed: epoch.Add(time.Hour), Expires: epoch.Add(12 * time.Hour),
		Provider: "default", Issuer: "https://id.example.com", ClientID: "app", Subject: "alice",
		IdPSession: "sid", AuthTime: epoch.Add(-time.Minute), ACR: "mfa", IDTokenIssued: epoch.Add(-time.Second), Nonce: "n-0S6_WzA2Mj",
		Claims: map[string]any{
			"email": "alice@example.com", "email_verified": true, "locked": false, "manager": nil,
			"level": json.Number("-1.5e+3"), "groups": []any{"ops", json.Number("7"), []any{}, nil},
			"realm_access": map[string]any{"roles": []any{"admin"}, "": map[string]any{}},
		},
		AccessToken: secret.New("at"), TokenType: "DPoP", AccessExpiry: epoch.Add(5 * time.Minute),
		RefreshToken: secret.New("rt"), RefreshAt: time.Unix(0, 0).UTC(), IDToken: secret.New("idt"),
		UserInfoClaims: []string{"email", "groups from roles"}, Incomplete: true,
		DPoPKey: secret.New("\x00\x01\xff"),
	}
}

func TestSessionRoundTrip(t *testing.T) {
	fields := reflect.ValueOf(*full())
	for i := range fields.NumField() {
		if fields.Field(i).IsZero() {
			t.Fatalf("full() leaves out %s", fields.Type().Field(i).Name)
		}
	}
	for name, s := range map[string]*Session{"full": full(), "empty": {}} {
		data, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		clear(data) // Decode keeps no reference
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%s: the session changed with the encoding", name)
		}
	}
	if len(layout) != reflect.TypeFor[Session]().NumField() {
		t.Error("the layout has not one row for each field")
	}
}

// A session that was stored by an earlier version of this program can be read.
func TestSessionVector(t *testing.T) {
	want, err := hex.DecodeString(strings.ReplaceAll(sessionVector, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := full().MarshalBinary()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("encoding changed: %x, %v", got, err)
	}
	if s, err := Decode(want); err != nil || !reflect.DeepEqual(s, full()) {
		t.Errorf("Decode: %+v, %v", s, err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	deep := any("x")
	for range maxDepth {
		deep = []any{deep}
	}
	claim := func(value any) *Session { return &Session{Claims: map[string]any{"c": value}} }
	tests := map[string]*Session{
		"a float, which would lose digits":             claim(1.5),
		"a type that JSON does not have":               claim(struct{}{}),
		"one in a list":                                claim([]any{1}),
		"one in an object":                             claim(map[string]any{"a": []string{"x"}}),
		"a numeral that is none":                       claim(json.Number("1x")),
		"a numeral with a zero before":                 claim(json.Number("01")),
		"an empty numeral":                             claim(json.Number("")),
		"a numeral with white space":                   claim(json.Number(" 1")),
		"a numeral that is another JSON value":         claim(json.Number("true")),
		"lists nested too deeply":                      claim(deep),
		"a time before 1970":                           {AuthTime: time.Unix(-1, 0)},
		"a time after 9999 (SEC-88: exp=1e300)":        {Expires: time.Unix(lastSecond+1, 0)},
		"a time at the end of int64 (SEC-88: wrapped)": {Expires: time.Unix(math.MaxInt64, 0)},
		"more than 256 KiB":                            {AccessToken: secret.New(strings.Repeat("x", maxEncoded))},
	}
	for name, s := range tests {
		if data, err := s.MarshalBinary(); !errors.Is(err, ErrEncoding) || data != nil {
			t.Errorf("%s: %d bytes, %v; want ErrEncoding", name, len(data), err)
		}
	}
	for _, year := range []int{1970, 2038, 2106, 9999} { // SEC-88
		s := &Session{Expires: time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)}
		data, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err != nil || !got.Expires.Equal(s.Expires) {
			t.Errorf("the year %d: %v, %v", year, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole, err := full().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	id := string(append([]byte{1, 16}, bytes.Repeat([]byte{9}, 16)...))
	claims := func(value string) string {
		content := "\x01\x01c" + value
		return "\x01\x10" + string(appendBytes(nil, content))
	}
	deep := strings.Repeat("\x05\x01", maxDepth) + "\x00"
	tests := map[string]string{
		"nothing":                              "",
		"version 0":                            "\x00" + id,
		"version 2":                            "\x02" + id,
		"a field without length":               "\x01\x03",
		"a field shorter than its length":      "\x01\x03\x05abcd",
		"a length of 2^63":                     "\x01\x03\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"a length that overflows":              "\x01\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"a length in a longer form":            "\x01\x03\x81\x00a",
		"an empty field":                       "\x01\x03\x00",
		"a field twice":                        "\x01\x03\x01a\x03\x01b",
		"fields in another order":              "\x01\x07\x01a\x03\x01b",
		"field 0":                              "\x01\x00\x01a",
		"an unknown field":                     "\x01\x1a\x01a",
		"an ID of 15 bytes":                    "\x01\x01\x0f" + strings.Repeat("a", 15),
		"an ID of zeros, which is left out":    "\x01\x01\x10" + strings.Repeat("\x00", 16),
		"a generation of 0, which is left out": "\x01\x02\x01\x00",
		"a generation with trailing bytes":     "\x01\x02\x02\x01\x01",
		"a generation in a longer form":        "\x01\x02\x02\x81\x00",
		"a time with trailing bytes":           "\x01\x04\x02\x01\x01",
		"a time after 9999":                    "\x01\x04\x06\xff\xff\xff\xff\xff\x7f",
		"claims that are none":                 "\x01\x10\x01\x00",
		"claims with trailing bytes":           "\x01\x10\x05\x01\x01c\x00\x00",
		"more claims than there are bytes":     "\x01\x10\x02\xff\x01",
		"names not sorted":                     "\x01\x10\x07\x02\x01b\x00\x01a\x00",
		"a name twice":                         "\x01\x10\x07\x02\x01a\x00\x01a\x01",
		"an unknown kind of claim":             claims("\x07"),
		"a claim without value":                claims(""),
		"text cut off":                         claims("\x03\x05ab"),
		"a numeral that is none":               claims("\x04\x02ab"),
		"an empty numeral":                     claims("\x04\x00"),
		"a numeral with two points":            claims("\x04\x051.2.3"),
		"a list of 2^63 items":                 claims("\x05\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
		"a numeral with white space":           claims("\x04\x021 "),
		"a list with more items than bytes":    claims("\x05\x05\x00"),
		"a list of 2^40 items":                 claims("\x05\x80\x80\x80\x80\x80\x20"),
		"lists nested too deeply":              claims(deep),
		"a flag that is 0":                     "\x01\x18\x01\x00",
		"a flag of two bytes":                  "\x01\x18\x02\x01\x01",
		"a list whose item is cut off":         "\x01\x17\x03\x05ab",
		"trailing bytes":                       string(whole) + "\x00",
		"more than 256 KiB":                    "\x01\x11" + string(appendBytes(nil, strings.Repeat("x", maxEncoded))),
	}
	for name, data := range tests {
		if s, err := Decode([]byte(data)); !errors.Is(err, ErrEncoding) || s != nil {
			t.Errorf("%s: %+v, %v; want ErrEncoding", name, s, err)
		}
	}
	for size := range len(whole) {
		if s, err := Decode(whole[:size]); err == nil {
			if again, err := s.MarshalBinary(); err != nil || !bytes.Equal(again, whole[:size]) {
				t.Fatalf("the first %d bytes decode, but encode otherwise", size)
			}
		}
	}
}

func TestClone(t *testing.T) {
	original := full()
	clone := original.Clone()
	if !reflect.DeepEqual(original, clone) {
		t.Fatal("a clone differs")
	}
	clone.Claims["email"] = "eve"
	clone.Claims["groups"].([]any)[0] = "eve"
	clone.Claims["realm_access"].(map[string]any)["roles"].([]any)[0] = "eve"
	if len(clone.UserInfoClaims) == 0 {
		t.Fatal("the row about lists needs one")
	}
	clone.UserInfoClaims[0] = "eve"
	if !reflect.DeepEqual(original, full()) {
		t.Error("the original changed with its clone")
	}
	original = &Session{Claims: map[string]any{"a": []any{[]any{"x"}}}}
	original.Clone().Claims["a"].([]any)[0].([]any)[0] = "eve"
	if original.Claims["a"].([]any)[0].([]any)[0] != "x" {
		t.Error("a list in a list is shared with the clone")
	}
	if (&Session{}).Clone().Claims != nil {
		t.Error("a clone has claims that the original has not")
	}
}

func TestReaderFill(t *testing.T) {
	r := reader{rest: []byte("abc")}
	var two [2]byte
	r.fill(two[:])
	if r.err != nil || string(two[:]) != "ab" {
		t.Errorf("%q, %v", two, r.err)
	}
	if r.fill(two[:]); !errors.Is(r.err, ErrEncoding) || len(r.rest) != 0 {
		t.Errorf("%q, %v; want ErrEncoding", r.rest, r.err)
	}
}

func TestIDs(t *testing.T) {
	if a, b := NewID(), NewID(); a == b || len(a.String()) != 22 {
		t.Errorf("%v, %v", a, b)
	}
	if got := full().ID.String(); got != "AQIDBAUGBwgJCgsMDQ4PEA" {
		t.Error(got)
	}
}

// FuzzDecode holds Decode to one encoding for one session.
func FuzzDecode(f *testing.F) {
	whole, err := full().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Add([]byte{encodingVersion})
	f.Add([]byte("\x01\x10\x07\x02\x01a\x00\x01b\x01"))
	f.Add([]byte("\x01\x10\x06\x01\x01c\x05\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			if s != nil || !errors.Is(err, ErrEncoding) {
				t.Fatalf("%+v, %v", s, err)
			}
			return
		}
		again, err := s.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("decodes, but encodes otherwise (%v):\n%x\n%x", err, data, again)
		}
	})
}
