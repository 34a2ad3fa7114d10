package authflow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

func noKeys() ([]authflow.ClientKey, error) { return nil, nil }

// noDiscovery has nothing but the endpoints that everybody needs.
func noDiscovery(c *authflow.Config) {
	c.NoDiscovery = true
	c.Endpoints = map[string]string{"authorization": "https://id.example.com/a", "token": "https://id.example.com/t", "jwks": "https://id.example.com/k"}
}

func TestNew(t *testing.T) {
	tests := map[string]struct {
		set  func(*authflow.Config)
		word string // that the error begins with, after the issuer; "" = none
	}{
		"right":                    {func(*authflow.Config) {}, ""},
		"path and trailing slash":  {func(c *authflow.Config) { c.Issuer = "https://id.example.com/realms/a/" }, ""},
		"http on 127.0.0.1":        {func(c *authflow.Config) { c.Issuer = "http://127.0.0.1:8080" }, ""},
		"http on [::1]":            {func(c *authflow.Config) { c.Issuer = "http://[::1]:8080" }, ""},
		"http on localhost":        {func(c *authflow.Config) { c.Issuer = "http://localhost:8080/x" }, ""},
		"a public client":          {func(c *authflow.Config) { c.ClientAuth, c.ClientSecret = "none", nil }, ""},
		"form_post":                {func(c *authflow.Config) { c.ResponseMode = "form_post" }, ""},
		"issuer empty":             {func(c *authflow.Config) { c.Issuer = "" }, "issuer:"},
		"issuer over http":         {func(c *authflow.Config) { c.Issuer = "http://id.example.com" }, "issuer:"},
		"issuer on a false host":   {func(c *authflow.Config) { c.Issuer = "http://127.0.0.1.example.com" }, "issuer:"},
		"issuer without scheme":    {func(c *authflow.Config) { c.Issuer = "id.example.com" }, "issuer:"},
		"issuer with user":         {func(c *authflow.Config) { c.Issuer = "https://a:b@id.example.com" }, "issuer:"},
		"issuer with query":        {func(c *authflow.Config) { c.Issuer = "https://id.example.com?" }, "issuer:"},
		"issuer with fragment":     {func(c *authflow.Config) { c.Issuer = "https://id.example.com#a" }, "issuer:"},
		"issuer with a space":      {func(c *authflow.Config) { c.Issuer = "https://id.exam ple.com" }, "issuer:"},
		"no client id":             {func(c *authflow.Config) { c.ClientID = "" }, "client_id:"},
		"no secret":                {func(c *authflow.Config) { c.ClientSecret = nil }, "client_secret:"},
		"no secret, post":          {func(c *authflow.Config) { c.ClientSecret, c.ClientAuth = nil, "client_secret_post" }, "client_secret:"},
		"none, with a secret":      {func(c *authflow.Config) { c.ClientAuth = "none" }, "client_auth:"},
		"client_secret_jwt":        {func(c *authflow.Config) { c.ClientAuth = "client_secret_jwt" }, "client_auth:"},
		"a key":                    {func(c *authflow.Config) { c.ClientSecret, c.ClientKeys = nil, noKeys }, ""},
		"a key and a secret":       {func(c *authflow.Config) { c.ClientKeys = noKeys }, "client_auth:"},
		"a key, a secret for jar":  {func(c *authflow.Config) { c.ClientKeys, c.ClientAuth = noKeys, "client_secret_basic" }, ""},
		"private_key_jwt, secret":  {func(c *authflow.Config) { c.ClientKeys, c.ClientAuth = noKeys, "private_key_jwt" }, "client_auth:"},
		"private_key_jwt, no key":  {func(c *authflow.Config) { c.ClientAuth = "private_key_jwt" }, "client_key:"},
		"a certificate":            {func(c *authflow.Config) { c.ClientSecret, c.MutualTLS = nil, true }, ""},
		"a certificate and secret": {func(c *authflow.Config) { c.MutualTLS = true }, "client_auth:"},
		"tls_client_auth, none":    {func(c *authflow.Config) { c.ClientAuth = "tls_client_auth" }, "client_certificate:"},
		"tls_client_auth, secret":  {func(c *authflow.Config) { c.MutualTLS, c.ClientAuth = true, "tls_client_auth" }, "client_auth:"},
		"self-signed, none":        {func(c *authflow.Config) { c.ClientAuth = "self_signed_tls_client_auth" }, "client_certificate:"},
		"response_mode fragment":   {func(c *authflow.Config) { c.ResponseMode = "fragment" }, "response_mode:"},
		"response_mode jwt":        {func(c *authflow.Config) { c.ResponseMode = "jwt" }, ""},
		"jwt, plain, no keys": {func(c *authflow.Config) {
			c.ResponseMode, c.SubjectFrom = "jwt", "id"
			noDiscovery(c)
			c.Endpoints = map[string]string{"authorization": "https://a.example/a", "token": "https://a.example/t", "userinfo": "https://a.example/u"}
		}, "response_mode jwt:"},
		"jar without key": {func(c *authflow.Config) { c.RequestObject = true }, "jar:"},
		"SEC-92 jar, param aud": {func(c *authflow.Config) {
			c.ClientKeys, c.ClientAuth, c.RequestObject = noKeys, "client_secret_basic", true
			c.Parameters = map[string]string{"aud": "https://evil.example"}
		}, "param: aud"},
		"SEC-92 jar, sub of a request": {func(c *authflow.Config) {
			c.ClientKeys, c.ClientSecret, c.RequestObject = noKeys, nil, true
			c.ParametersFromRequest = []string{"sub"}
		}, "param: sub"},
		"param aud":                 {func(c *authflow.Config) { c.Parameters = map[string]string{"aud": "https://fhir.example"} }, ""},
		"param_from_request, twice": {func(c *authflow.Config) { c.ParametersFromRequest = []string{"hd", "hd"} }, "param_from_request: hd"},
		"userinfo required and off": {func(c *authflow.Config) {
			c.UserInfo, c.Endpoints = authflow.UserInfoRequired, map[string]string{"userinfo": "off"}
		}, "userinfo:"},
		"userinfo required, nowhere":      {func(c *authflow.Config) { c.UserInfo = authflow.UserInfoRequired; noDiscovery(c) }, "userinfo:"},
		"userinfo signed and never asked": {func(c *authflow.Config) { c.UserInfoAlg = "ES256" }, "userinfo_signed_response_alg:"},
		"par on and off": {func(c *authflow.Config) {
			c.PAR, c.Endpoints = authflow.PAROn, map[string]string{"pushed_authorization_request": "off"}
		}, "par:"},
		"par on, nowhere": {func(c *authflow.Config) { c.PAR = authflow.PAROn; noDiscovery(c) }, "par:"},
		"par on, by hand": {func(c *authflow.Config) {
			c.PAR = authflow.PAROn
			noDiscovery(c)
			c.Endpoints["pushed_authorization_request"] = "https://id.example.com/par"
		}, ""},
		"par of another word":      {func(c *authflow.Config) { c.PAR = "always" }, "par:"},
		"no openid":                {func(c *authflow.Config) { c.Scopes = []string{"email"} }, "scopes:"},
		"no scopes":                {func(c *authflow.Config) { c.Scopes = []string{} }, "scopes:"},
		"two scopes in one":        {func(c *authflow.Config) { c.Scopes = []string{"openid", "a b"} }, "scopes:"},
		"SEC-81 HS256":             {func(c *authflow.Config) { c.SigningAlgs = []string{"RS256", "HS256"} }, "signing_algs:"},
		"SEC-81 none":              {func(c *authflow.Config) { c.SigningAlgs = []string{"none"} }, "signing_algs:"},
		"response mode fragment":   {func(c *authflow.Config) { c.ResponseMode = "fragment" }, "response_mode:"},
		"a source over http":       {func(c *authflow.Config) { c.ClaimSources = []string{"http://hr.example.com"} }, "claim_source:"},
		"a source with a query":    {func(c *authflow.Config) { c.ClaimSources = []string{"https://hr.example.com?a"} }, "claim_source:"},
		"a source twice":           {func(c *authflow.Config) { c.ClaimSources = []string{"https://a.example", "https://a.example"} }, "claim_source:"},
		"userinfo policy 3":        {func(c *authflow.Config) { c.UserInfo = 3 }, "userinfo:"},
		"leeway of six minutes":    {func(c *authflow.Config) { c.Leeway = 6 * time.Minute }, "leeway:"},
		"leeway of less than none": {func(c *authflow.Config) { c.Leeway = -1 }, "leeway:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := authflow.Config{
				Issuer: "https://id.example.com", ClientID: "app",
				ClientSecret: func() (secret.String, error) { t.Error("the secret was read"); return secret.String{}, nil },
			}
			test.set(&cfg)
			client, err := authflow.New(cfg)
			switch {
			case test.word == "" && err != nil:
				t.Error(err)
			case test.word == "" && (client.Issuer() != cfg.Issuer || client.ClientID() != cfg.ClientID):
				t.Errorf("client of %q at %q", client.ClientID(), client.Issuer())
			case test.word != "" && (err == nil || client != nil || !strings.Contains(err.Error(), `": `+test.word)):
				t.Errorf("error is %v, want one about %s", err, test.word)
			}
		})
	}
}
