package authflow

import (
	"strings"
	"testing"
)

// TestCheckURL: SEC-113. Where a provider may send us.
func TestCheckURL(t *testing.T) {
	tests := map[string]struct{ fromHTTPS, fromLoopback bool }{
		"https://id.example.com/token?x=y": {true, true},
		"https://10.0.0.1/token":           {true, true}, // in a cluster, that is where it is
		"http://127.0.0.1:8080/token":      {false, true},
		"http://[::1]/token":               {false, true},
		"http://localhost/token":           {false, true},
		"http://id.example.com/token":      {false, false},
		"http://127.0.0.1.example.com/":    {false, false},
		"http://localhost.example.com/":    {false, false},
		"HTTPS://id.example.com/":          {true, true},
		"https://user:pw@id.example.com/":  {false, false},
		"https://id.example.com/#fragment": {false, false},
		"https:id.example.com":             {false, false},
		"//id.example.com/":                {false, false},
		"/token":                           {false, false},
		"":                                 {false, false},
		"file:///etc/passwd":               {false, false},
		"unix:///run/docker.sock":          {false, false},
		"https://id.example.com\n":         {false, false},
	}
	for address, test := range tests {
		for allowLoopback, want := range map[bool]bool{false: test.fromHTTPS, true: test.fromLoopback} {
			err := checkURL(address, allowLoopback)
			if (err == nil) != want {
				t.Errorf("%q, loopback %t: %v", address, allowLoopback, err)
			}
			if err != nil && strings.Contains(err.Error(), "pw") && !strings.Contains(address, "passwd") {
				t.Errorf("the error shows a password: %v", err)
			}
		}
	}
}
