package session

import (
	"crypto/sha256"
	"sync"
	"time"
)

// issuerTag names an issuer. The zero value is none: revocations of one session, and
// those of others that were stored before they had a tag.
type issuerTag [8]byte

func tagOf(issuer string) issuerTag {
	sum := sha256.Sum256([]byte(issuer))
	return issuerTag(sum[:])
}

// byIssuer are the revocations of each issuer. Each is bounded for itself: an issuer
// that ends sessions without end makes its own users sign in again, and nobody else.
// Their number is that of the issuers which were ever configured.
type byIssuer struct {
	limit int // entries of one issuer

	mu sync.RWMutex
	of map[issuerTag]*ledger[revoked, noted]
}

func newByIssuer(limit int) *byIssuer {
	return &byIssuer{limit: limit, of: map[issuerTag]*ledger[revoked, noted]{{}: newLedger[revoked, noted](limit, endSlack)}}
}

// ledger returns that of an issuer, and makes it if there is none.
func (b *byIssuer) ledger(tag issuerTag) *ledger[revoked, noted] {
	if l := b.find(tag); l != nil {
		return l
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of[tag] == nil {
		b.of[tag] = newLedger[revoked, noted](b.limit, endSlack)
	}
	return b.of[tag]
}

// find returns the ledger of an issuer, nil if there is none.
func (b *byIssuer) find(tag issuerTag) *ledger[revoked, noted] {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.of[tag]
}

// all returns what is not over, of all issuers.
func (b *byIssuer) all(now time.Time) []noted {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []noted
	for _, l := range b.of {
		all = append(all, l.all(now)...)
	}
	return all
}

// empty tells whether there is nothing to ask for.
func (b *byIssuer) empty() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, l := range b.of {
		if !l.empty() {
			return false
		}
	}
	return true
}

// get returns the entry of what an issuer's revocation ends, and the issuer's floor. One
// that was stored without a tag stands among those of none.
func (b *byIssuer) get(of revoked, now time.Time) (found entry[noted], ok bool, floor time.Time) {
	if l := b.find(of.issuer); l != nil {
		found, ok, floor = l.get(of, now)
	}
	if !ok && of.issuer != (issuerTag{}) {
		of.issuer = issuerTag{}
		found, ok, _ = b.find(of.issuer).get(of, now)
	}
	return found, ok, floor
}
