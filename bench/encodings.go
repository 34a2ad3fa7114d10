package main

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
)

// encodings is one session as it is sealed, and as it might be.
type encodings struct {
	Session  int `json:"session"`  // bytes of what is sealed
	Now      int `json:"now"`      // of the sealed value: encoded in base64 twice
	Once     int `json:"once"`     // encoded once
	Deflated int `json:"deflated"` // compressed, encoded twice
	Both     int `json:"both"`     // compressed, encoded once

	// Microseconds, least of many.
	Open     float64 `json:"open_us"`
	OpenOnce float64 `json:"open_once_us"`
	Inflate  float64 `json:"inflate_us"`
	Deflate  float64 `json:"deflate_us"`
}

// common is what a compressor might know of every session before it sees one.
const common = `https://login.microsoftonline.com//v2.0 https://accounts.google.com https:///realms/ departments department-
email email_verified groups name preferred_username subdefault @example.com .example.com`

// compareEncodings opens a session and seals it in other ways. What is encoded once is
// sealed with AES-GCM as records of a store are; of the same length would be
// whatever has no second layer of base64.
func compareEncodings(ring *seal.Ring, kept keptCookies) (*encodings, error) {
	plain, err := ring.Open(kept.purpose, kept.sealed)
	if err != nil {
		return nil, err
	}
	small, err := deflate(plain)
	if err != nil {
		return nil, err
	}
	if again, err := inflate(small); err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("a session does not come out of the compressor as it went in: %w", err)
	}
	twice, err := ring.Seal(kept.purpose, small)
	if err != nil {
		return nil, err
	}
	head := kept.sealed[:strings.LastIndexByte(kept.sealed, '.')+1]
	key := []byte(randomText(32))
	once := func(plaintext []byte) (string, error) {
		blob, err := seal.SealBlob(key, kept.purpose, plaintext)
		return head + base64.RawURLEncoding.EncodeToString(blob), err
	}
	openOnce := func(value string) error {
		blob, err := base64.RawURLEncoding.Strict().DecodeString(value[len(head):])
		if err == nil {
			_, err = seal.OpenBlob(key, kept.purpose, blob)
		}
		return err
	}
	one, err := once(plain)
	if err != nil {
		return nil, err
	}
	both, err := once(small)
	if err != nil {
		return nil, err
	}
	e := &encodings{Session: len(plain), Now: len(kept.sealed), Once: len(one), Deflated: len(twice), Both: len(both)}
	for _, timed := range []struct {
		run func() error
		to  *float64
	}{
		{func() error { _, err := ring.Open(kept.purpose, kept.sealed); return err }, &e.Open},
		{func() error { return openOnce(one) }, &e.OpenOnce},
		{func() error { _, err := inflate(small); return err }, &e.Inflate},
		{func() error { _, err := deflate(plain); return err }, &e.Deflate},
	} {
		if *timed.to, err = least(timed.run); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func deflate(plain []byte) ([]byte, error) {
	var small bytes.Buffer
	w, err := flate.NewWriterDict(&small, flate.BestCompression, []byte(common))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return small.Bytes(), err
}

func inflate(small []byte) ([]byte, error) {
	return io.ReadAll(flate.NewReaderDict(bytes.NewReader(small), []byte(common)))
}

// least is the shortest time that something takes, of many, in microseconds.
func least(run func() error) (float64, error) {
	shortest := time.Hour
	for range 50 {
		begun := time.Now()
		if err := run(); err != nil {
			return 0, err
		}
		shortest = min(shortest, time.Since(begun))
	}
	return microseconds(shortest), nil
}
