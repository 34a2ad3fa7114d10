package seal_test

import (
	"bytes"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// SEC-87: a nonce that came twice under one key would show both plaintexts. Each blob has one of its own.
func TestNoNonceTwice(t *testing.T) {
	key, p := bytes.Repeat([]byte{7}, 32), seal.Purpose{Kind: "session", Scope: "app.example.com"}
	nonces := make(map[[12]byte]bool)
	const blobs = 200_000
	for range blobs {
		blob, err := seal.SealBlob(key, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		nonces[[12]byte(blob[1:13])] = true
	}
	if len(nonces) != blobs {
		t.Errorf("%d nonces for %d blobs", len(nonces), blobs)
	}
}
