package testop

import "net/http"

// discovery is OpenID Connect Discovery 1.0, 4.
func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request, b Behaviour) {
	document := map[string]any{
		"issuer":                 p.Issuer(),
		"authorization_endpoint": p.URL(Authorization),
		"token_endpoint":         p.URL(Token),
		"userinfo_endpoint":      p.URL(UserInfo),
		"jwks_uri":               p.URL(JWKS),
		"end_session_endpoint":   p.URL(EndSession),
		"revocation_endpoint":    p.URL(Revocation),
		"introspection_endpoint": p.URL(Introspection),

		"pushed_authorization_request_endpoint":            p.URL(Push),
		"require_pushed_authorization_requests":            b.RequirePAR,
		"request_parameter_supported":                      true,
		"request_object_signing_alg_values_supported":      clientJWTAlgs,
		"token_endpoint_auth_signing_alg_values_supported": clientJWTAlgs,

		"scopes_supported":                               []string{"openid", "profile", "email", "groups", "offline_access"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post", "jwt", "form_post.jwt"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"authorization_signing_alg_values_supported":     []string{"RS256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"frontchannel_logout_supported":                  true,
		"frontchannel_logout_session_supported":          true,
	}
	if b.DPoP {
		document["dpop_signing_alg_values_supported"] = proofAlgs
	}
	b.Discovery.apply(document)
	answer(w, http.StatusOK, document)
}
