package caddymodule

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A close frame stands where the last frame has ended, once, and nowhere else: RFC 6455 5.2, 5.5.1.
func TestCloseFrame(t *testing.T) {
	long := func(first byte, size int) []byte {
		head := []byte{first, 126}
		if size > 0xffff {
			head = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(size))
		} else {
			head = binary.BigEndian.AppendUint16(head, uint16(size))
		}
		return append(head, make([]byte, size)...)
	}
	for _, tt := range []struct {
		name    string
		written []byte
		want    bool
	}{
		{"no frame yet", nil, true},
		{"after a text", []byte("\x81\x02hi"), true},
		{"after a fragment", []byte("\x01\x02hi"), true},
		{"after an empty frame", []byte("\x82\x00"), true},
		{"after 126 bytes", long(0x82, 126), true},
		{"after 70,000 bytes", long(0x82, 70_000), true},
		{"in a head", []byte("\x81"), false},
		{"in a long head", long(0x82, 200)[:3], false},
		{"in a payload", []byte("\x81\x02h"), false},
		{"in a long payload", long(0x82, 70_000)[:60_000], false},
		{"after a close frame", []byte("\x81\x02hi\x88\x02\x03\xe8"), false},
	} {
		for _, chunk := range []int{1, 7, 1 << 20} {
			var got bytes.Buffer
			var f frames
			for rest := tt.written; len(rest) > 0; {
				n, err := f.write(rest[:min(chunk, len(rest))], got.Write)
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			f.end(got.Write)
			f.end(got.Write)
			want := tt.written
			if tt.want {
				want = append(bytes.Clone(want), closeFrame...)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s, in chunks of %d: wrote %d bytes, want %d", tt.name, chunk, got.Len(), len(want))
			}
		}
	}
	if closeFrame[1] != byte(len(closeFrame)-2) || binary.BigEndian.Uint16([]byte(closeFrame[2:])) != 1008 {
		t.Errorf("the close frame is %q", closeFrame)
	}
}

// What handlers behind the gate change of a request, Caddy's placeholders know; and who comes after them, such as
// handle_errors, finds the request as it was, and not cancelled.
func TestWatchedRequestIsCaddys(t *testing.T) {
	bench := newBenched(t, "cookie", 1, 0)
	r := bench.requests(1)[0]
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, behind *http.Request) error {
		behind.Method = http.MethodPut
		repl := behind.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if method, _ := repl.GetString("http.request.method"); method != http.MethodPut {
			t.Errorf("{http.request.method} is %s", method)
		}
		return nil
	})
	if err := bench.gate.ServeHTTP(httptest.NewRecorder(), r, next); err != nil {
		t.Fatal(err)
	}
	if r.Method != http.MethodGet || r.Context().Err() != nil {
		t.Errorf("left behind: %s, %v", r.Method, r.Context().Err())
	}
}
