package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/guard"
)

// Journal keeps revocations, and which generations are superseded, where they
// survive the process. All methods are safe for concurrent use.
type Journal interface {
	// Append stores a revocation for good before it returns.
	Append(ctx context.Context, r Revocation) error
	// List returns all that are not over; ones that are do no harm.
	List(ctx context.Context) ([]Revocation, error)
	// Supersede stores for good which generation of a session was shown, and then
	// forgets what it was told of an earlier one, if that is not nil.
	Supersede(ctx context.Context, s Superseded, earlier *Superseded) error
	// Superseded returns all whose sessions are not over. Of one there may be several.
	Superseded(ctx context.Context) ([]Superseded, error)
}

// revocationKind says what a revocation ends.
type revocationKind byte

const (
	revokesSession    revocationKind = 1 + iota // one session, by its ID
	revokesIdPSession                           // every session of an issuer's sid
	revokesSubject                              // an issuer's subject's sessions up to a time
)

// revoked names what a revocation ends: its kind, whose it is, and the SHA-256 over
// its length-prefixed parts.
type revoked struct {
	kind   revocationKind
	issuer issuerTag // none for one session, whose ID says it all
	hash   [sha256.Size]byte
}

// Revocation says that sessions ended before their time. It names nobody in
// clear. Its zero value ends nothing.
type Revocation struct {
	of revoked
	at time.Time // when it was made
	// notBefore is for a subject: sessions whose ID token was issued up to it are
	// over, later ones are not. One of a session or a sid is timeless.
	notBefore time.Time
	until     time.Time // when all that it ends would have ended anyway
}

// Until is when the revocation is over: what it ended has expired by then.
func (r Revocation) Until() time.Time { return r.until }

// The versions are the first byte of an encoded revocation:
//
//	version (1 byte) kind (1 byte) [issuer (8 bytes)] hash (32 bytes)
//	at, until (uvarint seconds) [not-before (uvarint seconds)]
//
// The second has an issuer.
const (
	revocationVersion         = 1
	revocationVersionOfIssuer = 2
)

// MarshalBinary encodes the revocation for a [Journal].
func (r Revocation) MarshalBinary() ([]byte, error) {
	encoded := []byte{revocationVersion, byte(r.of.kind)}
	if r.of.issuer != (issuerTag{}) {
		encoded[0] = revocationVersionOfIssuer
		encoded = append(encoded, r.of.issuer[:]...)
	}
	encoded = append(encoded, r.of.hash[:]...)
	times := []time.Time{r.at, r.until}
	if r.of.kind == revokesSubject {
		times = append(times, r.notBefore)
	}
	var err error
	for _, t := range times {
		if encoded, err = appendTime(encoded, t); err != nil {
			return nil, err
		}
	}
	return encoded, nil
}

// DecodeRevocation reads what [Revocation.MarshalBinary] made, and nothing else.
func DecodeRevocation(data []byte) (Revocation, error) {
	in := reader{rest: data}
	version := in.byte()
	if v := version; in.err == nil && v != revocationVersion && v != revocationVersionOfIssuer {
		return Revocation{}, fmt.Errorf("%w: revocation of version %d", ErrEncoding, v)
	}
	var r Revocation
	r.of.kind = revocationKind(in.byte())
	if r.of.kind < revokesSession || r.of.kind > revokesSubject {
		in.fail("unknown kind of revocation")
	}
	if version == revocationVersionOfIssuer {
		if in.fill(r.of.issuer[:]); r.of.kind == revokesSession || r.of.issuer == (issuerTag{}) {
			in.fail("an issuer where there is none")
		}
	}
	in.fill(r.of.hash[:])
	r.at, r.until = in.time(), in.time()
	if r.of.kind == revokesSubject {
		r.notBefore = in.time()
	}
	if err := in.end(); err != nil {
		return Revocation{}, err
	}
	return r, nil
}

// The revocations of one session, one sid and one subject.
func ofSessionID(id ID) revoked { return revokedBy(revokesSession, issuerTag{}, string(id[:])) }

func ofIdPSession(issuer, sid string) revoked {
	return revokedBy(revokesIdPSession, tagOf(issuer), issuer, sid)
}

func ofSubject(issuer, sub string) revoked {
	return revokedBy(revokesSubject, tagOf(issuer), issuer, sub)
}

