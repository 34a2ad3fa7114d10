package authflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// start begins an attempt and forgets it.
func start(t testing.TB, client *authflow.Client) error {
	_, _, err := client.Begin(t.Context(), authflow.AuthorizationRequest{RedirectURI: redirectURI})
	return err
}

// TestDiscoveryIsLazy: P01. Nothing is fetched before somebody needs it, and
// nothing twice.
func TestDiscoveryIsLazy(t *testing.T) {
	p := testop.Start(t)
	client := newClient(t, p)
	time.Sleep(10 * time.Millisecond)
	if calls := p.Calls(testop.Discovery); calls != 0 {
		t.Fatalf("%d calls at start", calls)
	}
	for range 10 {
		if err := start(t, client); err != nil {
			t.Fatal(err)
		}
	}
	if calls := p.Calls(testop.Discovery); calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
	if err := client.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// TestDiscoveryFails: P01. Whatever is wrong, logins are told to come again, and
// five seconds after it is right they work, without a restart.
func TestDiscoveryFails(t *testing.T) {
	type edit = testop.Edit
	fault := func(f testop.Fault) func(*testop.Behaviour) {
		return func(b *testop.Behaviour) { b.Faults = map[string]testop.Fault{testop.Discovery: f} }
	}
	document := func(e edit) func(*testop.Behaviour) { return func(b *testop.Behaviour) { b.Discovery = e } }
	html := http.Header{"Content-Type": {"text/html"}}
	tests := map[string]struct {
		set    func(*testop.Behaviour)
		reason authflow.Reason
		kind   authflow.Kind
	}{
		"refuses":                 {nil, authflow.ReasonDiscovery, authflow.Unavailable},
		"hangs":                   {fault(testop.Fault{Hang: true}), authflow.ReasonDiscovery, authflow.Unavailable},
		"connection cut":          {fault(testop.Fault{Abort: true}), authflow.ReasonDiscovery, authflow.Unavailable},
		"status 200 with HTML":    {fault(testop.Fault{Status: 200, Header: html, Body: "<h1>Welcome</h1>"}), authflow.ReasonDiscovery, authflow.Unavailable},
		"status 503":              {fault(testop.Fault{Status: 503}), authflow.ReasonDiscovery, authflow.Unavailable},
		"status 404":              {fault(testop.Fault{Status: 404}), authflow.ReasonDiscovery, authflow.Unavailable},
		"SEC-113 redirect":        {fault(testop.Fault{Status: 302, Header: http.Header{"Location": {"/.well-known/openid-configuration"}}}), authflow.ReasonDiscovery, authflow.Unavailable},
		"SEC-113 2 MB":            {fault(testop.Fault{Pad: 2 << 20}), authflow.ReasonDiscovery, authflow.Unavailable},
		"SEC-113 array":           {fault(testop.Fault{Status: 200, Body: "[]"}), authflow.ReasonDiscovery, authflow.Unavailable},
		"issuer twice":            {fault(testop.Fault{Status: 200, Body: `{"issuer":"https://evil.example","issuer":"http://127.0.0.1:1"}`}), authflow.ReasonDiscovery, authflow.Unavailable},
		"a member of wrong type":  {document(edit{"jwks_uri": 7}), authflow.ReasonDiscovery, authflow.Unavailable},
		"no authorization":        {document(edit{"authorization_endpoint": testop.Absent}), authflow.ReasonDiscovery, authflow.Unavailable},
		"no token":                {document(edit{"token_endpoint": ""}), authflow.ReasonDiscovery, authflow.Unavailable},
		"no jwks":                 {document(edit{"jwks_uri": testop.Absent}), authflow.ReasonDiscovery, authflow.Unavailable},
		"SEC-113 token over http": {document(edit{"token_endpoint": "http://id.example.com/token"}), authflow.ReasonDiscovery, authflow.Unavailable},
		"SEC-113 jwks in a file":  {document(edit{"jwks_uri": "file:///etc/passwd"}), authflow.ReasonDiscovery, authflow.Unavailable},
		"credentials in a URL":    {document(edit{"token_endpoint": "https://a:b@id.example.com/"}), authflow.ReasonDiscovery, authflow.Unavailable},
		"4.3 issuer + INVALID":    {document(edit{"issuer": testop.Append("INVALID")}), authflow.ReasonDiscoveryIssuer, authflow.Provider},
		"4.3 issuer + /":          {document(edit{"issuer": testop.Append("/")}), authflow.ReasonDiscoveryIssuer, authflow.Provider},
		"4.3 issuer absent":       {document(edit{"issuer": testop.Absent}), authflow.ReasonDiscoveryIssuer, authflow.Provider},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemoryRP(t)
				if test.set == nil {
					s.p.Down()
				} else {
					s.p.Set(test.set)
				}
				for range 20 { // for a while, so that the backoff is at its longest
					err := start(t, s.client)
					if e, ok := errors.AsType[*authflow.Error](err); ok && e.RetryAfter > 5*time.Second {
						t.Errorf("asked to wait %s", e.RetryAfter)
					}
					if authflow.ReasonOf(err) != test.reason {
						t.Fatalf("%v, want %s", err, test.reason)
					}
					wantError(t, err, test.reason, test.kind)
					wantError(t, s.client.Ready(), test.reason, test.kind)
					time.Sleep(time.Second)
				}
				if test.set == nil {
					s.p.Up(t)
				}
				s.p.Behave()
				time.Sleep(5 * time.Second)
				if err := start(t, s.client); err != nil {
					t.Errorf("five seconds after it came back: %v", err)
				}
			})
		})
	}
}

