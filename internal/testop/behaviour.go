package testop

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Change is a value of an edit map that is made from the right one. The right
// value is nil if there is none.
type Change func(right any) any

// Absent, as a value of an edit map, takes the member away.
var Absent = Change(func(any) any { return absent{} })

type absent struct{}

// Append is the right value, which must be a string, with s behind it.
func Append(s string) Change {
	return func(right any) any { r, _ := right.(string); return r + s }
}

// Edit is a set of members that a test wants other than right: a plain value is
// put in place, a [Change] is computed, [Absent] removes.
type Edit map[string]any

// apply edits document in place.
func (e Edit) apply(document map[string]any) {
	for name, value := range e {
		if change, ok := value.(Change); ok {
			value = change(document[name])
		}
		if value == any(absent{}) {
			delete(document, name)
			continue
		}
		document[name] = value
	}
}

// Fault is what one endpoint does instead of its work. The zero value is none.
type Fault struct {
	Delay  time.Duration // waits first; alone, the right answer follows
	Hang   bool          // says nothing until the caller gives up
	Abort  bool          // closes the connection without an answer
	Status int           // answers this status with Header and Body; 0 = the right answer
	Header http.Header   // of the answer; Content-Type is text/html unless set
	Body   string
	Pad    int // so many bytes of white space before the right answer
	Times  int // how many requests it befalls; 0 = all
}

