package redisstore_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
	"github.com/gatehouse-auth/gatehouse/session/redisstore"
)

type oneRing struct{ ring *seal.Ring }

func (k oneRing) Ring(context.Context) (*seal.Ring, error) { return k.ring, nil }
func (oneRing) Refresh(context.Context)                    {}

// BenchmarkLoad opens a session of a browser that was seen a moment ago, by what processes share.
func BenchmarkLoad(b *testing.B) {
	server := redistest.Start(b)
	store, err := redisstore.New(redisstore.Config{Addresses: []string{server.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	key, err := seal.NewKey(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	ring, err := seal.NewRing(key)
	if err != nil {
		b.Fatal(err)
	}
	shared := session.NewSharedState(nil, store, nil)
	defer shared.Close()
	for name, config := range map[string]session.Config{
		"cookie":        {},
		"cookie+shared": {State: shared},
		"redis":         {State: shared, Store: store},
		"redis alone":   {Store: store}, // each time over the network
	} {
		b.Run(name, func(b *testing.B) {
			config.Keys = oneRing{ring}
			m, err := session.NewManager(config)
			if err != nil {
				b.Fatal(err)
			}
			scope := session.Scope{Host: "app.example.com", Secure: true}
			answer := httptest.NewRecorder()
			s := &session.Session{Issuer: "https://id.example.com", Subject: "alice"}
			if _, err := m.Create(b.Context(), answer, session.Cookies{}, scope, s); err != nil {
				b.Fatal(err)
			}
			cookie := answer.Result().Cookies()[0]
			cut := config.Cookie.Cut(http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Load(b.Context(), cut, scope); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