func ofSubjectAlone(issuer, sub string) revoked {
	return revokedBy(revokesSubject, tagOf(issuer), issuer, sub, "no sid")
}

func revokedBy(kind revocationKind, issuer issuerTag, parts ...string) revoked {
	var joined []byte
	for _, part := range parts {
		joined = appendBytes(joined, part)
	}
	return revoked{kind, issuer, sha256.Sum256(joined)}
}

// The bounds of revocations.
const (
	maxRevocations = 100_000          // entries of one issuer, of about 150 bytes
	journalTimeout = 10 * time.Second // for one Append or List
	journalRetry   = time.Second      // between two attempts to List
)

// revocations is what was ended before its time. Without a journal and a feed it
// is of this process alone.
type revocations struct {
	journal    Journal
	succession *succession // which is read with them
	feed       *feed       // nil: nothing is shared with other processes
	entries    *byIssuer
	unkept     unkept

	// untold: the shared memory did not take something that counts here.
	untold atomic.Bool
	// longest is the longest lifetime that sessions of this process may have.
	longest atomic.Int64

	ready   atomic.Bool // the journal was read
	mu      sync.Mutex
	listed  *flight[struct{}] // the attempt to read it, running or over; nil before the first
	retryAt time.Time         // when one that failed may be repeated
}

func newRevocations(journal Journal, s *succession) *revocations {
	return &revocations{journal: journal, succession: s, entries: newByIssuer(maxRevocations)}
}

// noted is a revocation that counts here.
type noted struct {
	Revocation
	kept   bool // the journal has it
	shared bool // the shared memory has it
}

// add makes a revocation count, in this process at once. [ErrUnavailable]: the
// shared memory did not take it, which is told again when it is back; or, where
// there is none, the journal, and a restart would forget it, until the journal takes it. A process
// that shares may have no place for a journal: then the memory alone outlives it.
// What they have is not given to them again, however often a dead cookie signs out.
func (r *revocations) add(ctx context.Context, rev Revocation, now time.Time) error {
	known := r.remember(noted{Revocation: rev}, now)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	var errs []error
	outlives := known.shared
	if r.feed != nil && !known.shared {
		err := r.feed.shared.Revoke(ctx, rev)
		outlives = err == nil
		if outlives {
			r.remember(noted{Revocation: rev, shared: true}, now)
		} else {
			r.untold.Store(true)
			errs = append(errs, fmt.Errorf("%w: revocation not shared: %w", ErrUnavailable, err))
		}
	}
	if r.journal != nil && !known.kept {
		err := r.journal.Append(ctx, rev)
		if err == nil {
			r.remember(noted{Revocation: rev, kept: true}, now)
		} else if !outlives {
			if r.feed == nil { // else the shared memory is told again
				r.unkept.add(rev, r.journal)
			}
			errs = append(errs, fmt.Errorf("%w: revocation not stored: %w", ErrUnavailable, err))
		}
	}
	return errors.Join(errs...)
}

// remember adds a revocation to those of this process, and returns what counts
// now, with whether journal and shared memory have all that it says. Of two for
// one thing the later not-before and the later end count.
func (r *revocations) remember(n noted, now time.Time) (both noted) {
	_ = r.entries.ledger(n.of.issuer).put(n.of, now, func(old entry[noted], found bool, _ time.Time) (entry[noted], error) {
		both = n
		if found {
			both.at = latest(n.at, old.value.at)
			both.notBefore = latest(n.notBefore, old.value.notBefore)
			both.until = latest(n.until, old.value.until)
		}
		now, before := n.covers(both.Revocation), found && old.value.covers(both.Revocation)
		both.kept = n.kept && now || before && old.value.kept
		both.shared = n.shared && now || before && old.value.shared
		return entry[noted]{value: both, at: latest(both.at, both.notBefore), until: both.until}, nil
	})
	return both
}

// told notes revocations that the shared memory has.
func (r *revocations) told(all []Revocation, now time.Time) {
	for _, rev := range all {
		n := noted{Revocation: rev, shared: true}
		r.remember(n, now)
		r.keepLonger(n, now)
	}
}

// unshared returns what the shared memory did not take yet.
func (r *revocations) unshared(now time.Time) []Revocation {
	var unshared []Revocation
	for _, n := range r.entries.all(now) {
		if !n.shared {
			unshared = append(unshared, n.Revocation)
		}
	}
	return unshared
}

