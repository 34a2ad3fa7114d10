package authflow

// Reason is the code of one check, the same on the page, in the log and as the
// label of a metric. It is never made of what a browser or a provider sent.
type Reason string

// The authorization request.
const (
	ReasonRedirectURI Reason = "redirect_uri_invalid" // not absolute, or with a fragment
	ReasonParameter   Reason = "parameter_refused"    // one that a browser may pass on: twice, too long, or not printable
	ReasonPARMissing  Reason = "par_unsupported"      // to be pushed, but the provider has no such endpoint
	ReasonPARRefused  Reason = "par_refused"          // the provider does not take the request, or gives it no name

	ReasonDPoPUnsupported Reason = "dpop_unsupported"    // asked for, but the provider takes no proofs of ours
	ReasonUnbound         Reason = "binding_unsupported" // tokens are to be bound to our certificate, which the provider does not say to do
	ReasonDPoPKey         Reason = "dpop_key_invalid"    // the key of an attempt or a session is none
)

// The authorization response, in the order of its checks (RFC 6749 4.1.2, RFC
// 9207 2.4, JARM 2.4), besides those that a signed one shares with the ID token.
const (
	ReasonResponseMalformed  Reason = "response_malformed"     // not an authorization response
	ReasonDuplicateParameter Reason = "duplicate_parameter"    // a parameter twice
	ReasonStateUnknown       Reason = "state_unknown"          // this browser began no attempt with that state
	ReasonStateUsed          Reason = "state_used"             // the attempt was finished before: told by the caller, who remembers
	ReasonAttemptMismatch    Reason = "attempt_mismatch"       // begun at another issuer or client
	ReasonAttemptExpired     Reason = "attempt_expired"        // begun more than AttemptLifetime ago
	ReasonResponseMode       Reason = "response_mode_mismatch" // a JWT where none was asked for, or none where one was
	ReasonIssMissing         Reason = "iss_missing"            // promised by the provider's metadata
	ReasonIssMismatch        Reason = "iss_mismatch"           // another provider answers
	ReasonProviderDenied     Reason = "provider_denied"        // error=access_denied
	ReasonProviderError      Reason = "provider_error"         // any other error
	ReasonCodeMissing        Reason = "code_missing"           // neither error nor code
)

// The token endpoint (RFC 6749 5, 6).
const (
	ReasonClientSecret        Reason = "client_secret_unreadable" // Config.ClientSecret failed
	ReasonClientKey           Reason = "client_key_unreadable"    // Config.ClientKeys failed, or gave none that signs
	ReasonClientAuth          Reason = "client_auth_unsupported"  // the provider takes no method that we have
	ReasonProviderUnavailable Reason = "provider_unavailable"     // no connection, a timeout, 408, 429 or 5xx
	ReasonTokenEndpoint       Reason = "token_endpoint_error"     // refused, but not because of the grant; or no token response
	ReasonTokenType           Reason = "token_type_refused"       // neither Bearer nor, if it was asked for, DPoP
	ReasonDPoPDowngrade       Reason = "dpop_downgrade"           // Bearer, where tokens bound to a key were asked for
	ReasonCodeRefused         Reason = "code_refused"             // invalid_grant for a code
	ReasonRefreshRefused      Reason = "refresh_refused"          // invalid_grant for a refresh token
)

// The token endpoint of our own (RFC 6749 4.3, 5.2; RFC 7009 2.1).
const (
	ReasonTokenRequest Reason = "token_request_malformed" // no form, a parameter twice or missing
	ReasonGrantType    Reason = "grant_type_unsupported"  // not password
	ReasonScopeRefused Reason = "scope_refused"           // not a scope, or none of this user's
)

// The ID token, in the order of its checks (OIDC Core 3.1.3.7).
const (
	ReasonIDTokenMissing   Reason = "id_token_missing"
	ReasonIDTokenMalformed Reason = "id_token_malformed" // not one compact JWS over one unambiguous JSON object
	ReasonIDTokenHeader    Reason = "header_refused"     // crit, b64, or the typ of another kind of token
	ReasonAlg              Reason = "alg_refused"
	ReasonKeysUnavailable  Reason = "keys_unavailable" // the provider's keys could not be fetched
	ReasonKeyUnknown       Reason = "key_unknown"      // the provider publishes no key that fits
	ReasonSignature        Reason = "signature_invalid"
	ReasonClaimMalformed   Reason = "claim_malformed" // a claim of the protocol has the wrong type or range
	ReasonIDTokenIssuer    Reason = "id_token_iss_mismatch"
	ReasonSubMissing       Reason = "sub_missing"
	ReasonSubMalformed     Reason = "sub_malformed" // more than 255 characters, or not printable ASCII
	ReasonAudMismatch      Reason = "aud_mismatch"
	ReasonAudUntrusted     Reason = "aud_untrusted"
	ReasonAzpMismatch      Reason = "azp_mismatch"
	ReasonExpMissing       Reason = "exp_missing"
	ReasonTokenExpired     Reason = "token_expired"
	ReasonIatMissing       Reason = "iat_missing"
	ReasonClockSkew        Reason = "clock_skew"  // iat or nbf in the future
	ReasonTokenStale       Reason = "token_stale" // issued too long ago to be the answer
	ReasonNonce            Reason = "nonce_mismatch"
	ReasonAtHash           Reason = "at_hash_mismatch"
	ReasonACR              Reason = "acr_mismatch"       // acr is none of the acr_values that were asked for
	ReasonAuthTime         Reason = "auth_time_mismatch" // max_age was asked for, and auth_time is absent or too old
)

