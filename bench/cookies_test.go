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
	"node oidc-provider": {0: {525, 625, 730}, 20: {960, 1060, 1160}, 100: {1890, 2000, 2105}},
	"Keycloak":           {0: {600, 1505, 3060}, 20: {1150, 2075, 4235}, 100: {2420, 3415, 7680}},
	"Entra":              {0: {670, 2420, 5260}, 20: {1510, 3385, 6335}, 100: {4615, 6735, 0}},
	"Google":             {0: {600, 800, 1165}, 20: {1025, 1235, 1605}, 100: {2055, 2285, 2660}},
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
