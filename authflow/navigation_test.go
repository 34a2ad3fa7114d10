package authflow_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

func TestIsNavigation(t *testing.T) {
	const (
		document = "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Fetch-Site: none\nSec-Fetch-User: ?1"
		firefox  = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		chrome   = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	)
	for _, test := range []struct {
		name, method, header string
		want                 bool
	}{
		{"Sec-Fetch: address bar", "GET", document + "\n" + firefox, true},
		{"Sec-Fetch: no Accept", "GET", document, true},
		{"Sec-Fetch: Accept */*", "GET", document + "\nAccept: */*", true},
		{"Sec-Fetch: link of another site", "GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Fetch-Site: cross-site", true},
		{"Sec-Fetch: Android's WebView", "GET", document + "\nX-Requested-With: org.example.app", true},
		{"Sec-Fetch: application with Basic of its own", "GET", document + "\nAuthorization: Basic eDp5", true},
		{"Sec-Fetch: form", "POST", document, false},
		{"Sec-Fetch: HEAD", "HEAD", document, false},
		{"Sec-Fetch: frame", "GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe\n" + firefox, false},
		{"Sec-Fetch: embed", "GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: embed\n" + firefox, false},
		{"Sec-Fetch: no destination", "GET", "Sec-Fetch-Mode: navigate\n" + firefox, false},
		{"Sec-Fetch: no mode", "GET", "Sec-Fetch-Dest: document\n" + firefox, false},
		{"Sec-Fetch: site alone", "GET", "Sec-Fetch-Site: none\n" + firefox, false},
		{"Sec-Fetch: two modes", "GET", document + "\nSec-Fetch-Mode: cors", false},
		{"Sec-Fetch: fetch()", "GET", "Sec-Fetch-Mode: cors\nSec-Fetch-Dest: empty\n" + firefox, false},
		{"Sec-Fetch: image", "GET", "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image", false},
		{"Sec-Fetch: manifest (P26)", "GET", "Sec-Fetch-Mode: cors\nSec-Fetch-Dest: manifest", false},
		{"Sec-Fetch: WebSocket", "GET", "Sec-Fetch-Mode: websocket\nSec-Fetch-Dest: websocket\nUpgrade: websocket", false},
		{"Sec-Fetch: prefetch", "GET", document + "\nSec-Purpose: prefetch", false},
		{"Sec-Fetch: prerender", "GET", document + "\nSec-Purpose: prefetch;prerender", false},
		{"Sec-Fetch: prefetch through a proxy", "GET", document + "\nSec-Purpose: prefetch;anonymous-client-ip", false},
		{"Sec-Fetch: bearer token (P24)", "GET", document + "\nAuthorization: Bearer x", false},
		{"Sec-Fetch: X-Requested-With (P06)", "GET", document + "\nX-Requested-With: XMLHttpRequest", false},
		{"Sec-Fetch: JSON preferred (P06)", "GET", document + "\nAccept: application/json", false},

		{"http: Firefox", "GET", firefox, true},
		{"http: Chrome", "GET", chrome + "\nUpgrade-Insecure-Requests: 1", true},
		{"http: HTML preferred to JSON", "GET", "Accept: application/json;q=0.5, text/html", true},
		{"http: application with Negotiate of its own", "GET", firefox + "\nAuthorization: Negotiate YII", true},
		{"http: two Accept lines", "GET", "Accept: image/png\nAccept: text/html", true},
		{"http: form", "POST", firefox, false},
		{"http: preflight (P25)", "OPTIONS", firefox + "\nOrigin: https://other.example.com\nAccess-Control-Request-Method: GET", false},
		{"http: curl", "GET", "Accept: */*", false},
		{"http: no Accept", "GET", "", false},
		{"http: favicon", "GET", "Accept: image/avif,image/webp,*/*", false},
		{"http: axios", "GET", "Accept: application/json, text/plain, */*", false},
		{"http: JSON equally", "GET", "Accept: text/html, application/json", false},
		{"http: JSON:API preferred", "GET", "Accept: text/html;q=0.5, application/vnd.api+json", false},
		{"http: events (P06)", "GET", "Accept: text/event-stream", false},
		{"http: HTML refused", "GET", "Accept: text/html;q=0, */*", false},
		{"http: weight that is none", "GET", "Accept: text/html;q=NaN", false},
		{"http: jQuery for HTML", "GET", "Accept: text/html, */*; q=0.01\nX-Requested-With: XMLHttpRequest", false},
		{"http: CORS", "GET", firefox + "\nOrigin: https://other.example.com", false},
		{"http: htmx", "GET", firefox + "\nHX-Request: true", false},
		{"http: Turbo", "GET", "Accept: text/html, application/xhtml+xml\nX-Turbo-Request-Id: 1", false},
		{"http: download resumed", "GET", firefox + "\nRange: bytes=100-", false},
		{"http: service worker", "GET", firefox + "\nService-Worker: script", false},
		{"http: WebSocket", "GET", firefox + "\nUpgrade: websocket\nConnection: Upgrade", false},
		{"http: old prefetch", "GET", firefox + "\nPurpose: prefetch", false},
		{"http: Firefox's old prefetch", "GET", firefox + "\nX-Moz: prefetch", false},
		{"http: bearer token (P24)", "GET", firefox + "\nAuthorization: bearer x", false},
		{"http: DPoP", "GET", firefox + "\nAuthorization: DPoP x", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/", http.NoBody)
			for line := range strings.SplitSeq(test.header, "\n") {
				if name, value, found := strings.Cut(line, ": "); found {
					r.Header.Add(name, value)
				}
			}
			if got := authflow.IsNavigation(r); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
