package redisstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

func TestShared(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	sharedSuite(t, func(t *testing.T) *redisstore.Store {
		return open(t, redisstore.Config{Addresses: []string{server.Addr}})
	})
}

// sharedSuite holds what processes share to the contract of session.Shared.
func sharedSuite(t *testing.T, newStore func(*testing.T) *redisstore.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *redisstore.Store)
	}{
		{"of many who want a lease one has it", leaseOnce},
		{"a lease that is not renewed goes to the next", leaseExpires},
		{"of many who take a name one is the first", once},
		{"a generation has one successor", succeed},
		{"a blob is taken once", take},
		{"a revocation is told and listed", revoke},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

func leaseOnce(t *testing.T, s *redisstore.Store) {
	name := rand.Text()
	var group sync.WaitGroup
	won := make(chan string, 32)
	for i := range cap(won) {
		group.Go(func() {
			owner := fmt.Sprint(i)
			has, err := s.Lease(t.Context(), name, owner, time.Minute)
			if err != nil {
				t.Error(err)
			}
			if has {
				won <- owner
			}
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Fatalf("%d have the lease", len(won))
	}
	owner := <-won
	if has, err := s.Lease(t.Context(), name, owner, time.Minute); err != nil || !has {
		t.Errorf("renewed: %v, %v", has, err)
	}
	if err := s.Release(t.Context(), name, "somebody else"); err != nil {
		t.Error(err)
	}
	if has, err := s.Lease(t.Context(), name, "next", time.Minute); err != nil || has {
		t.Errorf("released by somebody else: %v, %v", has, err)
	}
	if err := s.Release(t.Context(), name, owner); err != nil {
		t.Error(err)
	}
	if has, err := s.Lease(t.Context(), name, "next", time.Minute); err != nil || !has {
		t.Errorf("released: %v, %v", has, err)
	}
}

func leaseExpires(t *testing.T, s *redisstore.Store) {
	name := rand.Text()
	if has, err := s.Lease(t.Context(), name, "dead", 200*time.Millisecond); err != nil || !has {
		t.Fatalf("%v, %v", has, err)
	}
	eventually(t, "the next has it", func() bool {
		has, err := s.Lease(t.Context(), name, "next", time.Minute)
		return err == nil && has
	})
	if err := s.Release(t.Context(), name, "dead"); err != nil {
		t.Error(err)
	}
	if has, err := s.Lease(t.Context(), name, "third", time.Minute); err != nil || has {
		t.Errorf("the one whose lease was over ended another's: %v, %v", has, err)
	}
}

func once(t *testing.T, s *redisstore.Store) {
	name := rand.Text()
	for i, step := range []struct {
		owner string
		first bool
	}{{"a", true}, {"b", false}, {"a", true}, {"", false}} {
		if first, err := s.Once(t.Context(), name, step.owner, time.Minute); err != nil || first != step.first {
			t.Errorf("step %d: %v, %v", i, first, err)
		}
	}
}

func succeed(t *testing.T, s *redisstore.Store) {
	ctx, name := t.Context(), rand.Text()
	want := func(generation, newest uint64, successor string) {
		t.Helper()
		if n, blob, err := s.Successor(ctx, name, generation); err != nil || n != newest || string(blob) != successor || (blob == nil) != (successor == "") {
			t.Errorf("successor of %d: %d, %q, %v; want %d, %q", generation, n, blob, err, newest, successor)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want(1, 0, "")
	must(s.Succeed(ctx, name, 1, []byte("two"), time.Minute))
	want(1, 2, "two")
	want(2, 2, "")
	must(s.Succeed(ctx, name, 1, []byte("two"), time.Minute)) // made again
	if err := s.Succeed(ctx, name, 1, []byte("other"), time.Minute); !errors.Is(err, session.ErrStale) {
		t.Errorf("a second successor: %v, want ErrStale", err)
	}
	must(s.Succeed(ctx, name, 2, []byte("three"), time.Minute))
	want(1, 3, "two")
	want(2, 3, "three")
	if err := s.Succeed(ctx, name, 1, []byte("late"), time.Minute); !errors.Is(err, session.ErrStale) {
		t.Errorf("a successor of an old generation: %v, want ErrStale", err)
	}
	must(s.Settle(ctx, []session.Settled{{Session: name, Generation: 1}, {Session: rand.Text(), Generation: 9}}, time.Millisecond))
	eventually(t, "the first successor is gone", func() bool {
		_, blob, err := s.Successor(ctx, name, 1)
		return err == nil && blob == nil
	})
	want(1, 3, "")
	want(2, 3, "three")
}

func take(t *testing.T, s *redisstore.Store) {
	ctx, name := t.Context(), rand.Text()
	if _, err := s.Take(ctx, name); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if err := s.Put(ctx, name, []byte("a\x00b"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if blob, err := s.Take(ctx, name); err != nil || string(blob) != "a\x00b" {
		t.Errorf("%q, %v", blob, err)
	}
	if _, err := s.Take(ctx, name); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("taken twice: %v", err)
	}
}

// revocation makes one that ends at a time, as its encoding is: kind, hash, at, until.
func revocation(t *testing.T, until time.Time) session.Revocation {
	t.Helper()
	data := append([]byte{1, 1}, make([]byte, 32)...)
	rand.Read(data[2:34])
	for _, seconds := range []int64{time.Now().Unix(), until.Unix()} {
		for ; seconds >= 0x80; seconds >>= 7 {
			data = append(data, byte(seconds)|0x80)
		}
		data = append(data, byte(seconds))
	}
	r, err := session.DecodeRevocation(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func revoke(t *testing.T, s *redisstore.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Revoke(ctx, revocation(t, time.Now().Add(-2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	before, _, err := s.Revocations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	live, over := revocation(t, time.Now().Add(time.Hour)), revocation(t, time.Now().Add(-time.Hour))
	if err := s.Revoke(ctx, live, over); err != nil {
		t.Fatal(err)
	}
	for i, want := range []session.Revocation{live, over} {
		if revision, r, err := sub.Next(ctx); err != nil || r != want || revision != before+uint64(i)+1 {
			t.Fatalf("told %d: revision %d, %+v, %v", i, revision, r, err)
		}
	}
	revision, all, err := s.Revocations(ctx)
	if err != nil || revision != before+2 {
		t.Fatalf("revision %d, %v", revision, err)
	}
	if len(all) != 1 || all[0] != live {
		t.Errorf("listed %+v, want what is not over", all)
	}
	var many []session.Revocation
	for range 1200 {
		many = append(many, revocation(t, time.Now().Add(time.Hour)))
	}
	if err := s.Revoke(ctx, many...); err != nil {
		t.Fatal(err)
	}
	if revision, err := s.Revision(ctx); err != nil || revision != before+1202 {
		t.Errorf("revision %d, %v", revision, err)
	}
	if _, all, err := s.Revocations(ctx); err != nil || len(all) != 1201 {
		t.Errorf("%d listed, %v", len(all), err)
	}
}

// certificate writes a certificate of its own authority, and its key.
func certificate(t *testing.T, host string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}