// The refreshed ID token (OIDC Core 12.2).
const (
	ReasonRefreshIssuer   Reason = "refresh_issuer_mismatch"
	ReasonRefreshSubject  Reason = "refresh_subject_mismatch"
	ReasonRefreshAuthTime Reason = "refresh_auth_time_mismatch"
)

// The logout token, in the order of its checks (OIDC Back-Channel Logout 2.5,
// 2.6), besides those that it shares with the ID token; and token revocation (RFC
// 7009 2.2).
const (
	ReasonLogoutRequest Reason = "logout_request_malformed" // not a form with one logout_token
	ReasonLogoutTarget  Reason = "logout_target_missing"    // neither sub nor sid
	ReasonLogoutEvent   Reason = "logout_event_missing"
	ReasonLogoutNonce   Reason = "logout_nonce_present"
	ReasonTokenID       Reason = "jti_missing"
	ReasonLogoutUsed    Reason = "logout_token_used" // its jti was there before: told by the caller, who remembers
	ReasonRevocation    Reason = "revocation_failed"
)

// The access token that a request brings (RFC 6750, RFC 9068 4, RFC 7662, RFC 8705
// 3, RFC 9449 4.3, 7), besides those that it shares with the ID token.
const (
	ReasonTokenKind            Reason = "token_kind_refused"     // an ID token, a logout token, or a JWT that does not say what it is
	ReasonTokenMalformed       Reason = "access_token_malformed" // too long, or not what it has to be: id_token_malformed of an access token
	ReasonTokenIssuer          Reason = "token_issuer_unknown"   // iss is none of the issuers that count
	ReasonTokenInactive        Reason = "token_inactive"         // introspection: not active
	ReasonIntrospection        Reason = "introspection_failed"   // the endpoint refuses us, or its answer is none
	ReasonIntrospectionBusy    Reason = "introspection_busy"     // too many tokens that are not known
	ReasonIntrospectionMissing Reason = "introspection_missing"  // the provider has no such endpoint
	ReasonTokenBinding         Reason = "token_binding_refused"  // bound, and sent as if it were not; or the reverse
	ReasonTokenCertificate     Reason = "token_certificate_mismatch"
	ReasonProof                Reason = "dpop_proof_refused"
	ReasonProofUsed            Reason = "dpop_proof_used" // its jti was there before
	ReasonProofNonce           Reason = "dpop_nonce_needed"
)

// UserInfo (OIDC Core 5.3), discovery (OIDC Discovery 4) and logout (OIDC
// RP-Initiated Logout 2).
const (
	ReasonUserInfo        Reason = "userinfo_failed"
	ReasonUserInfoMissing Reason = "userinfo_missing"     // required, but the provider has no such endpoint
	ReasonUserInfoJWT     Reason = "userinfo_jwt_refused" // application/jwt
	ReasonUserInfoSubject Reason = "userinfo_sub_mismatch"
	ReasonDiscovery       Reason = "discovery_failed"
	ReasonDiscoveryIssuer Reason = "discovery_issuer_mismatch"
	ReasonNoEndSession    Reason = "no_end_session"
)

// The sentences that a person may read. They are few on purpose: what exactly
// was wrong with a token helps nobody who cannot see the log.
const (
	publicRestart  = "This sign-in cannot be completed any more. Please start again."
	publicDenied   = "The sign-in service did not sign you in."
	publicRejected = "The sign-in service sent an answer that this site does not accept."
	publicWeak     = "The sign-in service did not sign you in as strongly, or as recently, as this page needs."
	publicLater    = "The sign-in service cannot be reached at the moment. Please try again shortly."
	publicSetup    = "Signing in is not set up correctly on this site."
	publicOver     = "Your session is over. Please sign in again."
	publicNoLogout = "The sign-in service offers no sign-out."
	publicToken    = "This access token is not accepted here."
	publicNotEnded = "This site does not accept that logout request."
)

// verdict is what follows from a reason.
type verdict struct {
	kind   Kind
	public string
}