// TestDiscoveryNotFound: a wrong issuer shows by the address that was asked.
func TestDiscoveryNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Discovery: {Status: 404}}
		})
		err := start(t, s.client)
		wantError(t, err, authflow.ReasonDiscovery, authflow.Unavailable)
		if address := s.client.Issuer() + "/.well-known/openid-configuration"; !strings.Contains(err.Error(), address) {
			t.Errorf("%v, does not name %s", err, address)
		}
	})
}

// TestDiscoveryHangs: P01. A provider that hangs holds one goroutine of ours,
// whoever comes, and nobody waits longer than three seconds.
func TestDiscoveryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		s.p.Set(func(b *testop.Behaviour) {
			b.Faults = map[string]testop.Fault{testop.Discovery: {Hang: true}}
		})
		began := time.Now()
		for range 10 {
			var wait sync.WaitGroup
			for range 100 {
				wait.Go(func() {
					since := time.Now()
					wantError(t, start(t, s.client), authflow.ReasonDiscovery, authflow.Unavailable)
					if d := time.Since(since); d > 3*time.Second {
						t.Errorf("waited %s", d)
					}
				})
			}
			wait.Wait()
			synctest.Wait()
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			if left := bytes.Count(stacks, []byte("]).run(")); left > 1 {
				t.Fatalf("%d attempts at once\n%s", left, stacks)
			}
		}
		attempts := int(time.Since(began)/(4*time.Second)) + 1
		if calls := s.p.Calls(testop.Discovery); calls > attempts {
			t.Errorf("%d attempts in %s", calls, time.Since(began))
		}
		// Without anybody who asks, nothing goes on.
		time.Sleep(time.Minute)
		calls := s.p.Calls(testop.Discovery)
		time.Sleep(time.Hour)
		if more := s.p.Calls(testop.Discovery) - calls; more != 0 {
			t.Errorf("%d attempts for nobody", more)
		}
	})
}

// TestDiscoveryRecovers: P01. Whenever a provider that hung comes back, a login
// works five seconds later, at once.
func TestDiscoveryRecovers(t *testing.T) {
	for phase := time.Duration(0); phase < 40*time.Second; phase += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := newMemoryRP(t)
			s.p.Set(func(b *testop.Behaviour) {
				b.Faults = map[string]testop.Fault{testop.Discovery: {Hang: true}}
			})
			for began := time.Now(); time.Since(began) < phase; time.Sleep(100 * time.Millisecond) {
				wantError(t, s.client.Ready(), authflow.ReasonDiscovery, authflow.Unavailable)
			}
			s.p.Behave()
			time.Sleep(5 * time.Second)
			came := time.Now()
			if err := start(t, s.client); err != nil || time.Since(came) != 0 {
				t.Errorf("it came back %s after the first attempt: %v after %s", phase, err, time.Since(came))
			}
		})
	}
}

