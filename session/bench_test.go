package session

import (
	"net/http"
	"testing"
)

// BenchmarkLoad is what every request of somebody signed in costs.
func BenchmarkLoad(b *testing.B) {
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			g := newGate(b, store)
			browser := newBrowser(b, app)
			g.signIn(browser, alice())
			header := "theme=dark; " + browser.header() + "; other=1"
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					cookies := g.cookie.Cut(http.Header{"Cookie": {header}})
					if _, err := g.Load(b.Context(), cookies, app); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
