package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// blobVersion is the first byte of every blob. A blob is
//
//	version (1 byte) || nonce (12 bytes) || AES-256-GCM ciphertext and tag
const blobVersion = 1

// SealBlob encrypts plaintext for p with AES-256-GCM and a random nonce, under
// a subkey of key, which has 32 bytes or more. The purpose is the additional
// data. A blob is for a store: it is bytes, of any length, and names no key.
func SealBlob(key []byte, p Purpose, plaintext []byte) ([]byte, error) {
	aead, err := blobCipher(key, p.Kind)
	if err != nil {
		return nil, err
	}
	return aead.Seal([]byte{blobVersion}, nil, plaintext, lengthPrefixed(p.Kind, p.Scope)), nil
}

// OpenBlob returns what [SealBlob] sealed with this key for p. Its errors are
// [ErrKey], [ErrMalformed] and [ErrForged].
func OpenBlob(key []byte, p Purpose, blob []byte) ([]byte, error) {
	if len(blob) == 0 || blob[0] != blobVersion {
		return nil, fmt.Errorf("%w: not a blob of version %d", ErrMalformed, blobVersion)
	}
	aead, err := blobCipher(key, p.Kind)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, blob[1:], lengthPrefixed(p.Kind, p.Scope))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return plaintext, nil
}

func blobCipher(key []byte, kind string) (cipher.AEAD, error) {
	if len(key) < minSecret {
		return nil, fmt.Errorf("%w: %d bytes for a blob, needs %d or more", ErrKey, len(key), minSecret)
	}
	sub, err := subkey(key, "blob", kind, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}
