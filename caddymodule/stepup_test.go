package caddymodule

import (
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/session"
)

// OIDC Core 3.1.2.1: what a session has to be. What has gone by since the sign-in is counted to the second, and the
// provider's clock may be off by a minute only before that.
func TestStepUpCheck(t *testing.T) {
	now := time.Unix(1800000000, 0)
	both := stepUp{acr: []string{"phr", "phrh"}, maxAge: 10 * time.Minute}
	for name, tt := range map[string]struct {
		needed            stepUp
		acr               string
		created, authTime time.Duration // ago; authTime -1 is not told
		reason            authflow.Reason
	}{
		"nothing needed":            {stepUp{}, "", 0, -1, ""},
		"strong and recent":         {both, "phrh", time.Minute, time.Minute, ""},
		"weak":                      {both, "0", time.Minute, time.Minute, ReasonACRRequired},
		"acr not told":              {both, "", time.Minute, time.Minute, ReasonACRRequired},
		"auth_time not told":        {both, "phr", time.Minute, -1, ReasonAuthTooOld},
		"SEC-88 nor recently":       {both, "phr", 5 * time.Minute, -1, ReasonAuthTooOld}, // the times must not overflow
		"at the limit":              {both, "phr", 10 * time.Minute, 10 * time.Minute, ""},
		"a second later":            {both, "phr", 10*time.Minute + time.Second, 10*time.Minute + time.Second, ReasonAuthTooOld},
		"signed in there long ago":  {both, "phr", time.Second, time.Hour, ReasonAuthTooOld},
		"a clock a minute behind":   {both, "phr", 9 * time.Minute, 10 * time.Minute, ""},
		"both together are too old": {both, "phr", 6 * time.Minute, 12 * time.Minute, ReasonAuthTooOld},
		"a clock that is ahead":     {both, "phr", 11 * time.Minute, time.Minute, ReasonAuthTooOld},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session.Session{ACR: tt.acr, Created: now.Add(-tt.created)}
			if tt.authTime >= 0 {
				s.AuthTime = now.Add(-tt.authTime)
			}
			if got := authflow.ReasonOf(tt.needed.check(s, func() time.Time { return now })); got != tt.reason {
				t.Errorf("reason %q, want %q", got, tt.reason)
			}
		})
	}
}

// The next refresh is due a little before the access token expires, or after refresh_interval, whichever is earlier.
func TestRefreshAt(t *testing.T) {
	now := time.Unix(1800000000, 0)
	for name, tt := range map[string]struct {
		interval, expiry, want time.Duration // 0: none
	}{
		"nothing is known":    {0, 0, 0},
		"expires_in":          {0, time.Hour, time.Hour - 30*time.Second},
		"refresh_interval":    {time.Minute, 0, time.Minute},
		"the interval first":  {time.Minute, time.Hour, time.Minute},
		"the access token is": {time.Hour, time.Minute, 54 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var expiry time.Time
			if tt.expiry > 0 {
				expiry = now.Add(tt.expiry)
			}
			got := (&provider{refreshInterval: tt.interval}).refreshAt(now, expiry)
			if got.IsZero() != (tt.want == 0) || !got.IsZero() && got.Sub(now) != tt.want {
				t.Errorf("due at %s, want after %s", got, tt.want)
			}
		})
	}
}
