package authflow_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// RFC 9068 4, RFC 8725: a token of our own is one of this issuer, for it, of the right type and key, in time.
func TestAuthorizationServer(t *testing.T) {
	key := must(authflow.KeyFromSeed(bytes.Repeat([]byte{1}, 48)))
	other := must(authflow.KeyFromSeed(bytes.Repeat([]byte{2}, 48)))
	now := time.Unix(1_700_000_000, 0)
	server := authflow.AuthorizationServer{Issuer: "https://app.example.test", Keys: []authflow.ClientKey{key}}
	token := authflow.IssuedToken{
		ID: "id", Subject: "ada", ClientID: "c", Scopes: []string{"a", "b"}, Groups: []string{"a", "b c"}, Entry: "e",
		Issued: now, Expires: now.Add(time.Hour),
	}
	signed := must(server.Issue(token))
	// claims are right but for one.
	claims := func(name string, value any) secret.String {
		all := map[string]any{
			"iss": server.Issuer, "aud": server.Issuer, "sub": "ada", "client_id": "c", "jti": "id", "entry": "e",
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		}
		if all[name] = value; value == nil {
			delete(all, name)
		}
		return secret.New(must(key.Sign("at+jwt", all)))
	}
	withKeys := func(keys ...authflow.ClientKey) authflow.AuthorizationServer {
		return authflow.AuthorizationServer{Issuer: server.Issuer, Keys: keys}
	}
	parts := strings.Split(signed.Reveal(), ".")
	for _, tt := range []struct {
		name   string
		server authflow.AuthorizationServer
		token  secret.String
		now    time.Time
		reason authflow.Reason
	}{
		{"right", server, signed, now, ""},
		{"as long as it counts", server, signed, now.Add(time.Hour), ""},
		{"of a key that was replaced", withKeys(other, key), signed, now, ""},
		{"a second after that", server, signed, now.Add(time.Hour + time.Second), authflow.ReasonTokenExpired},
		{"of a clock that is ahead", server, signed, now.Add(-time.Minute), ""},
		{"of a clock that is wrong", server, signed, now.Add(-time.Minute - time.Second), authflow.ReasonClockSkew},
		{"of a key that is gone", withKeys(other), signed, now, authflow.ReasonKeyUnknown},
		{"without keys", withKeys(), signed, now, authflow.ReasonKeyUnknown},
		{"of another issuer", server, claims("iss", "https://evil.example"), now, authflow.ReasonIDTokenIssuer},
		{"of nobody", server, claims("iss", nil), now, authflow.ReasonIDTokenIssuer},
		{"for another", server, claims("aud", "https://evil.example"), now, authflow.ReasonAudMismatch},
		{"for another as well", server, claims("aud", []string{server.Issuer, "https://evil.example"}), now, authflow.ReasonAudUntrusted},
		{"for nobody", server, claims("aud", nil), now, authflow.ReasonAudMismatch},
		{"of no subject", server, claims("sub", nil), now, authflow.ReasonSubMissing},
		{"for ever", server, claims("exp", nil), now, authflow.ReasonExpMissing},
		{"of no time", server, claims("iat", nil), now, authflow.ReasonIatMissing},
		{"without id", server, claims("jti", nil), now, authflow.ReasonClaimMalformed},
		{"without entry", server, claims("entry", nil), now, authflow.ReasonClaimMalformed},
		{"scope that is no text", server, claims("scope", 1), now, authflow.ReasonClaimMalformed},
		{"groups that are none", server, claims("groups", map[string]any{"a": 1}), now, authflow.ReasonClaimMalformed},
		{"of another type", server, secret.New(must(key.Sign("gatehouse+jwt", map[string]any{"iss": server.Issuer}))), now, authflow.ReasonIDTokenHeader},
		{"of no type", server, secret.New(must(key.Sign("", map[string]any{"iss": server.Issuer}))), now, authflow.ReasonIDTokenHeader},
		{"of another signature", server, secret.New(parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86)), now, authflow.ReasonSignature},
		{"of no signature", server, secret.New(parts[0] + "." + parts[1] + "."), now, authflow.ReasonSignature},
		{"no token", server, secret.New("x"), now, authflow.ReasonTokenMalformed},
		{"huge", server, secret.New(strings.Repeat("x", 1<<20)), now, authflow.ReasonTokenMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.server.Verify(tt.token, tt.now, time.Minute)
			if authflow.ReasonOf(err) != tt.reason {
				t.Fatalf("%v, want %s", err, tt.reason)
			}
			if err == nil && !reflect.DeepEqual(*got, token) && tt.name == "right" {
				t.Errorf("%+v, want %+v", *got, token)
			}
		})
	}
	if !server.MayHaveIssued(signed, now) || server.MayHaveIssued(claims("iss", "https://evil.example"), now) || server.MayHaveIssued(secret.New("x"), now) {
		t.Error("whose a token is")
	}
	if _, err := withKeys().Issue(token); err == nil {
		t.Error("signed without a key")
	}
}