// lacking takes over what the shared memory has, and returns what it lacks.
func (r *revocations) lacking(has []Revocation, now time.Time) []Revocation {
	r.told(has, now)
	shared := make(map[revoked]Revocation, len(has))
	for _, rev := range has {
		old := shared[rev.of]
		rev.notBefore, rev.until = latest(rev.notBefore, old.notBefore), latest(rev.until, old.until)
		shared[rev.of] = rev
	}
	var lacking []Revocation
	for _, n := range r.entries.all(now) {
		if !shared[n.of].covers(n.Revocation) {
			lacking = append(lacking, n.Revocation)
		}
	}
	return lacking
}

// covers tells whether r ends all that other ends.
func (r Revocation) covers(other Revocation) bool {
	return !r.notBefore.Before(other.notBefore) && !r.until.Before(other.until)
}

// check returns [ErrRevoked] for a session that was ended, and [ErrUnavailable]
// while the journal could not be read yet, or the shared memory was not heard of
// for a minute: that is not "nobody was revoked".
func (r *revocations) check(ctx context.Context, s *Session, now time.Time) error {
	if err := r.list(ctx, now); err != nil {
		return err
	}
	if r.feed != nil {
		if err := r.feed.check(ctx, now); err != nil {
			return err
		}
	}
	if r.entries.empty() {
		return nil
	}
	_, ended, floor := r.entries.get(ofSessionID(s.ID), now)
	if ended {
		return fmt.Errorf("%w: this session", ErrRevoked)
	}
	signedIn := s.IDTokenIssued // by the provider's clock, as a not-before is
	if signedIn.IsZero() {
		signedIn = s.Created
	}
	subject, found, ofIssuer := r.entries.get(ofSubject(s.Issuer, s.Subject), now)
	floor = latest(floor, ofIssuer)
	if !signedIn.After(floor) || !s.Created.After(floor) {
		// Beyond the bound the oldest revocations became one time: everybody whom they
		// could have meant, and who signed in before it, does so again.
		return fmt.Errorf("%w: everybody up to %v", ErrRevoked, floor)
	}
	if s.IdPSession != "" {
		if _, ended, _ := r.entries.get(ofIdPSession(s.Issuer, s.IdPSession), now); ended {
			return fmt.Errorf("%w: the session at the provider", ErrRevoked)
		}
	} else if alone, ended, _ := r.entries.get(ofSubjectAlone(s.Issuer, s.Subject), now); ended && !signedIn.After(alone.value.notBefore) {
		return fmt.Errorf("%w: the subject's sessions without sid", ErrRevoked)
	}
	if found && !signedIn.After(subject.value.notBefore) {
		return fmt.Errorf("%w: the subject", ErrRevoked)
	}
	return nil
}

// list reads the journal, once. While nobody has succeeded, requests share one
// attempt, and one that failed is repeated after a second.
func (r *revocations) list(ctx context.Context, now time.Time) error {
	if r.journal == nil || r.ready.Load() {
		return nil
	}
	_, err := r.listing(ctx, now).wait(ctx)
	return err
}

// listing returns the attempt to read the journal that is under way, or the
// last one until it may be repeated, or a new one.
func (r *revocations) listing(ctx context.Context, now time.Time) *flight[struct{}] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listed != nil && (!r.listed.over() || r.ready.Load() || now.Before(r.retryAt)) {
		return r.listed
	}
	r.retryAt = now.Add(journalRetry)
	r.listed = fly(ctx, journalTimeout, func(ctx context.Context) (struct{}, error) {
		all, err := guard.Call(func() ([]Revocation, error) { return r.journal.List(ctx) })
		if err != nil {
			return struct{}{}, fmt.Errorf("%w: revocations not read: %w", ErrUnavailable, err)
		}
		superseded, err := guard.Call(func() ([]Superseded, error) { return r.journal.Superseded(ctx) })
		if err != nil {
			return struct{}{}, fmt.Errorf("%w: superseded generations not read: %w", ErrUnavailable, err)
		}
		r.succession.restore(superseded, now)
		for _, rev := range all {
			r.remember(noted{Revocation: rev, kept: true}, now)
		}
		for _, rev := range all {
			r.keepLonger(noted{Revocation: rev, kept: true}, now)
		}
		r.ready.Store(true)
		return struct{}{}, nil
	})
	return r.listed
}
