package main

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		beCaddy()
		return
	}
	os.Exit(m.Run())
}

// A few seconds of it, with bounds for a machine that is busy with other tests.
func TestSoak(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := soak(t.Context(), t, options{length: 8 * time.Second, seed: 1, people: 4, within: 10 * time.Second, recovery: 20 * time.Second}, &out)
	if b.count(violations) > 0 || b.count("sign-ins") == 0 || b.count("requests with a session") == 0 {
		t.Errorf("\n%s", out.String())
	}
}