// A token of our own costs one signature check, as one of a provider does: what it says is then kept. Its key and its
// time are judged at each use all the same, and it is one of its issuer alone (SEC-85).
func TestIssuedTokensAreKept(t *testing.T) {
	key := must(authflow.KeyFromSeed(bytes.Repeat([]byte{1}, 48)))
	now := time.Unix(1_700_000_000, 0)
	prepared := 0
	known := &authflow.IssuedTokens{Prepare: func(of authflow.AuthorizationServer, token *authflow.IssuedToken) (any, error) {
		if prepared++; token.Subject == "nobody" {
			return nil, errors.New("nobody")
		}
		return of.Issuer + " " + token.Subject, nil
	}}
	server := authflow.AuthorizationServer{Issuer: "https://app.example.test", Keys: []authflow.ClientKey{key}, Known: known}
	issue := func(server authflow.AuthorizationServer, subject string) secret.String {
		return must(server.Issue(authflow.IssuedToken{
			ID: "id", Subject: subject, ClientID: "c", Entry: "e", Issued: now, Expires: now.Add(time.Hour),
		}))
	}
	signed := issue(server, "ada")
	verify := func(at time.Time, change func(*authflow.AuthorizationServer)) (*authflow.IssuedToken, authflow.Reason) {
		changed := server
		if change != nil {
			change(&changed)
		}
		token, err := changed.Verify(signed, at, time.Minute)
		return token, authflow.ReasonOf(err)
	}
	if first, reason := verify(now, nil); reason != "" || first.Prepared != "https://app.example.test ada" {
		t.Fatalf("%+v %s", first, reason)
	}
	for _, tt := range []struct {
		name     string
		at       time.Time
		change   func(*authflow.AuthorizationServer)
		want     authflow.Reason
		prepared int
	}{
		{"again", now, nil, "", 1},
		{"when it expires", now.Add(time.Hour + time.Second), nil, authflow.ReasonTokenExpired, 2}, // and is not kept then
		{"again, once it was not", now, nil, "", 2},
		{"by a clock that was set back", now.Add(-2 * time.Minute), nil, authflow.ReasonClockSkew, 2},
		{"when its key is retired", now, func(s *authflow.AuthorizationServer) { s.Keys = nil }, authflow.ReasonKeyUnknown, 2},
		{"at another issuer with the same key", now, func(s *authflow.AuthorizationServer) { s.Issuer = "https://wiki.example.test" }, authflow.ReasonIDTokenIssuer, 2},
		{"after five minutes", now.Add(5 * time.Minute), nil, "", 3},
	} {
		if _, reason := verify(tt.at, tt.change); reason != tt.want || prepared != tt.prepared {
			t.Errorf("%s: %q, verified %d times; want %q, %d", tt.name, reason, prepared, tt.want, tt.prepared)
		}
	}
	other := authflow.AuthorizationServer{Issuer: "https://wiki.example.test", Keys: server.Keys, Known: known}
	if !server.MayHaveIssued(signed, now) || other.MayHaveIssued(signed, now) {
		t.Error("whose a known token is")
	}
	if _, err := server.Verify(issue(server, "nobody"), now, time.Minute); authflow.ReasonOf(err) != authflow.ReasonClaimMalformed {
		t.Errorf("one that nothing can be made of: %v", err)
	}
}
