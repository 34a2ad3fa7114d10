package redisstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/session"
)

// The answers of the scripts.
const (
	done = iota
	notFound
	stale
)

// saveScript stores a generation of a session. The writer's token tells a call
// that is made again, since its answer was lost, from another's.
//
//	ARGV: new ("1" or "0"), generation, blob, hash of the secret, token,
//	expiry and now (Unix ms), time to live (ms)
const saveScript = `
local old = redis.call('HMGET', KEYS[1], 'generation', 'secret', 'writer', 'expires')
local here = old[1] and tonumber(old[4]) > tonumber(ARGV[7])
if here and old[3] == ARGV[5] then return 0 end
if ARGV[1] == '1' then
	if here then return 2 end
	redis.call('DEL', KEYS[1])
else
	if not here or old[2] ~= ARGV[4] then return 1 end
	if tonumber(old[1]) >= tonumber(ARGV[2]) then return 2 end
end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'blob', ARGV[3], 'secret', ARGV[4], 'writer', ARGV[5], 'expires', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return 0`

// useScript notes a last use, which never moves back.
const useScript = `
local old = redis.call('HMGET', KEYS[1], 'secret', 'used')
if old[1] == ARGV[1] and tonumber(old[2] or '0') < tonumber(ARGV[2]) then
	redis.call('HSET', KEYS[1], 'used', ARGV[2])
end
return 0`

// deleteScript removes what its secret belongs to.
const deleteScript = `
if redis.call('HGET', KEYS[1], 'secret') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`

// handle is a handle of [session.NewHandle], taken apart. The record is sealed with its
// secret, and holds the hash of that alone.
type handle struct {
	id     session.ID
	secret []byte
	hash   string // of the secret: what Redis knows
}

func parseHandle(raw []byte) (handle, error) {
	id, secret, err := session.ParseHandle(raw)
	if err != nil {
		return handle{}, err
	}
	hash := sha256.Sum256(secret)
	return handle{id, secret, string(hash[:])}, nil
}

func (s *Store) record(id session.ID) string { return s.key("s", id.String()) }

// Save implements [session.Store].
func (s *Store) Save(ctx context.Context, r session.Record, raw []byte) ([]byte, error) {
	isNew := "0"
	if raw == nil {
		isNew = "1"
		raw = session.NewHandle(r.ID)
	}
	h, err := parseHandle(raw)
	if err != nil {
		return nil, err
	}
	if h.id != r.ID {
		return nil, fmt.Errorf("%w: the handle is of another session", session.ErrNotFound)
	}
	blob, err := session.SealRecord(h.id, h.secret, r.Data)
	if err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	now := s.now()
	live := r.Expires.Sub(now).Milliseconds()
	if live <= 0 {
		return nil, fmt.Errorf("%w: it is over", session.ErrNotFound)
	}
	answer, err := s.run(ctx, saveScript, []string{s.record(h.id)},
		isNew, r.Generation, blob, h.hash, rand.Text(), r.Expires.UnixMilli(), now.UnixMilli(), live).Int()
	switch {
	case err != nil:
		return nil, fmt.Errorf("redisstore: saving: %w", err)
	case answer == notFound:
		return nil, session.ErrNotFound
	case answer == stale:
		return nil, fmt.Errorf("%w: generation %d is not newer", session.ErrStale, r.Generation)
	}
	return bytes.Clone(raw), nil
}

// fields reads fields of the record that a handle leads to: [session.ErrNotFound]
// if there is none, or it is over, or the secret is another.
func (s *Store) fields(ctx context.Context, h handle, names ...string) ([]string, error) {
	values, err := s.client.HMGet(ctx, s.record(h.id), append([]string{"secret", "expires"}, names...)...).Result()
	if err != nil {
		return nil, fmt.Errorf("redisstore: reading: %w", err)
	}
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i], _ = value.(string)
	}
	expires, err := strconv.ParseInt(texts[1], 10, 64)
	if texts[0] != h.hash || err != nil || s.now().UnixMilli() >= expires {
		return nil, session.ErrNotFound
	}
	return texts[2:], nil
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, raw []byte) ([]byte, error) {
	h, err := parseHandle(raw)
	if err != nil {
		return nil, err
	}
	found, err := s.fields(ctx, h, "blob")
	if err != nil {
		return nil, err
	}
	return session.OpenRecord(h.id, h.secret, []byte(found[0]))
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, raw []byte) error {
	h, err := parseHandle(raw)
	if err != nil {
		return nil //nolint:nilerr // it leads to nothing
	}
	if err := s.run(ctx, deleteScript, []string{s.record(h.id)}, h.hash).Err(); err != nil {
		return fmt.Errorf("redisstore: deleting: %w", err)
	}
	return nil
}

// Peek implements [session.ServerStore].
func (s *Store) Peek(ctx context.Context, raw []byte) (uint64, time.Time, error) {
	h, err := parseHandle(raw)
	if err != nil {
		return 0, time.Time{}, err
	}
	found, err := s.fields(ctx, h, "generation", "used")
	if err != nil {
		return 0, time.Time{}, err
	}
	generation, err := strconv.ParseUint(found[0], 10, 64)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("%w: %w", session.ErrNotFound, err)
	}
	milliseconds, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		return generation, time.Time{}, nil //nolint:nilerr // not told yet
	}
	return generation, time.UnixMilli(milliseconds).UTC(), nil
}

// Use implements [session.ServerStore].
func (s *Store) Use(ctx context.Context, raw []byte, now time.Time) error {
	h, err := parseHandle(raw)
	if err != nil {
		return err
	}
	if err := s.run(ctx, useScript, []string{s.record(h.id)}, h.hash, now.UnixMilli()).Err(); err != nil {
		return fmt.Errorf("redisstore: noting a use: %w", err)
	}
	return nil
}

// isNil tells a key that is not there from a call that failed.
func isNil(err error) bool { return errors.Is(err, redis.Nil) }