// Behaviour is what a [Provider] does wrong. The zero value does all right; each
// field is one misbehaviour. Change it with [Provider.Set].
type Behaviour struct {
	// Documents, member by member.

	Discovery             Edit // of the provider's metadata
	AuthorizationResponse Edit // parameters of the answer at redirect_uri: code, state, iss, error …
	TokenResponse         Edit // access_token, token_type, expires_in, id_token, refresh_token, scope
	IDToken               Edit // claims: {"nonce": Append("1"), "aud": []string{"a", "b"}, "sub": Absent}
	RefreshedIDToken      Edit // claims of the ID tokens that a refresh gives; after IDToken
	UserInfo              Edit // claims of the userinfo answer
	LogoutResponse        Edit // parameters of the answer at post_logout_redirect_uri: state

	// Endpoints out of order, by the names of this package: Discovery, Token …

	Faults map[string]Fault

	// Authorization endpoint.

	AuthorizationError string // answers error=… and no code
	TwiceInResponse    string // this parameter stands in the answer two times

	// The answer as a JWT (JARM), whose claims AuthorizationResponse edits: iss, aud, exp, code, state …

	OtherResponseMode bool              // a JWT where none was asked for, and none where one was
	ResponseAlg       string            // signs it by this algorithm, as Alg; "" = Alg
	ResponseHeader    Edit              // of its JOSE header
	CorruptResponse   bool              // flips one bit of its signature
	BesideResponse    map[string]string // parameters that stand in the answer besides

	// Pushed and signed authorization requests.

	RequirePAR           bool   // says so in the metadata, and takes no other
	PushError            string // the endpoint answers this error
	PushResponse         Edit   // request_uri, expires_in
	RequireRequestObject bool   // takes signed requests alone

	// Sender-constrained tokens (RFC 9449).

	DPoP            bool     // says so in the metadata, wants a proof for every token, and binds it to the proof's key
	DPoPBoundCode   bool     // wants the code bound too: dpop_jkt, or a proof where the request is pushed
	DPoPNonces      bool     // wants its nonce in every proof: one of the token and PAR endpoints, one of userinfo
	DPoPNonceOnce   bool     // the same, and each is good once: the next is in the answer
	DPoPNonceLoop   bool     // asks for another nonce, whatever comes
	DPoPNonceHeader []string // stands in DPoP-Nonce instead of the right one
	DPoPScheme      string   // the scheme of the challenge, spelt otherwise: dPoP
	DPoPDowngrade   bool     // looks at no proof and gives Bearer tokens

	SignedInAgo time.Duration // auth_time is so long ago, unless max_age asks for a newer sign-in
	NoStepUp    bool          // answers as if acr_values and max_age had not been asked for

	// ID token: signature and form.

	Alg              string                      // signs by this algorithm instead of RS256; "none" in any spelling is unsigned; the JWKS says PS* of the RSA key if that is it; HS* is keyed with the client secret
	HMACKey          []byte                      // the key of HS* instead of the client secret: PublicKeyPEM for the classic confusion
	IDTokenHeader    Edit                        // of the JOSE header: {"kid": Absent}, {"jku": "https://evil.example/"}
	WrongKey         bool                        // signs with a key that is not in the JWKS, under the kid of one that is
	WeakKey          bool                        // signs RS256 with an RSA key of 1024 bits, which stands in the JWKS
	CorruptSignature bool                        // flips one bit of the signature
	RotateOnSign     bool                        // signs with new keys every time, so that the kid is unknown to whoever fetched before
	IDTokenPayload   func(payload []byte) []byte // rewrites the payload before it is signed: duplicate and case-folded names (see Member)
	IDTokenText      func(compact string) string // rewrites the finished token: JSON serialization, more dots, …
	NoIDToken        bool                        // the token response of the code grant has none
	ThinIDToken      bool                        // no claims about the user but sub in the ID token: they are in userinfo only

	// JWKS.

	NoKeyIDs    bool // neither the JWKS nor the tokens name a kid
	RSAKeys     int  // the JWKS is this many RSA keys and nothing else, the one that signs last; 0 = one, and one each of EC and Ed25519
	StrangeKeys bool // unusable members stand before the usable ones: secp256k1, no kty, a string, an encryption key
	DecoyKeys   bool // keys of other types stand before the right one under its kid

	// Token endpoint.

	CodeError              string        // the code grant answers this error (RFC 6749 5.2)
	RefreshError           string        // the refresh grant answers this error: invalid_grant
	RefreshTokenInfix      string        // stands in every refresh token: any printable ASCII may (RFC 6749 A.17)
	AccessTokenInfix       string        // the same of access tokens (RFC 6749 A.12)
	NoRefreshToken         bool          // a sign-in gives no refresh token
	NoRefreshRotation      bool          // a refresh gives no new refresh token; the old one stays good
	NoReuseDetection       bool          // a spent refresh token is refused, but the others of its family live on
	RefreshWithoutIDToken  bool          // a refresh gives no ID token
	RefreshedSubject       string        // a refresh is about this subject (ID token and userinfo)
	AccessTokenLifetime    time.Duration // expires_in; 0 = one hour
	IDTokenLifetime        time.Duration // exp - iat; 0 = one hour
	OnlyClientAuth         string        // takes this method alone, whatever discovery says: client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, none
	AcceptAnyVerifier      bool          // does not check PKCE
	AccessTokenCarriesName bool          // access tokens are readable: at-<user's name>-<random>

	// Userinfo endpoint.

	UserInfoBody string // the body instead of the claims: `[]`, `not json`
	UserInfoAlg  string // answers application/jwt signed by this algorithm

	CorruptUserInfo bool // flips one bit of the signature of that

	// Introspection endpoint (RFC 7662, RFC 9701).

	Introspection        Edit   // members of the answer: active, sub, aud, exp …
	IntrospectionBody    string // the body instead of the answer
	IntrospectionAlg     string // signs by this algorithm what is asked for signed
	IntrospectionHeader  Edit   // of the JOSE header of that
	SignedIntrospection  Edit   // claims around it: iss, aud, iat, token_introspection
	CorruptIntrospection bool   // flips one bit of the signature of that

	// Plain OAuth 2.0, as GitHub speaks it: no metadata, no keys, no ID token, no openid; token_type is in lower case, errors
	// of the token endpoint come with status 200, userinfo calls the subject id, a number, and has no address; the addresses
	// stand below it, in a list.
	PlainOAuth bool
	EmailsBody string // that list instead of the right one
	// OrganizationsBody and TeamsBody are the first pages of those lists instead of the right ones: the groups of the person
	// that have no slash, and those that have one, organization/team.
	OrganizationsBody, TeamsBody string

	ClaimsBody string // what the claims endpoint answers, a JWT; "" = it knows nobody
}

// clone copies b so that a handler reads it without the lock.
func (b Behaviour) clone() Behaviour {
	for _, edit := range []*Edit{
		&b.Discovery, &b.AuthorizationResponse, &b.TokenResponse, &b.IDToken, &b.IDTokenHeader,
		&b.ResponseHeader, &b.RefreshedIDToken, &b.UserInfo, &b.LogoutResponse, &b.PushResponse,
		&b.Introspection, &b.IntrospectionHeader, &b.SignedIntrospection,
	} {
		*edit = maps.Clone(*edit)
	}
	b.Faults = maps.Clone(b.Faults)
	b.BesideResponse = maps.Clone(b.BesideResponse)
	b.HMACKey = slices.Clone(b.HMACKey)
	b.DPoPNonceHeader = slices.Clone(b.DPoPNonceHeader)
	return b
}

// Member is an IDTokenPayload that adds one member as raw JSON at the end, also
// if there is one of that name: Member(`"iss":"https://evil.example"`).
func Member(raw string) func([]byte) []byte {
	return func(payload []byte) []byte {
		return []byte(strings.TrimSuffix(string(payload), "}") + "," + raw + "}")
	}
}
