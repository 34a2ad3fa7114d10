package main

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// encodings is one session as it is sealed, as it would be uncompressed, and as it
// would be without a second layer of base64.
type encodings struct {
	Session int `json:"session"` // bytes of its encoding
	Plain   int `json:"plain"`   // of the sealed value, if nothing were compressed; 0: it would not fit
	Now     int `json:"now"`     // of the sealed value: compressed, encoded in base64 twice
	Once    int `json:"once"`    // compressed, encoded once

	// Microseconds, least of many.
	Open      float64 `json:"open_us"`
	OpenPlain float64 `json:"open_plain_us"`
	OpenOnce  float64 `json:"open_once_us"`
	Inflate   float64 `json:"inflate_us"`
	Deflate   float64 `json:"deflate_us"`
}

// compareEncodings opens a session and seals it in other ways. What is encoded once is
// sealed with AES-GCM as records of a store are; of the same length would be
// whatever has no second layer of base64.
func compareEncodings(ctx context.Context, ring *seal.Ring, kept keptCookies) (*encodings, error) {
	store := session.CookieStore()
	handle, err := ring.Open(kept.purpose, kept.sealed)
	if err != nil {
		return nil, err
	}
	data, err := store.Load(ctx, handle)
	if err != nil {
		return nil, err
	}
	plain, err := ring.Seal(kept.purpose, data)
	if err != nil && !errors.Is(err, seal.ErrTooLarge) {
		return nil, err
	}
	key := []byte(randomText(32))
	blob, err := seal.SealBlob(key, kept.purpose, handle)
	if err != nil {
		return nil, err
	}
	head := kept.sealed[:strings.LastIndexByte(kept.sealed, '.')+1]
	once := head + base64.RawURLEncoding.EncodeToString(blob)
	openOnce := func() error {
		blob, err := base64.RawURLEncoding.Strict().DecodeString(once[len(head):])
		if err == nil {
			_, err = seal.OpenBlob(key, kept.purpose, blob)
		}
		return err
	}
	e := &encodings{Session: len(data), Plain: len(plain), Now: len(kept.sealed), Once: len(once)}
	type timing struct {
		run func() error
		to  *float64
	}
	timings := []timing{
		{func() error { _, err := ring.Open(kept.purpose, kept.sealed); return err }, &e.Open},
		{openOnce, &e.OpenOnce},
		{func() error { _, err := store.Load(ctx, handle); return err }, &e.Inflate},
		{func() error { _, err := store.Save(ctx, session.Record{Data: data}, nil); return err }, &e.Deflate},
	}
	if plain != "" {
		timings = append(timings, timing{func() error { _, err := ring.Open(kept.purpose, plain); return err }, &e.OpenPlain})
	}
	for _, timed := range timings {
		if *timed.to, err = least(timed.run); err != nil {
			return nil, err
		}
	}
	return e, nil
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
