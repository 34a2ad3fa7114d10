package seal_test

import "github.com/gatehouse-auth/gatehouse/internal/seal"

// Values sealed by the first version of this package.
var vectors = []struct {
	purpose          seal.Purpose
	plaintext, value string
}{
	{
		seal.Purpose{Kind: "session", Scope: "app.example.com"},
		"a session",
		"v1.0t8b1j9-abcdefghij.MTc5NTUwMjU4Mnx6alpnQlVKbkk5T2xCWUhvM1ZDR25fTHdJZTJOaHZiem53PT18r8RWHHNoLFRgPCW5quJzpkh4Bn3TVL4fNAOLZhOjwXU=",
	},
	{
		seal.Purpose{Kind: "attempt", Scope: "wiki.example.com"},
		"a login attempt",
		"v1.keyoftheconfigurat.MTc5NTUwMjU4MnxHQ1g3ZTR5bVhTUjFwejJiUkloYlA0U2g2NlF6NzhrR1ZZNjM5MzVBTXc9PXzSBF9GMeRPbgzBCh98kJ5GIak9G4RLJkibkgUnCuT2pg==",
	},
}

const (
	vectorKeyID = "ke6jbpjk73zwpd2on"
	vectorBlob  = "AflPuhyHyiRM0H8Fs4ynAG+OrKTRaPqgoCGXhAACd1QvBqMmVg=="
)