// verdicts has an entry for every reason.
var verdicts = map[Reason]verdict{
	ReasonRedirectURI: {Internal, publicSetup},
	ReasonParameter:   {BadRequest, publicRestart},
	ReasonPARMissing:  {Internal, publicSetup},
	ReasonPARRefused:  {Provider, publicDenied},

	ReasonDPoPUnsupported: {Internal, publicSetup},
	ReasonUnbound:         {Internal, publicSetup},
	ReasonDPoPKey:         {Internal, publicSetup},

	ReasonResponseMalformed:  {BadRequest, publicRestart},
	ReasonDuplicateParameter: {BadRequest, publicRestart},
	ReasonStateUnknown:       {BadRequest, publicRestart},
	ReasonStateUsed:          {BadRequest, publicRestart},
	ReasonAttemptMismatch:    {BadRequest, publicRestart},
	ReasonAttemptExpired:     {BadRequest, publicRestart},
	ReasonResponseMode:       {BadRequest, publicRejected},
	ReasonIssMissing:         {BadRequest, publicRejected},
	ReasonIssMismatch:        {BadRequest, publicRejected},
	ReasonProviderDenied:     {Denied, publicDenied},
	ReasonProviderError:      {Provider, publicDenied},
	ReasonCodeMissing:        {BadRequest, publicRestart},

	ReasonClientSecret:        {Internal, publicSetup},
	ReasonClientKey:           {Internal, publicSetup},
	ReasonClientAuth:          {Internal, publicSetup},
	ReasonProviderUnavailable: {Unavailable, publicLater},
	ReasonTokenEndpoint:       {Provider, publicRejected},
	ReasonTokenType:           {Provider, publicRejected},
	ReasonDPoPDowngrade:       {Provider, publicRejected},
	ReasonCodeRefused:         {BadRequest, publicRestart},
	ReasonRefreshRefused:      {NoLogin, publicOver},

	ReasonTokenRequest: {BadRequest, "This is not a token request: it is a POST of one form, with each parameter once."},
	ReasonGrantType:    {BadRequest, "Tokens are given for a name and a password alone: grant_type=password."},
	ReasonScopeRefused: {BadRequest, "This user cannot have that scope."},

	ReasonIDTokenMissing:   {Provider, publicRejected},
	ReasonIDTokenMalformed: {Provider, publicRejected},
	ReasonIDTokenHeader:    {Provider, publicRejected},
	ReasonAlg:              {Provider, publicRejected},
	ReasonKeysUnavailable:  {Unavailable, publicLater},
	ReasonKeyUnknown:       {Provider, publicRejected},
	ReasonSignature:        {Provider, publicRejected},
	ReasonClaimMalformed:   {Provider, publicRejected},
	ReasonIDTokenIssuer:    {Provider, publicRejected},
	ReasonSubMissing:       {Provider, publicRejected},
	ReasonSubMalformed:     {Provider, publicRejected},
	ReasonAudMismatch:      {Provider, publicRejected},
	ReasonAudUntrusted:     {Provider, publicRejected},
	ReasonAzpMismatch:      {Provider, publicRejected},
	ReasonExpMissing:       {Provider, publicRejected},
	ReasonTokenExpired:     {Provider, publicRejected},
	ReasonIatMissing:       {Provider, publicRejected},
	ReasonClockSkew:        {Provider, publicRejected},
	ReasonTokenStale:       {Provider, publicRejected},
	ReasonNonce:            {Provider, publicRejected},
	ReasonAtHash:           {Provider, publicRejected},
	ReasonACR:              {Denied, publicWeak},
	ReasonAuthTime:         {Denied, publicWeak},

	ReasonRefreshIssuer:   {NoLogin, publicOver},
	ReasonRefreshSubject:  {NoLogin, publicOver},
	ReasonRefreshAuthTime: {NoLogin, publicOver},

	ReasonLogoutRequest: {BadRequest, publicNotEnded},
	ReasonLogoutTarget:  {BadRequest, publicNotEnded},
	ReasonLogoutEvent:   {BadRequest, publicNotEnded},
	ReasonLogoutNonce:   {BadRequest, publicNotEnded},
	ReasonTokenID:       {BadRequest, publicNotEnded},
	ReasonLogoutUsed:    {BadRequest, publicNotEnded},
	ReasonRevocation:    {Provider, publicRejected},

	ReasonTokenKind:            {NoLogin, publicToken},
	ReasonTokenMalformed:       {NoLogin, publicToken},
	ReasonTokenIssuer:          {NoLogin, publicToken},
	ReasonTokenInactive:        {NoLogin, publicToken},
	ReasonIntrospection:        {Provider, publicSetup},
	ReasonIntrospectionBusy:    {Unavailable, "Too many access tokens are being checked at the moment. Please try again shortly."},
	ReasonIntrospectionMissing: {Internal, publicSetup},
	ReasonTokenBinding:         {NoLogin, publicToken},
	ReasonTokenCertificate:     {NoLogin, publicToken},
	ReasonProof:                {NoLogin, publicToken},
	ReasonProofUsed:            {NoLogin, publicToken},
	ReasonProofNonce:           {NoLogin, publicToken},

	ReasonUserInfo:        {Provider, publicRejected},
	ReasonUserInfoMissing: {Provider, publicSetup},
	ReasonUserInfoJWT:     {Provider, publicRejected},
	ReasonUserInfoSubject: {Provider, publicRejected},
	ReasonDiscovery:       {Unavailable, publicLater},
	ReasonDiscoveryIssuer: {Provider, publicSetup},
	ReasonNoEndSession:    {Provider, publicNoLogout},
}
