package main

import (
	"os"
	"testing"
)

// TestMain lets the test binary run as Caddy, as the benchmark does.
func TestMain(m *testing.M) {
	if as := os.Getenv(asCaddy); as != "" {
		runCaddy(as)
		return
	}
	os.Exit(m.Run())
}

// largestCookies are the bytes of the Cookie header that each session may take, some 3 of 100 above what it takes:
// without a refresh token, with one, and with a forwarded access token. 0: it need not fit.
var largestCookies = map[string]map[int][3]int{
	"node oidc-provider": {0: {780, 875, 980}, 20: {1455, 1550, 1655}, 100: {4210, 4300, 4410}},
	"Keycloak":           {0: {815, 2050, 4660}, 20: {1840, 3070, 7110}, 100: {6075, 7310, 0}},
	"Entra":              {0: {975, 3190, 6910}, 20: {2375, 4610, 8300}, 100: {7960, 0, 0}},
	"Google":             {0: {765, 975, 1410}, 20: {1870, 2075, 2510}, 100: {6385, 6585, 7020}},
}

// A session holds what rules and headers read and what a refresh needs, and nothing else: whatever is added shows here.
func TestCookiesStaySmall(t *testing.T) {
	all, err := measureCookies(t.Context(), options{cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, s := range all {
		largest, known := largestCookies[s.Provider][s.Groups]
		if !known {
			t.Errorf("%s with %d groups has no row", s.Provider, s.Groups)
		}
		rows++
		for i, got := range []int{s.Without, s.With, s.Forwarded} {
			fits := got > 0
			if fits != (largest[i] > 0) || got > largest[i] {
				t.Errorf("%s, %d groups, %s: %d bytes, at most %d", s.Provider, s.Groups,
					[]string{"no refresh token", "a refresh token", "an access token"}[i], got, largest[i])
			}
		}
	}
	if rows != 12 {
		t.Errorf("%d rows", rows)
	}
}
