package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/session"
)

// leaseScript gives a lease to its owner, or renews it.
const leaseScript = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

// releaseScript ends the lease of its owner alone.
const releaseScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`

// onceScript remembers who came first.
const onceScript = `
local first = redis.call('GET', KEYS[1])
if first then return first == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

// succeedScript keeps the successor of a generation, unless that has one. The same
// may come again.
//
//	ARGV: generation, successor, time to live (ms)
const succeedScript = `
if redis.call('GET', KEYS[2]) == ARGV[2] then return 0 end
local newest = redis.call('GET', KEYS[1])
if newest and tonumber(newest) > tonumber(ARGV[1]) then return 2 end
redis.call('SET', KEYS[1], ARGV[1] + 1, 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 0`

// Lease implements [session.Shared].
func (s *Store) Lease(ctx context.Context, name, owner string, forTime time.Duration) (bool, error) {
	has, err := s.run(ctx, leaseScript, []string{s.key("l", name)}, owner, forTime.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("redisstore: lease: %w", err)
	}
	return has, nil
}

// Release implements [session.Shared].
func (s *Store) Release(ctx context.Context, name, owner string) error {
	if err := s.run(ctx, releaseScript, []string{s.key("l", name)}, owner).Err(); err != nil {
		return fmt.Errorf("redisstore: release: %w", err)
	}
	return nil
}

// Once implements [session.Shared].
func (s *Store) Once(ctx context.Context, name, owner string, forTime time.Duration) (bool, error) {
	first, err := s.run(ctx, onceScript, []string{s.key("u", name)}, owner, atLeast(forTime)).Bool()
	if err != nil {
		return false, fmt.Errorf("redisstore: once: %w", err)
	}
	return first, nil
}

// atLeast is a time to live in milliseconds, which Redis wants to be positive.
func atLeast(forTime time.Duration) int64 { return max(1, forTime.Milliseconds()) }

func (s *Store) newest(name string) string { return s.key("n", name) }

func (s *Store) successor(name string, generation uint64) string {
	return s.key("r", name) + ":" + strconv.FormatUint(generation, 10)
}

// Succeed implements [session.Shared].
func (s *Store) Succeed(ctx context.Context, name string, generation uint64, successor []byte, forTime time.Duration) error {
	keys := []string{s.newest(name), s.successor(name, generation)}
	answer, err := s.run(ctx, succeedScript, keys, generation, successor, atLeast(forTime)).Int()
	switch {
	case err != nil:
		return fmt.Errorf("redisstore: successor: %w", err)
	case answer == stale:
		return fmt.Errorf("%w: generation %d has a successor", session.ErrStale, generation)
	}
	return nil
}

// Successor implements [session.Shared].
func (s *Store) Successor(ctx context.Context, name string, generation uint64) (uint64, []byte, error) {
	found, err := s.client.MGet(ctx, s.newest(name), s.successor(name, generation)).Result()
	if err != nil {
		return 0, nil, fmt.Errorf("redisstore: successor: %w", err)
	}
	text, is := found[0].(string)
	if !is {
		return 0, nil, nil
	}
	newest, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("redisstore: newest generation: %w", err)
	}
	if blob, is := found[1].(string); is {
		return newest, []byte(blob), nil
	}
	return newest, nil, nil
}

// Settle implements [session.Shared]. What already goes earlier still does.
func (s *Store) Settle(ctx context.Context, settled []session.Settled, after time.Duration) error {
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, one := range settled {
			pipe.Do(ctx, "PEXPIRE", s.successor(one.Session, one.Generation), atLeast(after), "LT")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("redisstore: settling: %w", err)
	}
	return nil
}

// Put implements [session.Blobs].
func (s *Store) Put(ctx context.Context, name string, blob []byte, forTime time.Duration) error {
	if err := s.client.Set(ctx, s.key("b", name), blob, time.Duration(atLeast(forTime))*time.Millisecond).Err(); err != nil {
		return fmt.Errorf("redisstore: blob: %w", err)
	}
	return nil
}

// Take implements [session.Blobs].
func (s *Store) Take(ctx context.Context, name string) ([]byte, error) {
	blob, err := s.client.GetDel(ctx, s.key("b", name)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, session.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("redisstore: blob: %w", err)
	}
	return blob, nil
}