// TestDiscoveryStale: metadata is fetched again after an hour, in the background,
// and serves for as long as that fails.
func TestDiscoveryStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryRP(t)
		s.mustLogin("alice")
		time.Sleep(time.Hour - time.Second)
		s.mustLogin("alice")
		if calls := s.p.Calls(testop.Discovery); calls != 1 {
			t.Errorf("%d calls within an hour, want 1", calls)
		}
		s.p.Down()
		for range 100 {
			time.Sleep(time.Hour)
			if err := start(t, s.client); err != nil {
				t.Fatalf("with the provider away: %v", err)
			}
			synctest.Wait()
		}
		s.p.Up(t)
		s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{"issuer": "https://evil.example"} })
		time.Sleep(time.Hour)
		if err := start(t, s.client); err != nil {
			t.Fatalf("with useless metadata: %v", err)
		}
		synctest.Wait()
		s.p.Behave()
		time.Sleep(time.Hour)
		before := s.p.Calls(testop.Discovery)
		for range 10 {
			s.mustLogin("alice")
			synctest.Wait()
		}
		if calls := s.p.Calls(testop.Discovery) - before; calls != 1 {
			t.Errorf("%d calls after it came back, want 1", calls)
		}
	})
}

// TestEndpointsMove: the provider moves an endpoint while the client runs. Once a call there
// has failed, the metadata is fetched again, at most once a minute, and what follows goes
// to the new address. Metadata of another issuer is not followed.
func TestEndpointsMove(t *testing.T) {
	for endpoint, reason := range map[string]authflow.Reason{
		"token_endpoint": authflow.ReasonTokenEndpoint,
		"jwks_uri":       authflow.ReasonKeysUnavailable,
	} {
		t.Run(endpoint, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemoryRP(t)
				moved := testop.Edit{endpoint: s.p.URL("moved")}
				s.p.Set(func(b *testop.Behaviour) { b.Discovery = moved })
				for range 20 {
					_, err := s.login("alice")
					if authflow.ReasonOf(err) != reason {
						t.Fatalf("%v, want %s", err, reason)
					}
					time.Sleep(3 * time.Second)
				}
				if calls := s.p.Calls(testop.Discovery); calls > 3 {
					t.Errorf("the metadata was fetched %d times in a minute", calls)
				}
				s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{"issuer": "https://evil.example"} })
				for range 3 {
					time.Sleep(time.Minute)
					if _, err := s.login("alice"); err == nil {
						t.Fatal("metadata of another issuer is followed")
					}
				}
				s.p.Behave()
				time.Sleep(time.Minute)
				_, _ = s.login("alice")
				time.Sleep(5 * time.Second)
				s.mustLogin("alice")
			})
		})
	}
}

// TestMalformedEndpoint: what a sign-in does not need keeps nobody out, is named in
// the log, and fails where it is used; it is never called, and no browser sent there.
func TestMalformedEndpoint(t *testing.T) {
	for _, address := range []any{
		"http://id.example.com/x", "javascript:alert(1)", "gopher://id.example.com/", "https://a:b@id.example.com/", "/x", 7, []string{"https://id.example.com/"},
	} {
		for member, test := range map[string]struct {
			options []func(*authflow.Config)
			use     func(s rp) error
			reason  authflow.Reason
			kind    authflow.Kind
		}{
			"end_session_endpoint": {nil, func(s rp) error {
				_, err := s.client.EndSessionURL(t.Context(), authflow.EndSessionRequest{})
				return err
			}, authflow.ReasonNoEndSession, authflow.Provider},
			"revocation_endpoint": {nil, func(s rp) error {
				return s.client.Revoke(t.Context(), authflow.RevokeRequest{RefreshToken: secret.New("rt")})
			}, authflow.ReasonRevocation, authflow.Provider},
			"userinfo_endpoint": {[]func(*authflow.Config){func(cfg *authflow.Config) { cfg.UserInfo = authflow.UserInfoOnMissingClaims }}, func(s rp) error {
				s.needed = []string{"nowhere"}
				_, err := s.login("alice")
				return err
			}, authflow.ReasonUserInfoMissing, authflow.Provider},
			"pushed_authorization_request_endpoint": {nil, func(s rp) error {
				return start(t, newClient(t, s.p, func(cfg *authflow.Config) { cfg.PAR = authflow.PAROn }))
			}, authflow.ReasonPARMissing, authflow.Internal},
		} {
			t.Run(fmt.Sprint(member, " ", address), func(t *testing.T) {
				var log bytes.Buffer
				s := newRP(t, append(test.options, func(cfg *authflow.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })...)
				s.p.Set(func(b *testop.Behaviour) { b.Discovery = testop.Edit{member: address} })
				if _, err := s.login("alice"); err != nil {
					t.Fatalf("nobody signs in: %v", err)
				}
				if strings.Count(log.String(), member) != 1 {
					t.Errorf("the log says: %s", log.String())
				}
				wantError(t, test.use(s), test.reason, test.kind)
			})
		}
	}
}
