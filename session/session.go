package session

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// ID names a session: 128 random bits. It is not a credential; what opens a
// session is the sealed cookie.
type ID [16]byte

// NewID returns a new random ID.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails: it would end the process
	return id
}

// String returns the ID in base64url, 22 characters.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Session is one sign-in of one browser. Times are in whole seconds, UTC, and
// zero if not known.
type Session struct {
	ID         ID
	Generation uint64    // 1 when made, raised by one with each update
	Host       string    // the host or cookie domain that it was made for
	Created    time.Time // when the browser signed in
	Sealed     time.Time // when this generation was made
	Expires    time.Time // the absolute end; no update moves it

	Provider string // the configuration's name for the provider
	Issuer   string // OIDC Core 2, iss
	ClientID string
	Subject  string // OIDC Core 2, sub

	IdPSession    string    // sid of OIDC Front- and Back-Channel Logout, if told
	AuthTime      time.Time // OIDC Core 2, auth_time
	ACR           string    // OIDC Core 2, acr
	IDTokenIssued time.Time // iat of the first ID token: what a not-before is compared with
	Nonce         string    // of the first ID token, for OIDC Core 12.2

	// Claims maps a claim's path to its value: a string, bool, json.Number,
	// []any or map[string]any of such values, or nil.
	Claims map[string]any
	// UserInfoClaims are the names in Claims that the ID token did not tell.
	UserInfoClaims []string
	// Incomplete says that a refresh did not bring a claim that was lacking, so
	// that only a sign-in will.
	Incomplete bool

	AccessToken  secret.String
	TokenType    string
	AccessExpiry time.Time // zero if the provider did not tell
	RefreshToken secret.String
	RefreshAt    time.Time     // when a refresh is due; zero: never
	IDToken      secret.String // only if it is forwarded
	// DPoPKey is the private key that the tokens are bound to (RFC 9449), empty if
	// they are bound to none.
	DPoPKey secret.String
}

// Clone returns a deep copy.
func (s *Session) Clone() *Session {
	clone := *s
	if s.Claims != nil {
		clone.Claims = cloneClaim(s.Claims).(map[string]any)
	}
	clone.UserInfoClaims = slices.Clone(s.UserInfoClaims)
	return &clone
}

func cloneClaim(value any) any {
	switch value := value.(type) {
	case map[string]any:
		clone := maps.Clone(value)
		for name, member := range clone {
			clone[name] = cloneClaim(member)
		}
		return clone
	case []any:
		clone := slices.Clone(value)
		for i, item := range clone {
			clone[i] = cloneClaim(item)
		}
		return clone
	default:
		return value
	}
}

// samePrincipal tells whether two sessions are of the same person at the same
// client.
func (s *Session) samePrincipal(other *Session) bool {
	return s.Provider == other.Provider && s.Issuer == other.Issuer &&
		s.ClientID == other.ClientID && s.Subject == other.Subject
}
