package testop_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// What is issued says what it was asked to say, and introspection knows the opaque ones, for the client alone.
func TestAccessTokens(t *testing.T) {
	p := testop.Start(t)
	c := newClient(t, p)
	got, err := c.verify(p.Issue(testop.AccessToken{Audience: "api", Scope: "read", Claims: testop.Edit{"x": "y", "jti": testop.Absent}}))
	if err != nil || got["aud"] != "api" || got["scope"] != "read" || got["sub"] != "sub-alice" || got["x"] != "y" || got["jti"] != nil {
		t.Errorf("%v, %v", got, err)
	}
	for name, wrong := range map[string]testop.AccessToken{"corrupt": {Corrupt: true}, "wrong": {Wrong: true}} {
		if _, err := c.verify(p.Issue(wrong)); err == nil {
			t.Errorf("%s: it verifies", name)
		}
	}
	opaque := p.Issue(testop.AccessToken{Audience: "api", Opaque: true})
	ask := func() any {
		t.Helper()
		status, answer := c.post(testop.Introspection, url.Values{"token": {opaque}})
		if status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		return answer["active"]
	}
	if ask() != true {
		t.Error("not active")
	}
	p.Set(func(b *testop.Behaviour) { b.Introspection = testop.Edit{"active": "yes"} })
	if ask() != "yes" {
		t.Error("not as a test wants it")
	}
	p.Behave()
	p.Forget(opaque)
	if ask() != false {
		t.Error("active, though forgotten")
	}
	p.Set(func(b *testop.Behaviour) { b.OnlyClientAuth = "private_key_jwt" })
	if status, _ := c.post(testop.Introspection, url.Values{"token": {opaque}}); status != http.StatusUnauthorized {
		t.Errorf("anybody may ask: %d", status)
	}
}
