package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/session"
)

const (
	// revokeBatch is how many revocations one script call takes.
	revokeBatch = 500
	// pruneAfter is how long after its end a revocation is forgotten: the clock of
	// another process may be behind this one's.
	pruneAfter = time.Hour
	// leastRevision is the least number that the revision begins with, and
	// firstRevisions how many there are. No time in seconds is that large, and a
	// score holds their sum exactly.
	leastRevision  = 1 << 40
	firstRevisions = 1 << 48
)

// The revocations are one sorted set, by their end, with the revision among them: it is
// the score of a member that no encoded revocation is. So neither can be lost, or be
// evicted, without the other, and whoever asks for the revision keeps both in use.

// revokeScript stores revocations, forgets those that are over, and tells each. A
// revision that was lost goes on anywhere: at a number that a process knows it would
// take what it is told for heard.
//
//	KEYS: set; ARGV: what to forget, channel, first revision, then end and
//	revocation, ...
const revokeScript = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
redis.call('ZADD', KEYS[1], 'NX', ARGV[3], 'revision')
for i = 4, #ARGV, 2 do
	redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
	local revision = redis.call('ZINCRBY', KEYS[1], 1, 'revision')
	redis.call('PUBLISH', ARGV[2], string.format('%d ', revision) .. ARGV[i + 1])
end
return 0`

// listScript reads the revision and what is not over in one moment.
//
//	KEYS: set; ARGV: what is over, the least revision
const listScript = `
local revision = redis.call('ZSCORE', KEYS[1], 'revision')
return {revision and string.format('%d', revision), redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '(' .. ARGV[2])}`

func (s *Store) revocations() string { return s.key("revocations", "revoked") }

// channel is where revocations are told. It is a key's name, so that in a cluster
// every process listens at the node that stores them.
func (s *Store) channel() string { return s.key("told", "revoked") }

// Revoke implements [session.Shared].
func (s *Store) Revoke(ctx context.Context, revocations ...session.Revocation) error {
	for len(revocations) > 0 {
		batch := revocations[:min(len(revocations), revokeBatch)]
		revocations = revocations[len(batch):]
		first, err := rand.Int(rand.Reader, big.NewInt(firstRevisions))
		if err != nil {
			return fmt.Errorf("redisstore: %w", err)
		}
		args := []any{s.now().Add(-pruneAfter).Unix(), s.channel(), leastRevision + first.Int64()}
		for _, r := range batch {
			data, err := r.MarshalBinary()
			if err != nil {
				return err
			}
			args = append(args, r.Until().Unix(), base64.RawStdEncoding.EncodeToString(data))
		}
		if err := s.run(ctx, revokeScript, []string{s.revocations()}, args...).Err(); err != nil {
			return fmt.Errorf("redisstore: revoking: %w", err)
		}
	}
	return nil
}

// Revocations implements [session.Shared].
func (s *Store) Revocations(ctx context.Context) (uint64, []session.Revocation, error) {
	answer, err := s.run(ctx, listScript, []string{s.revocations()}, s.now().Unix(), leastRevision).Slice()
	if err != nil {
		return 0, nil, fmt.Errorf("redisstore: revocations: %w", err)
	}
	if len(answer) != 2 {
		return 0, nil, errors.New("redisstore: revocations: not the answer of our script")
	}
	revision, err := parseRevision(answer[0])
	if err != nil {
		return 0, nil, err
	}
	members, _ := answer[1].([]any)
	all := make([]session.Revocation, 0, len(members))
	for _, member := range members {
		text, _ := member.(string)
		r, err := decode(text)
		if err != nil {
			return 0, nil, err
		}
		all = append(all, r)
	}
	return revision, all, nil
}

// Revision implements [session.Shared].
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	revision, err := s.client.ZScore(ctx, s.revocations(), "revision").Result()
	if isNil(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("redisstore: revision: %w", err)
	}
	return uint64(revision), nil
}

func parseRevision(answer any) (uint64, error) {
	if answer == nil {
		return 0, nil
	}
	text, _ := answer.(string)
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redisstore: revision: %w", err)
	}
	return revision, nil
}

func decode(text string) (session.Revocation, error) {
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return session.Revocation{}, fmt.Errorf("redisstore: revocation: %w", err)
	}
	r, err := session.DecodeRevocation(data)
	if err != nil {
		return session.Revocation{}, fmt.Errorf("redisstore: revocation: %w", err)
	}
	return r, nil
}

// Subscribe implements [session.Shared].
func (s *Store) Subscribe(ctx context.Context) (session.Subscription, error) {
	sub := s.client.Subscribe(ctx, s.channel())
	if _, err := sub.ReceiveTimeout(ctx, 2*callTimeout); err != nil { // that it is subscribed
		_ = sub.Close()
		return nil, fmt.Errorf("redisstore: subscribing: %w", err)
	}
	return &subscription{sub}, nil
}

// subscription listens at one connection. When that is lost it is over: what was
// told meanwhile has to be read.
type subscription struct{ sub *redis.PubSub }

// Next implements [session.Subscription].
func (l *subscription) Next(ctx context.Context) (uint64, session.Revocation, error) {
	for {
		received, err := l.sub.Receive(ctx)
		if err != nil {
			return 0, session.Revocation{}, fmt.Errorf("redisstore: listening: %w", err)
		}
		message, is := received.(*redis.Message)
		if !is {
			continue
		}
		number, text, _ := strings.Cut(message.Payload, " ")
		revision, err := parseRevision(number)
		if err != nil {
			return 0, session.Revocation{}, err
		}
		r, err := decode(text)
		return revision, r, err
	}
}

// Close implements [session.Subscription].
func (l *subscription) Close() error { return l.sub.Close() }

// Evicts returns the server's maxmemory-policy if by that it evicts, to have memory for
// something else, what has no time to live, which it was not told to forget; "" if it does
// not. A user that may not call INFO is told neither: that is an error.
func (s *Store) Evicts(ctx context.Context) (policy string, err error) {
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return "", fmt.Errorf("redisstore: info: %w", err)
	}
	for line := range strings.Lines(info) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); {
		case name == "maxmemory" && value == "0": // it takes as much as there is
			return "", nil
		case name == "maxmemory_policy" && strings.HasPrefix(value, "allkeys-"):
			policy = value
		}
	}
	return policy, nil
}
